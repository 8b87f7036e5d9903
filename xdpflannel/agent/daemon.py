"""`xdpflanneld`: bring the node up, keep it in step with its leases, leave everything in place at the end."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

import structlog

from xdpflannel import __version__
from xdpflannel.agent import bringup, fastpath, footprint
from xdpflannel.agent.bringup import Started, Stopped
from xdpflannel.agent.datapath import Choice, choose, with_proof
from xdpflannel.agent.fastpath import FastPath
from xdpflannel.agent.kernel import KernelWriter
from xdpflannel.agent.loop import Agent, Message
from xdpflannel.agent.privileges import require
from xdpflannel.agent.report import Report
from xdpflannel.agent.settings import Bypass, Datapath, Settings
from xdpflannel.dataplane import loader
from xdpflannel.dataplane.loader import LoadReport, MapSizes
from xdpflannel.dataplane.pins import Pins, pins
from xdpflannel.dataplane.probe import KernelFeatures, features
from xdpflannel.errors import EXIT_OK, LeaseError, StoreError, XdpflannelError
from xdpflannel.host import sysctl
from xdpflannel.host.clsact import Clsact
from xdpflannel.host.netlink import Netlink
from xdpflannel.host.watch import HostWatcher
from xdpflannel.leases.claim import LeaseKeeper
from xdpflannel.leases.watch import LeaseWatcher
from xdpflannel.model.state import encode
from xdpflannel.observe.metrics import CONTENT_TYPE, Instruments, new_registry, render
from xdpflannel.observe.server import (
    document_routes,
    health_routes,
    metrics_routes,
    serve_tcp,
    serve_unix,
)
from xdpflannel.table.forwarding import ForwardingTable, Node

log = structlog.get_logger()

Loaded = tuple[LoadReport, KernelFeatures]

_HUNG_SECONDS = 60.0


def run(settings: Settings) -> int:
    """Run in the foreground until SIGTERM or SIGINT; return the exit status. Raises XdpflannelError."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    require(bpf=settings.datapath is not Datapath.KERNEL)
    held = footprint.lock(settings.run_dir)
    log.info("agent.started", version=__version__, instance=settings.instance, role=settings.role.value)
    try:
        with contextlib.ExitStack() as stack:
            _serve(settings, stop, stack)
    except Stopped:
        pass
    finally:
        held.close()
    log.info("agent.stopped", left="programs, maps, routes and flannel.N stay in place and forward on")
    return EXIT_OK


def _serve(settings: Settings, stop: threading.Event, stack: contextlib.ExitStack) -> None:
    started_at = time.time()
    netlink = stack.enter_context(Netlink())
    uplink = bringup.find_uplink(netlink, settings)
    choice = choose(settings.datapath, uplink, netlink.xdp_features(uplink.ifindex))
    if settings.bypass is Bypass.PROOF:
        choice = with_proof(choice)
    for reason in choice.reasons:
        log.info("datapath.chosen", reason=reason)
    pinned = pins(settings.instance, settings.bpffs)
    if choice.programs:
        loader.check(pinned, settings.loader.value)
    footprint.write(settings.run_dir, _footprint(settings))
    open_store = bringup.opener(settings)
    # Compiling and claiming take their time at the same time.
    with _loading(settings, pinned, choice) as loading:
        started = bringup.start(netlink, settings, uplink, open_store, stop)
        loaded = loading.result() if loading else None
    inbox: SimpleQueue[Message] = SimpleQueue()
    keeper = LeaseKeeper(
        open_store,
        started.lease,
        settings.renew_margin_seconds,
        inbox.put,
        lambda error: log.error("lease.not_renewed", error=str(error), hint=error.hint),
    )
    watcher = stack.enter_context(HostWatcher(inbox.put))
    path = _fast_path(loaded, pinned, choice, stack)
    node = _node(settings, started, choice, loaded)
    writer = KernelWriter(netlink, started.device, path.tables if path else None)
    agent = Agent(
        settings,
        started,
        netlink,
        writer,
        path,
        ForwardingTable(node),
        inbox,
        lambda: _rewrite(keeper),
    )
    report = Report(agent, settings, choice, pinned, started_at)
    agent.instruments = _publish(settings, agent, report, stack)
    failures: list[XdpflannelError] = []
    threads = [
        _thread("host", lambda: watcher.run(stop), stop, failures),
        _thread("leases", lambda: LeaseWatcher(open_store, inbox.put).run(stop), stop, failures),
        _thread("keeper", lambda: keeper.run(stop), stop, failures),
    ]
    try:
        agent.run(stop)
    except LeaseError as error:
        log.error("lease.lost", error=str(error), hint=error.hint)
        raise
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=5)
    if failures:
        raise failures[0]


@contextlib.contextmanager
def _loading(settings: Settings, pinned: Pins, choice: Choice) -> Iterator[Future[Loaded] | None]:
    if not choice.programs:
        yield None
        return

    def work() -> Loaded:
        sizes = MapSizes(routes=settings.max_routes, flows=settings.max_flows)
        report = fastpath.load(pinned, choice, wanted=settings.loader.value, sizes=sizes)
        return report, features()

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="loader") as pool:
        yield pool.submit(work)


def _fast_path(
    loaded: Loaded | None, pinned: Pins, choice: Choice, stack: contextlib.ExitStack
) -> FastPath | None:
    if loaded is None:
        return None
    report, kernel = loaded
    clsact = Clsact()
    stack.callback(clsact.close)
    path = FastPath(pinned, report, choice, clsact, tcx=kernel.tcx)
    stack.callback(path.close)
    return path


def _node(settings: Settings, started: Started, choice: Choice, loaded: Loaded | None) -> Node:
    subnet = started.lease.key.subnet
    if subnet is None:
        raise LeaseError(f"this node's lease {started.lease.key} has no IPv4 subnet")
    return Node(
        uplink=started.uplink,
        device=started.device,
        subnet=subnet,
        source_ports=sysctl.local_port_range(),
        strict=settings.strict,
        xdp_takes_tcp=choice.xdp_takes_tcp,
        proof_refresh_ns=settings.proof_refresh * 1_000_000_000 if choice.exit else 0,
        decap_clears_tunnel_gso=loaded is not None and loaded[1].decap_l4,
        fast_path=loaded is not None,
    )


def _rewrite(keeper: LeaseKeeper) -> None:
    """Write our attributes again after somebody changed them."""
    try:
        keeper.publish(keeper.lease.attributes)
    except StoreError as error:
        log.warning("lease.not_rewritten", error=str(error), hint=error.hint)


def _publish(settings: Settings, agent: Agent, report: Report, stack: contextlib.ExitStack) -> Instruments:
    registry = new_registry(report)
    instruments = Instruments(registry)
    health = health_routes(lambda: time.monotonic() - agent.last_turn < _HUNG_SECONDS, report.checks)
    documents = document_routes(
        {"/state": lambda: encode(report.state()), "/leases": lambda: encode(report.leases())}
    )
    metrics = metrics_routes(lambda: render(registry), CONTENT_TYPE)
    stack.callback(serve_unix(settings.socket, {**documents, **metrics, **health}).close)
    if settings.metrics_port:
        server = serve_tcp(settings.metrics_ip, settings.metrics_port, {**metrics, **health})
        stack.callback(server.close)
    if settings.healthz_port and settings.healthz_port != settings.metrics_port:
        stack.callback(serve_tcp(settings.healthz_ip, settings.healthz_port, health).close)
    return instruments


def _thread(
    name: str, work: Callable[[], None], stop: threading.Event, failures: list[XdpflannelError]
) -> threading.Thread:
    """Run ``work``; a thread that dies takes the agent with it, by a failure, so that it is started again."""

    def guarded() -> None:
        try:
            work()
        except XdpflannelError as error:
            log.error("thread.failed", thread=name, error=str(error), hint=error.hint)
            failures.append(error)
        except Exception as error:
            log.exception("thread.failed", thread=name)
            failures.append(
                XdpflannelError(
                    f"thread {name} failed: {type(error).__name__}: {error}",
                    hint="this is a mistake in xdpflannel, please report it with the log",
                )
            )
        else:
            return
        stop.set()

    thread = threading.Thread(target=guarded, name=name, daemon=True)
    thread.start()
    return thread


def _footprint(settings: Settings) -> footprint.Footprint:
    return footprint.Footprint(
        instance=settings.instance,
        bpffs=str(settings.bpffs),
        subnet_file=str(settings.subnet_file),
    )

"""Labs as a whole: build one, remove one without a trace."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import structlog

from xdpflannel.agent.settings import Datapath
from xdpflannel.lab import etcd, namespaces, nodes, pods, processes, state, underlay
from xdpflannel.lab.patience import Patience
from xdpflannel.lab.shell import require
from xdpflannel.lab.spec import Lab, LabSpec
from xdpflannel.lab.state import AGENTS_DIR, LabState, NodeRecord

log = structlog.get_logger(__name__)

READY_SECONDS = 60.0
BPFFS = Path("/sys/fs/bpf/xdpflannel")
_WORKERS = 8

Progress = Callable[[str], None]


def _quiet(_: str) -> None:
    return


def up(
    spec: LabSpec,
    *,
    daemon: Sequence[str] | None = None,
    progress: Progress = _quiet,
    ready_seconds: float = READY_SECONDS,
) -> Lab:
    """Build a lab and return when every node is ready; if that fails, nothing is left of it.

    ``daemon`` is the command that stands for xdpflanneld; ``progress`` is told each step in a few words.

    Raises:
        LabError: something is in the way, a tool is missing, or a node did not get ready.
        NotPermitted: not root.
    """
    require("ip", "nsenter", "etcd", *(["ethtool"] if spec.datapath is Datapath.XDP else []))
    names = spec.namespaces()
    namespaces.refuse_existing(names)
    instances = [spec.node_netns(number) for number in spec.numbers]
    started = time.monotonic()
    with state.creating(spec.name, names, instances) as built:
        try:
            _build(built, spec, tuple(daemon or nodes.default_daemon()), progress, Patience(ready_seconds))
        except BaseException:
            _remove(built)
            raise
    log.info("lab.built", lab=spec.name, nodes=spec.nodes, seconds=round(time.monotonic() - started, 2))
    return built.lab()


def _build(
    built: LabState, spec: LabSpec, daemon: tuple[str, ...], progress: Progress, patience: Patience
) -> None:
    progress(f"making {len(spec.namespaces())} network namespaces")
    namespaces.create(spec.name, spec.namespaces())
    underlay.build(spec)
    progress("starting etcd")
    etcd.start(built, spec)
    built.record.nodes = [_planned(built, spec, number, daemon) for number in spec.numbers]
    built.save()
    progress(f"starting {spec.nodes} nodes with {spec.pods} pods each")
    _each(spec, patience, lambda number: _raise_node(built, spec, number, patience))
    progress("waiting until every node knows every other")
    _each(spec, patience, lambda number: wait_node(built, number, patience))


def _planned(built: LabState, spec: LabSpec, number: int, daemon: tuple[str, ...]) -> NodeRecord:
    return NodeRecord(
        number=number,
        netns=spec.node_netns(number),
        kind=spec.kind(number),
        command=[*daemon, *nodes.arguments(built, spec, number)],
        offload=spec.datapath is not Datapath.XDP,
    )


def _each(spec: LabSpec, patience: Patience, work: Callable[[int], object]) -> None:
    """Do it for all nodes, several at a time; the first failure ends the others' waiting and is raised."""
    with ThreadPoolExecutor(max_workers=_WORKERS, thread_name_prefix="lab") as pool:
        results = [pool.submit(work, number) for number in spec.numbers]
        try:
            for result in as_completed(results):
                result.result()
        except BaseException:
            patience.give_up()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _raise_node(built: LabState, spec: LabSpec, number: int, patience: Patience) -> None:
    nodes.start(built, number)
    env = nodes.wait_subnet(built, number, patience)
    node = built.node(number)
    node.subnet = str(env.subnet)
    pods.make_bridge(node, env.mtu)
    made = [pods.planned(built, node, pod) for pod in range(1, spec.pods + 1)]
    pods.wire(node, made, env.mtu)
    with built.lock:
        node.pods = made
        built.save()


def wait_node(built: LabState, number: int, patience: Patience) -> None:
    """Wait until a node is ready and knows all other nodes and its own pods."""
    node = built.node(number)
    nodes.wait_ready(
        built,
        number,
        patience,
        routes=len(built.record.nodes) - 1,
        pods=len(node.pods),
        nudge=lambda: pods.announce(node),
    )


def down(name: str) -> None:
    """Remove a lab with everything it made, also after a crash; LabError if there is none of that name."""
    require("ip", "nsenter")
    with state.changing(name) as built:
        _remove(built)
    log.info("lab.removed", lab=name)


def _remove(built: LabState) -> None:
    record = built.record
    ours = namespaces.owned(record.name, record.namespaces)
    processes.end(record.processes.values(), kill=True)
    # A process may start others while it is ended, so look until there are none.
    while inside := processes.members(ours):
        processes.end(inside, kill=True)
    namespaces.remove(ours)
    for instance in record.instances:
        _remove_folder(BPFFS, instance)
        _remove_folder(AGENTS_DIR, instance)
    built.forget()


def _remove_folder(parent: Path, name: str) -> None:
    """Remove a folder of an agent, and the one around it if nobody else uses that."""
    shutil.rmtree(parent / name, ignore_errors=True)
    try:
        parent.rmdir()
    except OSError:
        return

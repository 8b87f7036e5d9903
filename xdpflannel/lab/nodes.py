"""The daemon of each node: started in its namespace, asked until it is ready, killed and started again."""

from __future__ import annotations

import http.client
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from xdpflannel.agent.settings import Datapath
from xdpflannel.errors import LabError, XdpflannelError
from xdpflannel.host.subnet_env import SubnetEnv, read_subnet_env
from xdpflannel.lab import etcd, processes
from xdpflannel.lab.logs import tail
from xdpflannel.lab.patience import Patience
from xdpflannel.lab.shell import inside
from xdpflannel.lab.spec import METRICS_PORT, LabSpec, NodeKind
from xdpflannel.lab.state import AGENTS_DIR, LabState, NodeRecord
from xdpflannel.model.state import AgentState, decode_state

BRIDGE = "cni0"
_POLL_SECONDS = 0.01
_NUDGE_SECONDS = 0.2

T = TypeVar("T")


def default_daemon() -> tuple[str, ...]:
    """How xdpflanneld is started: the script beside this Python if it is installed, else the module."""
    script = Path(sys.executable).with_name("xdpflanneld")
    if script.exists():
        return (str(script),)
    return (sys.executable, "-c", "from xdpflannel.cli.daemon import main; main()")


def run_dir(netns: str) -> Path:
    """The agent's run directory: its default, so that `xdpflannel status --instance` finds it."""
    return AGENTS_DIR / netns


def arguments(state: LabState, spec: LabSpec, number: int) -> list[str]:
    """Flags of a node's daemon."""
    netns = spec.node_netns(number)
    datapath = Datapath.KERNEL if spec.kind(number) is NodeKind.KERNEL else spec.datapath
    flags = [
        f"--etcd-endpoints={etcd.ENDPOINT}",
        f"--etcd-prefix={etcd.PREFIX}",
        "--iface=eth0",
        f"--subnet-file={subnet_file(state, number)}",
        f"--instance={netns}",
        f"--run-dir={run_dir(netns)}",
        f"--role={spec.role}",
        f"--datapath={datapath}",
        f"--loader={spec.loader}",
        f"--bridge={BRIDGE}",
        f"--metrics-port={METRICS_PORT}",
    ]
    if spec.bypass is not None:
        flags.append(f"--bypass={spec.bypass}")
    if spec.strict:
        flags.append("--strict")
    return [*flags, *spec.daemon_args]


def subnet_file(state: LabState, number: int) -> Path:
    """Where a node's daemon writes subnet.env."""
    return state.node_folder(number) / "subnet.env"


def log_file(state: LabState, number: int) -> Path:
    """Where a node's daemon logs to."""
    return state.node_folder(number) / "daemon.log"


def start(state: LabState, number: int) -> None:
    """Start the daemon of a node by its recorded command. LabError if it runs already."""
    node = state.node(number)
    running = state.record.processes.get(role(number))
    if running is not None and processes.alive(running):
        raise LabError(f"the daemon of {node.netns} runs already (process {running.pid})")
    folder = state.node_folder(number)
    folder.mkdir(mode=0o755, exist_ok=True)
    run_dir(node.netns).mkdir(mode=0o755, parents=True, exist_ok=True)
    process = processes.start(inside(node.netns, node.command), log_file(state, number))
    with state.lock:
        state.record.processes[role(number)] = process
        state.save()


def stop(state: LabState, number: int, *, kill: bool = False) -> None:
    """End the daemon of a node, by SIGTERM or at once by SIGKILL; what it set up stays."""
    process = state.record.processes.get(role(number))
    if process is None:
        raise LabError(f"the daemon of {state.node(number).netns} was never started")
    processes.end([process], kill=kill)


def pid(state: LabState, number: int) -> int:
    """Process id of a node's daemon; LabError if it does not run."""
    process = state.record.processes.get(role(number))
    if process is None or not processes.alive(process):
        raise LabError(
            f"the daemon of {state.node(number).netns} does not run; its last words:\n"
            f"{tail(log_file(state, number))}"
        )
    return process.pid


def role(number: int) -> str:
    """Name of a node's daemon among the lab's processes."""
    return f"node{number}"


def wait_subnet(state: LabState, number: int, patience: Patience) -> SubnetEnv:
    """What the daemon wrote for the CNI plugin, as soon as it is there."""

    def look() -> SubnetEnv | None:
        return read_subnet_env(subnet_file(state, number))

    return _wait(state, number, patience, look, "did not write subnet.env")


def wait_ready(
    state: LabState, number: int, patience: Patience, *, routes: int, pods: int, nudge: Callable[[], None]
) -> AgentState:
    """The agent's state once it is ready and knows so many routes and pods.

    ``nudge`` is called now and then until it does.
    """
    nudged = 0.0

    def look() -> AgentState | None:
        nonlocal nudged
        if time.monotonic() - nudged > _NUDGE_SECONDS:
            nudge()
            nudged = time.monotonic()
        found = agent_state(state.node(number))
        if found is None or not found.ready:
            return None
        return found if found.counts.routes >= routes and found.counts.pods >= pods else None

    def why() -> str:
        found = agent_state(state.node(number))
        if found is None:
            return "its agent does not answer"
        failing = [f"{check.name}: {check.detail}" for check in found.checks if not check.ok]
        counts = f"{found.counts.routes} of {routes} routes, {found.counts.pods} of {pods} pods"
        return "; ".join([*failing, counts])

    return _wait(state, number, patience, look, "is not ready", why)


def agent_state(node: NodeRecord) -> AgentState | None:
    """The agent's state document; None if it does not answer."""
    connection = _UnixConnection(run_dir(node.netns) / "agent.sock")
    try:
        connection.request("GET", "/state")
        answer = connection.getresponse()
        body = answer.read()
        return decode_state(body) if answer.status == http.HTTPStatus.OK else None
    except (OSError, http.client.HTTPException, XdpflannelError):
        return None
    finally:
        connection.close()


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=2)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _wait(
    state: LabState,
    number: int,
    patience: Patience,
    look: Callable[[], T | None],
    problem: str,
    why: Callable[[], str] = str,
) -> T:
    """First answer of ``look``; LabError with the end of the log if the daemon ends or time is up."""
    while True:
        found = look()
        if found is not None:
            return found
        process = state.record.processes[role(number)]
        ended = not processes.alive(process)
        if ended or patience.over:
            what = "ended" if ended else f"{problem} in time"
            reason = why()
            raise LabError(
                f"the daemon of {state.node(number).netns} {what}{f' ({reason})' if reason else ''};"
                f" its last words:\n{tail(log_file(state, number))}",
                hint=f"its command was: {' '.join(state.node(number).command)}",
            )
        patience.pause(_POLL_SECONDS)

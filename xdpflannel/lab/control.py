"""Looking into a lab and changing it while it runs: commands, pods, daemons, etcd."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from xdpflannel.errors import LabError
from xdpflannel.host.namespace import exists
from xdpflannel.lab import cluster, etcd, nodes, pods, processes, state
from xdpflannel.lab.patience import Patience
from xdpflannel.lab.shell import inside, require
from xdpflannel.lab.spec import Lab, LabNode, LabPod
from xdpflannel.lab.state import LabState
from xdpflannel.model.state import AgentState


@frozen
class NodeStatus:
    """A node now. ``pid`` is None if its daemon does not run, ``agent`` None if it does not answer."""

    node: LabNode
    pid: int | None
    agent: AgentState | None

    @property
    def ready(self) -> bool:
        """The agent answers and says so."""
        return self.agent is not None and self.agent.ready


@frozen
class LabStatus:
    """A lab now. ``missing`` are namespaces that somebody else has removed."""

    lab: Lab
    nodes: tuple[NodeStatus, ...]
    etcd_running: bool
    missing: tuple[str, ...]

    @property
    def healthy(self) -> bool:
        """Everything is there and ready."""
        return self.etcd_running and not self.missing and all(node.ready for node in self.nodes)


def _name(lab: Lab | str) -> str:
    return lab if isinstance(lab, str) else lab.name


def _open(lab: Lab | str) -> LabState:
    return state.load(_name(lab))


def names() -> list[str]:
    """The labs that are there."""
    return state.names()


def load(name: str) -> Lab:
    """A lab that is there; LabError if it is not, or was never finished."""
    return _finished(_open(name)).lab()


def _finished(found: LabState) -> LabState:
    if not found.record.nodes or not all(node.subnet for node in found.record.nodes):
        name = found.record.name
        raise LabError(f"lab {name} was not built to the end", hint=f"`xdpflannel lab down --name {name}`")
    return found


def status(lab: Lab | str) -> LabStatus:
    """How a lab is doing; LabError if there is none of that name."""
    found = _finished(_open(lab))
    seen = found.lab()
    statuses = []
    for node in found.record.nodes:
        process = found.record.processes.get(nodes.role(node.number))
        pid = process.pid if process is not None and processes.alive(process) else None
        statuses.append(NodeStatus(seen.node(node.number), pid, nodes.agent_state(node)))
    server = found.record.processes.get("etcd")
    return LabStatus(
        lab=seen,
        nodes=tuple(statuses),
        etcd_running=server is not None and processes.alive(server),
        missing=tuple(name for name in found.record.namespaces if not exists(name)),
    )


def command(lab: Lab | str, where: str, argv: Sequence[str]) -> list[str]:
    """The command line that runs ``argv`` at a place of the lab: "node1", "node1-pod2", "net".

    A whole namespace's name will do as well, and so will "--" before the command. LabError if there is no
    such place.
    """
    record = _open(lab).record
    argv = argv[1:] if argv and argv[0] == "--" else argv
    for netns in (where, f"{record.name}-{where}"):
        if netns in record.namespaces and exists(netns):
            return inside(netns, argv)
    places = ", ".join(name.removeprefix(f"{record.name}-") for name in record.namespaces)
    raise LabError(f"lab {record.name} has no place {where}", hint=f"there are: {places}")


def add_pod(lab: Lab | str, node: int) -> LabPod:
    """Add a pod to a node, with the lowest free number; the agent learns it by itself."""
    require("ip")
    with state.changing(_name(lab)) as found:
        return _add_pod(_finished(found), node)


def _add_pod(found: LabState, node: int) -> LabPod:
    mtu = nodes.wait_subnet(found, node, Patience(0)).mtu
    pod = pods.add(found, found.node(node), mtu)
    return next(it for it in found.lab().node(node).pods if it.netns == pod.netns)


def remove_pod(lab: Lab | str, netns: str) -> None:
    """Remove a pod by its namespace's name."""
    require("ip")
    with state.changing(_name(lab)) as found:
        for node in _finished(found).record.nodes:
            if netns in {pod.netns for pod in node.pods}:
                pods.remove(found, node, netns)
                return
    raise LabError(f"lab {_name(lab)} has no pod {netns}", hint="`xdpflannel lab status` lists them")


def stop_node(lab: Lab | str, node: int, *, kill: bool = False) -> None:
    """End a node's daemon (``kill``: by SIGKILL); what it set up stays."""
    nodes.stop(_open(lab), node, kill=kill)


def start_node(
    lab: Lab | str, node: int, *, wait: bool = True, ready_seconds: float = cluster.READY_SECONDS
) -> None:
    """Start a node's daemon again by the same command, and wait until it is ready."""
    with state.changing(_name(lab)) as found:
        nodes.start(_finished(found), node)
    if wait:
        cluster.wait_node(found, node, Patience(ready_seconds))


def wait_ready(lab: Lab | str, *, ready_seconds: float = cluster.READY_SECONDS) -> None:
    """Wait until every node is ready and knows all others and its own pods."""
    found = _finished(_open(lab))
    patience = Patience(ready_seconds)
    for node in found.record.nodes:
        cluster.wait_node(found, node.number, patience)


def node_pid(lab: Lab | str, node: int) -> int:
    """Process id of a node's daemon; LabError if it does not run."""
    return nodes.pid(_open(lab), node)


def node_state(lab: Lab | str, node: int) -> AgentState | None:
    """State document of a node's agent; None if it does not answer."""
    return nodes.agent_state(_open(lab).node(node))


def node_log(lab: Lab | str, node: int) -> Path:
    """Where a node's daemon logs to."""
    return nodes.log_file(_open(lab), node)


def subnet_file(lab: Lab | str, node: int) -> Path:
    """A node's subnet.env."""
    return nodes.subnet_file(_open(lab), node)


def stop_etcd(lab: Lab | str) -> None:
    """Kill the lab's etcd."""
    etcd.stop(_open(lab))


def start_etcd(lab: Lab | str) -> None:
    """Start the lab's etcd again on its data, and wait until it answers."""
    with state.changing(_name(lab)) as found:
        etcd.start_again(found)

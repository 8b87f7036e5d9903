"""Clusters in network namespaces, for the demo, the tests and the benchmark.

lab = up(LabSpec(name="demo", nodes=3, pods=2))
…
down(lab.name)
"""

from xdpflannel.lab.cluster import down, up
from xdpflannel.lab.control import (
    LabStatus,
    NodeStatus,
    add_pod,
    command,
    load,
    names,
    node_log,
    node_pid,
    node_state,
    remove_pod,
    start_etcd,
    start_node,
    status,
    stop_etcd,
    stop_node,
    subnet_file,
    wait_ready,
)
from xdpflannel.lab.offload import offloads, set_offloads
from xdpflannel.lab.spec import Lab, LabNode, LabPod, LabSpec, NodeKind

__all__ = [
    "Lab",
    "LabNode",
    "LabPod",
    "LabSpec",
    "LabStatus",
    "NodeKind",
    "NodeStatus",
    "add_pod",
    "command",
    "down",
    "load",
    "names",
    "node_log",
    "node_pid",
    "node_state",
    "offloads",
    "remove_pod",
    "set_offloads",
    "start_etcd",
    "start_node",
    "status",
    "stop_etcd",
    "stop_node",
    "subnet_file",
    "up",
    "wait_ready",
]

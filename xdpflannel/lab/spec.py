"""What a lab looks like: asked for (LabSpec) and built (Lab)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from attrs import Attribute, field, frozen

from xdpflannel.agent.settings import Bypass, Datapath, LoaderChoice, Role
from xdpflannel.errors import ConfigError
from xdpflannel.model.net import OVERHEAD_IPV4

UNDERLAY = IPv4Network("192.0.2.0/24")
MANAGEMENT = IPv4Network("198.51.100.0/24")
ETCD_ADDRESS = MANAGEMENT[254]
METRICS_PORT = 9101
NODES_MAX = 250
PODS_MAX = 200
_MTU_MIN = 576 + OVERHEAD_IPV4
_MTU_MAX = 65535
# 16 and "-node250" stay below the 32 characters that an agent's instance may have.
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,14}[a-z0-9])?")


class NodeKind(StrEnum):
    """Who forwards on a node."""

    XDPFLANNEL = "xdpflannel"
    KERNEL = "kernel"
    """The kernel's own VXLAN only, programmed from the same leases."""


def _positive(limit: int) -> Any:
    def check(_: LabSpec, attribute: Attribute[int], value: int) -> None:
        low = 1 if attribute.name == "nodes" else 0
        if not low <= value <= limit:
            raise ConfigError(
                f"{value} {attribute.name} are not possible",
                hint=f"choose --{attribute.name} from {low} to {limit}",
            )

    return check


@frozen(kw_only=True)
class LabSpec:
    """A cluster that is wanted; ConfigError for what cannot be built.

    ``mtu`` is that of the underlay in bytes. ``backend`` is merged into the network configuration's Backend
    object (``{"VNI": 7, "Port": 4789}``). None leaves the daemon's own default.
    """

    name: str = field(default="lab")
    nodes: int = field(default=2, validator=_positive(NODES_MAX))
    pods: int = field(default=1, validator=_positive(PODS_MAX))
    datapath: Datapath = field(default=Datapath.AUTO, converter=Datapath)
    bypass: Bypass | None = None
    role: Role = field(default=Role.FULL, converter=Role)
    loader: LoaderChoice = field(default=LoaderChoice.AUTO, converter=LoaderChoice)
    kernel_nodes: frozenset[int] = field(default=frozenset(), converter=frozenset)
    """Numbers of the nodes without fast path, from 1."""
    strict: bool = False
    mtu: int = field(default=1500)
    network: IPv4Network = field(default=IPv4Network("10.244.0.0/16"), converter=IPv4Network)
    backend: Mapping[str, object] = field(factory=dict)
    daemon_args: tuple[str, ...] = field(default=(), converter=tuple)
    """Further flags for every node's daemon."""

    @name.validator
    def _name_fits(self, _: object, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"a lab cannot be named {name!r}",
                hint="use up to 16 lower-case letters, digits and -, not at the ends",
            )

    @kernel_nodes.validator
    def _nodes_exist(self, _: object, kernel_nodes: frozenset[int]) -> None:
        unknown = sorted(number for number in kernel_nodes if not 1 <= number <= self.nodes)
        if unknown:
            raise ConfigError(
                f"--kernel-nodes names node {unknown[0]}, but there are {self.nodes}",
                hint=f"nodes are numbered from 1 to {self.nodes}",
            )

    @mtu.validator
    def _mtu_fits(self, _: object, mtu: int) -> None:
        if not _MTU_MIN <= mtu <= _MTU_MAX:
            raise ConfigError(
                f"an underlay MTU of {mtu} is not possible",
                hint=f"choose --mtu from {_MTU_MIN} to {_MTU_MAX}",
            )

    @network.validator
    def _network_is_free(self, _: object, network: IPv4Network) -> None:
        for used in (UNDERLAY, MANAGEMENT):
            if network.overlaps(used):
                raise ConfigError(
                    f"network {network} overlaps {used}, which the lab itself uses",
                    hint="choose another --network, for example 10.244.0.0/16",
                )

    @property
    def numbers(self) -> range:
        """Numbers of the nodes."""
        return range(1, self.nodes + 1)

    @property
    def hub(self) -> str:
        """Namespace of the underlay's bridge and of etcd."""
        return f"{self.name}-net"

    def node_netns(self, number: int) -> str:
        """Namespace of a node; also its agent's instance."""
        return f"{self.name}-node{number}"

    def pod_netns(self, node: int, pod: int) -> str:
        """Namespace of a pod."""
        return f"{self.name}-node{node}-pod{pod}"

    def namespaces(self) -> list[str]:
        """All namespaces of the lab as it is asked for."""
        nodes = [self.node_netns(number) for number in self.numbers]
        pods = [self.pod_netns(node, pod) for node in self.numbers for pod in range(1, self.pods + 1)]
        return [self.hub, *nodes, *pods]

    def kind(self, number: int) -> NodeKind:
        """Who forwards on that node."""
        kernel = number in self.kernel_nodes or self.datapath is Datapath.KERNEL
        return NodeKind.KERNEL if kernel else NodeKind.XDPFLANNEL


@frozen
class LabPod:
    """A pod that is there."""

    netns: str
    ip: IPv4Address

    def to_json(self) -> dict[str, Any]:
        """By the lab contract."""
        return {"netns": self.netns, "ip": str(self.ip)}


@frozen
class LabNode:
    """A node that is there. ``metrics`` is a URL as seen inside the node's namespace."""

    name: str
    netns: str
    underlay_ip: IPv4Address
    subnet: IPv4Network
    metrics: str
    pods: tuple[LabPod, ...]
    kind: NodeKind = NodeKind.XDPFLANNEL

    @property
    def number(self) -> int:
        """From 1."""
        return int(self.name.removeprefix("node"))

    def to_json(self) -> dict[str, Any]:
        """By the lab contract."""
        return {
            "name": self.name,
            "netns": self.netns,
            "underlay_ip": str(self.underlay_ip),
            "subnet": str(self.subnet),
            "metrics": self.metrics,
            "kind": self.kind.value,
            "instance": self.netns,
            "pods": [pod.to_json() for pod in self.pods],
        }


@frozen
class Lab:
    """A lab that is there. ``etcd`` is a URL as seen from outside its namespaces."""

    name: str
    nodes: tuple[LabNode, ...]
    etcd: str

    def node(self, number: int) -> LabNode:
        """The node of that number, from 1."""
        return self.nodes[number - 1]

    def to_json(self) -> dict[str, Any]:
        """By the lab contract."""
        return {"name": self.name, "nodes": [node.to_json() for node in self.nodes], "etcd": self.etcd}

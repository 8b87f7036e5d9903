"""The wires between nodes, and the separate network by which they reach etcd."""

from __future__ import annotations

from collections.abc import Iterator

from xdpflannel.agent.settings import Datapath
from xdpflannel.lab import namespaces
from xdpflannel.lab.offload import set_offloads
from xdpflannel.lab.shell import ip
from xdpflannel.lab.spec import ETCD_ADDRESS, MANAGEMENT, UNDERLAY, LabSpec


def build(spec: LabSpec) -> None:
    """Wire the nodes: two by one direct pair, any other number by a bridge."""
    direct = spec.nodes == 2
    ip(_hub(spec, bridge=not direct), netns=spec.hub)
    # Each link is asked for inside the namespace where it shall be: before 6.15 the kernel looks whether its
    # name is taken in the namespace of the asker, and a host has an eth0 of its own.
    if direct:
        ip(_direct(spec), netns=spec.node_netns(1))
    else:
        ip(_star(spec), netns=spec.hub)
    ip(_management(spec), netns=spec.hub)
    ip(_ports(spec, bridge=not direct), netns=spec.hub)
    for number in spec.numbers:
        ip(_node(number), netns=spec.node_netns(number))
        namespaces.forwarding(spec.node_netns(number))
    if spec.datapath is Datapath.XDP:
        _let_xdp_transmit(spec, bridge=not direct)


def _hub(spec: LabSpec, *, bridge: bool) -> Iterator[str]:
    yield "link add mgmt type bridge mcast_snooping 0"
    yield f"addr add {ETCD_ADDRESS}/{MANAGEMENT.prefixlen} dev mgmt"
    yield "link set mgmt up"
    if bridge:
        yield f"link add underlay mtu {spec.mtu} type bridge mcast_snooping 0"
        yield "link set underlay up"


def _direct(spec: LabSpec) -> Iterator[str]:
    end = f"eth0 mtu {spec.mtu}"
    yield f"link add {end} type veth peer name {end} netns {spec.node_netns(2)}"


def _star(spec: LabSpec) -> Iterator[str]:
    for number in spec.numbers:
        port = f"port{number} mtu {spec.mtu}"
        end = f"eth0 mtu {spec.mtu} netns {spec.node_netns(number)}"
        yield f"link add {port} type veth peer name {end}"


def _management(spec: LabSpec) -> Iterator[str]:
    for number in spec.numbers:
        yield f"link add mgmt{number} type veth peer name mgmt0 netns {spec.node_netns(number)}"


def _ports(spec: LabSpec, *, bridge: bool) -> Iterator[str]:
    for number in spec.numbers:
        yield f"link set mgmt{number} master mgmt up"
        if bridge:
            yield f"link set port{number} master underlay up"


def _node(number: int) -> Iterator[str]:
    yield f"addr add {UNDERLAY[number]}/{UNDERLAY.prefixlen} dev eth0"
    yield "link set eth0 up"
    yield f"addr add {MANAGEMENT[number]}/{MANAGEMENT.prefixlen} dev mgmt0"
    yield "link set mgmt0 up"


def _let_xdp_transmit(spec: LabSpec, *, bridge: bool) -> None:
    # veth_xdp_xmit() only takes frames if the other end has NAPI, which GRO switches on.
    for number in spec.numbers:
        set_offloads(spec.node_netns(number), "eth0", gro=True)
        if bridge:
            set_offloads(spec.hub, f"port{number}", gro=True)

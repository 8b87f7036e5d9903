"""What the data plane's maps hold, as values: produced by `table`, written and read back by `dataplane`."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network

from attrs import frozen

from xdpflannel.model.net import Mac


@frozen
class ConfigEntry:
    """The one entry of map ``config``."""

    device_ifindex: int
    uplink_mac: Mac
    vtep_mac: Mac
    vtep_ip: IPv4Address
    vni: int
    port: int
    source_ports: tuple[int, int]
    """First and last UDP source port; the last is never used (as in the kernel's udp_flow_src_port)."""
    strict: bool = False
    xdp_takes_tcp: bool = False
    decap_clears_tunnel_gso: bool = False
    """The kernel knows BPF_F_ADJ_ROOM_DECAP_L4_UDP."""
    proof_refresh_ns: int = 0
    """How long the proof of a flow holds; 0: stateless, every flow is taken at once."""


@frozen
class RouteEntry:
    """One remote subnet in map ``routes4``. ``next_hop_mac`` None: not resolved, the kernel forwards."""

    vtep_ip: IPv4Address
    vtep_mac: Mac
    local_ip: IPv4Address
    local_mac: Mac
    """MAC of this node's flannel.N: source of the inner frame."""
    ifindex: int
    source_mac: Mac
    next_hop_mac: Mac | None
    mtu: int
    vni: int
    port: int


@frozen
class PodEntry:
    """One local pod in map ``pods4``."""

    ifindex: int
    mac: Mac
    gateway_mac: Mac
    """MAC of the bridge: source of what the node routes to the pod."""
    port_mac: Mac
    """MAC of the node's end of the pod's veth: the bridge takes frames to it for the node too."""
    mtu: int
    napi: bool = False


@frozen
class FlowKey:
    """One direction of a flow. ICMP echo has its identifier for a source port, its type for a target port."""

    source: IPv4Address
    target: IPv4Address
    source_port: int
    target_port: int
    protocol: int


@frozen
class FlowEntry:
    """What is known of a flow; times in seconds of the clock that stands still in suspend."""

    confirmed_at: float | None
    """When it was last seen to leave the kernel as it came; None: not yet."""
    seen_at: float
    """When a packet of it was last left to the kernel."""
    closing: bool = False
    """FIN or RST was seen."""


@frozen
class Counter:
    """Packets and bytes of one verdict in one program; a GSO aggregate is one packet."""

    packets: int
    bytes: int


@frozen
class PeerEntry:
    """The kernel's own entries for one remote subnet on flannel.N: neighbour, FDB and route."""

    vtep_mac: Mac
    vtep_ip: IPv4Address


@frozen
class Contents:
    """Everything that the agent keeps in the kernel, wanted or found."""

    config: ConfigEntry | None
    routes: Mapping[IPv4Network, RouteEntry]
    pods: Mapping[IPv4Address, PodEntry]
    vteps: Mapping[IPv4Address, int]
    peers: Mapping[IPv4Network, PeerEntry]

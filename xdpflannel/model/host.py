"""Facts about this node that other rooms reason with; read by `host`, consumed by `table`."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from attrs import frozen

from xdpflannel.model.net import Mac


@frozen
class Uplink:
    """The interface that carries the underlay."""

    name: str
    ifindex: int
    mac: Mac
    mtu: int
    address: IPv4Address
    public_ip: IPv4Address
    driver: str = ""
    """Kernel driver ("veth", "virtio_net", "mlx5_core"), "" if unknown."""


@frozen
class VxlanDevice:
    """flannel.N as it is in the kernel."""

    name: str
    ifindex: int
    mac: Mac
    mtu: int
    vni: int
    port: int


@frozen
class NextHop:
    """How a frame to a VTEP leaves this node. ``mac`` is None while the neighbour is not resolved."""

    ifindex: int
    source_mac: Mac
    source_ip: IPv4Address
    gateway: IPv4Address
    """The on-link address whose MAC is used: the VTEP itself, or the router towards it."""
    mac: Mac | None
    mtu: int


@frozen
class Pod:
    """A local pod as netlink shows it: a bridge port, its address and its MAC."""

    ip: IPv4Address
    mac: Mac
    ifindex: int
    """Interface index of the host's end of the pod's veth pair."""
    ifname: str
    bridge_mac: Mac
    """MAC of the bridge: the pod's gateway, source of what the node routes to it."""
    port_mac: Mac
    """MAC of the node's end of the pair."""
    mtu: int
    napi: bool = False
    """True if the pod's end has NAPI on, so that XDP may redirect frames into it."""


@frozen
class Address:
    """An address on an interface with the length of its prefix."""

    ip: IPv4Address
    network: IPv4Network

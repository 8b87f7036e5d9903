"""What netlink says, as values: links, addresses, routes, neighbours, forwarding entries."""

from __future__ import annotations

from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network

from attrs import frozen

from xdpflannel.model.net import Mac

NTF_USE = 0x01
NTF_SELF = 0x02
NTF_MASTER = 0x04


class NeighbourState(IntEnum):
    """NUD_* of linux/neighbour.h; an entry has exactly one of them."""

    NONE = 0x00
    INCOMPLETE = 0x01
    REACHABLE = 0x02
    STALE = 0x04
    DELAY = 0x08
    PROBE = 0x10
    FAILED = 0x20
    NOARP = 0x40
    PERMANENT = 0x80


_USABLE = (
    NeighbourState.REACHABLE
    | NeighbourState.STALE
    | NeighbourState.DELAY
    | NeighbourState.PROBE
    | NeighbourState.PERMANENT
)


@frozen
class Vxlan:
    """Attributes of a VXLAN link. ``lower`` is the interface index below it, 0 if none."""

    vni: int
    port: int
    local: IPv4Address | None
    lower: int
    learning: bool
    group: bool = False
    """It has a default remote or multicast group."""
    gbp: bool = False
    l2miss: bool = False


@frozen
class Link:
    """An interface."""

    ifindex: int
    name: str
    kind: str
    """rtnetlink's kind ("veth", "bridge", "vxlan"), "" for hardware."""
    mac: Mac | None
    """None for interfaces that are not Ethernet."""
    mtu: int
    up: bool
    loopback: bool = False
    master: int = 0
    """Interface index of the bridge or bond it is a port of, 0 if none."""
    vxlan: Vxlan | None = None


@frozen
class LinkAddress:
    """An IPv4 address on an interface, with the length of its prefix."""

    ifindex: int
    ip: IPv4Address
    length: int

    @property
    def network(self) -> IPv4Network:
        """The on-link network that comes with it."""
        return IPv4Network((self.ip, self.length), strict=False)


@frozen
class Neighbour:
    """Which MAC an IPv4 address has on an interface."""

    ifindex: int
    ip: IPv4Address
    mac: Mac | None
    state: int

    @property
    def usable(self) -> bool:
        """The kernel would send to this MAC now."""
        return self.mac is not None and bool(self.state & _USABLE)


@frozen
class Forwarding:
    """An entry of a forwarding database: where a MAC is. ``remote`` is set on VXLAN devices only."""

    ifindex: int
    mac: Mac
    state: int
    flags: int
    master: int = 0
    remote: IPv4Address | None = None


@frozen
class Route:
    """An IPv4 route with at most one next hop."""

    destination: IPv4Network
    ifindex: int
    gateway: IPv4Address | None = None
    onlink: bool = False
    priority: int = 0
    source: IPv4Address | None = None


@frozen
class Path:
    """The kernel's answer to "how would you reach this address?"."""

    destination: IPv4Address
    ifindex: int
    gateway: IPv4Address | None
    source: IPv4Address
    mtu: int
    """Path MTU in bytes if the kernel knows one, else 0."""

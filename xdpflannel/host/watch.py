"""Changes of the node's network as they happen: netlink's multicast groups as small values."""

from __future__ import annotations

import errno
import select
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network
from types import TracebackType
from typing import Self

import structlog
from attrs import frozen

from xdpflannel.host import messages
from xdpflannel.host.netlink import explain
from xdpflannel.host.transport import HEADER, NETLINK_ROUTE, Transport, attributes
from xdpflannel.model.net import Mac

log = structlog.get_logger(__name__)

_GROUP_LINK, _GROUP_NEIGHBOUR, _GROUP_ADDRESS4, _GROUP_ROUTE4 = 0x1, 0x4, 0x10, 0x40
_RTM_NEWLINK, _RTM_DELLINK, _RTM_NEWADDR, _RTM_DELADDR = 16, 17, 20, 21
_IFINFO = struct.Struct("=BxHiII")
"""family, hardware type, index, flags, change mask."""
_IFADDR = struct.Struct("=BBBBi")
"""family, prefix length, flags, scope, index."""
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER = 1, 3, 4, 10
_IFA_LOCAL = 2
_IFF_UP = 1
_AF_INET, _AF_BRIDGE = 2, 7
_STOP_CHECK_SECONDS = 0.2


@frozen
class LinkChanged:
    """An interface came, went, or changed. ``master`` is the bridge it is a port of, 0 if none."""

    ifindex: int
    name: str
    removed: bool
    up: bool = False
    master: int = 0
    mac: Mac | None = None
    mtu: int = 0


@frozen
class NeighbourChanged:
    """A neighbour changed (``bridge`` False) or a forwarding entry did (``bridge`` True, ``ip`` None)."""

    ifindex: int
    bridge: bool
    ip: IPv4Address | None
    mac: Mac | None
    state: int
    removed: bool


@frozen
class RouteChanged:
    """A unicast route of the main table came, went, or was replaced."""

    destination: IPv4Network
    ifindex: int
    gateway: IPv4Address | None
    removed: bool


@frozen
class AddressChanged:
    """An IPv4 address of an interface came or went."""

    ifindex: int
    ip: IPv4Address
    length: int
    removed: bool


@frozen
class HostResync:
    """Changes were lost because they came faster than they were read: look at everything again."""


HostChange = LinkChanged | NeighbourChanged | RouteChanged | AddressChanged | HostResync


class HostWatcher:
    """Hands the changes of one network namespace to ``sink``, a batch at a time, within milliseconds.

    It listens from its construction on: take the first look at the host after that, and no change is missed.
    ``sink`` is called in the thread of `run`.
    """

    def __init__(self, sink: Callable[[Sequence[HostChange]], None], *, netns: str | None = None) -> None:
        self._sink = sink
        groups = _GROUP_LINK | _GROUP_NEIGHBOUR | _GROUP_ADDRESS4 | _GROUP_ROUTE4
        try:
            self._transport = Transport(NETLINK_ROUTE, netns, groups)
        except OSError as error:
            raise explain("listen to netlink", error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the socket back; only after `run` has returned."""
        self._transport.close()

    def run(self, stop: threading.Event) -> None:
        """Read and hand over changes until ``stop`` is set."""
        poll = select.poll()
        poll.register(self._transport.fileno(), select.POLLIN)
        while not stop.is_set():
            if poll.poll(_STOP_CHECK_SECONDS * 1000):
                changes = self._read()
                if changes:
                    self._sink(changes)

    def _read(self) -> Sequence[HostChange]:
        try:
            found = [read_change(message) for message in self._transport.receive()]
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise explain("read netlink changes", error) from error
            log.warning("host.changes_lost", reason="they came faster than they were read")
            return (HostResync(),)
        return tuple(change for change in found if change is not None)


def read_change(message: bytes) -> HostChange | None:
    """A notification as a value; None if it is none of ours."""
    kind = HEADER.unpack_from(message)[1]
    if kind in (_RTM_NEWLINK, _RTM_DELLINK):
        return _link(message, removed=kind == _RTM_DELLINK)
    if kind in (messages.RTM_NEWNEIGH, messages.RTM_DELNEIGH):
        return _neighbour(message, removed=kind == messages.RTM_DELNEIGH)
    if kind in (messages.RTM_NEWROUTE, messages.RTM_DELROUTE):
        route = messages.read_route(message)
        if route is None:
            return None
        removed = kind == messages.RTM_DELROUTE
        return RouteChanged(route.destination, route.ifindex, route.gateway, removed)
    if kind in (_RTM_NEWADDR, _RTM_DELADDR):
        return _address(message, removed=kind == _RTM_DELADDR)
    return None


def _link(message: bytes, *, removed: bool) -> LinkChanged | None:
    family, _, ifindex, flags, _ = _IFINFO.unpack_from(message, HEADER.size)
    if family == _AF_BRIDGE and not removed:
        return None  # a port's own attributes; joining the bridge is told by the plain message as well
    found = attributes(message, HEADER.size + _IFINFO.size)
    mac = found.get(_IFLA_ADDRESS, b"")
    return LinkChanged(
        ifindex=ifindex,
        name=found.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace"),
        # Leaving a bridge is told as the removal of the bridge's view of the link, not of the link.
        removed=removed and family != _AF_BRIDGE,
        up=bool(flags & _IFF_UP),
        master=0 if removed else int.from_bytes(found.get(_IFLA_MASTER, b""), sys.byteorder),
        mac=Mac(mac) if len(mac) == 6 else None,
        mtu=int.from_bytes(found.get(_IFLA_MTU, b""), sys.byteorder),
    )


def _neighbour(message: bytes, *, removed: bool) -> NeighbourChanged | None:
    family = message[HEADER.size]
    if family == _AF_BRIDGE:
        entry = messages.read_forwarding(message)
        if entry is None:
            return None
        return NeighbourChanged(entry.ifindex, True, None, entry.mac, entry.state, removed)
    neighbour = messages.read_neighbour(message)
    if neighbour is None:
        return None
    return NeighbourChanged(neighbour.ifindex, False, neighbour.ip, neighbour.mac, neighbour.state, removed)


def _address(message: bytes, *, removed: bool) -> AddressChanged | None:
    family, length, _, _, ifindex = _IFADDR.unpack_from(message, HEADER.size)
    local = attributes(message, HEADER.size + _IFADDR.size).get(_IFA_LOCAL, b"")
    if family != _AF_INET or len(local) != 4:
        return None
    return AddressChanged(ifindex, IPv4Address(local), length, removed)

"""Neighbour, forwarding and route messages, packed and read by hand.

These are the messages of which a node has one per lease. pyroute2's classes need 35 us to build and 11 us to
read each, these about 2 us. Layouts: linux/neighbour.h (ndmsg), linux/rtnetlink.h (rtmsg); host byte order,
addresses as on the wire.
"""

from __future__ import annotations

import struct
import sys
from ipaddress import IPv4Address, IPv4Network
from socket import AF_BRIDGE, AF_INET

from xdpflannel.host.transport import (
    HEADER,
    NLM_F_CREATE,
    NLM_F_REPLACE,
    Request,
    attribute,
    attributes,
)
from xdpflannel.host.values import NTF_SELF, NTF_USE, Forwarding, Neighbour, NeighbourState, Path, Route
from xdpflannel.model.net import Mac

RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30

_NDMSG = struct.Struct("=BxxxiHBB")
"""family, ifindex, state, flags, type."""
_NDA_DST, _NDA_LLADDR, _NDA_IFINDEX, _NDA_MASTER = 1, 2, 8, 9

_RTMSG = struct.Struct("=BBBBBBBBI")
"""family, destination length, source length, tos, table, protocol, scope, type, flags."""
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_METRICS = 1, 4, 5, 6, 7, 8
_RTA_MULTIPATH, _RTA_TABLE, _RTA_VIA, _RTA_ENCAP = 9, 15, 18, 22
_RTAX_MTU = 2
_RT_TABLE_MAIN = 254
_RTPROT_BOOT = 3  # what flannel's routes carry
_RTN_UNICAST = 1
_RT_SCOPE_UNIVERSE, _RT_SCOPE_LINK, _RT_SCOPE_NOWHERE = 0, 253, 255
_RTNH_F_ONLINK = 4
_RTM_F_CLONED = 0x200
_REPLACE = NLM_F_CREATE | NLM_F_REPLACE


def _u32(value: int) -> bytes:
    return struct.pack("=I", value)


def _read_u32(value: bytes | None) -> int:
    return int.from_bytes(value[:4], sys.byteorder) if value else 0


# Neighbours


def set_neighbour(ifindex: int, ip: IPv4Address, mac: Mac) -> Request:
    """Make or replace a permanent neighbour."""
    body = _NDMSG.pack(AF_INET, ifindex, NeighbourState.PERMANENT, 0, 0)
    body += attribute(_NDA_DST, ip.packed) + attribute(_NDA_LLADDR, mac.packed)
    return Request(RTM_NEWNEIGH, _REPLACE, body)


def delete_neighbour(ifindex: int, ip: IPv4Address) -> Request:
    """Remove a neighbour."""
    body = _NDMSG.pack(AF_INET, ifindex, 0, 0, 0) + attribute(_NDA_DST, ip.packed)
    return Request(RTM_DELNEIGH, 0, body)


def use_neighbour(ifindex: int, ip: IPv4Address) -> Request:
    """Ask the kernel to resolve or re-confirm a neighbour, as if a packet went to it."""
    body = _NDMSG.pack(AF_INET, ifindex, NeighbourState.NONE, NTF_USE, 0) + attribute(_NDA_DST, ip.packed)
    return Request(RTM_NEWNEIGH, NLM_F_CREATE, body)


def get_neighbour(ifindex: int, ip: IPv4Address) -> Request:
    """Look up one neighbour."""
    return Request(RTM_GETNEIGH, 0, _NDMSG.pack(AF_INET, ifindex, 0, 0, 0) + attribute(_NDA_DST, ip.packed))


def dump_neighbours(ifindex: int) -> Request:
    """All IPv4 neighbours, or those of one interface (0: all)."""
    body = _NDMSG.pack(AF_INET, 0, 0, 0, 0)
    if ifindex:
        body += attribute(_NDA_IFINDEX, _u32(ifindex))
    return Request(RTM_GETNEIGH, 0, body)


def read_neighbour(message: bytes) -> Neighbour | None:
    """A neighbour message; None if it is not IPv4."""
    family, ifindex, state, _, _ = _NDMSG.unpack_from(message, HEADER.size)
    found = attributes(message, HEADER.size + _NDMSG.size)
    address = found.get(_NDA_DST, b"")
    if family != AF_INET or len(address) != 4:
        return None
    return Neighbour(ifindex, IPv4Address(address), _mac(found.get(_NDA_LLADDR)), state)


# Forwarding databases


def set_forwarding(ifindex: int, mac: Mac, remote: IPv4Address) -> Request:
    """Make or replace the permanent entry of a VXLAN device: frames to ``mac`` go to node ``remote``."""
    body = _NDMSG.pack(AF_BRIDGE, ifindex, NeighbourState.PERMANENT, NTF_SELF, 0)
    body += attribute(_NDA_DST, remote.packed) + attribute(_NDA_LLADDR, mac.packed)
    return Request(RTM_NEWNEIGH, _REPLACE, body)


def delete_forwarding(ifindex: int, mac: Mac) -> Request:
    """Remove the entry of a VXLAN device for a MAC."""
    body = _NDMSG.pack(AF_BRIDGE, ifindex, 0, NTF_SELF, 0) + attribute(_NDA_LLADDR, mac.packed)
    return Request(RTM_DELNEIGH, 0, body)


def dump_forwarding(ifindex: int, bridge: int) -> Request:
    """The entries of one device (``ifindex``), or of all ports of one ``bridge``; the other is 0."""
    body = _NDMSG.pack(AF_BRIDGE, ifindex, 0, 0, 0)
    if bridge:
        body += attribute(_NDA_MASTER, _u32(bridge))
    return Request(RTM_GETNEIGH, 0, body)


def read_forwarding(message: bytes) -> Forwarding | None:
    """A forwarding entry; None if it is a neighbour or has no Ethernet address."""
    family, ifindex, state, flags, _ = _NDMSG.unpack_from(message, HEADER.size)
    found = attributes(message, HEADER.size + _NDMSG.size)
    mac = _mac(found.get(_NDA_LLADDR))
    if family != AF_BRIDGE or mac is None:
        return None
    remote = found.get(_NDA_DST, b"")
    return Forwarding(
        ifindex=ifindex,
        mac=mac,
        state=state,
        flags=flags,
        master=_read_u32(found.get(_NDA_MASTER)),
        remote=IPv4Address(remote) if len(remote) == 4 else None,
    )


# Routes


def set_route(route: Route) -> Request:
    """Make a route in the main table, or replace the one with the same destination and priority."""
    scope = _RT_SCOPE_LINK if route.gateway is None else _RT_SCOPE_UNIVERSE
    return Request(RTM_NEWROUTE, _REPLACE, _route(route, _RTN_UNICAST, _RTPROT_BOOT, scope))


def delete_route(route: Route) -> Request:
    """Remove exactly this route from the main table (any protocol)."""
    return Request(RTM_DELROUTE, 0, _route(route, 0, 0, _RT_SCOPE_NOWHERE))


def _route(route: Route, kind: int, protocol: int, scope: int) -> bytes:
    flags = _RTNH_F_ONLINK if route.onlink else 0
    length = route.destination.prefixlen
    body = _RTMSG.pack(AF_INET, length, 0, 0, _RT_TABLE_MAIN, protocol, scope, kind, flags)
    body += attribute(_RTA_DST, route.destination.network_address.packed)
    body += attribute(_RTA_OIF, _u32(route.ifindex))
    if route.gateway is not None:
        body += attribute(_RTA_GATEWAY, route.gateway.packed)
    if route.priority:
        body += attribute(_RTA_PRIORITY, _u32(route.priority))
    if route.source is not None:
        body += attribute(_RTA_PREFSRC, route.source.packed)
    return body


def dump_routes(ifindex: int) -> Request:
    """The unicast routes of the main table, or those that leave by one interface (0: all)."""
    body = _RTMSG.pack(AF_INET, 0, 0, 0, _RT_TABLE_MAIN, 0, 0, _RTN_UNICAST, 0)
    if ifindex:
        body += attribute(_RTA_OIF, _u32(ifindex))
    return Request(RTM_GETROUTE, 0, body)


def read_route(message: bytes) -> Route | None:
    """A route; None for what is not a unicast IPv4 route of the main table. Multipath: its first hop."""
    family, length, _, _, table, _, _, kind, flags = _RTMSG.unpack_from(message, HEADER.size)
    found = attributes(message, HEADER.size + _RTMSG.size)
    table = _read_u32(found.get(_RTA_TABLE)) or table
    if family != AF_INET or kind != _RTN_UNICAST or table != _RT_TABLE_MAIN or flags & _RTM_F_CLONED:
        return None
    ifindex = _read_u32(found.get(_RTA_OIF))
    gateway = found.get(_RTA_GATEWAY)
    if _RTA_MULTIPATH in found:
        ifindex, gateway = _first_hop(found[_RTA_MULTIPATH])
    return Route(
        destination=IPv4Network((found.get(_RTA_DST, bytes(4)), length)),
        ifindex=ifindex,
        gateway=IPv4Address(gateway) if gateway else None,
        onlink=bool(flags & _RTNH_F_ONLINK),
        priority=_read_u32(found.get(_RTA_PRIORITY)),
        source=IPv4Address(found[_RTA_PREFSRC]) if _RTA_PREFSRC in found else None,
    )


def _first_hop(multipath: bytes) -> tuple[int, bytes | None]:
    """Interface and gateway of the first rtnexthop."""
    length, _, _, ifindex = struct.unpack_from("=HBBi", multipath)
    return ifindex, attributes(multipath[:length], 8).get(_RTA_GATEWAY)


def route_to(destination: IPv4Address) -> Request:
    """Ask which way a packet to ``destination`` would go."""
    body = _RTMSG.pack(AF_INET, 32, 0, 0, 0, 0, 0, 0, 0) + attribute(_RTA_DST, destination.packed)
    return Request(RTM_GETROUTE, 0, body)


def read_path(message: bytes, destination: IPv4Address) -> Path | None:
    """The answer to `route_to`; None if the packet would not leave the node as plain IPv4 over Ethernet."""
    _, _, _, _, _, _, _, kind, _ = _RTMSG.unpack_from(message, HEADER.size)
    found = attributes(message, HEADER.size + _RTMSG.size)
    source = found.get(_RTA_PREFSRC)
    if kind != _RTN_UNICAST or source is None or _RTA_VIA in found or _RTA_ENCAP in found:
        return None
    gateway = found.get(_RTA_GATEWAY)
    metrics = attributes(found.get(_RTA_METRICS, b""), 0)
    return Path(
        destination=destination,
        ifindex=_read_u32(found.get(_RTA_OIF)),
        gateway=IPv4Address(gateway) if gateway else None,
        source=IPv4Address(source),
        mtu=_read_u32(metrics.get(_RTAX_MTU)),
    )


def _mac(value: bytes | None) -> Mac | None:
    return Mac(value) if value is not None and len(value) == 6 else None

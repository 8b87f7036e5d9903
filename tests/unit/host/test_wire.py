"""Netlink messages as bytes."""

import struct
from ipaddress import IPv4Address, IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from xdpflannel.host import messages
from xdpflannel.host.transport import HEADER, attribute, attributes, refusal, split
from xdpflannel.host.values import Forwarding, Neighbour, NeighbourState, Route
from xdpflannel.host.watch import NeighbourChanged, RouteChanged, read_change
from xdpflannel.model.net import Mac

macs = st.binary(min_size=6, max_size=6).map(Mac)
ips = st.integers(0, 2**32 - 1).map(IPv4Address)
indices = st.integers(1, 2**31 - 1)
networks = st.tuples(ips, st.integers(0, 32)).map(lambda pair: IPv4Network(pair, strict=False))


def message(request):
    return HEADER.pack(HEADER.size + len(request.body), request.kind, request.flags, 1, 0) + request.body


@given(indices, ips, macs)
def test_neighbours(ifindex, ip, mac):
    made = message(messages.set_neighbour(ifindex, ip, mac))
    assert messages.read_neighbour(made) == Neighbour(ifindex, ip, mac, NeighbourState.PERMANENT)
    assert messages.read_forwarding(made) is None
    assert read_change(made) == NeighbourChanged(ifindex, False, ip, mac, NeighbourState.PERMANENT, False)


@given(indices, macs, ips)
def test_forwarding(ifindex, mac, remote):
    made = message(messages.set_forwarding(ifindex, mac, remote))
    found = Forwarding(ifindex, mac, NeighbourState.PERMANENT, 2, remote=remote)
    assert messages.read_forwarding(made) == found
    assert messages.read_neighbour(made) is None
    assert read_change(made) == NeighbourChanged(ifindex, True, None, mac, NeighbourState.PERMANENT, False)


@given(networks, indices, st.none() | ips, st.booleans(), st.integers(0, 2**32 - 1), st.none() | ips)
def test_routes(network, ifindex, gateway, onlink, priority, source):
    route = Route(network, ifindex, gateway, onlink, priority, source)
    made = message(messages.set_route(route))
    assert messages.read_route(made) == route
    assert read_change(made) == RouteChanged(network, ifindex, gateway, False)


@given(st.dictionaries(st.integers(1, 0x3FFF), st.binary(max_size=50), max_size=8))
def test_attributes(wanted):
    packed = b"".join(attribute(kind, value) for kind, value in wanted.items())
    assert attributes(packed, 0) == wanted


@given(st.binary(max_size=200))
def test_garbage_is_read_without_harm(garbage):
    assert sum(len(value) + 4 for value in attributes(garbage, 0).values()) <= len(garbage) + 4
    assert all(len(piece) >= HEADER.size or piece == b"" for piece in split(garbage))


def test_multipath_gives_the_first_hop():
    hop = struct.pack("=HBBi", 16, 0, 0, 7) + attribute(5, IPv4Address("192.0.2.9").packed)
    body = struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 3, 0, 1, 0) + attribute(9, hop + hop)
    made = HEADER.pack(HEADER.size + len(body), messages.RTM_NEWROUTE, 0, 1, 0) + body
    route = messages.read_route(made)
    assert (route.ifindex, str(route.gateway)) == (7, "192.0.2.9")


def test_the_kernels_own_words_are_kept():
    text = attribute(1, b"Invalid VNI\0")
    body = struct.pack("=i", -22) + HEADER.pack(16, 16, 0, 1, 0) + text
    made = HEADER.pack(HEADER.size + len(body), 2, 0x300, 1, 0) + body
    error = refusal(made)
    assert (error.errno, error.strerror) == (22, "Invalid argument (Invalid VNI)")
    acknowledged = HEADER.pack(36, 2, 0x100, 1, 0) + struct.pack("=i", 0) + HEADER.pack(16, 16, 0, 1, 0)
    assert refusal(acknowledged) is None

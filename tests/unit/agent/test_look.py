"""Which change of the host makes the agent look where."""

from ipaddress import IPv4Address, IPv4Network

import pytest

from xdpflannel.agent.look import Look
from xdpflannel.host.values import NeighbourState
from xdpflannel.host.watch import (
    AddressChanged,
    HostResync,
    LinkChanged,
    NeighbourChanged,
    RouteChanged,
)
from xdpflannel.model.net import Mac

UPLINK, DEVICE, BRIDGE, PORT, OTHER = 2, 3, 4, 5, 6
IP = IPv4Address("192.0.2.2")
MAC = Mac(b"\2\0\0\0\0\2")
NET = IPv4Network("10.0.0.0/8")


def look_at(*changes):
    look = Look("eth0", UPLINK, DEVICE, "cni0", BRIDGE, {PORT})
    look.take(changes)
    return look


def flags(look):
    names = ("check_uplink", "check_device", "check_hops", "check_pods")
    return {name.removeprefix("check_") for name in names if getattr(look, name)}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (HostResync(), {"uplink", "device", "hops", "pods"}),
        (LinkChanged(UPLINK, "eth0", False), {"uplink"}),
        (LinkChanged(9, "eth0", False), {"uplink"}),
        (LinkChanged(DEVICE, "flannel.1", True), {"device"}),
        (LinkChanged(PORT, "veth1", True), {"pods"}),
        (LinkChanged(OTHER, "veth2", False, master=BRIDGE), {"pods"}),
        (LinkChanged(BRIDGE, "cni0", False), {"pods"}),
        (LinkChanged(OTHER, "dummy0", False), set()),
        (NeighbourChanged(PORT, True, None, MAC, 2, False), {"pods"}),
        (NeighbourChanged(BRIDGE, False, IP, MAC, 2, False), {"pods"}),
        (NeighbourChanged(OTHER, True, None, MAC, 2, False), set()),
        (RouteChanged(NET, UPLINK, None, False), {"hops"}),
        (RouteChanged(NET, DEVICE, None, False), set()),
        (RouteChanged(NET, BRIDGE, None, False), set()),
        (AddressChanged(UPLINK, IP, 24, True), {"uplink"}),
        (AddressChanged(DEVICE, IP, 32, True), {"device"}),
    ],
)
def test_change(change, expected):
    assert flags(look_at(change)) == expected


@pytest.mark.parametrize(
    ("state", "removed", "expected"),
    [
        (NeighbourState.REACHABLE, False, MAC),
        (NeighbourState.STALE, False, MAC),
        (NeighbourState.FAILED, False, None),
        (NeighbourState.INCOMPLETE, False, None),
        (NeighbourState.STALE, True, None),
    ],
)
def test_a_neighbour_on_the_underlay_gives_or_takes_a_next_hop(state, removed, expected):
    look = look_at(NeighbourChanged(UPLINK, False, IP, MAC, state, removed))
    assert look.macs == {(UPLINK, IP): expected}


def test_neighbours_on_flannel_are_no_next_hops():
    assert look_at(NeighbourChanged(DEVICE, False, IP, MAC, 128, False)).macs == {}


@pytest.mark.parametrize(
    "change",
    [
        NeighbourChanged(DEVICE, False, IP, MAC, 128, True),
        NeighbourChanged(DEVICE, True, None, MAC, 128, True),
        RouteChanged(NET, DEVICE, IP, True),
    ],
)
def test_single_entries_on_flannel_are_noted(change):
    look = look_at(change)
    assert look.on_device == [change]
    assert not look.wiped


@pytest.mark.parametrize(
    ("change", "wiped"),
    [
        (LinkChanged(DEVICE, "flannel.1", False, up=False), True),
        (LinkChanged(DEVICE, "flannel.1", False, up=True), False),
        (AddressChanged(DEVICE, IP, 32, True), True),
        (AddressChanged(DEVICE, IP, 32, False), False),
        (AddressChanged(UPLINK, IP, 24, True), False),
    ],
)
def test_flannel_loses_all_its_routes_at_once(change, wiped):
    assert look_at(change).wiped is wiped


def test_removed_interfaces_are_remembered():
    assert look_at(LinkChanged(PORT, "veth1", True)).gone == [PORT]

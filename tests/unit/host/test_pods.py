"""What is known of pods, merged with what is seen."""

from ipaddress import IPv4Address, IPv4Network

import pytest
from attrs import evolve

from xdpflannel.host.bridge import Bridge, BridgePort
from xdpflannel.host.pods import join, merge_pods, silent_ports, unplaced
from xdpflannel.host.values import Neighbour, NeighbourState
from xdpflannel.model.net import Mac

SUBNET = IPv4Network("10.244.1.0/24")
GATEWAY = Mac.parse("02:00:00:00:00:01")
POD = Mac.parse("02:00:00:00:00:02")
OTHER = Mac.parse("02:00:00:00:00:03")
IP = IPv4Address("10.244.1.2")


def bridge(*ports, stations=None):
    made = {number: BridgePort(number, f"veth{number}", OTHER, 1450, napi=False) for number in ports}
    return Bridge(9, GATEWAY, made, stations or {})


def neighbour(ip=IP, mac=POD, state=NeighbourState.REACHABLE):
    return Neighbour(9, ip, mac, state)


SEEN = join(bridge(5, stations={POD: 5}), [neighbour()], SUBNET)
KNOWN = SEEN.pods


def test_seen():
    assert list(KNOWN) == [IP]
    assert (KNOWN[IP].ifindex, KNOWN[IP].mac, KNOWN[IP].bridge_mac) == (5, POD, GATEWAY)
    assert merge_pods({}, SEEN) == KNOWN


@pytest.mark.parametrize(
    ("ports", "stations", "neighbours", "stays"),
    [
        ([5], {}, [neighbour()], True),
        ([5], {}, [], True),
        ([5], {POD: 5}, [], True),
        ([5], {}, [neighbour(state=NeighbourState.STALE)], True),
        ([5], {}, [neighbour(mac=None, state=NeighbourState.INCOMPLETE)], True),
        ([5], {}, [neighbour(mac=POD, state=NeighbourState.FAILED)], False),
        ([5], {}, [neighbour(mac=OTHER)], False),
        ([5, 6], {POD: 6}, [], False),
        ([6], {}, [neighbour()], False),
        ([], {}, [], False),
    ],
    ids=[
        "forwarding entry aged out",
        "both aged out",
        "neighbour aged out",
        "stale",
        "asked again",
        "did not answer",
        "address has another MAC",
        "MAC is on another port",
        "veth is gone",
        "all are gone",
    ],
)
def test_known_stays_until_disproved(ports, stations, neighbours, stays):
    sighting = join(bridge(*ports, stations=stations), neighbours, SUBNET)
    assert (IP in merge_pods(KNOWN, sighting)) == stays


def test_seen_wins():
    sighting = join(bridge(5, 6, stations={OTHER: 6}), [neighbour(mac=OTHER)], SUBNET)
    assert merge_pods(KNOWN, sighting)[IP].ifindex == 6


def test_known_follows_its_port():
    port = BridgePort(5, "renamed", OTHER, 1400, napi=True)
    sighting = evolve(SEEN, pods={}, ports={5: port}, bridge_mac=OTHER)
    pod = merge_pods(KNOWN, sighting)[IP]
    assert (pod.ifname, pod.mtu, pod.napi, pod.bridge_mac) == ("renamed", 1400, True, OTHER)


def test_the_network_address_is_no_pod():
    sighting = join(bridge(5, stations={POD: 5}), [neighbour(ip=SUBNET[0])], SUBNET)
    assert sighting.pods == {}


def test_a_group_mac_is_no_pod():
    group = Mac.parse("03:00:00:00:00:01")
    sighting = join(bridge(5, stations={group: 5}), [neighbour(mac=group)], SUBNET)
    assert sighting.pods == {}


def test_what_is_worth_asking_for():
    sighting = join(bridge(5), [neighbour()], SUBNET)
    assert unplaced(sighting, {}) == [IP]
    assert unplaced(sighting, KNOWN) == []
    assert [port.ifindex for port in silent_ports(sighting, {})] == [5]
    assert silent_ports(sighting, KNOWN) == []

"""Pods are learned from the bridge, and not forgotten while they live."""

import socket
from ipaddress import IPv4Address, IPv4Network

import pytest

from xdpflannel.host.namespace import call_inside
from xdpflannel.host.pods import (
    Sighting,
    list_pods,
    merge_pods,
    probe_pods,
    sight_pods,
    silent_ports,
    unplaced,
)

SUBNET = IPv4Network("10.244.1.0/24")


class Bridge:
    def __init__(self, namespace, make_namespace):
        self.here = namespace
        self._make = make_namespace
        # The CNI plugin pins the bridge's MAC too: else it follows its ports', and neighbours are lost.
        namespace.ip("link add cni0 address 02:00:00:00:01:01 type bridge")
        namespace.ip("link set cni0 mtu 1450 up")
        namespace.ip("addr add 10.244.1.1/24 dev cni0")

    def pod(self, number, *, mac=None):
        pod = self._make()
        address = f"address {mac}" if mac else ""
        self.here.ip(
            f"link add veth{number} mtu 1450 type veth peer name eth0 mtu 1450 {address} netns {pod.name}"
        )
        self.here.ip(f"link set veth{number} master cni0 up")
        pod.ip(f"addr add 10.244.1.{number}/24 dev eth0")
        # Without IPv6 nothing but what the test sends makes the bridge learn.
        pod.ip("link set eth0 addrgenmode none up")
        pod.ip("route add default via 10.244.1.1")
        announce(pod)
        return pod


def announce(pod):
    """Send something to the gateway, which makes both learn each other."""
    with call_inside(pod.name, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
        sender.sendto(b"", ("10.244.1.1", 9))


@pytest.fixture
def bridge(namespace, make_namespace):
    return Bridge(namespace, make_namespace)


@pytest.fixture
def pods_of(netlink):
    return lambda: list_pods(netlink, "cni0", SUBNET)


def test_no_bridge_no_pods(netlink):
    assert sight_pods(netlink, "cni0", SUBNET) == Sighting()


def test_learned(bridge, netlink, pods_of, eventually):
    pods = {number: bridge.pod(number) for number in (2, 3)}
    found = eventually(lambda: len(pods_of()) == 2 and pods_of())
    for number, namespace in pods.items():
        pod = found[IPv4Address(f"10.244.1.{number}")]
        assert pod.ifname == f"veth{number}"
        assert pod.ifindex == netlink.link(f"veth{number}").ifindex
        assert str(pod.mac) in namespace.ip("link show eth0")
        assert pod.bridge_mac == netlink.link("cni0").mac
        assert pod.mtu == 1450


def test_a_narrower_bridge_makes_a_pods_path_narrower(bridge, pods_of, eventually):
    """What the node routes to a pod passes the bridge first, which fragments to its own MTU."""
    bridge.pod(2)
    eventually(lambda: len(pods_of()) == 1)
    bridge.here.ip("link set cni0 mtu 1300")
    assert next(iter(pods_of().values())).mtu == 1300


def test_napi_is_the_pods_gro(bridge, netlink, pods_of, eventually):
    pod = bridge.pod(2)
    eventually(lambda: len(pods_of()) == 1)
    for setting in ("on", "off"):
        pod.run("ethtool", "-K", "eth0", "gro", setting)
        assert next(iter(pods_of().values())).napi == (setting == "on")
    assert netlink.xdp_features(netlink.link("veth2").ifindex) is not None


def test_outside_the_subnet_is_no_pod(bridge, netlink, pods_of, eventually):
    pod = bridge.pod(2)
    bridge.here.ip("addr add 172.16.0.1/24 dev cni0")
    pod.ip("addr add 172.16.0.2/24 dev eth0")
    pod.run("python3", "-c", "import socket; socket.socket(2, 2).sendto(b'', ('172.16.0.1', 9))")
    eventually(lambda: any(str(one.ip) == "172.16.0.2" for one in netlink.neighbours()))
    eventually(lambda: len(pods_of()) == 1)
    assert list(pods_of()) == [IPv4Address("10.244.1.2")]


def test_port_that_is_no_veth_is_no_pod(bridge, netlink):
    bridge.here.ip("link add trunk type vxlan id 77 dstport 0 local 127.0.0.1")
    bridge.here.ip("link set trunk master cni0 up")
    bridge.here.run("bridge", "fdb", "add", "02:00:00:00:00:55", "dev", "trunk", "master", "static")
    bridge.here.ip("neigh replace 10.244.1.5 lladdr 02:00:00:00:00:55 dev cni0 nud reachable")
    sighting = sight_pods(netlink, "cni0", SUBNET)
    assert sighting.pods == {}
    assert unplaced(sighting, {}) == [IPv4Address("10.244.1.5")]


def test_aged_out_is_kept_and_learned_anew_by_a_probe(bridge, netlink, pods_of, eventually):
    bridge.pod(2)
    known = eventually(pods_of)
    mac = next(iter(known.values())).mac
    bridge.here.run("bridge", "fdb", "del", str(mac), "dev", "veth2", "master")
    sighting = sight_pods(netlink, "cni0", SUBNET)
    assert sighting.pods == {}
    assert merge_pods(known, sighting) == known
    assert unplaced(sighting, {}) == list(known)
    # A fresh neighbour is not asked again by NTF_USE until it is stale.
    bridge.here.ip("neigh flush dev cni0")
    probe_pods(netlink, sighting.bridge_ifindex, known)
    assert eventually(pods_of) == known


def test_gone_with_its_veth(bridge, netlink, pods_of, eventually):
    pod = bridge.pod(2)
    known = eventually(pods_of)
    pod.ip("link del eth0")
    assert merge_pods(known, sight_pods(netlink, "cni0", SUBNET)) == {}


def test_address_taken_over_by_another_pod(bridge, netlink, pods_of, eventually):
    first = bridge.pod(2)
    known = eventually(pods_of)
    second = bridge.pod(3)
    eventually(lambda: len(pods_of()) == 2)
    first.ip("addr flush dev eth0")
    second.ip("addr add 10.244.1.2/24 dev eth0")
    bridge.here.ip("neigh flush dev cni0")
    probe_pods(netlink, netlink.link("cni0").ifindex, known)
    merged = eventually(
        lambda: (
            (pods := merge_pods(known, sight_pods(netlink, "cni0", SUBNET)))
            and pods[IPv4Address("10.244.1.2")].ifname == "veth3"
            and pods
        )
    )
    assert str(merged[IPv4Address("10.244.1.2")].mac) in second.ip("link show eth0")


def test_unanswered_is_gone(bridge, netlink, pods_of, eventually):
    pod = bridge.pod(2)
    known = eventually(pods_of)
    pod.ip("addr flush dev eth0")
    bridge.here.ip("neigh flush dev cni0")
    probe_pods(netlink, netlink.link("cni0").ifindex, known)
    eventually(lambda: merge_pods(known, sight_pods(netlink, "cni0", SUBNET)) == {}, seconds=10)


def test_never_heard_of_is_found_by_asking_the_whole_subnet(bridge, netlink, pods_of, eventually):
    """A new agent on a node whose neighbours were forgotten (a bridge that changed its MAC does that)."""
    bridge.pod(2)
    known = eventually(pods_of)
    assert silent_ports(sight_pods(netlink, "cni0", SUBNET), known) == []
    bridge.here.ip("link set cni0 address 02:00:00:00:01:02")
    sighting = sight_pods(netlink, "cni0", SUBNET)
    assert [port.name for port in silent_ports(sighting, {})] == ["veth2"]
    probe_pods(netlink, sighting.bridge_ifindex, SUBNET.hosts())
    assert list(eventually(pods_of)) == list(known)

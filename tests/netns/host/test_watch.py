"""Changes arrive within milliseconds, and lost ones are told."""

import threading
import time
from ipaddress import IPv4Address, IPv4Network

import pytest

from xdpflannel.host import messages
from xdpflannel.host.values import NeighbourState, Route
from xdpflannel.host.watch import (
    AddressChanged,
    HostResync,
    HostWatcher,
    LinkChanged,
    NeighbourChanged,
    RouteChanged,
)
from xdpflannel.model.net import Mac


class Seen:
    """A running watcher and what it told."""

    def __init__(self, netns):
        self.changes = []
        self.times = []
        self.watcher = HostWatcher(self._take, netns=netns)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.watcher.run, args=(self.stop,))
        self.gate = threading.Event()
        self.gate.set()

    def _take(self, batch):
        self.gate.wait(30)
        self.changes.extend(batch)
        self.times.append(time.monotonic())

    def of(self, kind):
        return [change for change in list(self.changes) if isinstance(change, kind)]


@pytest.fixture
def seen(node):
    made = Seen(node.here.name)
    made.thread.start()
    yield made
    made.gate.set()
    made.stop.set()
    made.thread.join(5)
    assert not made.thread.is_alive()
    made.watcher.close()


def test_links(node, seen, eventually):
    node.here.ip("link add cni0 type bridge")
    bridge = node.netlink.link("cni0").ifindex
    eventually(lambda: [one for one in seen.of(LinkChanged) if (one.name, one.removed) == ("cni0", False)])
    node.here.ip("link set eth0 master cni0")
    eventually(lambda: [one for one in seen.of(LinkChanged) if (one.name, one.master) == ("eth0", bridge)])
    node.here.ip("link set eth0 nomaster")
    eventually(lambda: [one for one in seen.of(LinkChanged) if one.name == "eth0"][-1].master == 0)
    assert not any(one.removed for one in seen.of(LinkChanged))
    node.here.ip("link del cni0")
    eventually(lambda: [one for one in seen.of(LinkChanged) if (one.ifindex, one.removed) == (bridge, True)])
    assert seen.of(LinkChanged)[-1].name == "cni0"


def test_addresses_and_routes(node, seen, eventually):
    eth0 = node.netlink.link("eth0").ifindex
    node.here.ip("addr add 198.51.100.1/32 dev eth0")
    node.here.ip("route add 203.0.113.0/24 via 192.0.2.2")
    node.here.ip("route del 203.0.113.0/24")
    node.here.ip("addr del 198.51.100.1/32 dev eth0")
    network, gateway = IPv4Network("203.0.113.0/24"), IPv4Address("192.0.2.2")
    eventually(lambda: len(seen.of(AddressChanged)) == 2)
    assert seen.of(RouteChanged) == [
        RouteChanged(network, eth0, gateway, False),
        RouteChanged(network, eth0, gateway, True),
    ]
    ip = IPv4Address("198.51.100.1")
    assert seen.of(AddressChanged) == [
        AddressChanged(eth0, ip, 32, False),
        AddressChanged(eth0, ip, 32, True),
    ]


def test_neighbours_and_forwarding(node, seen, eventually):
    eth0 = node.netlink.link("eth0").ifindex
    mac = Mac.parse("02:00:00:00:00:42")
    node.here.ip(f"neigh add 192.0.2.2 lladdr {mac} dev eth0 nud permanent")
    node.here.ip("neigh del 192.0.2.2 dev eth0")
    made = NeighbourChanged(eth0, False, IPv4Address("192.0.2.2"), mac, NeighbourState.PERMANENT, False)
    eventually(lambda: made in seen.of(NeighbourChanged))
    eventually(lambda: any(one.removed for one in seen.of(NeighbourChanged)))
    node.here.ip("link add cni0 type bridge")
    node.here.ip("link set eth0 master cni0")
    node.here.run("bridge", "fdb", "add", str(mac), "dev", "eth0", "master", "static")
    eventually(lambda: [one for one in seen.of(NeighbourChanged) if one.bridge and one.mac == mac])


def test_within_milliseconds(node, seen, eventually):
    eth0 = node.netlink.link("eth0").ifindex
    delays = []
    for number in range(20):
        ip = IPv4Address(f"192.0.2.{100 + number}")
        started = time.monotonic()
        node.netlink.apply([messages.set_neighbour(eth0, ip, Mac.parse("02:00:00:00:00:42"))])
        eventually(lambda ip=ip: any(one.ip == ip for one in seen.of(NeighbourChanged)))
        delays.append(seen.times[-1] - started)
    assert sorted(delays)[10] < 0.02


def test_overrun_is_told(node, seen, eventually):
    """While the reader is busy, more changes than the socket can hold."""
    seen.gate.clear()
    node.here.ip("addr add 198.51.100.1/32 dev eth0")
    eth0 = node.netlink.link("eth0").ifindex
    routes = [Route(IPv4Network((0x0A000000 + (n << 8), 24)), eth0) for n in range(4000)]
    for _ in range(3):
        node.netlink.apply([messages.set_route(route) for route in routes])
        node.netlink.apply([messages.delete_route(route) for route in routes])
    seen.gate.set()
    eventually(lambda: HostResync() in list(seen.changes))
    seen.changes.clear()
    node.here.ip("addr del 198.51.100.1/32 dev eth0")
    eventually(lambda: seen.of(AddressChanged))

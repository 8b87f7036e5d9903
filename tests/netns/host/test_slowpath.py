"""The kernel's entries per lease, and a packet through them."""

import socket
from ipaddress import IPv4Address, IPv4Network

import pytest
from attrs import evolve

from xdpflannel.host.device import VxlanSpec, ensure_vxlan_device, remove_vxlan_device
from xdpflannel.host.namespace import call_inside
from xdpflannel.host.slowpath import (
    KernelPeer,
    delete_entries,
    delete_peers,
    read_slow_path,
    set_peers,
)
from xdpflannel.model.net import Mac


def udp_socket(namespace, address):
    def opened():
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((address, 0))
        made.settimeout(5)
        return made

    return call_inside(namespace.name, opened)


def peer(number, *, mac=None):
    return KernelPeer(
        IPv4Network(f"10.244.{number}.0/24"),
        mac or Mac(bytes([2, 0, 0, 0, 0, number])),
        IPv4Address(f"192.0.2.{number}"),
    )


@pytest.fixture
def device(node):
    eth0 = node.netlink.link("eth0")
    return ensure_vxlan_device(
        node.netlink, VxlanSpec("flannel.1", 1, 8472, IPv4Address("192.0.2.1"), eth0.ifindex, 1450)
    )


def test_entries_are_flannels(node, device):
    assert set_peers(node.netlink, device, [peer(2), peer(3)]) == {}
    routes = node.here.ip("route show dev flannel.1")
    assert "10.244.2.0/24 via 10.244.2.0 onlink" in routes
    assert "10.244.2.0 lladdr 02:00:00:00:00:02 PERMANENT" in node.here.ip("neigh show dev flannel.1")
    shown = node.here.run("bridge", "fdb", "show", "dev", "flannel.1")
    assert "02:00:00:00:00:02 dst 192.0.2.2 self permanent" in shown
    found = read_slow_path(node.netlink, device)
    assert found.peers() == {one.subnet: one for one in (peer(2), peer(3))}
    assert found.holds(peer(2))
    assert not found.holds(peer(4))
    assert found.strays([peer(2), peer(3)]) == []


def test_set_again_changes_nothing(node, device):
    for _ in range(2):
        assert set_peers(node.netlink, device, [peer(2)]) == {}
    assert list(read_slow_path(node.netlink, device).peers()) == [peer(2).subnet]


def test_changed_mac_leaves_no_forwarding_entry_behind(node, device):
    set_peers(node.netlink, device, [peer(2)])
    changed = peer(2, mac=Mac.parse("02:00:00:00:00:77"))
    assert set_peers(node.netlink, device, [changed]) == {}
    found = read_slow_path(node.netlink, device)
    assert found.peers() == {changed.subnet: changed}
    assert dict(found.forwarding) == {changed.vtep_mac: changed.vtep_ip}


def test_changed_public_ip(node, device):
    set_peers(node.netlink, device, [peer(2)])
    moved = evolve(peer(2), vtep_ip=IPv4Address("192.0.2.200"))
    set_peers(node.netlink, device, [moved])
    assert read_slow_path(node.netlink, device).peers() == {moved.subnet: moved}


def test_delete_tries_everything(node, device):
    set_peers(node.netlink, device, [peer(2), peer(3)])
    node.here.ip("route del 10.244.2.0/24")
    assert delete_peers(node.netlink, device, [peer(2)]) == {}
    found = read_slow_path(node.netlink, device)
    assert found.peers() == {peer(3).subnet: peer(3)}
    assert found.strays([peer(3)]) == []


def test_two_subnets_behind_one_node(node, device):
    second = evolve(peer(2), subnet=IPv4Network("10.244.9.0/24"))
    set_peers(node.netlink, device, [peer(2), second])
    delete_peers(node.netlink, device, [peer(2)])
    assert read_slow_path(node.netlink, device).holds(second)


def test_strays_are_found_and_removed(node, device):
    set_peers(node.netlink, device, [peer(2), peer(3), peer(4)])
    strays = read_slow_path(node.netlink, device).strays([peer(3)])
    assert len(strays) == 6
    assert delete_entries(node.netlink, device, strays) == 0
    found = read_slow_path(node.netlink, device)
    assert found.peers() == {peer(3).subnet: peer(3)}
    assert found.strays([peer(3)]) == []


def test_partly_removed_is_not_held(node, device):
    set_peers(node.netlink, device, [peer(2)])
    node.here.run("bridge", "fdb", "del", "02:00:00:00:00:02", "dev", "flannel.1")
    assert not read_slow_path(node.netlink, device).holds(peer(2))


def test_refused_peers_are_named_and_leave_nothing(node, device):
    remove_vxlan_device(node.netlink, "flannel.1")
    failed = set_peers(node.netlink, device, [peer(2), peer(3)])
    assert set(failed) == {peer(2), peer(3)}
    assert "10.244.2.0/24 on flannel.1" in str(failed[peer(2)])


def test_thousands(node, device):
    peers = [
        KernelPeer(
            IPv4Network((0x0AF40000 + (number << 4), 28)),
            Mac(b"\x02\x00" + number.to_bytes(4, "big")),
            IPv4Address(0xC6120000 + number),
        )
        for number in range(3000)
    ]
    assert set_peers(node.netlink, device, peers) == {}
    found = read_slow_path(node.netlink, device)
    assert all(found.holds(one) for one in peers)
    assert delete_peers(node.netlink, device, peers) == {}
    found = read_slow_path(node.netlink, device)
    assert (len(found.neighbours), len(found.forwarding), len(found.routes)) == (0, 0, 0)


def test_packets_take_it(node, device):
    """The kernel's own VXLAN carries a datagram."""
    node.here.ip("addr add 10.244.1.0/32 dev flannel.1")
    node.there.ip(
        "link add flannel.1 address 02:00:00:00:00:02 type vxlan id 1 local 192.0.2.2 dstport 8472 nolearning"
    )
    node.there.ip("addr add 10.244.2.0/32 dev flannel.1")
    node.there.ip("link set flannel.1 up")
    node.there.ip(f"neigh add 10.244.1.0 lladdr {device.mac} dev flannel.1")
    node.there.ip("route add 10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink")
    node.there.run("bridge", "fdb", "add", str(device.mac), "dev", "flannel.1", "dst", "192.0.2.1")
    set_peers(node.netlink, device, [peer(2)])
    with udp_socket(node.there, "10.244.2.0") as receiver, udp_socket(node.here, "10.244.1.0") as sender:
        sender.sendto(b"through", receiver.getsockname())
        data, source = receiver.recvfrom(64)
    assert (data, source[0]) == (b"through", "10.244.1.0")

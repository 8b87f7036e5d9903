"""The forwarding table against the simplest model there is: work everything out again from scratch."""

from ipaddress import IPv4Address, IPv4Network, IPv6Network

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from xdpflannel.model.entries import Contents
from xdpflannel.model.host import NextHop, Pod, Uplink, VxlanDevice
from xdpflannel.model.lease import Lease, LeaseAttributes, SubnetKey, Vtep
from xdpflannel.model.net import Mac
from xdpflannel.table.forwarding import ForwardingTable, Node
from xdpflannel.table.plan import (
    DeletePeer,
    DeletePod,
    DeleteRoute,
    DeleteVtep,
    PutPod,
    PutRoute,
    PutVtep,
    SetConfig,
    SetPeer,
)


def mac(number):
    return Mac(bytes([2, 0, 0, 0, 0, number]))


OWN = IPv4Network("10.244.1.0/24")
UPLINK = Uplink("eth0", 2, mac(1), 1500, IPv4Address("192.0.2.1"), IPv4Address("192.0.2.1"), "veth")
DEVICE = VxlanDevice("flannel.1", 3, mac(2), 1450, 1, 8472)
NODE = Node(UPLINK, DEVICE, OWN, (32768, 60999))
PEER = IPv4Network("10.244.2.0/24")
PEER_IP = IPv4Address("192.0.2.2")
PEER_MAC = mac(22)


def lease(subnet=PEER, public_ip=PEER_IP, vtep=PEER_MAC, backend="vxlan", subnet6=None):
    attributes = LeaseAttributes(public_ip, None, backend, Vtep(vtep, 1) if vtep else None)
    return Lease(SubnetKey(subnet, subnet6), attributes)


def hop(number=42, mtu=1500):
    found = mac(number) if number else None
    return NextHop(2, mac(1), IPv4Address("192.0.2.1"), PEER_IP, found, mtu)


def empty():
    return Contents(None, {}, {}, {}, {})


def applied(actual, plan):
    """What a kernel would hold after a plan."""
    config = actual.config
    tables = {"Route": {**actual.routes}, "Pod": {**actual.pods}, "Vtep": {**actual.vteps}}
    tables["Peer"] = {**actual.peers}
    for step in plan:
        match step:
            case SetConfig(entry):
                config = entry
            case PutRoute(key, entry) | PutPod(key, entry) | PutVtep(key, entry) | SetPeer(key, entry, _):
                tables[type(step).__name__[3:]][key] = entry
            case DeleteRoute(key) | DeletePod(key) | DeleteVtep(key) | DeletePeer(key, _):
                del tables[type(step).__name__[6:]][key]
    return Contents(config, tables["Route"], tables["Pod"], tables["Vtep"], tables["Peer"])


def test_a_lease_and_its_next_hop_make_a_route():
    table = ForwardingTable(NODE)
    table.put_lease(lease())
    table.set_next_hop(PEER_IP, hop())
    route = table.desired().routes[PEER]
    assert (route.vtep_mac, route.next_hop_mac, route.ifindex, route.mtu) == (mac(22), mac(42), 2, 1450)
    assert table.desired().vteps == {PEER_IP: 1}


def test_a_next_hop_survives_being_set_and_set_again():
    table = ForwardingTable(NODE)
    table.put_lease(lease())
    for number in (0, 42, 43):
        table.set_next_hop(PEER_IP, hop(number))
        expected = mac(number) if number else None
        assert table.desired().routes[PEER].next_hop_mac == expected


def test_an_unresolved_next_hop_keeps_the_kernel_path():
    table = ForwardingTable(NODE)
    table.put_lease(lease())
    assert table.desired().routes[PEER].ifindex == 0
    assert PEER in table.desired().peers


def test_a_smaller_underlay_on_the_way_makes_the_route_smaller():
    table = ForwardingTable(NODE)
    table.put_lease(lease())
    table.set_next_hop(PEER_IP, hop(mtu=1400))
    assert table.desired().routes[PEER].mtu == 1350


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (lease(subnet=OWN), "own"),
        (lease(backend="host-gw"), "host-gw"),
        (lease(backend=""), "not named"),
        (lease(vtep=None), "VTEP MAC"),
        (lease(public_ip=None), "public address"),
        (lease(public_ip=IPv4Address("0.0.0.0")), "public address"),
        (lease(public_ip=UPLINK.address), "this node's public address"),
        (lease(subnet=IPv4Network("10.244.0.0/16")), "overlaps"),
        (lease(subnet=None), "no IPv4 subnet"),
    ],
)
def test_what_cannot_be_a_peer_is_skipped_with_a_reason(other, reason):
    table = ForwardingTable(NODE)
    table.put_lease(lease(subnet=IPv4Network("10.244.9.0/24")))
    table.put_lease(other)
    assert reason in table.skipped[other.key]
    assert len(table.desired().routes) == 1


def test_of_two_leases_for_one_subnet_the_newer_counts_and_the_older_returns():
    table = ForwardingTable(NODE)
    table.put_lease(lease())
    newer = lease(subnet6=IPv6Network("fd00::/64"), vtep=mac(23))
    table.put_lease(newer)
    assert table.desired().routes[PEER].vtep_mac == mac(23)
    assert "newer" in table.skipped[lease().key]
    table.delete_lease(newer.key)
    assert table.desired().routes[PEER].vtep_mac == mac(22)
    assert table.skipped == {}


def test_a_snapshot_removes_what_is_not_in_it_and_takes_changed_attributes():
    table = ForwardingTable(NODE)
    table.replace_leases([lease(), lease(subnet=IPv4Network("10.244.3.0/24"))])
    table.replace_leases([lease(vtep=mac(24))])
    assert list(table.desired().routes) == [PEER]
    assert table.desired().routes[PEER].vtep_mac == mac(24)


def test_only_pods_of_the_own_subnet_are_wanted():
    table = ForwardingTable(NODE)
    inside, outside = IPv4Address("10.244.1.5"), IPv4Address("10.244.2.5")
    pod = Pod(inside, mac(50), 7, "veth7", mac(51), mac(52), 1450)
    table.set_pods({inside: pod, outside: evolve(pod, ip=outside)})
    assert list(table.desired().pods) == [inside]


def test_without_a_fast_path_only_the_kernels_entries_are_wanted():
    table = ForwardingTable(evolve(NODE, fast_path=False))
    table.put_lease(lease())
    plan = table.plan(empty())
    assert [type(step) for step in plan] == [SetPeer]


def test_the_kernel_knows_a_peer_before_the_fast_path_sends_and_forgets_it_after():
    table = ForwardingTable(NODE)
    table.put_lease(lease())
    arrival = table.plan(empty())
    kinds = [type(step) for step in arrival]
    assert kinds.index(SetPeer) < kinds.index(PutRoute) < kinds.index(SetConfig)
    there = applied(empty(), arrival)
    table.delete_lease(lease().key)
    kinds = [type(step) for step in table.plan(there)]
    assert kinds.index(DeleteRoute) < kinds.index(DeletePeer)


def test_an_unchanged_lease_makes_no_plan():
    table = ForwardingTable(NODE)
    table.put_lease(lease())
    there = applied(empty(), table.plan(empty()))
    table.put_lease(evolve(lease(), expires_at=99.0))
    assert table.plan(there) == ()


subnets = st.sampled_from([IPv4Network(f"10.244.{number}.0/24") for number in range(1, 6)])
ips = st.sampled_from([IPv4Address(f"192.0.2.{number}") for number in range(1, 5)])
leases = st.builds(
    lease, subnets, ips, st.one_of(st.none(), st.integers(10, 14).map(mac)), st.sampled_from(["vxlan", "udp"])
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), leases),
        st.tuples(st.just("delete"), leases),
        st.tuples(st.just("hop"), ips, st.one_of(st.none(), st.integers(0, 3).map(hop))),
        st.tuples(st.just("snapshot"), st.lists(leases, max_size=6)),
        st.tuples(st.just("plan")),
    ),
    max_size=40,
)


@given(steps)
def test_any_history_ends_where_its_outcome_alone_would(history):
    table, actual = ForwardingTable(NODE), empty()
    current, hops = {}, {}
    for step in history:
        match step:
            case "put", lease:
                table.put_lease(lease)
                current.pop(lease.key, None)
                current[lease.key] = lease
            case "delete", lease:
                table.delete_lease(lease.key)
                current.pop(lease.key, None)
            case "hop", ip, found:
                if ip in table.vteps:  # as the agent does: only for peers there are
                    table.set_next_hop(ip, found)
                    hops[ip] = found
            case "snapshot", many:
                table.replace_leases(many)
                current = {lease.key: lease for lease in many}
            case _:
                actual = applied(actual, table.plan(actual))
        hops = {ip: found for ip, found in hops.items() if ip in table.vteps}
    fresh = ForwardingTable(NODE)
    for lease in current.values():
        fresh.put_lease(lease)
    for ip, found in hops.items():
        fresh.set_next_hop(ip, found)
    assert applied(actual, table.plan(actual)) == fresh.desired()
    assert table.skipped.keys() == fresh.skipped.keys()

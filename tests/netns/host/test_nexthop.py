"""Next hops of VTEPs: on the link, through a gateway, resolved or not."""

from ipaddress import IPv4Address

from xdpflannel.host.nexthop import probe, resolve, resolve_all

PEER = IPv4Address("192.0.2.2")


def test_on_link(node, eventually):
    eth0 = node.netlink.link("eth0")
    hop = resolve(node.netlink, PEER)
    assert (hop.ifindex, hop.gateway, hop.source_mac, hop.mtu) == (eth0.ifindex, PEER, eth0.mac, 1500)
    assert str(hop.source_ip) == "192.0.2.1"
    assert hop.mac is None
    probe(node.netlink, [hop])
    resolved = eventually(lambda: resolve(node.netlink, PEER).mac)
    assert str(resolved) in node.there.ip("link show eth0")


def test_through_a_gateway_with_a_smaller_mtu(node):
    node.here.ip("route add 203.0.113.0/24 via 192.0.2.2 mtu 1400")
    node.here.ip("neigh replace 192.0.2.2 lladdr 02:00:00:00:00:42 dev eth0 nud reachable")
    hop = resolve(node.netlink, IPv4Address("203.0.113.7"))
    assert (str(hop.gateway), str(hop.mac), hop.mtu) == ("192.0.2.2", "02:00:00:00:00:42", 1400)


def test_failed_and_incomplete_have_no_mac(node):
    for state, usable in (("failed", False), ("incomplete", False), ("stale", True), ("permanent", True)):
        node.here.ip(f"neigh replace 192.0.2.2 lladdr 02:00:00:00:00:42 dev eth0 nud {state}")
        assert (resolve(node.netlink, PEER).mac is not None) == usable, state


def test_no_way_there_is_no_next_hop(node):
    node.here.ip("route add blackhole 198.51.100.0/24")
    hops = resolve_all(
        node.netlink,
        [
            IPv4Address(text)
            for text in ("198.51.100.1", "203.0.113.1", "192.0.2.1", "127.0.0.1", "192.0.2.2")
        ],
    )
    assert list(hops) == [PEER]


def test_interface_down(node):
    node.here.ip("link set eth0 down")
    assert resolve(node.netlink, PEER) is None


def test_thousands_of_vteps(node):
    node.here.ip("route add 198.18.0.0/15 via 192.0.2.2")
    vteps = [IPv4Address(0xC6120000 + number) for number in range(5000)]
    hops = resolve_all(node.netlink, vteps)
    assert len(hops) == len(vteps)
    assert {hop.gateway for hop in hops.values()} == {PEER}


def test_probe_survives_what_is_gone(node):
    hop = resolve(node.netlink, PEER)
    node.here.ip("link del eth0")
    probe(node.netlink, [hop])

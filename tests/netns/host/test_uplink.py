"""Which interface is chosen: flannel's own cases (match_test), on real interfaces."""

from ipaddress import IPv4Address

import pytest

from xdpflannel.errors import ConfigError, UplinkNotFound
from xdpflannel.host.uplink import UplinkSelection, choose_uplink

FLANNEL_ADDRESSES = ("1.10.100.1", "192.168.200.128", "172.16.30.18", "172.16.31.200", "172.16.32.100")


@pytest.fixture
def dummy0(namespace):
    # A bridge, because not every kernel has dummy interfaces; the name is flannel's.
    namespace.ip("link add dummy0 type bridge")
    for address in FLANNEL_ADDRESSES:
        namespace.ip(f"addr add {address} dev dummy0")
    namespace.ip("link set dummy0 up")
    namespace.ip("route add 172.16.32.254 dev dummy0 src 172.16.32.100")


@pytest.mark.usefixtures("dummy0")
@pytest.mark.parametrize(
    ("selection", "address", "public"),
    [
        (UplinkSelection(regexes=(r"192\.168\.200\.\d+",)), "192.168.200.128", "192.168.200.128"),
        (UplinkSelection(regexes=(r"dummy\d+",)), "1.10.100.1", "1.10.100.1"),
        (UplinkSelection(names=("dummy0",)), "1.10.100.1", "1.10.100.1"),
        (UplinkSelection(names=("172.16.30.18",)), "172.16.30.18", "172.16.30.18"),
        (
            UplinkSelection(regexes=(r"172\.16\.30\.\d+",), public_ip=IPv4Address("172.16.31.200")),
            "172.16.30.18",
            "172.16.31.200",
        ),
        (UplinkSelection(can_reach=IPv4Address("172.16.32.254")), "172.16.32.100", "172.16.32.100"),
        (UplinkSelection(names=("nope0", "dummy0")), "1.10.100.1", "1.10.100.1"),
        (UplinkSelection(public_ip=IPv4Address("172.16.31.200")), "172.16.31.200", "172.16.31.200"),
    ],
    ids=str,
)
def test_flannel_cases(netlink, selection, address, public):
    uplink = choose_uplink(netlink, selection)
    assert (uplink.name, str(uplink.address), str(uplink.public_ip)) == ("dummy0", address, public)


def test_default_route_of_lowest_metric(node):
    node.here.ip("link add other type bridge")
    node.here.ip("link set other up")
    node.here.ip("addr add 198.51.100.1/24 dev other")
    node.here.ip("route add default via 198.51.100.2 dev other metric 200")
    node.here.ip("route add default via 192.0.2.2 dev eth0 metric 100")
    uplink = choose_uplink(node.netlink, UplinkSelection())
    assert (uplink.name, uplink.driver, uplink.mtu) == ("eth0", "veth", 1500)


def test_public_ip_behind_nat_keeps_default_route(node):
    node.here.ip("route add default via 192.0.2.2")
    uplink = choose_uplink(node.netlink, UplinkSelection(public_ip=IPv4Address("203.0.113.9")))
    assert (str(uplink.address), str(uplink.public_ip)) == ("192.0.2.1", "203.0.113.9")


def test_global_address_before_link_local(node):
    node.here.ip("addr flush dev eth0")
    node.here.ip("addr add 169.254.7.7/16 dev eth0")
    named = UplinkSelection(names=("eth0",))
    assert str(choose_uplink(node.netlink, named).address) == "169.254.7.7"
    node.here.ip("addr add 192.0.2.1/24 dev eth0")
    assert str(choose_uplink(node.netlink, named).address) == "192.0.2.1"


@pytest.mark.parametrize(
    "selection",
    [
        UplinkSelection(),
        UplinkSelection(names=("nope0",)),
        UplinkSelection(regexes=("^nope",)),
        UplinkSelection(can_reach=IPv4Address("203.0.113.1")),
    ],
    ids=str,
)
def test_nothing_fits_lists_what_there_is(node, selection):
    with pytest.raises(UplinkNotFound) as caught:
        choose_uplink(node.netlink, selection)
    assert "eth0 (192.0.2.1)" in caught.value.hint


def test_bad_regular_expression(node):
    with pytest.raises(ConfigError, match="no regular expression"):
        choose_uplink(node.netlink, UplinkSelection(regexes=("eth(",)))


def test_interface_without_address(node):
    node.here.ip("addr flush dev eth0")
    with pytest.raises(UplinkNotFound, match="eth0 has no IPv4 address"):
        choose_uplink(node.netlink, UplinkSelection(names=("eth0",)))

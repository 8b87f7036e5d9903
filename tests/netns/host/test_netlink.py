"""Refusals in words, in the namespace that was meant."""

import subprocess
import sys
from ipaddress import IPv4Address

import pytest

from xdpflannel.errors import HostError
from xdpflannel.host.namespace import call_inside
from xdpflannel.host.netlink import Netlink
from xdpflannel.host.values import LinkAddress, Vxlan
from xdpflannel.model.net import Mac

WITHOUT_RIGHTS = """
from xdpflannel.errors import NotPermitted
from xdpflannel.host.netlink import Netlink
with Netlink() as netlink:
    try:
        netlink.set_link(netlink.link("lo"), up=True)
    except NotPermitted as error:
        print(error, "|", error.hint)
"""


def test_no_such_namespace():
    with pytest.raises(HostError, match="no network namespace nowhere"):
        Netlink("nowhere")


def test_the_caller_stays_where_it_is(namespace):
    namespace.ip("link add only-inside type bridge")
    with Netlink() as outside, Netlink(namespace.name) as inside:
        assert inside.link("only-inside") is not None
        assert outside.link("only-inside") is None
    with Netlink() as later:
        assert later.link("only-inside") is None


def test_errors_inside_a_namespace_reach_the_caller(namespace):
    with pytest.raises(ZeroDivisionError):
        call_inside(namespace.name, lambda: 1 // 0)


def test_not_permitted_says_what_is_missing(namespace):
    setpriv = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]
    done = namespace.run(*setpriv, sys.executable, "-c", WITHOUT_RIGHTS)
    assert "cannot set lo to up: Operation not permitted" in done
    assert "CAP_NET_ADMIN" in done


def test_refusals_name_the_object(netlink):
    lo = netlink.link("lo")
    with pytest.raises(HostError, match="cannot set lo to mtu 4294967295: Invalid argument"):
        netlink.set_link(lo, mtu=0xFFFFFFFF)
    vxlan = Vxlan(vni=1 << 24, port=8472, local=None, lower=0, learning=False)
    with pytest.raises(HostError, match=r"create VXLAN device v0 \(VNI 16777216, port 8472\)"):
        netlink.add_vxlan("v0", vxlan, mac=Mac.parse("02:00:00:00:00:01"), mtu=1450)


def test_what_is_there_already_or_gone_already_is_no_error(netlink):
    lo = netlink.link("lo")
    address = LinkAddress(lo.ifindex, IPv4Address("192.0.2.77"), 32)
    for _ in range(2):
        netlink.add_address(lo, address)
    assert address in netlink.addresses(lo.ifindex)
    for _ in range(2):
        netlink.delete_address(lo, address)
    assert address not in netlink.addresses(lo.ifindex)


def test_drivers(node):
    assert node.netlink.driver("eth0") == "veth"
    assert node.netlink.driver("lo") == ""
    assert node.netlink.driver("none") == ""


def test_features_of_what_is_gone(netlink):
    assert netlink.xdp_features(4711) is None


def test_thousands_of_addresses_in_one_dump(netlink):
    lo = netlink.link("lo")
    lines = "".join(f"addr add 10.9.{n >> 8}.{n & 255}/32 dev lo\n" for n in range(2000))
    subprocess.run(["ip", "-n", netlink.netns, "-batch", "-"], input=lines, text=True, check=True)
    assert len(netlink.addresses(lo.ifindex)) == 2001

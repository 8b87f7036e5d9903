"""flannel.N is made, kept, repaired or made anew."""

from ipaddress import IPv4Address, IPv4Network

import pytest
from attrs import evolve

from xdpflannel.errors import HostError
from xdpflannel.host.device import (
    VxlanSpec,
    ensure_device_address,
    ensure_vxlan_device,
    remove_vxlan_device,
)
from xdpflannel.model.net import Mac

SUBNET = IPv4Network("10.244.1.0/24")
NETWORK = IPv4Network("10.244.0.0/16")


@pytest.fixture
def spec(node):
    eth0 = node.netlink.link("eth0")
    return VxlanSpec("flannel.1", 1, 8472, IPv4Address("192.0.2.1"), eth0.ifindex, 1450)


def test_made_as_flannel_makes_it(node, spec):
    device = ensure_vxlan_device(node.netlink, spec)
    assert (device.name, device.mtu, device.vni, device.port) == ("flannel.1", 1450, 1, 8472)
    assert device.mac.packed[0] & 3 == 2
    shown = node.here.ip("-d link show flannel.1")
    assert "vxlan id 1 local 192.0.2.1 dev eth0 srcport 0 0 dstport 8472 nolearning ttl auto" in shown
    assert "udpcsum noudp6zerocsumtx noudp6zerocsumrx" in shown
    assert "LOWER_UP" in shown


def test_kept_with_its_mac_and_entries(node, spec):
    first = ensure_vxlan_device(node.netlink, spec)
    node.here.ip("neigh add 10.244.2.0 lladdr 02:00:00:00:00:02 dev flannel.1")
    assert ensure_vxlan_device(node.netlink, spec) == first
    assert "10.244.2.0" in node.here.ip("neigh show dev flannel.1")


def test_wanted_mac_is_set_on_a_new_and_on_an_old_device(node, spec):
    for text in ("02:00:00:00:00:0a", "02:00:00:00:00:0b"):
        wanted = Mac.parse(text)
        assert ensure_vxlan_device(node.netlink, evolve(spec, mac=wanted)).mac == wanted


def test_mtu_and_state_are_repaired(node, spec):
    first = ensure_vxlan_device(node.netlink, spec)
    node.here.ip("link set flannel.1 mtu 1400 down")
    assert ensure_vxlan_device(node.netlink, spec) == first
    assert "LOWER_UP" in node.here.ip("link show flannel.1")


@pytest.mark.parametrize(
    "change",
    [{"vni": 2}, {"port": 4789}, {"local": IPv4Address("192.0.2.9")}, {"learning": True}, {"gbp": True}],
    ids=str,
)
def test_incompatible_is_made_anew(node, spec, change):
    old = ensure_vxlan_device(node.netlink, evolve(spec, **change))
    new = ensure_vxlan_device(node.netlink, spec)
    assert new.ifindex != old.ifindex
    assert (new.vni, new.port) == (1, 8472)


def test_other_lower_device_or_kind_is_made_anew(node, spec):
    node.here.ip("link add flannel.1 type bridge")
    device = ensure_vxlan_device(node.netlink, spec)
    node.here.ip("link add eth1 type bridge")
    lower = node.netlink.link("eth1").ifindex
    assert ensure_vxlan_device(node.netlink, evolve(spec, lower=lower)).ifindex != device.ifindex


def test_second_device_of_the_same_vni_is_refused_clearly(node, spec):
    ensure_vxlan_device(node.netlink, spec)
    with pytest.raises(
        HostError, match=r"cannot create VXLAN device flannel\.9 .VNI 1, port 8472."
    ) as caught:
        ensure_vxlan_device(node.netlink, evolve(spec, name="flannel.9"))
    assert caught.value.hint


def test_mac_changed_behind_our_back(node, spec, monkeypatch):
    real = node.netlink.set_link

    def rewriting(link, **changes):
        real(link, **changes)
        node.here.ip("link set flannel.1 address 02:00:00:00:00:99")

    monkeypatch.setattr(node.netlink, "set_link", rewriting)
    with pytest.raises(HostError, match="02:00:00:00:00:99") as caught:
        ensure_vxlan_device(node.netlink, spec)
    assert "MACAddressPolicy" in caught.value.hint


def test_address_replaces_a_former_subnet_and_keeps_foreign_ones(node, spec):
    device = ensure_vxlan_device(node.netlink, spec)
    for address in ("10.244.7.0/32", "10.244.1.0/24", "100.64.0.1/32"):
        node.here.ip(f"addr add {address} dev flannel.1")
    for _ in range(2):
        ensure_device_address(node.netlink, device, SUBNET, NETWORK)
        found = {(str(one.ip), one.length) for one in node.netlink.addresses(device.ifindex)}
        assert found == {("10.244.1.0", 32), ("100.64.0.1", 32)}
    assert "scope global flannel.1" in node.here.ip("addr show dev flannel.1")


def test_remove(node, spec):
    ensure_vxlan_device(node.netlink, spec)
    assert remove_vxlan_device(node.netlink, "flannel.1") is True
    assert remove_vxlan_device(node.netlink, "flannel.1") is False
    with pytest.raises(HostError, match="not a VXLAN device"):
        remove_vxlan_device(node.netlink, "eth0")

"""Entries to bytes and back, and the header template against scapy."""

from ipaddress import IPv4Address, IPv4Network

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN

from xdpflannel.dataplane import abi
from xdpflannel.model.entries import ConfigEntry, PodEntry, RouteEntry
from xdpflannel.model.net import Mac

macs = st.binary(min_size=6, max_size=6).map(Mac)
addresses = st.integers(0, 0xFFFFFFFF).map(IPv4Address)
words = st.integers(0, 0xFFFF)
interfaces = st.integers(1, 0x7FFFFFFF)
vnis = st.integers(0, 0xFFFFFF)

configs = st.builds(
    ConfigEntry,
    device_ifindex=interfaces,
    uplink_mac=macs,
    vtep_mac=macs,
    vtep_ip=addresses,
    vni=vnis,
    port=words,
    source_ports=st.tuples(words, words).map(lambda pair: tuple(sorted(pair))),
    strict=st.booleans(),
    xdp_takes_tcp=st.booleans(),
    decap_clears_tunnel_gso=st.booleans(),
)
routes = st.builds(
    RouteEntry,
    vtep_ip=addresses,
    vtep_mac=macs,
    local_ip=addresses,
    local_mac=macs,
    ifindex=interfaces,
    source_mac=macs,
    next_hop_mac=macs,
    mtu=words,
    vni=vnis,
    port=words,
)
pods = st.builds(
    PodEntry, ifindex=interfaces, mac=macs, gateway_mac=macs, port_mac=macs, mtu=words, napi=st.booleans()
)


@given(configs)
def test_config_survives(entry):
    assert abi.decode_config(abi.encode_config(entry)) == entry


def test_empty_config_is_none():
    assert abi.decode_config(bytes(56)) is None


@given(routes)
def test_route_survives(entry):
    assert abi.decode_route(abi.encode_route(entry)) == entry


@given(pods)
def test_pod_survives(entry):
    assert abi.decode_pod(abi.encode_pod(entry)) == entry


@given(addresses, st.integers(0, 32))
def test_prefix_survives(address, length):
    network = IPv4Network((address, length), strict=False)
    assert abi.decode_prefix(abi.encode_prefix(network)) == network


@given(st.integers(0, 0xFFFFFFFF))
def test_vtep_survives(count):
    assert abi.decode_vtep(abi.encode_vtep(count)) == count


@given(routes)
def test_template_is_what_scapy_builds(entry):
    head = Ether(src=str(entry.source_mac), dst=str(entry.next_hop_mac), type=0x0800)
    head /= IP(src=str(entry.local_ip), dst=str(entry.vtep_ip), len=0, id=0, flags=0, ttl=64, proto=17)
    head /= UDP(sport=0, dport=entry.port, len=0, chksum=0) / VXLAN(flags="Instance", vni=entry.vni)
    head /= Ether(src=str(entry.local_mac), dst=str(entry.vtep_mac), type=0x0800)
    assert abi.header_template(entry) == bytes(head)

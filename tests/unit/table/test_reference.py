"""What holds for the reference model whatever the frame."""

from ipaddress import IPv4Address, IPv4Network

import pytest
from attrs import evolve
from hypothesis import assume, given
from hypothesis import strategies as st

from xdpflannel.model.entries import ConfigEntry, PodEntry, RouteEntry
from xdpflannel.model.net import Mac
from xdpflannel.model.verdict import Verdict, VerdictClass
from xdpflannel.table import reference
from xdpflannel.table.reference.headers import TCP, UDP, Ethernet, Ipv4, internet_sum
from xdpflannel.table.reference.state import State

HERE, THERE = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
POD_HERE, POD_THERE = IPv4Address("10.1.1.2"), IPv4Address("10.1.2.2")


def mac(last):
    return Mac(bytes([2, 0, 0, 0, 0, last]))


def node(number, peer):
    """One of two nodes that know each other."""
    us, them = IPv4Address(f"192.0.2.{number}"), IPv4Address(f"192.0.2.{peer}")
    config = ConfigEntry(
        device_ifindex=9,
        uplink_mac=mac(number),
        vtep_mac=mac(10 + number),
        vtep_ip=us,
        vni=1,
        port=8472,
        source_ports=(32768, 60999),
        xdp_takes_tcp=True,
    )
    route = RouteEntry(
        vtep_ip=them,
        vtep_mac=mac(10 + peer),
        local_ip=us,
        local_mac=mac(10 + number),
        ifindex=3,
        source_mac=mac(number),
        next_hop_mac=mac(peer),
        mtu=1450,
        vni=1,
        port=8472,
    )
    pod = PodEntry(
        ifindex=5,
        mac=mac(20 + number),
        gateway_mac=mac(30 + number),
        port_mac=mac(40 + number),
        mtu=1450,
        napi=True,
    )
    return State(
        config,
        {IPv4Network(f"10.1.{peer}.0/24"): route},
        {IPv4Address(f"10.1.{number}.2"): pod},
        {them: 1},
    )


SENDER, RECEIVER = node(1, 2), node(2, 1)
FRAME = Ethernet(mac(31), mac(21), 0x0800).write()


def packet(payload, *, ttl=64, tos=0, protocol=UDP, source=POD_HERE, target=POD_THERE):
    return Ipv4(
        version=4,
        words=5,
        tos=tos,
        length=20 + len(payload),
        id=1,
        fragment=0,
        ttl=ttl,
        protocol=protocol,
        source=source,
        target=target,
    ).write() + bytes(payload)


payloads = st.binary(max_size=1430)
PROGRAMS = (
    lambda state, frame: reference.pod_egress(state, frame, 5),
    lambda state, frame: reference.xdp_pod(state, frame, 5),
    reference.uplink_ingress,
    reference.xdp_uplink,
)


@given(payloads, st.integers(3, 255), st.integers(0, 255), st.integers(0, 255))
def test_through_both_nodes_only_ethernet_and_ttl_change(payload, ttl, tos, protocol):
    sent = FRAME + packet(payload, ttl=ttl, tos=tos, protocol=protocol)
    wire = reference.pod_egress(SENDER, sent, 5)
    assert wire.verdict is Verdict.ENCAPSULATED
    assert wire.redirect_ifindex == 3
    assert len(wire.frame) == len(sent) + 50
    assert reference.varying_faults(wire.frame, SENDER.config) == []
    got = reference.uplink_ingress(RECEIVER, wire.frame)
    assert got.verdict is Verdict.DECAPSULATED
    assert got.redirect_ifindex == 5
    expected = Ethernet(mac(22), mac(32), 0x0800).write()
    assert got.frame == expected + packet(payload, ttl=ttl - 2, tos=tos, protocol=protocol)


@pytest.mark.parametrize("program", PROGRAMS)
@given(frame=st.binary(max_size=200))
def test_what_is_not_taken_is_not_changed(program, frame):
    for state in (SENDER, RECEIVER, State(None)):
        outcome = program(state, frame)
        assert outcome.verdict.kind is not VerdictClass.FAST
        assert outcome.frame is frame
        assert outcome.redirect_ifindex is None


@given(st.integers(0, 83), st.data())
def test_a_changed_header_bit_never_reaches_another_pod(at, data):
    wire = reference.pod_egress(SENDER, FRAME + packet(bytes(40)), 5).frame
    bent = bytearray(wire)
    bent[at] ^= 1 << data.draw(st.integers(0, 7))
    outcome = reference.uplink_ingress(RECEIVER, bytes(bent))
    if outcome.verdict is Verdict.DECAPSULATED:
        assert outcome.frame == reference.uplink_ingress(RECEIVER, wire).frame
    else:
        assert outcome.frame == bytes(bent)


@given(payloads, st.sampled_from((TCP, UDP, 1, 132)))
def test_xdp_takes_a_subset_of_what_tc_takes(payload, protocol):
    sent = FRAME + packet(payload, protocol=protocol)
    by_tc, by_xdp = reference.pod_egress(SENDER, sent, 5), reference.xdp_pod(SENDER, sent, 5)
    assume(by_xdp.verdict.kind is VerdictClass.FAST)
    assert by_xdp == by_tc


def test_strictness_changes_only_slow_to_drop():
    strict = evolve(RECEIVER, config=evolve(RECEIVER.config, strict=True))
    stranger = reference.pod_egress(SENDER, FRAME + packet(bytes(40)), 5).frame
    unknown = evolve(strict, routes={}, vteps={})
    assert reference.uplink_ingress(strict, stranger).verdict is Verdict.DECAPSULATED
    assert reference.uplink_ingress(unknown, stranger).verdict is Verdict.STRANGER_VTEP_DROPPED
    lax = evolve(unknown, config=RECEIVER.config)
    assert reference.uplink_ingress(lax, stranger).verdict is Verdict.STRANGER_VTEP


def test_longest_prefix_wins():
    near, far = SENDER.routes[IPv4Network("10.1.2.0/24")], evolve(*SENDER.routes.values(), mtu=9000)
    state = State(SENDER.config, {IPv4Network("10.0.0.0/8"): near, IPv4Network("10.1.2.2/32"): far})
    assert state.route(IPv4Address("10.1.2.2")) is far
    assert state.route(IPv4Address("10.1.2.3")) is near
    assert state.route(IPv4Address("11.1.2.3")) is None


def test_normalise_hides_id_port_and_checksum_and_nothing_else():
    wire = bytearray(range(100))
    hidden = [at for at in range(100) if reference.normalise(bytes(wire))[at] != wire[at]]
    assert hidden == [18, 19, 24, 25, 34, 35]


@pytest.mark.parametrize(
    ("at", "value", "fault"),
    [(34, 0x7FFF, "source port"), (34, 60999, "source port"), (24, 1, "checksum")],
)
def test_varying_faults_are_told(at, value, fault):
    wire = bytearray(reference.pod_egress(SENDER, FRAME + packet(bytes(40)), 5).frame)
    wire[at : at + 2] = value.to_bytes(2)
    (said,) = reference.varying_faults(bytes(wire), SENDER.config)
    assert fault in said


def test_internet_sum_of_the_rfc():
    assert internet_sum(bytes.fromhex("0001f203f4f5f6f7")) == 0xDDF2  # RFC 1071 section 3

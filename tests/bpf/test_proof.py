"""Flow proof, packet by packet: what an exit hook has seen come out unchanged is taken, nothing else."""

import os
from contextlib import ExitStack
from ipaddress import IPv4Address

import pytest
from attrs import evolve, frozen
from bpf.conftest import Plane
from packets import world
from packets.build import (
    TC_EGRESS,
    TC_INGRESS,
    XDP_EGRESS,
    XDP_INGRESS,
    framed,
    inbound,
    outbound,
    tunnelled,
    udp,
)
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from xdpflannel.dataplane import abi, loader, pins
from xdpflannel.dataplane.maps import Tables
from xdpflannel.dataplane.objects import Map
from xdpflannel.model.verdict import Verdict

SECOND = 1_000_000_000
REFRESH = 10 * SECOND
# Exits run on `lo`, the one interface a test run surely has: it stands for flannel.N and for the pod's end.
STATE = evolve(
    world.WORLD,
    config=evolve(world.CONFIG, device_ifindex=world.LO, proof_refresh_ns=REFRESH),
)
OTHER_DEVICE = evolve(STATE, config=evolve(STATE.config, device_ifindex=31))
STATELESS = evolve(STATE, config=evolve(STATE.config, proof_refresh_ns=0))
UNPROVEN = Verdict.UNPROVEN
TAKEN = (Verdict.ENCAPSULATED, Verdict.DECAPSULATED)


@frozen
class Node:
    """The programs of one loader, one kind of entry hook, and the flows they share."""

    plane: Plane
    hooks: tuple[str, str]
    flows: Map

    def send(self, packet, state=STATE):
        """Our pod sends to a peer's: the entry hook's verdict."""
        return self.plane.run(self.hooks[0], state, framed(packet)).verdict

    def sent(self, packet, *, target=world.PEER_VTEP_MAC):
        """The same leaves by flannel.N, one hop further."""
        self._leave(packet, world.VTEP_MAC, target)

    def receive(self, packet, state=STATE):
        """A peer's pod sends to ours: the entry hook's verdict."""
        return self.plane.run(self.hooks[1], state, tunnelled(packet)).verdict

    def received(self, packet):
        """The same leaves by the pod's interface, one hop further."""
        self._leave(packet, world.GATEWAY_MAC, world.POD.mac)

    def _leave(self, packet, source, target):
        further = IP(bytes(packet))
        further.ttl -= 1
        del further.chksum
        frame = framed(further, source, target)
        result = self.plane.programs["flow_exit"].test_run(frame, ifindex=world.LO)
        assert (result.retval, result.data) == (0xFFFFFFFF, frame), "an exit hook changes nothing"

    def pass_out(self, packet):
        """The kernel forwards it unchanged."""
        verdict = self.send(packet)
        if verdict is UNPROVEN:
            self.sent(packet)
        return verdict

    def pass_in(self, packet):
        """The kernel delivers it unchanged."""
        verdict = self.receive(packet)
        if verdict is UNPROVEN:
            self.received(packet)
        return verdict

    def rewrite(self, **changes):
        """Shift or set members of every flow: ``seen_ns=-5`` adds, for times; others are set."""
        for key, raw in list(self.flows.items()):
            value = abi.Flow.from_buffer_copy(raw)
            for name, change in changes.items():
                now = getattr(value, name)
                setattr(value, name, max(0, now + change) if name.endswith("_ns") and now else change)
            self.flows.update(key, bytes(value))


def segment(flags="A", port=4000, **members):
    return TCP(sport=port, dport=5000, flags=flags, **{"seq": 7, "ack": 9, **members}) / Raw(b"x" * 50)


def answer(flags="A", port=4000, **members):
    return TCP(sport=5000, dport=port, flags=flags, **{"seq": 9, "ack": 7, **members}) / Raw(b"y" * 50)


def connect(node, port=4000):
    """A connection is opened by our pod, through the kernel."""
    assert node.pass_out(outbound(segment("S", port))) is UNPROVEN
    assert node.pass_in(inbound(answer("SA", port))) is UNPROVEN
    assert node.pass_out(outbound(segment("A", port))) is UNPROVEN
    assert node.pass_in(inbound(answer("A", port))) is UNPROVEN


def taken(node, port=4000):
    """Whether data passes by the fast path, in each direction."""
    return (
        node.send(outbound(segment("PA", port))) in TAKEN,
        node.receive(inbound(answer("PA", port))) in TAKEN,
    )


@pytest.fixture(params=[(TC_EGRESS, TC_INGRESS), (XDP_EGRESS, XDP_INGRESS)], ids=["tc", "xdp"])
def node(request, plane):
    folder = pins.pins(f"rz-packets-{request.node.callspec.params['plane']}-{os.getpid()}")
    with Map.from_pin(folder.base / "maps" / "flows4") as flows:
        _forget(flows)
        yield Node(plane, request.param, flows)
        _forget(flows)


def _forget(flows):
    for key in list(flows.keys()):
        flows.delete(key)


def test_a_datagram_is_proven_by_coming_out(node):
    assert node.send(outbound(udp())) is UNPROVEN
    assert node.send(outbound(udp())) is UNPROVEN, "not before it came out"
    node.sent(outbound(udp()))
    assert node.send(outbound(udp())) in TAKEN
    assert node.receive(inbound(UDP(sport=5000, dport=4000) / b"back")) is UNPROVEN, "the other way: not yet"


def test_a_received_datagram_is_proven_by_reaching_the_pod(node):
    assert node.pass_in(inbound(udp())) is UNPROVEN
    assert node.receive(inbound(udp())) in TAKEN


def test_stateless_takes_all_at_once(node):
    assert node.send(outbound(segment("S")), STATELESS) in TAKEN
    assert list(node.flows.keys()) == []


def test_leaving_without_having_come_proves_nothing(node):
    """As what a NAT rule makes of a packet to a service."""
    node.sent(outbound(udp()))
    assert list(node.flows.keys()) == []
    assert node.send(outbound(udp())) is UNPROVEN


@pytest.mark.parametrize(
    "other",
    [
        outbound(udp(), target=IPv4Address("10.244.2.8")),
        outbound(UDP(sport=4001, dport=5000) / b"x"),
        outbound(UDP(sport=4000, dport=5001) / b"x"),
        outbound(segment()),
    ],
    ids=["target", "source-port", "target-port", "protocol"],
)
def test_coming_out_as_another_proves_neither(node, other):
    assert node.send(outbound(udp())) is UNPROVEN
    node.sent(other)
    assert node.send(outbound(udp())) is UNPROVEN
    assert node.send(other) is UNPROVEN


def test_a_translated_packet_does_not_prove_its_twin(node):
    """From one port to a service and to the pod behind it: what comes out alike did not come in alike."""
    assert node.send(outbound(UDP(sport=4000, dport=5000) / b"to the pod itself")) is UNPROVEN
    node.sent(outbound(UDP(sport=4000, dport=5000) / b"to the service, translated"))
    assert node.send(outbound(UDP(sport=4000, dport=5000) / b"to the pod itself")) is UNPROVEN


@pytest.mark.parametrize("changed", [{"seq": 8}, {"ack": 8}], ids=["sequence", "acknowledgement"])
def test_shifted_tcp_numbers_prove_nothing(node, changed):
    """SYNPROXY leaves the addresses as they are."""
    node.pass_in(inbound(answer()))
    assert node.send(outbound(segment())) is UNPROVEN
    node.sent(outbound(segment(**changed)))
    assert node.send(outbound(segment())) is UNPROVEN


def test_a_changed_dscp_proves_nothing(node):
    assert node.send(outbound(udp(), tos=0)) is UNPROVEN
    node.sent(outbound(udp(), tos=0xB8))
    assert node.send(outbound(udp(), tos=0)) is UNPROVEN


def test_ecn_marks_do_not_matter(node):
    node.pass_out(outbound(udp(), tos=0xB8))
    assert node.send(outbound(udp(), tos=0xBA)) in TAKEN
    assert node.send(outbound(udp(), tos=0x28)) is UNPROVEN, "another DSCP is proven anew"


def test_another_way_out_proves_nothing(node):
    assert node.send(outbound(udp()), OTHER_DEVICE) is UNPROVEN
    node.sent(outbound(udp()))
    assert node.send(outbound(udp()), OTHER_DEVICE) is UNPROVEN, "not by flannel.N"
    assert node.send(outbound(udp())) is UNPROVEN
    node.sent(outbound(udp()), target=world.FAR_VTEP_MAC)
    assert node.send(outbound(udp())) is UNPROVEN, "to another node than its route says"


def test_what_comes_out_late_came_from_elsewhere(node):
    assert node.send(outbound(udp())) is UNPROVEN
    node.rewrite(seen_ns=-SECOND - 20_000_000)
    node.sent(outbound(udp()))
    assert node.send(outbound(udp())) is UNPROVEN


def test_proof_expires_and_is_renewed(node):
    node.pass_out(outbound(udp()))
    node.rewrite(confirmed_ns=-REFRESH + 2 * SECOND)
    assert node.send(outbound(udp())) in TAKEN
    node.rewrite(confirmed_ns=-2 * SECOND, seen_ns=-REFRESH)
    assert node.send(outbound(udp())) is UNPROVEN
    assert node.send(outbound(udp())) is UNPROVEN, "a rule may have dropped it"
    node.sent(outbound(udp()))
    assert node.send(outbound(udp())) in TAKEN


def test_echo_is_proven_error_messages_never(node):
    request, reply = ICMP(type=8, id=3, seq=1) / b"data", ICMP(type=0, id=3, seq=1) / b"data"
    assert node.pass_out(outbound(request)) is UNPROVEN
    assert node.pass_in(inbound(reply)) is UNPROVEN
    assert node.send(outbound(request)) in TAKEN
    assert node.receive(inbound(reply)) in TAKEN
    error = ICMP(type=3, code=4) / IP(bytes(inbound(udp())))
    for _ in range(3):
        assert node.pass_out(outbound(error)) is UNPROVEN


def test_tcp_needs_both_directions(node):
    for _ in range(3):
        assert node.pass_out(outbound(segment())) is UNPROVEN, "one way may be asymmetric, or half open"
    assert node.pass_in(inbound(answer())) is UNPROVEN
    assert node.pass_out(outbound(segment())) is UNPROVEN
    assert node.send(outbound(segment())) in TAKEN


def test_a_connection_is_taken_once_it_stands(node):
    connect(node)
    assert taken(node) == (True, True)


@pytest.mark.parametrize("flags", ["S", "SA", "F", "FA", "R", "RA", "SF", "FPA"])
def test_what_opens_or_ends_is_the_kernels(node, flags):
    connect(node)
    assert node.pass_out(outbound(segment(flags))) is UNPROVEN
    assert not taken(node)[0], "nothing is known of what comes next"


@pytest.mark.parametrize("flags", ["FA", "RA"])
@pytest.mark.parametrize("by", ["send", "receive"])
def test_a_closing_connection_stays_with_the_kernel_until_a_new_one(node, flags, by):
    connect(node)
    if by == "send":
        node.pass_out(outbound(segment(flags)))
    else:
        node.pass_in(inbound(answer(flags)))
    for _ in range(3):
        assert node.pass_out(outbound(segment("PA"))) is UNPROVEN
        assert node.pass_in(inbound(answer("PA"))) is UNPROVEN
    connect(node)
    assert taken(node) == (True, True)


def test_a_new_connection_with_the_same_ports_proves_itself(node):
    connect(node)
    assert node.pass_out(outbound(segment("S"))) is UNPROVEN
    assert taken(node) == (False, False)


def test_the_other_side_opening_anew_counts_too(node):
    connect(node)
    assert node.pass_in(inbound(answer("S"))) is UNPROVEN
    assert taken(node) == (False, False)


def test_other_connections_do_not_care(node):
    connect(node, 4000)
    connect(node, 4001)
    node.pass_out(outbound(segment("RA", 4001)))
    assert (taken(node, 4000), taken(node, 4001)) == ((True, True), (False, False))


def test_fragments_leave_no_trace(node):
    assert node.send(outbound(udp())) is UNPROVEN
    node.sent(outbound(udp(), flags="MF"))
    assert node.send(outbound(udp())) is UNPROVEN


@pytest.mark.parametrize(
    "frame",
    [
        b"\x02" * 12 + b"\x08\x06" + bytes(46),
        framed(outbound(udp(28)))[:34] + bytes(1),
        framed(outbound(segment()))[:50],
        bytes(Ether() / IP(src="10.244.1.2", dst="10.244.2.7", options=[b"\x01"] * 4) / UDP()),
    ],
    ids=["arp", "short-udp", "short-tcp", "options"],
)
def test_exits_pass_what_they_cannot_read(node, frame):
    node.plane.become(STATE)
    result = node.plane.programs["flow_exit"].test_run(frame, ifindex=world.LO)
    assert (result.retval, result.data) == (0xFFFFFFFF, frame)
    assert list(node.flows.keys()) == []


@pytest.fixture(params=["bcc", "libbpf"])
def small(request):
    """A node that remembers 64 flows."""
    request.getfixturevalue("planes")  # the object is built then
    request.getfixturevalue("planes")  # the object is built then
    folder = pins.pins(f"pz-small-{request.param}-{os.getpid()}")
    with ExitStack() as stack:
        stack.callback(pins.remove_tree, folder.base)
        loader.load(folder, loader=request.param, sizes=loader.MapSizes(routes=64, flows=64))
        programs = {
            name.label: stack.enter_context(loader.open_program(folder, name)) for name in abi.Program
        }
        flows = stack.enter_context(Map.from_pin(folder.base / "maps" / "flows4"))
        tables = stack.enter_context(Tables.open(folder.base))
        yield Node(Plane(tables, programs), (TC_EGRESS, TC_INGRESS), flows)
    assert not folder.base.exists()


def test_forgetting_costs_only_speed(small):
    assert small.flows.facts.max_entries == 64
    connect(small)
    assert taken(small) == (True, True)
    for port in range(10_000, 10_500):
        packet: Packet = outbound(UDP(sport=port, dport=5000) / b"flood")
        assert small.pass_out(packet) is UNPROVEN
        assert small.send(packet) in TAKEN, "the newest is always known"
    assert len(list(small.flows.keys())) <= 64
    assert taken(small) == (False, False)
    small.pass_out(outbound(segment()))
    small.pass_in(inbound(answer()))
    small.pass_out(outbound(segment()))
    assert taken(small) == (True, True), "without a SYN: the kernel knows the connection"

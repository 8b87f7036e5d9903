"""GSO aggregates through attached programs: what comes out on the wire, segment by segment.

BPF_PROG_TEST_RUN cannot make an skb with a GSO type; a TAP interface can. The uplink's TAP knows no offload,
so the kernel cuts the encapsulated aggregate and finishes the checksums, as for a NIC without tunnel offload.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from attrs import evolve, frozen
from packets import world
from packets.build import framed, outbound, pseudo_sum, tcp, udp, wrapped
from packets.netns import GSO_NONE, GSO_TCP4, GSO_UDP4, Namespace, Offloaded, Tap
from scapy.layers.inet import TCP
from scapy.packet import Raw

from xdpflannel.model.verdict import Verdict
from xdpflannel.table.reference import State, normalise, varying_faults

_L4_AT = 34
_CHECK_AT = {GSO_TCP4: 16, GSO_UDP4: 6}


@frozen
class Node:
    """A pod's interface with pod_egress on it, and an uplink."""

    pod: Tap
    uplink: Tap
    state: State


@pytest.fixture(scope="module")
def node() -> Iterator[tuple[Node, Namespace]]:
    with ExitStack() as stack:
        namespace = Namespace(f"rz-gso-{os.getpid()}")
        stack.callback(namespace.close)
        pod, uplink = Tap(namespace, "pod0"), Tap(namespace, "up0")
        stack.callback(pod.close)
        stack.callback(uplink.close)
        routes = {
            network: evolve(route, ifindex=uplink.ifindex) for network, route in world.WORLD.routes.items()
        }
        pods = {world.POD_IP: evolve(world.POD, ifindex=pod.ifindex)}
        yield Node(pod, uplink, evolve(world.WORLD, routes=routes, pods=pods)), namespace


@pytest.fixture
def attached(node, plane) -> Iterator[Node]:
    """The node, with the program of one loader on its pod's interface."""
    made, namespace = node
    plane.become(made.state)
    program = plane.programs["pod_egress"]
    with namespace.tc_ingress(program, made.pod.ifindex):
        yield made


def is_overlay(frame):
    return frame[12:14] == b"\x08\x00" and frame[36:38] == world.PORT.to_bytes(2)


def segments(packet, gso_size):
    """The packets that a NIC would cut from this one (RFC 9293 3.7; kernel: tcp_gso_segment())."""
    payload = bytes(packet[Raw])
    chunks = [payload[at : at + gso_size] for at in range(0, len(payload), gso_size)]
    for number, chunk in enumerate(chunks):
        part = packet.copy()
        part.id = packet.id + number
        part.ttl = packet.ttl - 1
        part[Raw].load = chunk
        if TCP in part:
            part[TCP].seq = packet[TCP].seq + number * gso_size
            ends = number == len(chunks) - 1
            part[TCP].flags = (
                packet[TCP].flags if ends else str(packet[TCP].flags).replace("P", "").replace("F", "")
            )
        yield part


def unfinished(packet, gso_type, gso_size, *, kind=None):
    """The packet as a pod's stack hands it over: checksum and cutting left to hardware."""
    partial = packet.copy()
    partial.payload.chksum = pseudo_sum(packet)
    offset = _CHECK_AT[kind or gso_type]
    return Offloaded(framed(partial), gso_type, gso_size, (_L4_AT, offset))


def counted(plane, verdict):
    return sum(
        counter.packets
        for (program, found), counter in plane.tables.counters().items()
        if program.label == "pod_egress" and found is verdict
    )


def expect(plane, node, sent, packets, tos=0):
    """Send one frame; these packets, one hop further, must be all that leaves."""
    before = counted(plane, Verdict.ENCAPSULATED)
    node.uplink.pending()
    node.pod.send(sent)
    got = node.uplink.receive(len(packets), is_overlay)
    assert counted(plane, Verdict.ENCAPSULATED) == before + 1
    assert [frame.gso_type for frame in got] == [GSO_NONE] * len(packets)
    assert [normalise(frame.frame) for frame in got] == [
        normalise(wrapped(part, tos=tos)) for part in packets
    ]
    assert [varying_faults(frame.frame, world.CONFIG) for frame in got] == [[]] * len(packets)
    assert len({frame.frame[34:36] for frame in got}) == 1, "one flow, more than one source port"


@pytest.mark.parametrize("gso_size", [536, 1409, 1410])
@pytest.mark.parametrize("size", [1500, 2861, 20000, 65485])
@pytest.mark.parametrize("flags", ["A", "PA", "FPA"])
def test_tcp_aggregate(attached, plane, size, gso_size, flags):
    packet = outbound(tcp(size), flags="DF", tos=46 << 2 | 2)
    packet[TCP].flags = flags
    sent = unfinished(packet, GSO_TCP4, gso_size)
    expect(plane, attached, sent, list(segments(packet, gso_size)), tos=2)


@pytest.mark.parametrize("gso_size", [500, 1422])
@pytest.mark.parametrize("size", [1500, 3000, 30000])
def test_udp_aggregate(attached, plane, size, gso_size):
    packet = outbound(udp(size))
    expect(plane, attached, unfinished(packet, GSO_UDP4, gso_size), list(segments(packet, gso_size)))


@pytest.mark.parametrize(("payload", "kind"), [(tcp, GSO_TCP4), (udp, GSO_UDP4)])
@pytest.mark.parametrize("size", [41, 100, 1450])
def test_checksum_left_to_hardware_is_finished(attached, plane, payload, kind, size):
    packet = outbound(payload(size))
    sent = unfinished(packet, GSO_NONE, 0, kind=kind)
    expect(plane, attached, sent, list(segments(packet, size)))


@pytest.mark.parametrize(
    ("sent", "verdict"),
    [
        (unfinished(outbound(tcp(20000)), GSO_TCP4, 1411), Verdict.OVERSIZE),
        (unfinished(outbound(tcp(65486)), GSO_TCP4, 1400), Verdict.OVERSIZE),
        (unfinished(outbound(udp(3000)), GSO_UDP4, 1423), Verdict.OVERSIZE),
        (unfinished(outbound(tcp(20000), ttl=1), GSO_TCP4, 1400), Verdict.TTL_EXPIRED),
        (unfinished(outbound(tcp(20000), world.DOWN_IP), GSO_TCP4, 1400), Verdict.UNRESOLVED),
    ],
    ids=["tcp-segment-too-long", "tcp-outer-length-overflow", "udp-segment-too-long", "ttl", "unresolved"],
)
def test_aggregate_is_left(attached, plane, sent, verdict):
    before = counted(plane, verdict)
    attached.uplink.pending()
    attached.pod.send(sent)
    assert counted(plane, verdict) == before + 1
    assert [frame for frame in attached.uplink.pending() if is_overlay(frame.frame)] == []

"""Segments that the uplink's GRO merges: the pod gets the same stream, whatever came in one piece.

When the kernel's timer cuts a burst is chance, so aggregates are cut into their segments before comparing.
"""

import os
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from differential.headers import folded
from differential.node import PLANES, POD, WIRE, Node
from packets.build import inbound, tcp, tunnelled, udp
from packets.netns import GSO_TCP4, Offloaded
from scapy.layers.inet import TCP

_SIZE, _COUNT = 1000, 12
_HEADS = 54
_DEADLINE_S = 5.0


@pytest.fixture(scope="module")
def nodes() -> Iterator[dict[str, Node]]:
    """Nodes whose uplink merges; native XDP on such a TAP sees nothing, so tc alone is compared."""
    if os.geteuid() != 0:
        pytest.skip("making network namespaces and loading BPF programs needs root")
    name = f"dz{os.getpid():x}g"
    with ExitStack() as stack:
        made = {}
        for label in ("kernel", "tc"):
            made[label] = Node(f"{name}-{label}", merges=True)
            stack.callback(made[label].close)
        made["tc"].speed_up(PLANES["tc"], f"{name}-tc")
        yield made


def segments(**outer):
    """A stream of one flow, and what differs in the outer header of each segment."""
    for number in range(_COUNT):
        packet = inbound(tcp(40 + _SIZE), flags="DF", tos=2)
        packet.id = 100 + number
        packet[TCP].seq = 1 + number * _SIZE
        changed = {"id": 500 + number} | {key: value(number) for key, value in outer.items()}
        yield packet, changed


def plain(check):
    return [tunnelled(packet, outer=outer, datagram={"chksum": check}) for packet, outer in segments()]


def marked():
    """Congestion met in mid-stream: what is marked and what is not may not be merged."""
    tos = lambda number: 2 + number // 4 % 2  # noqa: E731  a table of functions
    return [tunnelled(packet, outer=outer) for packet, outer in segments(tos=tos)]


def pushed():
    made = []
    for number, (packet, outer) in enumerate(segments()):
        packet[TCP].flags = "PA" if number % 5 == 4 else "A"
        made.append(tunnelled(packet, outer=outer))
    return made


def corrupt(check=0):
    """One wrong checksum in the stream, which the pod has to be able to see."""
    made = []
    for number, (packet, outer) in enumerate(segments()):
        if number == 5:
            packet[TCP].chksum = 0x1234
        made.append(tunnelled(packet, outer=outer, datagram={"chksum": check}))
    return made


def datagrams():
    return [tunnelled(inbound(udp(500 + number)), outer={"id": 9 + number}) for number in range(_COUNT)]


BURSTS = {
    "checksum-zero": lambda: plain(0),
    "checksum-right": lambda: plain(None),
    "congestion": marked,
    "pushed": pushed,
    "corrupt": corrupt,
    "corrupt-in-a-right-checksum": lambda: corrupt(None),
    "datagrams": datagrams,
}


@pytest.mark.parametrize("burst", BURSTS)
def test_the_pod_gets_the_same_stream(nodes, burst):
    frames = BURSTS[burst]()
    streams = {label: streamed(node, frames) for label, node in nodes.items()}
    assert streams["tc"] == streams["kernel"]


@pytest.mark.parametrize("check", [0, None], ids=["checksum-zero", "checksum-right"])
def test_a_wrong_checksum_is_left_for_the_pod_to_find(nodes, check):
    """GRO has verified the outer checksum by then, which says nothing of the inner one."""
    found = received(nodes["tc"], corrupt(check))
    wrong = [seen for seen in found if seen.frame[50:52] == b"\x12\x34"]
    assert [(seen.verified, seen.gso_type) for seen in wrong] == [(False, 0)]


def test_something_was_merged(nodes):
    """Not one aggregate would mean that nothing here is about GRO."""
    for label, node in nodes.items():
        assert any(len(received(node, plain(0))) < _COUNT for _ in range(20)), label


def received(node, frames):
    for frame in frames:
        node.ports[WIRE].send(Offloaded(frame))
    found = []
    end = time.monotonic() + _DEADLINE_S
    while sum(len(cut(seen)) for seen in found) < len(frames) and time.monotonic() < end:
        found += node.ports[POD].pending()
    return found


def streamed(node, frames):
    return [segment for seen in received(node, frames) for segment in cut(seen)]


def cut(seen):
    """The frames that a NIC would make of an aggregate (kernel: tcp_gso_segment())."""
    if seen.gso_type != GSO_TCP4:
        return [(seen.kind, seen.frame)]
    head, data = seen.frame[:_HEADS], seen.frame[_HEADS:]
    pieces = [data[at : at + seen.gso_size] for at in range(0, len(data), seen.gso_size)]
    last = len(pieces) - 1
    return [
        (seen.kind, segment(head, piece, number * seen.gso_size, number, number == last))
        for number, piece in enumerate(pieces)
    ]


def segment(head, piece, offset, number, last):
    frame = bytearray(head + piece)
    size = len(frame) - 14
    frame[16:18] = size.to_bytes(2)
    frame[18:20] = (int.from_bytes(head[18:20]) + number).to_bytes(2)
    frame[38:42] = struct.pack("!I", (int.from_bytes(head[38:42]) + offset) & 0xFFFFFFFF)
    if not last:
        frame[47] &= ~0x09  # PSH and FIN are the last one's
    frame[24:26] = frame[50:52] = b"\0\0"
    frame[24:26] = (folded(bytes(frame[14:34])) ^ 0xFFFF).to_bytes(2)
    pseudo = bytes(frame[26:34]) + struct.pack("!HH", 6, size - 20)
    frame[50:52] = (folded(bytes(frame[34:]) + bytes(size % 2) + pseudo) ^ 0xFFFF).to_bytes(2)
    return bytes(frame)

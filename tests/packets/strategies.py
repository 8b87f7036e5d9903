"""Hypothesis makes frames: sound ones of every kind, with up to two named faults, or with damaged bytes.

Few faults at a time, so that the checks which come late are reached too.
"""

import struct
from collections.abc import Collection
from ipaddress import IPv4Address

from hypothesis import strategies as st
from packets import world
from packets.build import TC_EGRESS, TC_INGRESS, XDP_EGRESS, XDP_INGRESS

PROGRAMS = (TC_EGRESS, XDP_EGRESS, TC_INGRESS, XDP_INGRESS)

_ADDRESSES = (
    world.POD_IP,
    world.SIBLING_IP,
    world.OLD_SIBLING_IP,
    world.NEW_POD_IP,
    world.REMOTE_IP,
    world.FAR_IP,
    world.DOWN_IP,
    world.BIG_IP,
    world.WIDE_IP,
    world.NARROW_IP,
    world.WORLD_IP,
    world.OUR_IP,
    world.PEER_IP,
    world.FAR_PEER_IP,
    world.STRANGER_IP,
)
_MACS = (
    *(
        mac.packed
        for mac in (
            world.UPLINK_MAC,
            world.PEER_UPLINK_MAC,
            world.VTEP_MAC,
            world.PEER_VTEP_MAC,
            world.GATEWAY_MAC,
            world.POD.mac,
            world.SIBLING.mac,
            world.OLD_SIBLING.mac,
            world.POD.port_mac,
        )
    ),
    b"\xff" * 6,
    bytes(6),
)

addresses = st.sampled_from(_ADDRESSES) | st.integers(0, 0xFFFFFFFF).map(IPv4Address)
macs = st.sampled_from(_MACS) | st.binary(min_size=6, max_size=6)
_bytes = st.integers(0, 0xFF)
_words = st.integers(0, 0xFFFF)
_doubles = st.integers(0, 0xFFFFFFFF)
_types = st.sampled_from((b"\x08\x06", b"\x86\xdd", b"\x81\x00")) | st.binary(min_size=2, max_size=2)

_PACKET_FAULTS = (
    "protocol",
    "size",
    "l4 checksum",
    "l4 header",
    "first byte",
    "length",
    "fragment",
    "ttl",
    "checksum",
)
_EGRESS_FAULTS = (*_PACKET_FAULTS, "target", "source", "target mac", "source mac", "type")
_OUTER_FAULTS = (
    "vtep", "inner target mac", "inner source mac", "inner type", "flags", "vni", "port", "datagram length",
    "datagram checksum", "outer first byte", "outer length", "outer fragment", "outer protocol",
    "outer target", "outer checksum", "uplink mac",
)  # fmt: skip
_INGRESS_FAULTS = (*_PACKET_FAULTS, *_OUTER_FAULTS, "target", "source")


class _Maker:
    """Draws the members of one frame: as they should be, unless the member is to be wrong."""

    def __init__(self, draw: st.DrawFn, faults: Collection[str]) -> None:
        self.draw = draw
        self.faults = faults

    def member(self, name: str, sound: object, wrong: st.SearchStrategy) -> object:
        if name in self.faults:
            return self.draw(wrong)
        return self.draw(sound) if isinstance(sound, st.SearchStrategy) else sound

    def payload(self, protocol: int, source: IPv4Address, target: IPv4Address) -> bytes:
        """A TCP, UDP or other payload; its checksum right, or unfinished, zero or anything."""
        edges = (0, 1, 7, 8, 19, 20, 1271, 1272, 1273, 1279, 1280, 1281, 1380, 1381, 1429, 1430, 1431, 1500)
        size = self.member("size", st.integers(20, 90), st.sampled_from(edges))
        data = bytearray(size)
        at = {6: 16, 17: 6}.get(protocol)
        if at is None or size < at + 2:
            return bytes(data)
        data[:4] = self.draw(st.binary(min_size=4, max_size=4))
        if protocol == 6 and size >= 20:
            data[12] = self.member("l4 header", 0x50, _bytes)
        if protocol == 17:
            data[4:6] = self.member("l4 header", size, _words).to_bytes(2)
        pseudo = _folded(struct.pack("!4s4sHH", source.packed, target.packed, protocol, size))
        finished = ~_folded(bytes(data) + pseudo.to_bytes(2)) & 0xFFFF
        others = st.sampled_from((pseudo, 0, pseudo ^ 0xFFFF, pseudo ^ 1, 0xFFFF))
        data[at : at + 2] = self.member("l4 checksum", finished, others).to_bytes(2)
        return bytes(data)

    def packet(self, source: IPv4Address, target: IPv4Address) -> bytes:
        """An IPv4 packet whose header may lie about itself."""
        protocol = self.member("protocol", st.sampled_from((17, 6, 1)), _bytes)
        payload = self.payload(protocol, source, target)
        room = 20 + len(payload)
        wrong = st.sampled_from((room - 20, room - 1, room + 1, 0, 19, 0xFFFF)) | _words
        head = struct.pack(
            "!BBHHHBB",
            self.member("first byte", 0x45, st.sampled_from((0x46, 0x44, 0x65, 0x05)) | _bytes),
            self.draw(_bytes),
            self.member("length", room, wrong),
            self.draw(_words),
            self.member(
                "fragment", st.sampled_from((0, 0x4000, 0x8000)), st.sampled_from((0x2000, 1)) | _words
            ),
            self.member("ttl", st.sampled_from((64, 2, 255)), st.sampled_from((0, 1))),
            protocol,
        )
        return self._summed("checksum", head, source, target) + payload

    def _summed(self, name: str, head: bytes, source: IPv4Address, target: IPv4Address) -> bytes:
        ends = source.packed + target.packed
        right = ~_folded(head + ends) & 0xFFFF
        check = self.member(name, right, st.sampled_from((right ^ 1, right ^ 0x8000, 0, 0xFFFF)) | _words)
        return head + check.to_bytes(2) + ends

    def from_pod(self) -> bytes:
        """What a pod sends."""
        targets = (world.REMOTE_IP, world.SIBLING_IP, world.FAR_IP, world.OLD_SIBLING_IP, world.NARROW_IP)
        target = self.member("target", st.sampled_from(targets), addresses)
        source = self.member("source", world.POD_IP, addresses)
        neighbour = world.WORLD.pods.get(target)
        towards = neighbour.mac if neighbour else world.GATEWAY_MAC
        ethernet = self.member("target mac", towards.packed, macs)
        ethernet += self.member("source mac", world.POD.mac.packed, macs)
        return ethernet + self.member("type", b"\x08\x00", _types) + self.packet(source, target)

    def from_underlay(self) -> bytes:
        """What a peer sends: VXLAN."""
        vtep, source = self.draw(st.sampled_from(_PEERS))
        vtep = self.member("vtep", vtep, addresses)
        source = self.member("source", source, addresses)
        target = self.member("target", st.sampled_from((world.POD_IP, world.SIBLING_IP)), addresses)
        inner = self.member("inner target mac", world.VTEP_MAC.packed, macs)
        inner += self.member("inner source mac", world.PEER_VTEP_MAC.packed, macs)
        inner += self.member("inner type", b"\x08\x00", _types) + self.packet(source, target)
        vni = self.member("vni", world.VNI << 8, st.sampled_from((0, 0x101, 0x200)) | _doubles)
        inner = struct.pack("!II", self.member("flags", 0x08000000, _doubles), vni) + inner
        room = len(inner) + 8
        udp = struct.pack(
            "!HHHH",
            self.draw(_words),
            self.member("port", world.PORT, st.sampled_from((4789, 8473)) | _words),
            self.member("datagram length", room, st.sampled_from((room - 1, room + 1, 8, 0)) | _words),
            self.member("datagram checksum", 0, _words),
        )
        room += 20
        head = struct.pack(
            "!BBHHHBB",
            self.member("outer first byte", 0x45, st.sampled_from((0x46, 0x44)) | _bytes),
            self.draw(_bytes),
            self.member("outer length", room, st.sampled_from((room - 20, room - 1, room + 1)) | _words),
            self.draw(_words),
            self.member(
                "outer fragment", st.sampled_from((0, 0x4000)), st.sampled_from((0x2000, 1)) | _words
            ),
            self.draw(_bytes),
            self.member("outer protocol", 17, _bytes),
        )
        outer = self._summed(
            "outer checksum", head, vtep, self.member("outer target", world.OUR_IP, addresses)
        )
        ethernet = self.member("uplink mac", world.UPLINK_MAC.packed, macs) + world.PEER_UPLINK_MAC.packed
        return ethernet + b"\x08\x00" + outer + udp + inner


_PEERS = (
    (world.PEER_IP, world.REMOTE_IP),
    (world.FAR_PEER_IP, world.FAR_IP),
    (world.PEER_IP, world.WIDE_IP),
    (world.FAR_PEER_IP, world.NARROW_IP),
)


def _folded(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@st.composite
def _sound(draw: st.DrawFn, program: str) -> bytes:
    egress = program in (TC_EGRESS, XDP_EGRESS)
    names = st.sampled_from(_EGRESS_FAULTS if egress else _INGRESS_FAULTS)
    maker = _Maker(draw, draw(st.lists(names, max_size=2)))
    return maker.from_pod() if egress else maker.from_underlay()


@st.composite
def _damaged(draw: st.DrawFn, frames: st.SearchStrategy[bytes]) -> bytes:
    """A frame cut short, grown, or with bytes changed."""
    frame = bytearray(draw(frames))
    how = draw(st.sampled_from(("cut", "grow", "bit", "bytes")))
    if how == "cut":
        del frame[draw(st.integers(0, len(frame))) :]
    elif how == "grow":
        frame += draw(st.binary(min_size=1, max_size=40))
    elif how == "bit":
        for _ in range(draw(st.integers(1, 4))):
            bit = draw(st.integers(0, min(len(frame), 110) * 8 - 1))
            frame[bit // 8] ^= 1 << bit % 8
    else:
        at = draw(st.integers(0, len(frame) - 1))
        data = draw(st.binary(min_size=1, max_size=8))
        frame[at : at + len(data)] = data
    return bytes(frame)


def frames(program: str) -> st.SearchStrategy[bytes]:
    """Frames for one program, of 0 to some 1,600 bytes."""
    sound = _sound(program)
    return st.one_of(sound, sound, sound, _damaged(sound), st.binary(max_size=200))


def gso_sizes(program: str) -> st.SearchStrategy[int]:
    """Segment sizes; XDP knows no aggregates."""
    if program not in (TC_EGRESS, TC_INGRESS):
        return st.just(0)
    sizes = st.sampled_from((1, 1260, 1360, 1390, 1410, 1411, 1422, 1423)) | st.integers(1, 3000)
    return st.one_of(st.just(0), st.just(0), st.just(0), sizes)


states = st.one_of(*[st.just(world.WORLD)] * 4, *(st.just(state) for state in world.STATES))

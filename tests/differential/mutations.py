"""Hypothesis changes valid frames: some members, bits, bytes, the length; checksums put right or not."""

from differential.headers import ETH, IP, TUNNEL, folded
from differential.judge import Sent
from differential.node import POD, WIRE
from differential.rows_pod import LARGEST, TARGETS, WAYS, to
from differential.rows_wire import MACS, SOURCES
from hypothesis import strategies as st
from packets import strategies, world
from packets.build import TC_EGRESS, TC_INGRESS, icmp, inbound, tcp, tunnelled, udp
from packets.netns import GSO_NONE, GSO_TCP4, GSO_UDP4, Offloaded

_OPTION_TIMESTAMP = 0x44
_ICMP_TIMESTAMP = 13
_PAYLOADS = (udp(60), udp(61), tcp(60), tcp(1300), icmp(84), udp(1450), udp(1451), udp(60, chksum=0))
_FROM_POD = tuple(to(way, payload) for way in WAYS for payload in _PAYLOADS)
_FROM_WIRE = tuple(
    tunnelled(inbound(payload, target=target), datagram={"chksum": check})
    for payload in _PAYLOADS
    for target in (world.POD_IP, world.SIBLING_IP, world.OLD_SIBLING_IP)
    for check in (0, None)
)
_IPS = tuple(address.packed for address in {*TARGETS.values(), *SOURCES.values(), world.FAR_PEER_IP})
_MACS = tuple({mac.packed for mac in MACS.values()} | {world.SIBLING.mac.packed, world.POD.port_mac.packed})
_WORDS = (
    0,
    1,
    8,
    20,
    28,
    50,
    0x4000,
    0x2000,
    0x3FFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    world.PORT,
    0x0800,
    0x86DD,
    0x0806,
)


def _changed(draw: st.DrawFn, frame: bytearray, starts: tuple[int, ...]) -> None:
    """Change one thing. ``starts``: where Ethernet headers are."""
    start = draw(st.sampled_from(starts))
    packet = start + ETH
    how = draw(st.sampled_from(("bit", "byte", "word", "mac", "ip", "ttl", "tos", "protocol", "cut", "grow")))
    room = max(len(frame) - 1, 0)
    at = draw(st.integers(start, max(start, min(room, packet + IP + 40))))
    if how == "bit" and at < len(frame):
        frame[at] ^= 1 << draw(st.integers(0, 7))
    elif how == "byte" and at < len(frame):
        frame[at] = draw(st.integers(0, 255))
    elif how == "word" and at + 2 <= len(frame):
        word = draw(st.sampled_from(_WORDS) | st.integers(0, 0xFFFF))
        frame[at // 2 * 2 : at // 2 * 2 + 2] = word.to_bytes(2)
    elif how == "mac":
        where = start + draw(st.sampled_from((0, 6)))
        frame[where : where + 6] = draw(st.sampled_from(_MACS))
    elif how == "ip":
        where = packet + draw(st.sampled_from((12, 16)))
        frame[where : where + 4] = draw(st.sampled_from(_IPS))
    elif how in {"ttl", "tos", "protocol"}:
        where = packet + {"ttl": 8, "tos": 1, "protocol": 9}[how]
        frame[where : where + 1] = draw(st.integers(0, 255)).to_bytes()
    elif how == "cut":
        del frame[draw(st.integers(ETH, max(ETH, room))) :]
    elif how == "grow":
        frame += draw(st.binary(min_size=1, max_size=60))


def _lengths_put_right(frame: bytearray) -> None:
    """The outer lengths of what was cut or grown, so that what is inside gets looked at."""
    size = len(frame) - ETH
    if size >= IP + 8:
        frame[ETH + 2 : ETH + 4] = size.to_bytes(2)
        frame[ETH + IP + 4 : ETH + IP + 6] = (size - IP).to_bytes(2)


def _header_put_right(frame: bytearray, at: int) -> None:
    end = at + max((frame[at] & 15) * 4, IP) if at < len(frame) else at
    if at + IP <= end <= len(frame):
        frame[at + 10 : at + 12] = b"\0\0"
        frame[at + 10 : at + 12] = (folded(bytes(frame[at:end])) ^ 0xFFFF).to_bytes(2)


@st.composite
def _mutated(draw: st.DrawFn, port: str) -> bytes:
    starts = (0,) if port == POD else (0, TUNNEL, TUNNEL)
    frame = bytearray(draw(st.sampled_from(_FROM_POD if port == POD else _FROM_WIRE)))
    for _ in range(draw(st.integers(1, 3))):
        _changed(draw, frame, starts)
    if draw(st.booleans()):
        _lengths_put_right(frame)
    if draw(st.booleans()):
        for start in set(starts):
            _header_put_right(frame, start + ETH)
    return bytes(frame)


def _tells_time(frame: bytes) -> bool:
    """The node's answer has a clock in it, and two nodes' clocks differ."""
    for at in (ETH, TUNNEL + ETH):
        if len(frame) <= at + IP:
            continue
        end = at + (frame[at] & 15) * 4
        asks = frame[at + 9] == 1 and frame[end : end + 1] == bytes([_ICMP_TIMESTAMP])
        if asks or _OPTION_TIMESTAMP in frame[at + IP : max(end, at + IP)]:
            return True
    return False


@st.composite
def _aggregate(draw: st.DrawFn) -> Sent:
    """From a pod's socket: unfinished, perhaps many segments, perhaps with a changed header."""
    way = draw(st.sampled_from(tuple(WAYS)))
    kind = draw(st.sampled_from((GSO_NONE, GSO_TCP4, GSO_UDP4)))
    payload = udp if kind == GSO_UDP4 else tcp
    gso = draw(st.integers(1, 1500)) if kind else 0
    size = draw(st.integers(40, 1500) if not kind else st.integers(gso + 41, min(gso * 20, 20000) + 41))
    frame = bytearray(to(way, payload(size), flags=draw(st.sampled_from(("DF", 0)))))
    at = 6 if kind == GSO_UDP4 else 16
    frame[ETH + IP + at : ETH + IP + at + 2] = _pseudo(frame)
    for where, values in ((ETH + 1, st.integers(0, 255)), (ETH + 8, st.sampled_from((0, 1, 2, 64)))):
        if draw(st.booleans()):
            frame[where] = draw(values)
    if not kind and len(frame) > LARGEST:
        del frame[LARGEST:]
    _header_put_right(frame, ETH)
    return Sent(POD, Offloaded(bytes(frame), kind, gso, (ETH + IP, at)))


def _pseudo(frame: bytearray) -> bytes:
    size = len(frame) - ETH - IP
    return folded(bytes(frame[26:34]) + bytes([0, frame[23]]) + size.to_bytes(2)).to_bytes(2)


def _plain(port: str) -> st.SearchStrategy[Sent]:
    program, largest = (TC_EGRESS, LARGEST) if port == POD else (TC_INGRESS, 1 << 16)
    frames = st.one_of(_mutated(port), _mutated(port), strategies.frames(program))
    fitting = frames.filter(lambda frame: ETH <= len(frame) <= largest and not _tells_time(frame))
    return fitting.map(lambda frame: Sent(port, Offloaded(frame)))


sent = st.one_of(_plain(POD), _plain(WIRE), _plain(WIRE), _aggregate())
"""Anything that may go into a node."""

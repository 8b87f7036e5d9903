"""Just enough reading of frames to find what may differ, and checksums computed anew."""

import struct

from attrs import frozen
from packets import world

ETH, IP, UDP, VXLAN = 14, 20, 8, 8
TUNNEL = ETH + IP + UDP + VXLAN
"""Where the inner frame starts."""
IPV4 = b"\x08\x00"
ICMP_PROTOCOL, TCP_PROTOCOL, UDP_PROTOCOL = 1, 6, 17
_CHECK_AT = {ICMP_PROTOCOL: 2, TCP_PROTOCOL: 16, UDP_PROTOCOL: 6}


@frozen
class Ip:
    """Where an IPv4 packet lies in a frame."""

    at: int
    """Of its header."""
    head: int
    """Bytes of its header, options included."""
    length: int
    protocol: int
    source: bytes
    target: bytes
    whole: bool
    """Not a fragment, and all of it is there."""

    @property
    def payload(self) -> slice:
        return slice(self.at + self.head, self.at + self.length)

    @property
    def header(self) -> slice:
        return slice(self.at, self.at + self.head)


def find_ip(frame: bytes, ethernet_at: int = 0) -> Ip | None:
    """The IPv4 packet in the Ethernet frame at an offset; None if there is none."""
    at = ethernet_at + ETH
    if len(frame) < at + IP or frame[at - 2 : at] != IPV4 or frame[at] >> 4 != 4:
        return None
    head = (frame[at] & 15) * 4
    if not IP <= head <= len(frame) - at:
        return None
    length, _, fragment = struct.unpack_from("!HHH", frame, at + 2)
    whole = head <= length <= len(frame) - at and not fragment & 0x3FFF
    return Ip(at, head, length, frame[at + 9], frame[at + 12 : at + 16], frame[at + 16 : at + 20], whole)


def find_tunnel(frame: bytes) -> Ip | None:
    """The outer IPv4 packet if it carries VXLAN; None otherwise."""
    ip = find_ip(frame)
    if ip is None or not ip.whole or ip.head != IP or ip.protocol != UDP_PROTOCOL or len(frame) < TUNNEL:
        return None
    port = int.from_bytes(frame[ETH + IP + 2 : ETH + IP + 4])
    return ip if port == world.PORT else None


def folded(data: bytes) -> int:
    """Ones' complement sum (RFC 1071)."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def header_right(frame: bytes, ip: Ip) -> bool:
    """The IP header's checksum verifies."""
    return folded(frame[ip.header]) == 0xFFFF


def payload_right(frame: bytes, ip: Ip) -> bool:
    """The ICMP, TCP or UDP checksum verifies, or there is none that could."""
    at = _CHECK_AT.get(ip.protocol)
    data = frame[ip.payload]
    if at is None or not ip.whole or len(data) < at + 2:
        return True
    if ip.protocol == UDP_PROTOCOL:
        size = int.from_bytes(data[4:6])
        if data[6:8] == b"\0\0" or not UDP <= size <= len(data):
            return True
        data = data[:size]
    pseudo = ip.source + ip.target + struct.pack("!HH", ip.protocol, len(data))
    return folded(data + (bytes(len(data) % 2) + pseudo if ip.protocol != ICMP_PROTOCOL else b"")) == 0xFFFF

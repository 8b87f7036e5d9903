"""Frames as the reference model reads and writes them; every number is big-endian on the wire."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

from attrs import frozen

from xdpflannel.model.net import Mac

ETH_LENGTH = 14
IP_LENGTH = 20
UDP_LENGTH = 8
TCP_LENGTH = 20
VXLAN_LENGTH = 8

ETH_IPV4 = 0x0800
ICMP = 1
TCP = 6
UDP = 17

VXLAN_FLAGS = 0x08000000
"""The I bit alone (RFC 7348 section 5); the kernel drops frames with any reserved bit set."""

ECN_NONE, ECN_ECT1, ECN_ECT0, ECN_CE = range(4)

_IP = struct.Struct("!BBHHHBBH4s4s")
_CHECK_OFFSET = {TCP: 16, UDP: 6}
_L4_LENGTH = {TCP: TCP_LENGTH, UDP: UDP_LENGTH}


def internet_sum(data: bytes) -> int:
    """Return the folded ones' complement sum (RFC 1071) of an even number of bytes; 0xffff verifies."""
    words: tuple[int, ...] = struct.unpack(f"!{len(data) // 2}H", data)
    total = sum(words)
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@frozen
class Ethernet:
    """The 14 bytes in front of every packet."""

    target: Mac
    source: Mac
    type: int

    @classmethod
    def read(cls, data: bytes) -> Ethernet:
        """Read the first 14 bytes."""
        return cls(Mac(data[0:6]), Mac(data[6:12]), int.from_bytes(data[12:14]))

    def write(self) -> bytes:
        """Return the 14 bytes."""
        return self.target.packed + self.source.packed + self.type.to_bytes(2)


@frozen
class Ipv4:
    """An IPv4 header without its options."""

    version: int
    words: int
    """Header length in words of four bytes (IHL)."""
    tos: int
    length: int
    """Bytes of header and payload, as the header says."""
    id: int
    fragment: int
    """Flags and offset."""
    ttl: int
    protocol: int
    source: IPv4Address
    target: IPv4Address
    sum_right: bool = True

    @classmethod
    def read(cls, data: bytes) -> Ipv4:
        """Read the first 20 bytes."""
        first, tos, length, ident, fragment, ttl, protocol, _, source, target = _IP.unpack_from(data)
        return cls(
            version=first >> 4,
            words=first & 15,
            tos=tos,
            length=length,
            id=ident,
            fragment=fragment,
            ttl=ttl,
            protocol=protocol,
            source=IPv4Address(source),
            target=IPv4Address(target),
            sum_right=internet_sum(data[:IP_LENGTH]) == 0xFFFF,
        )

    @property
    def ecn(self) -> int:
        """The two congestion bits of the TOS byte."""
        return self.tos & 3

    @property
    def is_fragment(self) -> bool:
        """True for the first and every later part of a fragmented packet."""
        return bool(self.fragment & 0x3FFF)

    def write(self) -> bytes:
        """Return the 20 bytes with a fresh checksum."""
        members = (self.tos, self.length, self.id, self.fragment, self.ttl, self.protocol)
        addresses = (self.source.packed, self.target.packed)
        first = self.version << 4 | self.words
        check = 0xFFFF - internet_sum(_IP.pack(first, *members, 0, *addresses))
        return _IP.pack(first, *members, check, *addresses)


def has_l4_header(ip: Ipv4, payload: bytes) -> bool:
    """Tell whether ``payload`` holds all of its TCP or UDP header; other protocols have none here."""
    return len(payload) >= _L4_LENGTH.get(ip.protocol, 0)


def l4_checksum(ip: Ipv4, payload: bytes) -> int:
    """Return the checksum field of a TCP or UDP header."""
    offset = _CHECK_OFFSET[ip.protocol]
    return int.from_bytes(payload[offset : offset + 2])


def checksum_unfinished(ip: Ipv4, payload: bytes) -> bool:
    """Tell whether the checksum was left to hardware (CHECKSUM_PARTIAL).

    The field of a TCP or UDP header then holds the sum of the pseudo header (RFC 9293 section 3.1), folded
    and not inverted. A finished checksum looks so once in 65,536 packets.
    """
    pseudo = struct.pack("!4s4sHH", ip.source.packed, ip.target.packed, ip.protocol, ip.length - IP_LENGTH)
    return l4_checksum(ip, payload) == internet_sum(pseudo)

"""Checks that a packet passes on the way in and on the way out alike, each with the verdict it fails with."""

from __future__ import annotations

from xdpflannel.model.verdict import Verdict
from xdpflannel.table.reference.headers import (
    ETH_IPV4,
    ETH_LENGTH,
    ICMP,
    IP_LENGTH,
    TCP,
    UDP,
    UDP_LENGTH,
    Ethernet,
    Ipv4,
    checksum_unfinished,
    has_l4_header,
)
from xdpflannel.table.reference.state import require


def read_packet(frame: bytes) -> tuple[Ethernet, Ipv4]:
    """Read Ethernet and IPv4; whatever is not both is not_ip."""
    require(len(frame) >= ETH_LENGTH + IP_LENGTH, Verdict.NOT_IP)
    ethernet, ip = Ethernet.read(frame), Ipv4.read(frame[ETH_LENGTH:])
    require(ethernet.type == ETH_IPV4 and ip.version == 4, Verdict.NOT_IP)
    return ethernet, ip


def require_plain(ip: Ipv4, room: int) -> None:
    """No options, no fragment, a length that fills ``room`` (bytes from the header on), a right checksum."""
    require(ip.words == 5, Verdict.IP_OPTIONS)
    require(not ip.is_fragment, Verdict.FRAGMENT)
    require(ip.length == room and ip.length >= IP_LENGTH, Verdict.BAD_LENGTH)
    require(ip.sum_right, Verdict.BAD_CHECKSUM)


def require_size(ip: Ipv4, payload: bytes, gso_size: int, mtu: int) -> None:
    """The packet, or each segment it will be cut into (``gso_size`` payload bytes), fits ``mtu``."""
    if gso_size == 0:
        require(ip.length <= mtu, Verdict.OVERSIZE)
        return
    require(ip.protocol in (TCP, UDP), Verdict.UNSUPPORTED_PROTOCOL)
    header = UDP_LENGTH
    if ip.protocol == TCP:
        require(has_l4_header(ip, payload), Verdict.NONLINEAR)
        header = 4 * (payload[12] >> 4)
    require(IP_LENGTH + header + gso_size <= mtu, Verdict.OVERSIZE)


def require_finished_checksum(ip: Ipv4, payload: bytes) -> None:
    """What XDP redirects must be complete; only TCP, UDP and ICMP can be told to be."""
    require(ip.protocol in (ICMP, TCP, UDP), Verdict.UNSUPPORTED_PROTOCOL)
    if ip.protocol == ICMP:
        return
    require(has_l4_header(ip, payload), Verdict.BAD_LENGTH)
    if ip.protocol == UDP:
        # The checksum covers UDP's own length: where the two disagree, it could not be recognised.
        require(int.from_bytes(payload[4:6], "big") == len(payload), Verdict.BAD_LENGTH)
    require(not checksum_unfinished(ip, payload), Verdict.CHECKSUM_UNFINISHED)

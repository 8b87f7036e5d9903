"""Addresses and sizes: MAC, VNI and the bytes an overlay adds."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from attrs import field, frozen

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

OVERHEAD_IPV4 = 50
"""Bytes that VXLAN over IPv4 adds to an inner IP packet: 20 IP + 8 UDP + 8 VXLAN + 14 inner Ethernet."""

OVERHEAD_IPV6 = 70
"""The same over IPv6, whose header is 20 bytes longer."""

VNI_MAX = (1 << 24) - 1

# Go's net.ParseMAC, which reads flannel's VtepMAC, takes ``:``, ``-`` and ``.`` (Cisco) separators. Its 8 and
# 20 byte forms are no Ethernet addresses, so they are refused here.
_PAIRS = re.compile(r"[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}")
_QUADS = re.compile(r"[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}")


def _six_bytes(_: object, __: object, value: bytes) -> None:
    if not isinstance(value, bytes) or len(value) != 6:
        raise ValueError(f"a MAC address has 6 bytes, not {value!r}")


@frozen(order=True)
class Mac:
    """An Ethernet address."""

    packed: bytes = field(validator=_six_bytes)

    @classmethod
    def parse(cls, text: str) -> Mac:
        """Read ``aa:bb:cc:dd:ee:ff``, ``aa-bb-…`` or ``aabb.ccdd.eeff``; ValueError otherwise."""
        if not (_PAIRS.fullmatch(text) or _QUADS.fullmatch(text)):
            raise ValueError(f"{text!r} is not an Ethernet address")
        return cls(bytes.fromhex(re.sub(r"[:.-]", "", text)))

    @property
    def is_unicast(self) -> bool:
        """True unless the group bit is set or the address is all zero."""
        return not self.packed[0] & 1 and any(self.packed)

    def __str__(self) -> str:
        return ":".join(f"{byte:02x}" for byte in self.packed)

"""What the model knows (the maps' contents) and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network

from attrs import field, frozen

from xdpflannel.model.entries import ConfigEntry, PodEntry, RouteEntry
from xdpflannel.model.verdict import Verdict
from xdpflannel.table.reference.headers import ETH_LENGTH, IP_LENGTH, internet_sum

_OUTER_ID = slice(18, 20)
_OUTER_CHECK = slice(24, 26)
_SOURCE_PORT = slice(34, 36)


@frozen
class State:
    """The maps as the programs see them. ``config`` None: the agent has not filled it in yet."""

    config: ConfigEntry | None
    routes: Mapping[IPv4Network, RouteEntry] = field(factory=dict)
    pods: Mapping[IPv4Address, PodEntry] = field(factory=dict)
    vteps: Mapping[IPv4Address, int] = field(factory=dict)
    """Outer address of each node that holds a lease, and how many routes lead to it."""

    def route(self, address: IPv4Address) -> RouteEntry | None:
        """Return the entry of the longest prefix that holds ``address``."""
        prefixes = [network for network in self.routes if address in network]
        if not prefixes:
            return None
        return self.routes[max(prefixes, key=lambda network: network.prefixlen)]


@frozen
class Outcome:
    """What happened to one frame.

    ``frame`` is the very frame that came in unless the verdict is fast; ``redirect_ifindex`` is the interface
    it was handed to, None if it went on to the kernel or was dropped.
    """

    verdict: Verdict
    frame: bytes
    redirect_ifindex: int | None = None


class Left(Exception):
    """The frame is not taken, for this reason."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.label)
        self.verdict = verdict


def require(holds: bool, otherwise: Verdict) -> None:
    """Go on if ``holds``; else leave the frame with this verdict (raises Left)."""
    if not holds:
        raise Left(otherwise)


def normalise(frame: bytes) -> bytes:
    """Return an encapsulated frame with the fields at zero that differ from packet to packet.

    They are the outer IPv4 id (any value may be used, RFC 6864), the UDP source port (a hash with a key of
    the kernel's own) and the outer header checksum, which covers the id.
    """
    masked = bytearray(frame)
    for where in (_OUTER_ID, _OUTER_CHECK, _SOURCE_PORT):
        masked[where] = b"\0\0"
    return bytes(masked)


def varying_faults(frame: bytes, config: ConfigEntry) -> list[str]:
    """Say what is wrong with the fields that `normalise` hides; an empty list if nothing is."""
    faults = []
    first, last = config.source_ports
    port = int.from_bytes(frame[_SOURCE_PORT])
    if not first <= port < max(last, first + 1):
        faults.append(f"UDP source port {port} is not in [{first}, {last})")
    if internet_sum(frame[ETH_LENGTH : ETH_LENGTH + IP_LENGTH]) != 0xFFFF:
        faults.append("the outer IPv4 header checksum is wrong")
    return faults

"""The only ways in which a node with the fast path may differ from one without, each with its reason.

`comparable` hides what may differ, after `faults` has said whether the hidden values are right by themselves;
`alternative` names another frame whose answer is as good. Whatever else differs is a bug.

docs/differences.md repeats this file: `PYTHONPATH=tests python tests/differential/intended.py` writes it.
"""

from pathlib import Path

from attrs import evolve, frozen
from differential.headers import (
    ETH,
    ICMP_PROTOCOL,
    IP,
    TCP_PROTOCOL,
    TUNNEL,
    UDP_PROTOCOL,
    Ip,
    find_ip,
    find_tunnel,
    header_right,
    payload_right,
)
from differential.ports import Seen
from packets import world

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "differences.md"
_CHECKSUM = slice(ETH + IP + 6, ETH + IP + 8)
_SOURCE_PORT = slice(ETH + IP, ETH + IP + 2)
_OURS = frozenset(bytes(map(int, ip.split("."))) for ip in ("10.244.1.0", "10.244.1.1", str(world.OUR_IP)))
"""Addresses of the node: what comes from them is made by it."""


@frozen
class Intended:
    """One difference: its name, what exactly may differ, and why that is right."""

    name: str
    what: str
    reason: str


IDENTIFICATION = Intended(
    "IPv4 identification",
    "The identification of packets that the node itself makes: outer headers and ICMP errors. The header's "
    "checksum differs accordingly, and must be right.",
    "The kernel draws it from counters with a random key, we at random or, for TCP, in the order of the "
    "inner packets, so that the receiver's GRO can merge them. Any value will do that does not repeat soon "
    "(RFC 6864).",
)
SOURCE_PORT = Intended(
    "UDP source port",
    "The outer UDP source port, within the kernel's range.",
    "It is a hash of the flow. XDP has no access to the kernel's, whose key is random anyway. One flow keeps "
    "one port as long as one program sees all of it.",
)
CHECKSUM_SENT = Intended(
    "Outer UDP checksum, sent",
    "Zero where the kernel fills it in.",
    "RFC 7348 recommends zero, and the kernel accepts zero over IPv4 (decisions/006-outer-udp-checksum.md).",
)
CHECKSUM_RECEIVED = Intended(
    "Outer UDP checksum, received",
    "A frame whose outer UDP checksum is wrong is delivered as if it had none, where the kernel drops it.",
    "RFC 7348 allows a receiver not to verify it. Only taken if the inner packet is covered by a checksum of "
    "its own, which the pod verifies (decisions/006-outer-udp-checksum.md).",
)
VERIFIED = Intended(
    "Checksum state",
    "Whether a packet socket in the pod is told that the checksum has been verified; of a wrong one only "
    "where the kernel's path says so too.",
    "The kernel's path may have verified on its way, or still say so of the outer checksum; after the fast "
    "path it is up to the pod's stack, which has to look at the data once in any case.",
)
AGGREGATES = Intended(
    "Aggregates with XDP on a pod's veth",
    "What a pod sends as one aggregate arrives as its segments, as on a node whose pods have segmentation "
    "offload switched off.",
    "A native XDP program on a veth switches the offload of its other end off (drivers/net/veth.c).",
)
INTENDED = (IDENTIFICATION, SOURCE_PORT, CHECKSUM_SENT, CHECKSUM_RECEIVED, VERIFIED, AGGREGATES)


@frozen
class Beside:
    """A difference that no single packet shows."""

    name: str
    what: str


BESIDES = (
    Beside(
        "Counters and captures",
        "What takes the fast path is not seen by tcpdump on `flannel.N` and the bridge, nor counted by them, "
        "nor by iptables, nftables and conntrack; `xdpflannel counters` has it.",
    ),
    Beside(
        "Learned addresses",
        "A bridge learns and renews a pod's port only from frames that cross it. The agent keeps a pod that "
        "was seen until it is disproved, and asks again for those that the kernel has forgotten.",
    ),
    Beside(
        "Strangers under `--strict`",
        "Dropped and counted, where the kernel would deliver them. Without the flag they are the kernel's.",
    ),
)


def comparable(seen: Seen) -> Seen:
    """What of a frame has to be equal on both nodes."""
    masked = bytearray(seen.frame)
    for ip in _made_here(seen.frame):
        masked[ip.at + 4 : ip.at + 6] = masked[ip.at + 10 : ip.at + 12] = b"\0\0"
    tunnel = find_tunnel(seen.frame)
    if tunnel is not None and tunnel.source in _OURS:
        masked[_SOURCE_PORT] = masked[_CHECKSUM] = b"\0\0"
    return evolve(seen, frame=bytes(masked), verified=False)


def faults(seen: Seen) -> list[str]:
    """What is wrong with what `comparable` hides."""
    found = [
        f"IP header checksum at {ip.at} is wrong"
        for ip in _made_here(seen.frame)
        if not header_right(seen.frame, ip)
    ]
    tunnel = find_tunnel(seen.frame)
    if tunnel is not None and tunnel.source in _OURS:
        first, last = world.CONFIG.source_ports
        port = int.from_bytes(seen.frame[_SOURCE_PORT])
        if not first <= port < last:
            found.append(f"UDP source port {port} is not in [{first}, {last})")
        if not payload_right(seen.frame, tunnel):
            found.append("outer UDP checksum is neither zero nor right")
    ip = find_ip(seen.frame)
    if seen.verified and ip is not None and not payload_right(seen.frame, ip):
        found.append("a wrong checksum is called verified")
    return found


def alternative(frame: bytes) -> bytes | None:
    """The frame that this one from the wire may be taken for; None if it must be taken for itself."""
    tunnel = find_tunnel(frame)
    if tunnel is None or payload_right(frame, tunnel) or not _guarded(frame):
        return None
    return frame[: _CHECKSUM.start] + b"\0\0" + frame[_CHECKSUM.stop :]


def _guarded(frame: bytes) -> bool:
    """The packet in the tunnel has a checksum of its own."""
    ip = find_ip(frame, TUNNEL)
    if ip is None:
        return False
    if ip.protocol == UDP_PROTOCOL:
        return any(frame[ip.payload][6:8])
    return ip.protocol in {ICMP_PROTOCOL, TCP_PROTOCOL}


def _made_here(frame: bytes) -> list[Ip]:
    """The IPv4 headers that the node has written: the outermost, and one in a tunnel of ours."""
    found = [find_ip(frame)]
    if find_tunnel(frame) is not None:
        found.append(find_ip(frame, TUNNEL))
    return [ip for ip in found if ip is not None and ip.source in _OURS]


def document() -> str:
    """docs/differences.md."""
    head = (
        "The differential tests send every packet into both and compare what comes out: at the pods, on the "
        "wire, and as ICMP errors back at the sender. These differences are intended, and checked to be no "
        "larger than this; any other one fails. Generated from `tests/differential/intended.py`."
    )
    lines = ["# Where a node with the fast path differs from one without", "", head, ""]
    lines += ["| difference | what may differ | why |", "|---|---|---|"]
    lines += [f"| {it.name} | {it.what} | {it.reason} |" for it in INTENDED]
    lines += ["", "Beside the packets themselves:", ""]
    lines += [f"- **{it.name}.** {it.what}" for it in BESIDES]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(document())

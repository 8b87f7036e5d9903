"""Frames by scapy: what comes in, and, independently of the reference model, what has to come out."""

from ipaddress import IPv4Address
from typing import Any

from attrs import frozen
from packets import world
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw

from xdpflannel.model.entries import PodEntry, RouteEntry
from xdpflannel.model.net import Mac
from xdpflannel.model.verdict import Verdict
from xdpflannel.table.reference import State

TC_EGRESS, XDP_EGRESS = "pod_egress", "xdp_pod"
TC_INGRESS, XDP_INGRESS = "uplink_ingress", "xdp_uplink"
EGRESS = (TC_EGRESS, XDP_EGRESS)
INGRESS = (TC_INGRESS, XDP_INGRESS)


@frozen
class Case:
    """One frame into one program, and what must come of it. ``out`` None: the frame as it came in."""

    name: str
    program: str
    frame: bytes
    verdict: Verdict
    out: bytes | None = None
    redirect: int | None = None
    state: State = world.WORLD
    gso_size: int = 0
    ifindex: int = world.LO

    @property
    def id(self) -> str:
        """The name pytest shows."""
        return f"{self.program}-{self.name}"


def cases(programs: tuple[str, ...], name: str, frame: bytes, verdict: Verdict, **rest: Any) -> list[Case]:
    """The same case for several programs."""
    return [Case(name, program, frame, verdict, **rest) for program in programs]


def udp(size: int = 100, **members: Any) -> Packet:
    """A UDP packet whose IP length will be ``size`` (at least 28)."""
    return UDP(sport=4000, dport=5000, **members) / Raw(bytes(i & 0xFF for i in range(size - 28)))


def tcp(size: int = 100, **members: Any) -> Packet:
    """A TCP segment whose IP length will be ``size`` (at least 40)."""
    head = TCP(sport=4000, dport=5000, flags="A", seq=7, ack=9, **members)
    return head / Raw(bytes(i & 0xFF for i in range(size - 40)))


def icmp(size: int = 84) -> Packet:
    """An echo request whose IP length will be ``size`` (at least 28)."""
    return ICMP(id=3, seq=1) / Raw(bytes(size - 28))


def ip(
    source: IPv4Address, target: IPv4Address, payload: Packet | None = None, ttl: int = 64, **members: Any
) -> Packet:
    """An IP packet; UDP of 100 bytes if no payload is given."""
    return IP(src=str(source), dst=str(target), ttl=ttl, id=77, **members) / (payload or udp())


def outbound(payload: Packet | None = None, target: IPv4Address = world.REMOTE_IP, **members: Any) -> Packet:
    """What the pod sends to a pod of a peer."""
    return ip(world.POD_IP, target, payload, **members)


def inbound(payload: Packet | None = None, source: IPv4Address = world.REMOTE_IP, **members: Any) -> Packet:
    """What a peer's pod sends to our pod, as it is inside the tunnel (one hop done)."""
    members.setdefault("ttl", 63)
    return ip(source, members.pop("target", world.POD_IP), payload, **members)


def framed(packet: Packet, source: Mac = world.POD.mac, target: Mac = world.GATEWAY_MAC) -> bytes:
    """An Ethernet frame around it."""
    return bytes(Ether(src=str(source), dst=str(target), type=0x0800) / packet)


def wrapped(packet: Packet | bytes, route: RouteEntry = world.TO_PEER, tos: int = 0) -> bytes:
    """The frame that must leave over ``route``, with ``packet`` (already one hop further) inside."""
    outer = Ether(src=str(route.source_mac), dst=str(route.next_hop_mac))
    outer /= IP(src=str(route.local_ip), dst=str(route.vtep_ip), tos=tos, ttl=64, flags=0)
    outer /= UDP(sport=0, dport=route.port, chksum=0) / VXLAN(flags="Instance", vni=route.vni)
    return bytes(outer / Ether(src=str(route.local_mac), dst=str(route.vtep_mac), type=0x0800) / packet)


def tunnelled(
    packet: Packet | bytes | None = None,
    *,
    ether: dict[str, Any] | None = None,
    outer: dict[str, Any] | None = None,
    datagram: dict[str, Any] | None = None,
    vxlan: dict[str, Any] | None = None,
    inner: dict[str, Any] | None = None,
) -> bytes:
    """A frame as our peer sends it to us; each layer's members can be overridden."""
    layers = Ether(**({"src": str(world.PEER_UPLINK_MAC), "dst": str(world.UPLINK_MAC)} | (ether or {})))
    layers /= IP(
        **({"src": str(world.PEER_IP), "dst": str(world.OUR_IP), "ttl": 64, "id": 5} | (outer or {}))
    )
    layers /= UDP(**({"sport": 40000, "dport": world.PORT, "chksum": 0} | (datagram or {})))
    layers /= VXLAN(**({"flags": "Instance", "vni": world.VNI} | (vxlan or {})))
    layers /= Ether(
        **({"src": str(world.PEER_VTEP_MAC), "dst": str(world.VTEP_MAC), "type": 0x0800} | (inner or {}))
    )
    return bytes(layers / (inbound() if packet is None else packet))


def delivered(packet: Packet | bytes, pod: PodEntry = world.POD) -> bytes:
    """The frame that must reach ``pod`` with ``packet`` (already one hop further) in it."""
    return bytes(Ether(src=str(pod.gateway_mac), dst=str(pod.mac), type=0x0800) / packet)


def patched(frame: bytes, at: int, data: bytes) -> bytes:
    """The frame with some of its bytes replaced."""
    return frame[:at] + data + frame[at + len(data) :]


def pseudo_sum(packet: Packet) -> int:
    """What a sender's stack leaves in the checksum field for hardware to finish (CHECKSUM_PARTIAL)."""
    raw = bytes(packet)
    words = raw[12:20] + bytes([0, raw[9]]) + (len(raw) - 20).to_bytes(2)
    total = sum(int.from_bytes(words[i : i + 2]) for i in range(0, len(words), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total

"""What a pod may send: each function yields rows of one kind, a name and a frame."""

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

from differential.headers import folded
from differential.judge import Sent
from differential.node import DEVICE_IP, GATEWAY_IP, MTU, POD, ROUTER_IP
from packets import egress, world
from packets.build import framed, icmp, inbound, ip, outbound, patched, pseudo_sum, tcp, tunnelled, udp
from packets.netns import GSO_NONE, GSO_TCP4, GSO_UDP4, Offloaded
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

from xdpflannel.model.net import Mac

Row = tuple[str, Sent]
Rows = Iterator[Row]

LARGEST = MTU + 14 + 4
"""What a veth pair of this MTU lets through, a VLAN tag included."""
ALL = Mac(b"\xff" * 6)
GROUP = Mac.parse("01:00:5e:00:00:01")
WAYS = {
    "remote": (world.REMOTE_IP, world.GATEWAY_MAC),
    "far": (world.FAR_IP, world.GATEWAY_MAC),
    "sibling": (world.SIBLING_IP, world.SIBLING.mac),
    "sibling-by-gateway": (world.SIBLING_IP, world.GATEWAY_MAC),
    "old-sibling": (world.OLD_SIBLING_IP, world.OLD_SIBLING.mac),
    "outside": (world.WORLD_IP, world.GATEWAY_MAC),
    "gateway": (GATEWAY_IP, world.GATEWAY_MAC),
}
TARGETS = {
    "remote": world.REMOTE_IP,
    "remote-network": IPv4Address("10.244.2.0"),
    "remote-all": IPv4Address("10.244.2.255"),
    "down": world.DOWN_IP,
    "itself": world.POD_IP,
    "sibling": world.SIBLING_IP,
    "unknown-pod": world.NEW_POD_IP,
    "gateway": GATEWAY_IP,
    "device": DEVICE_IP,
    "subnet-all": IPv4Address("10.244.1.255"),
    "node": world.OUR_IP,
    "peer-node": world.PEER_IP,
    "underlay-all": IPv4Address("192.0.2.255"),
    "router": ROUTER_IP,
    "outside": world.WORLD_IP,
    "everybody": IPv4Address("255.255.255.255"),
    "multicast": IPv4Address("224.0.0.251"),
    "multicast-routed": IPv4Address("239.1.2.3"),
    "loopback": IPv4Address("127.0.0.1"),
    "link-local": IPv4Address("169.254.1.1"),
    "zero": IPv4Address(0),
    "class-e": IPv4Address("240.0.0.1"),
}
OPTIONS = {
    "nop": b"\x01\x01\x01\x00",
    "record-route": b"\x07\x0f\x04" + bytes(13),
    "router-alert": b"\x94\x04\x00\x00",
    "source-route": b"\x83\x07\x04\xc0\x00\x02\x02\x00",
    "source-route-used": b"\x83\x07\x08\xc0\x00\x02\x02\x00",
    "unknown": b"\x9e\x04\xaa\xbb",
    "too-long": b"\x07\x40\x04\x00",
    "too-short": b"\x07\x01\x04\x00",
}
"""None with a clock in it: two nodes would write two times."""


def _row(name: str, frame: bytes) -> Row:
    return name, Sent(POD, Offloaded(frame))


def to(way: str, payload: Packet | None = None, **members: object) -> bytes:
    """A frame from pod0 on one of `WAYS`."""
    target, mac = WAYS[way]
    return framed(outbound(payload, target, **members), target=mac)


def with_options(frame: bytes, options: bytes, at: int = 14) -> bytes:
    """The frame with options in the IPv4 header at an offset; what is around it stays as it is."""
    header = bytearray(frame[at : at + 20] + options)
    header[0] += len(options) // 4
    header[2:4] = (int.from_bytes(header[2:4]) + len(options)).to_bytes(2)
    header[10:12] = bytes(2)
    header[10:12] = (folded(bytes(header)) ^ 0xFFFF).to_bytes(2)
    return frame[:at] + bytes(header) + frame[at + 20 :]


def known() -> Rows:
    """The cases of the programs themselves."""
    frames = {case.frame: case.name for case in egress.CASES if not case.gso_size}
    yield from (_row(name, frame) for frame, name in frames.items() if len(frame) <= LARGEST)


def protocols() -> Rows:
    for number in range(256):
        yield _row(f"protocol-{number}", to("remote", Raw(bytes(range(60))), proto=number))
        if number % 16 in {1, 6}:
            for way in ("sibling", "outside", "gateway"):
                yield _row(f"protocol-{number}-{way}", to(way, Raw(bytes(range(60))), proto=number))


def sizes() -> Rows:
    for way in WAYS:
        for edge in (1300, 1400, world.MTU, MTU):
            for size in range(edge - 2, edge + 3):
                for flags in ("DF", 0):
                    yield _row(f"udp-{way}-{size}-{flags}", to(way, udp(size), flags=flags))
                yield _row(f"tcp-{way}-{size}", to(way, tcp(size), flags="DF"))
    for size in range(28, 64):
        yield _row(f"udp-{size}", to("remote", udp(size)))


def headers() -> Rows:
    for way in WAYS:
        for ttl in (0, 1, 2, 3, 255):
            yield _row(f"ttl-{ttl}-{way}", to(way, ttl=ttl))
        for name, flags, offset in (("first", "MF", 0), ("middle", "MF", 100), ("last", 0, 180)):
            yield _row(f"fragment-{name}-{way}", to(way, flags=flags, frag=offset))
            yield _row(f"fragment-{name}-df-{way}", to(way, flags=f"DF+{flags}" if flags else "DF"))
        for name, options in OPTIONS.items():
            yield _row(f"option-{name}-{way}", with_options(to(way), options))
        yield _row(f"evil-{way}", to(way, flags="evil"))
        yield _row(f"header-checksum-{way}", to(way, chksum=0x1234))
        for wrong in (0, 20, 27, 99, 101, 1000):
            yield _row(f"length-{wrong}-{way}", to(way, len=wrong))
        frame = to(way)
        for extra in (1, 2, 3, 18, 46, 64):
            yield _row(f"trailing-{extra}-{way}", frame + b"\xaa" * extra)
    for tos in range(256):
        yield _row(f"tos-{tos}", to("remote", tos=tos))
    frame = to("remote")
    for words in range(16):
        yield _row(f"ihl-{words}", patched(frame, 14, bytes([0x40 | words])))


def payloads() -> Rows:
    made = {
        "udp-no-checksum": udp(chksum=0),
        "udp-bad-checksum": udp(chksum=0x1234),
        "udp-length-short": udp(len=20),
        "udp-length-long": udp(len=2000),
        "udp-length-zero": udp(len=0),
        "tcp-bad-checksum": tcp(chksum=0x1234),
        "tcp-offset-short": tcp(dataofs=4),
        "tcp-offset-long": tcp(dataofs=15),
        "tcp-pseudo-sum": tcp(chksum=pseudo_sum(outbound(tcp()))),
        "udp-pseudo-sum": udp(chksum=pseudo_sum(outbound(udp()))),
        "icmp-echo": icmp(),
        "icmp-reply": ICMP(type=0, id=3, seq=1) / Raw(bytes(56)),
        "icmp-bad-checksum": ICMP(chksum=1) / Raw(bytes(56)),
        "icmp-too-big": ICMP(type=3, code=4, nexthopmtu=600) / bytes(inbound())[:28],
        "icmp-unreachable": ICMP(type=3, code=3) / bytes(inbound())[:28],
        "icmp-redirect": ICMP(type=5, code=1, gw="10.244.1.3") / bytes(inbound())[:28],
        "nested-vxlan": UDP(sport=40000, dport=world.PORT) / tunnelled()[42:],
        "ip-in-ip": outbound(),
    }
    for flags in ("S", "SA", "F", "R", "FPU", "", "SF"):
        made[f"tcp-{flags or 'none'}"] = _flagged(flags)
    for way in WAYS:
        for name, payload in made.items():
            yield _row(f"{name}-{way}", to(way, payload))


def _flagged(flags: str) -> Packet:
    return TCP(sport=4000, dport=5000, flags=flags, seq=7, ack=9) / Raw(bytes(20))


def not_ip() -> Rows:
    for target in (world.GATEWAY_MAC, world.SIBLING.mac, ALL):
        ether = Ether(src=str(world.POD.mac), dst=str(target))
        for address in (GATEWAY_IP, world.SIBLING_IP, world.NEW_POD_IP, world.REMOTE_IP):
            question = ARP(hwsrc=str(world.POD.mac), psrc=str(world.POD_IP), pdst=str(address))
            yield _row(f"arp-{address}-{target}", bytes(ether / question))
        echo = IPv6(src="fd00::2", dst="fd00::7") / ICMPv6EchoRequest()
        yield _row(f"ipv6-{target}", bytes(ether / echo))
        for tag in (0, 1, 5, 4095):
            yield _row(f"vlan-{tag}-{target}", bytes(ether / Dot1Q(vlan=tag) / outbound()))
            yield _row(f"vlan-priority-{tag}-{target}", bytes(ether / Dot1Q(prio=5, vlan=tag) / outbound()))
        yield _row(f"double-tag-{target}", bytes(ether / Dot1AD(vlan=3) / Dot1Q(vlan=5) / outbound()))
        for kind in (0, 46, 0x05FF, 0x0801, 0x8847, 0x88CC):
            yield _row(f"type-{kind:04x}-{target}", patched(framed(outbound()), 12, kind.to_bytes(2)))


def cut() -> Rows:
    for way in ("remote", "sibling", "outside"):
        for payload in (udp(60), tcp(60)):
            frame = to(way, payload)
            for size in range(14, len(frame)):
                yield _row(f"cut-{way}-{payload.name}-{size}", frame[:size])
                if size >= 34:
                    shorter = outbound(payload, WAYS[way][0])
                    shorter = IP(bytes(shorter)[: size - 14])
                    shorter.len, shorter.chksum = size - 14, None
                    yield _row(f"short-{way}-{payload.name}-{size}", framed(shorter, target=WAYS[way][1]))


def addresses() -> Rows:
    macs = {
        "gateway": world.GATEWAY_MAC,
        "port": world.POD.port_mac,
        "sibling": world.SIBLING.mac,
        "sibling-port": world.SIBLING.port_mac,
        "vtep": world.VTEP_MAC,
        "uplink": world.UPLINK_MAC,
        "itself": world.POD.mac,
        "unknown": world.OTHER_MAC,
        "zero": Mac(bytes(6)),
        "all": ALL,
        "group": GROUP,
    }
    for name, target in TARGETS.items():
        for mac_name, mac in macs.items():
            yield _row(f"to-{name}-by-{mac_name}", framed(outbound(target=target), target=mac))
    for name, source in TARGETS.items():
        for mac_name, mac in (macs | {"gateway": world.POD.mac}).items():
            for way in ("remote", "sibling", "outside"):
                target, by = WAYS[way]
                frame = framed(ip(source, target), source=mac, target=by)
                yield _row(f"from-{name}-{mac_name}-{way}", frame)


def nested() -> Rows:
    """VXLAN of the pod's own making, at whoever might take it off."""
    for name, target in TARGETS.items():
        for source in (world.POD_IP, world.PEER_IP, world.OUR_IP):
            forged = UDP(sport=40000, dport=world.PORT) / tunnelled()[42:]
            yield _row(f"vxlan-{name}-from-{source}", framed(ip(source, target, forged)))


def offloaded() -> Rows:
    """Aggregates and unfinished checksums, as a pod's sockets make them."""
    for way in WAYS:
        for size in (41, 100, 1298, 1299, 1300, 1301, 1400, 1449, 1450, 1451, 1500, 1501):
            yield _unfinished(f"tcp-{way}-{size}", way, tcp(size))
            yield _unfinished(f"udp-{way}-{size}", way, udp(size))
        for gso in (1, 100, 536, 1259, 1260, 1261, 1359, 1360, 1361, 1409, 1410, 1411, 1459, 1460, 1461):
            total = 40 + min(gso * 5 + 1, 8000)
            for flags in ("DF", 0):
                yield _unfinished(f"tso-{way}-{gso}-{flags}", way, tcp(total), GSO_TCP4, gso, flags=flags)
        for gso in (100, 1271, 1272, 1273, 1421, 1422, 1423, 1472, 1473):
            yield _unfinished(f"uso-{way}-{gso}", way, udp(28 + gso * 4 + 1), GSO_UDP4, gso)
        for ttl in (1, 2):
            yield _unfinished(f"tso-{way}-ttl-{ttl}", way, tcp(4000), GSO_TCP4, 1000, ttl=ttl)
        for tos in range(4):
            yield _unfinished(f"tso-{way}-tos-{tos}", way, tcp(4000), GSO_TCP4, 1000, tos=tos)
        for size in (65400, 65485, 65486, 65535):
            yield _unfinished(f"tso-{way}-{size}", way, tcp(size), GSO_TCP4, 1400)


_CHECK_AT = {"TCP": 16, "UDP": 6}


def _unfinished(
    name: str, way: str, payload: Packet, kind: int = GSO_NONE, gso: int = 0, **members: object
) -> Row:
    packet = outbound(payload, WAYS[way][0], **members)
    payload = packet[TCP] if TCP in packet else packet[UDP]
    payload.chksum = pseudo_sum(packet)
    frame = framed(packet, target=WAYS[way][1])
    return name, Sent(POD, Offloaded(frame, kind, gso, (34, _CHECK_AT[payload.name])))


GROUPS: tuple[Callable[[], Rows], ...] = (
    known, protocols, sizes, headers, payloads, not_ip, cut, addresses, nested, offloaded,
)  # fmt: skip

"""What may come from the underlay: each function yields rows of one kind, a name and a frame."""

import itertools
from collections.abc import Callable
from ipaddress import IPv4Address

from differential.judge import Sent
from differential.node import DEVICE_IP, GATEWAY_IP, MTU, WIRE
from differential.rows_pod import ALL, GROUP, OPTIONS, TARGETS, Row, Rows, with_options
from packets import ingress, world
from packets.build import framed, icmp, inbound, ip, outbound, patched, pseudo_sum, tcp, tunnelled, udp
from packets.netns import GSO_NONE, GSO_TCP4, GSO_UDP4, Offloaded
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from xdpflannel.model.net import Mac

_VXLAN, _INNER, _PACKET = 42, 50, 64
PODS = {"pod": world.POD_IP, "sibling": world.SIBLING_IP, "old-sibling": world.OLD_SIBLING_IP}
SOURCES = {
    "remote": world.REMOTE_IP,
    "far": world.FAR_IP,
    "down": world.DOWN_IP,
    "narrow": world.NARROW_IP,
    "pod": world.POD_IP,
    "sibling": world.SIBLING_IP,
    "gateway": GATEWAY_IP,
    "device": DEVICE_IP,
    "node": world.OUR_IP,
    "peer-node": world.PEER_IP,
    "outside": world.WORLD_IP,
    "zero": IPv4Address(0),
    "loopback": IPv4Address("127.0.0.1"),
    "multicast": IPv4Address("224.0.0.1"),
    "everybody": IPv4Address("255.255.255.255"),
    "subnet-all": IPv4Address("10.244.1.255"),
    "remote-network": IPv4Address("10.244.2.0"),
    "class-e": IPv4Address("240.0.0.1"),
}
MACS = {
    "vtep": world.VTEP_MAC,
    "peer-vtep": world.PEER_VTEP_MAC,
    "far-vtep": world.FAR_VTEP_MAC,
    "uplink": world.UPLINK_MAC,
    "gateway": world.GATEWAY_MAC,
    "pod": world.POD.mac,
    "unknown": world.OTHER_MAC,
    "zero": Mac(bytes(6)),
    "group": GROUP,
    "all": ALL,
}
_BY_ROUTER = {"outer": {"src": str(world.FAR_PEER_IP)}}


def _row(name: str, frame: bytes) -> Row:
    return name, Sent(WIRE, Offloaded(frame))


def known() -> Rows:
    """The cases of the programs themselves."""
    frames = {case.frame: case.name for case in ingress.CASES if not case.gso_size}
    yield from (_row(name, frame) for frame, name in frames.items())


def protocols() -> Rows:
    for number in range(256):
        packet = inbound(Raw(bytes(range(60))), proto=number)
        yield _row(f"protocol-{number}", tunnelled(packet))
        yield _row(f"protocol-{number}-outer-checksum", tunnelled(packet, datagram={"chksum": None}))


def sizes() -> Rows:
    for name, target in PODS.items():
        for edge in (1300, world.MTU, MTU):
            for size in range(edge - 2, edge + 3):
                for flags in ("DF", 0):
                    yield _row(
                        f"udp-{name}-{size}-{flags}",
                        tunnelled(inbound(udp(size), target=target, flags=flags)),
                    )
                yield _row(f"tcp-{name}-{size}", tunnelled(inbound(tcp(size), target=target, flags="DF")))
    for size in (2000, 3000, 9000, 60000):
        yield _row(f"udp-{size}", tunnelled(inbound(udp(size))))
    for size in range(28, 64):
        yield _row(f"udp-{size}", tunnelled(inbound(udp(size))))


def congestion() -> Rows:
    """RFC 6040: every pair of marks, under several DSCP."""
    for outer, inner in itertools.product(range(4), range(4)):
        for outer_dscp, inner_dscp in ((0, 0), (46, 0), (0, 46), (63, 63)):
            packet = inbound(tos=inner_dscp << 2 | inner)
            frame = tunnelled(packet, outer={"tos": outer_dscp << 2 | outer})
            yield _row(f"ecn-{outer}-{inner}-dscp-{outer_dscp}-{inner_dscp}", frame)
    for tos in range(0, 256, 5):
        yield _row(f"tos-{tos}", tunnelled(inbound(tos=tos), outer={"tos": 255 - tos}))


def outer() -> Rows:
    changed = {
        **{f"ttl-{ttl}": {"ttl": ttl} for ttl in (0, 1, 2, 255)},
        **{f"flags-{flags}": {"flags": flags} for flags in ("DF", "MF", "evil", "DF+MF")},
        "fragment": {"frag": 100},
        "last-fragment": {"frag": 20, "flags": 0},
        "bad-checksum": {"chksum": 0x1234},
        **{f"length-{size}": {"len": size} for size in (20, 28, 50, 83, 149, 151, 1000, 65535)},
        **{f"protocol-{number}": {"proto": number} for number in (0, 1, 4, 6, 47, 132, 136)},
        **{f"to-{name}": {"dst": str(target)} for name, target in TARGETS.items()},
        **{f"from-{name}": {"src": str(source)} for name, source in SOURCES.items()},
        "from-stranger": {"src": str(world.STRANGER_IP)},
        "from-far-peer": {"src": str(world.FAR_PEER_IP)},
    }
    for name, members in changed.items():
        yield _row(f"outer-{name}", tunnelled(outer=members))
        yield _row(f"outer-{name}-checksum", tunnelled(outer=members, datagram={"chksum": None}))
    for name, mac in MACS.items():
        yield _row(f"to-mac-{name}", tunnelled(ether={"dst": str(mac)}))
        yield _row(f"from-mac-{name}", tunnelled(ether={"src": str(mac)}))
    yield _row(
        "by-mac-of-all-to-underlay-all", tunnelled(ether={"dst": str(ALL)}, outer={"dst": "192.0.2.255"})
    )
    for name, options in OPTIONS.items():
        yield _row(f"outer-option-{name}", with_options(tunnelled(), options))
    for tag in (0, 5, 4095):
        ether = Ether(src=str(world.PEER_UPLINK_MAC), dst=str(world.UPLINK_MAC))
        yield _row(f"outer-vlan-{tag}", bytes(ether / Dot1Q(vlan=tag, type=0x0800)) + tunnelled()[14:])
    for extra in (1, 2, 3, 4, 18, 46, 64, 1000):
        yield _row(f"outer-trailing-{extra}", tunnelled() + b"\xaa" * extra)


def datagrams() -> Rows:
    for port in (0, 1, 1024, world.PORT, 32768, 60999, 65535):
        yield _row(f"source-port-{port}", tunnelled(datagram={"sport": port}))
    for port in (0, 4789, 8471, 8473, 65535):
        yield _row(f"port-{port}", tunnelled(datagram={"dport": port}))
    payloads = {
        "udp": udp(),
        "tcp": tcp(),
        "icmp": icmp(),
        "udp-no-checksum": udp(chksum=0),
        "sctp": Raw(bytes(40)),
    }
    for (name, payload), (kind, check) in itertools.product(
        payloads.items(), (("zero", 0), ("right", None), ("wrong", 0x1234), ("all", 0xFFFF))
    ):
        members = {"proto": 132} if name == "sctp" else {}
        yield _row(
            f"checksum-{kind}-{name}", tunnelled(inbound(payload, **members), datagram={"chksum": check})
        )
    for size in (0, 7, 8, 15, 16, 30, 66, 109, 129, 130, 131, 1000, 65535):
        for check in (0, None):
            frame = tunnelled(datagram={"len": size, "chksum": check})
            yield _row(f"datagram-length-{size}-{check}", frame)


def tunnel() -> Rows:
    frame = tunnelled()
    for bit in range(64):
        word = int.from_bytes(frame[_VXLAN : _VXLAN + 8]) ^ 1 << (63 - bit)
        yield _row(f"vxlan-bit-{bit}", patched(frame, _VXLAN, word.to_bytes(8)))
    for name, word in {
        "gbp": 0x88000123 << 32 | 1 << 8,
        "gbp-applied": 0x88084000 << 32 | 1 << 8,
        "gpe": 0x0C000001 << 32 | 1 << 8,
        "remote-checksum": 0x08200000 << 32 | 1 << 8 | 0x80,
        "oam": 0x09000000 << 32 | 1 << 8,
        "nothing": 0,
        "everything": (1 << 64) - 1,
    }.items():
        yield _row(f"vxlan-{name}", patched(frame, _VXLAN, word.to_bytes(8)))
    for (name, target), (source_name, source) in itertools.product(MACS.items(), MACS.items()):
        inner = {"dst": str(target), "src": str(source)}
        yield _row(f"inner-{source_name}-to-{name}", tunnelled(inner=inner))
    for kind in (0, 46, 0x05FF, 0x0600, 0x0801, 0x0806, 0x86DD, 0x8100, 0x88A8, 0x8847, 0x6558, 0xFFFF):
        yield _row(f"inner-type-{kind:04x}", tunnelled(inner={"type": kind}))
    for tag in (0, 5):
        tagged = bytes(Dot1Q(vlan=tag, type=0x0800) / inbound())
        yield _row(f"inner-vlan-{tag}", tunnelled(tagged, inner={"type": 0x8100}))
    echo = IPv6(src="fd00::7", dst="fd00::2") / ICMPv6EchoRequest()
    yield _row("inner-ipv6", tunnelled(echo, inner={"type": 0x86DD}))
    for address in (GATEWAY_IP, DEVICE_IP, world.POD_IP, world.REMOTE_IP):
        for target in (world.VTEP_MAC, ALL):
            question = ARP(hwsrc=str(world.PEER_VTEP_MAC), psrc="10.244.2.0", pdst=str(address))
            yield _row(
                f"inner-arp-{address}-{target}",
                tunnelled(question, inner={"type": 0x0806, "dst": str(target)}),
            )


def inner() -> Rows:
    for ttl in (0, 1, 2, 3, 255):
        for name, target in (*PODS.items(), ("gateway", GATEWAY_IP), ("outside", world.WORLD_IP)):
            yield _row(f"ttl-{ttl}-{name}", tunnelled(inbound(ttl=ttl, target=target)))
    for name, flags, offset in (("first", "MF", 0), ("middle", "MF", 100), ("last", 0, 180), ("df", "DF", 0)):
        for pod, target in PODS.items():
            yield _row(f"fragment-{name}-{pod}", tunnelled(inbound(flags=flags, frag=offset, target=target)))
    for name, options in OPTIONS.items():
        packet = with_options(bytes(inbound()), options, at=0)
        yield _row(f"option-{name}", tunnelled(packet))
        yield _row(f"option-{name}-outer-checksum", tunnelled(packet, datagram={"chksum": None}))
    for size in (0, 19, 20, 27, 28, 99, 101, 1000, 65535):
        yield _row(f"length-{size}", tunnelled(inbound(len=size)))
    yield _row("bad-checksum", tunnelled(inbound(chksum=0x1234)))
    for extra in (1, 2, 3, 18, 46, 64):
        for check in (0, None):
            packet = bytes(inbound()) + b"\xaa" * extra
            yield _row(f"trailing-{extra}-{check}", tunnelled(packet, datagram={"chksum": check}))
    for words in range(16):
        yield _row(f"ihl-{words}", patched(tunnelled(), _PACKET, bytes([0x40 | words])))
        yield _row(f"version-{words}", patched(tunnelled(), _PACKET, bytes([words << 4 | 5])))


def payloads() -> Rows:
    for name, payload in _payloads().items():
        for check in (0, None):
            yield _row(f"{name}-{check}", tunnelled(inbound(payload), datagram={"chksum": check}))


def _payloads() -> dict[str, Packet]:
    return {
        "udp-bad-checksum": udp(chksum=0x1234),
        "udp-no-checksum": udp(chksum=0),
        "udp-length-short": udp(len=20),
        "udp-length-long": udp(len=2000),
        "udp-length-zero": udp(len=0),
        "tcp-bad-checksum": tcp(chksum=0x1234),
        "tcp-offset-short": tcp(dataofs=4),
        "tcp-offset-long": tcp(dataofs=15),
        "tcp-syn": TCP(sport=1, dport=2, flags="S"),
        "tcp-none": TCP(sport=1, dport=2, flags=""),
        "icmp-bad-checksum": ICMP(chksum=1) / Raw(bytes(56)),
        "icmp-too-big": ICMP(type=3, code=4, nexthopmtu=600) / bytes(outbound())[:28],
        "icmp-unreachable": ICMP(type=3, code=3) / bytes(outbound())[:28],
        "icmp-redirect": ICMP(type=5, code=1, gw="10.244.1.3") / bytes(outbound())[:28],
        "nested": UDP(sport=40000, dport=world.PORT) / tunnelled()[_VXLAN:],
        "ip-in-ip": inbound(),
        "udp-pseudo-sum": udp(chksum=pseudo_sum(inbound(udp()))),
        "tcp-pseudo-sum": tcp(chksum=pseudo_sum(inbound(tcp()))),
    }


def addresses() -> Rows:
    for (name, source), (target_name, target) in itertools.product(SOURCES.items(), TARGETS.items()):
        packet = ip(source, target, ttl=63)
        yield _row(f"{name}-to-{target_name}", tunnelled(packet))
        if target_name in {"itself", "sibling", "gateway"}:
            yield _row(f"{name}-to-{target_name}-by-far", tunnelled(packet, **_BY_ROUTER))
            unknown = {"outer": {"src": str(world.STRANGER_IP)}}
            yield _row(f"{name}-to-{target_name}-by-stranger", tunnelled(packet, **unknown))
    for name, target in TARGETS.items():
        forged = UDP(sport=40000, dport=world.PORT) / tunnelled()[_VXLAN:]
        yield _row(f"nested-to-{name}", tunnelled(ip(world.REMOTE_IP, target, forged)))


def cut() -> Rows:
    for payload in (udp(60), tcp(60)):
        frame = tunnelled(inbound(payload))
        for size in range(14, len(frame)):
            yield _row(f"cut-{payload.name}-{size}", frame[:size])
        for size in range(_VXLAN, len(frame)):
            shorter = frame[_VXLAN:size]
            packet = IP(src=str(world.PEER_IP), dst=str(world.OUR_IP)) / UDP(
                sport=40000, dport=world.PORT, chksum=0
            )
            short = framed(packet / Raw(shorter), source=world.PEER_UPLINK_MAC, target=world.UPLINK_MAC)
            yield _row(f"short-{payload.name}-{size}", short)
        packet = bytes(inbound(payload))
        for size in range(20, len(packet)):
            shorter = IP(packet[:size])
            shorter.len, shorter.chksum = size, None
            yield _row(f"short-inside-{payload.name}-{size}", tunnelled(shorter))


def outside() -> Rows:
    """Not VXLAN: what the node routes for others, and what is for itself."""
    for name, target in TARGETS.items():
        for ttl in (1, 64):
            frame = framed(ip(world.WORLD_IP, target, ttl=ttl), world.ROUTER_MAC, world.UPLINK_MAC)
            yield _row(f"outside-to-{name}-{ttl}", frame)
    for size in (1300, 1301, 1450, 1451, 1500, 1501):
        for flags in ("DF", 0):
            for target in (world.POD_IP, world.SIBLING_IP, world.REMOTE_IP):
                packet = ip(world.WORLD_IP, target, udp(size), flags=flags)
                yield _row(
                    f"outside-{size}-{flags}-{target}", framed(packet, world.ROUTER_MAC, world.UPLINK_MAC)
                )
    for name, target in PODS.items():
        packet = ip(world.REMOTE_IP, target)
        yield _row(f"bare-overlay-{name}", framed(packet, world.PEER_UPLINK_MAC, world.UPLINK_MAC))


def offloaded() -> Rows:
    """Unfinished checksums, as neighbours on the same machine send them; aggregates beside the overlay."""
    for name, target in PODS.items():
        for size in (41, 100, 1300, 1301, 1450, 1451, 1500, 1501):
            for payload, at in ((tcp(size), 16), (udp(size), 6)):
                packet = inbound(payload, target=target)
                packet[payload.__class__].chksum = pseudo_sum(packet)
                frame = Offloaded(tunnelled(packet), checksum_at=(84, at))
                yield f"unfinished-{payload.name}-{size}-{name}", Sent(WIRE, frame)
        for payload, gso, kind, at in ((tcp(5000), 1000, GSO_TCP4, 16), (udp(5000), 1000, GSO_UDP4, 6)):
            packet = ip(world.WORLD_IP, target, payload)
            packet[payload.__class__].chksum = pseudo_sum(packet)
            frame = framed(packet, world.ROUTER_MAC, world.UPLINK_MAC)
            yield f"aggregate-{payload.name}-{name}", Sent(WIRE, Offloaded(frame, kind, gso, (34, at)))
    whole = IP(tunnelled()[14:])
    whole[UDP].chksum = pseudo_sum(whole)
    frame = framed(whole, world.PEER_UPLINK_MAC, world.UPLINK_MAC)
    yield "unfinished-outer", Sent(WIRE, Offloaded(frame, GSO_NONE, 0, (34, 6)))


GROUPS: tuple[Callable[[], Rows], ...] = (
    known, protocols, sizes, congestion, outer, datagrams, tunnel, inner, payloads, addresses, cut, outside,
    offloaded,
)  # fmt: skip

"""Frames from the underlay: into `uplink_ingress` and `xdp_uplink`."""

from typing import Any

from attrs import evolve
from packets import world
from packets.build import (
    INGRESS,
    TC_INGRESS,
    XDP_INGRESS,
    Case,
    cases,
    delivered,
    framed,
    icmp,
    inbound,
    ip,
    patched,
    pseudo_sum,
    tcp,
    tunnelled,
    udp,
)
from scapy.layers.inet import IPOption_NOP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from xdpflannel.model.entries import PodEntry
from xdpflannel.model.verdict import Verdict

_UDP_AT = 34
_VXLAN_AT = 42
_INNER_AT = 50
_PACKET_AT = 64
_BROADCAST = "ff:ff:ff:ff:ff:ff"


def _hop(packet: Packet, tos: int | None = None) -> Packet:
    after = packet.copy()
    after.ttl = packet.ttl - 1
    after.tos = packet.tos if tos is None else tos
    return after


def _taken(
    name: str,
    packet: Packet,
    pod: PodEntry = world.POD,
    programs: tuple[str, ...] = INGRESS,
    *,
    tos: int | None = None,
    gso_size: int = 0,
    **layers: Any,
) -> list[Case]:
    return cases(
        programs,
        name,
        tunnelled(packet, **layers),
        Verdict.DECAPSULATED,
        out=delivered(_hop(packet, tos), pod),
        redirect=pod.ifindex,
        gso_size=gso_size,
    )


def _left(name: str, frame: bytes, verdict: Verdict, programs: tuple[str, ...] = INGRESS) -> list[Case]:
    return cases(programs, name, frame, verdict)


def _sized() -> list[Case]:
    found = []
    for size in (28, 29, world.MTU - 1, world.MTU):
        found += _taken(f"udp-{size}", inbound(udp(size)))
    for size in (40, 41, world.MTU):
        found += _taken(f"tcp-{size}", inbound(tcp(size)))
    found += _left("mtu-exceeded", tunnelled(inbound(udp(world.MTU + 1))), Verdict.OVERSIZE)
    for size in (1299, 1300):
        packet = inbound(udp(size), target=world.SIBLING_IP)
        found += _taken(f"pod-mtu-{size}", packet, world.SIBLING)
    exceeded = tunnelled(inbound(udp(1301), target=world.SIBLING_IP))
    return found + _left("pod-mtu-exceeded", exceeded, Verdict.OVERSIZE)


def _headers() -> list[Case]:
    found = []
    for ttl in (2, 3, 63, 255):
        found += _taken(f"ttl-{ttl}", inbound(ttl=ttl))
    for ttl in (0, 1):
        found += _left(f"ttl-{ttl}", tunnelled(inbound(ttl=ttl)), Verdict.TTL_EXPIRED)
    for flags in ("DF", "evil"):
        found += _taken(f"inner-flags-{flags}", inbound(flags=flags))
        found += _taken(f"outer-flags-{flags}", inbound(), outer={"flags": flags})
    for ttl in (0, 1, 255):
        found += _taken(f"outer-ttl-{ttl}", inbound(), outer={"ttl": ttl})
    for port in (0, 1, 8472, 65535):
        found += _taken(f"source-port-{port}", inbound(), datagram={"sport": port})
    found += _taken("outer-checksum-filled", inbound(), datagram={"chksum": None})
    found += _taken("outer-dscp", inbound(), outer={"tos": 46 << 2})
    return found


def _ecn() -> list[Case]:
    """RFC 6040 section 4.2 as the kernel does it, for every pair of inner and outer marks."""
    merged = {
        (0, 0): 0, (0, 1): 0, (0, 2): 0,
        (1, 0): 1, (1, 1): 1, (1, 2): 1, (1, 3): 3,
        (2, 0): 2, (2, 1): 1, (2, 2): 2, (2, 3): 3,
        (3, 0): 3, (3, 1): 3, (3, 2): 3, (3, 3): 3,
    }  # fmt: skip
    found = []
    for (inner, outer), out in merged.items():
        for dscp in (0, 46 << 2):
            name = f"ecn-inner-{inner}-outer-{outer}-dscp-{dscp}"
            found += _taken(name, inbound(tos=dscp | inner), tos=dscp | out, outer={"tos": 0x28 | outer})
    for dscp in (0, 46 << 2):
        frame = tunnelled(inbound(tos=dscp), outer={"tos": 3})
        found += _left(f"ecn-inner-0-outer-3-dscp-{dscp}", frame, Verdict.ECN_CONFLICT)
    return found


def _protocols() -> list[Case]:
    found = _taken("icmp", inbound(icmp())) + _taken("icmp-cut-to-0", inbound(Raw(b""), proto=1))
    for payload, name in ((udp, "udp"), (tcp, "tcp")):
        unfinished = inbound(payload(chksum=pseudo_sum(inbound(payload()))))
        found += _taken(f"{name}-checksum-unfinished", unfinished, programs=(TC_INGRESS,))
        frame = tunnelled(unfinished)
        found += _left(
            f"{name}-checksum-unfinished", frame, Verdict.CHECKSUM_UNFINISHED, programs=(XDP_INGRESS,)
        )
        found += _taken(f"{name}-checksum-wrong", inbound(payload(chksum=1 ^ unfinished.payload.chksum)))
    found += _taken("udp-without-checksum", inbound(udp(chksum=0)))
    bare = tunnelled(inbound(udp(chksum=0)), datagram={"chksum": None})
    found += _left("udp-without-checksum-in-one-with", bare, Verdict.UNSUPPORTED_PROTOCOL)
    found += _taken("tcp-without-checksum-in-one-with", inbound(tcp(chksum=0)), datagram={"chksum": None})
    for number in (0, 4, 47, 50, 132, 255):
        other = inbound(Raw(bytes(40)), proto=number)
        found += _taken(f"protocol-{number}", other, programs=(TC_INGRESS,))
        found += _left(
            f"protocol-{number}", tunnelled(other), Verdict.UNSUPPORTED_PROTOCOL, programs=(XDP_INGRESS,)
        )
        guarded = tunnelled(other, datagram={"chksum": None})
        found += _left(f"protocol-{number}-in-a-checksum", guarded, Verdict.UNSUPPORTED_PROTOCOL)
    for number, room in ((6, 20), (17, 8)):
        for size in (0, 1, room - 1):
            short = inbound(Raw(bytes(size)), proto=number)
            name = f"protocol-{number}-cut-to-{size}"
            found += _taken(name, short, programs=(TC_INGRESS,))
            found += _left(name, tunnelled(short), Verdict.BAD_LENGTH, programs=(XDP_INGRESS,))
    for length in (0, 8, 79, 81, 0xFFFF):
        packet, name = inbound(udp(len=length)), f"udp-length-{length}"
        found += _taken(name, packet, programs=(TC_INGRESS,))
        found += _left(name, tunnelled(packet), Verdict.BAD_LENGTH, programs=(XDP_INGRESS,))
    cut = tunnelled(inbound(Raw(bytes(7)), proto=17), datagram={"chksum": 5})
    found += _left("udp-cut-to-7-in-one-with-checksum", cut, Verdict.BAD_LENGTH)
    leaves = {"state": world.XDP_LEAVES_TCP}
    for size in (40, 1450):
        segment = inbound(tcp(size))
        frame = tunnelled(segment)
        found += cases((XDP_INGRESS,), f"tcp-{size}-left", frame, Verdict.LEFT_TO_GRO, **leaves)
        taken = {"out": delivered(_hop(segment)), "redirect": world.LO}
        found += cases((TC_INGRESS,), f"tcp-{size}-taken", frame, Verdict.DECAPSULATED, **taken, **leaves)
    old = inbound(udp(), target=world.OLD_SIBLING_IP)
    found += _taken("pod-without-napi", old, world.OLD_SIBLING, (TC_INGRESS,))
    return found + _left("pod-without-napi", tunnelled(old), Verdict.NO_NAPI, (XDP_INGRESS,))


def _not_tunnel() -> list[Case]:
    frame = tunnelled()
    ether = Ether(src=str(world.PEER_UPLINK_MAC), dst=str(world.UPLINK_MAC))
    found = _left("arp", bytes(ether / ARP(pdst=str(world.OUR_IP))), Verdict.NOT_IP)
    found += _left("ipv6", bytes(ether / IPv6() / udp()), Verdict.NOT_IP)
    found += _left("vlan", frame[:12] + b"\x81\x00\x00\x05" + frame[12:], Verdict.NOT_IP)
    for version in (0, 5, 6):
        found += _left(f"version-{version}", patched(frame, 14, bytes([version << 4 | 5])), Verdict.NOT_IP)
    for name, layers in {
        "another-address": {"outer": {"dst": "192.0.2.9"}},
        "broadcast-address": {"outer": {"dst": "192.0.2.255"}},
        "protocol-tcp": {"outer": {"proto": 6}},
        "protocol-udplite": {"outer": {"proto": 136}},
        "port-4789": {"datagram": {"dport": 4789}},
        "port-8473": {"datagram": {"dport": 8473}},
        "port-swapped-bytes": {"datagram": {"dport": 0x1821}},
        "mac-of-another": {"ether": {"dst": str(world.PEER_UPLINK_MAC)}},
        "mac-of-all": {"ether": {"dst": _BROADCAST}},
        "options-at-another-address": {"outer": {"dst": "192.0.2.9", "options": [IPOption_NOP()] * 4}},
    }.items():
        found += _left(f"not-tunnel-{name}", tunnelled(**layers), Verdict.NOT_TUNNEL)
    for at in range(6):
        other = patched(frame, at, bytes([frame[at] ^ 1]))
        found += _left(f"uplink-mac-byte-{at}", other, Verdict.NOT_TUNNEL)
    ssh = framed(ip(world.PEER_IP, world.OUR_IP, tcp()), target=world.UPLINK_MAC)
    return found + _left("ssh", ssh, Verdict.NOT_TUNNEL)


def _cut(frame: bytes) -> list[Case]:
    """The frame cut at every byte: headers, then lengths that say more than there is."""
    found = []
    for size in range(len(frame)):
        verdict = (
            Verdict.NOT_IP
            if size < _UDP_AT
            else Verdict.NOT_TUNNEL
            if size < _VXLAN_AT
            else Verdict.BAD_LENGTH
        )
        found += _left(f"cut-to-{size}", frame[:size], verdict)
    return found


def _shortened() -> list[Case]:
    """Outer headers that are right about a payload which ends too early for an inner IP header."""
    found = []
    whole = tunnelled()
    for size in range(_PACKET_AT + 20 - _VXLAN_AT):
        head = Ether(whole[:14]) / ip(
            world.PEER_IP, world.OUR_IP, Raw(whole[_UDP_AT : _VXLAN_AT + size]), proto=17
        )
        frame = patched(bytes(head), _UDP_AT + 4, (8 + size).to_bytes(2))
        found += _left(f"datagram-of-{size}", frame, Verdict.BAD_LENGTH)
    return found


def _outer() -> list[Case]:
    frame = tunnelled()
    length = int.from_bytes(frame[16:18])
    found = _left("outer-options", tunnelled(outer={"options": [IPOption_NOP()] * 4}), Verdict.IP_OPTIONS)
    for words in (0, 4, 6, 15):
        found += _left(f"outer-ihl-{words}", patched(frame, 14, bytes([0x40 | words])), Verdict.IP_OPTIONS)
    for name, flags, offset in (("first", "MF", 0), ("middle", "MF", 9), ("last", 0, 1)):
        fragment = tunnelled(outer={"flags": flags, "frag": offset})
        found += _left(f"outer-fragment-{name}", fragment, Verdict.FRAGMENT)
    later = tunnelled(outer={"frag": 9}, datagram={"dport": 80})
    found += _left("outer-fragment-without-ports", later, Verdict.FRAGMENT)
    for wrong in (0, 20, 84, length - 1, length + 1, 0xFFFF):
        found += _left(f"outer-length-{wrong}", tunnelled(outer={"len": wrong}), Verdict.BAD_LENGTH)
    for wrong in (0, 7, 8, length - 21, length - 19, 0xFFFF):
        found += _left(f"datagram-length-{wrong}", tunnelled(datagram={"len": wrong}), Verdict.BAD_LENGTH)
    for extra in (1, 2, 18):
        found += _left(f"trailing-{extra}", frame + bytes(extra), Verdict.BAD_LENGTH)
    for at in (15, 18, 19, 22, 24, 25, 26, 29):
        wrong = patched(frame, at, bytes([frame[at] ^ 0x40]))
        found += _left(f"outer-byte-{at}-flipped", wrong, Verdict.BAD_CHECKSUM)
    return found


def _vxlan() -> list[Case]:
    frame = tunnelled()
    found = []
    for bit in range(32):
        word = (0x08000000 ^ 1 << bit).to_bytes(4)
        found += _left(f"vxlan-flag-bit-{bit}", patched(frame, _VXLAN_AT, word), Verdict.VXLAN_FLAGS)
    for bit in range(8):
        word = (world.VNI << 8 | 1 << bit).to_bytes(4)
        found += _left(f"vxlan-low-bit-{bit}", patched(frame, _VXLAN_AT + 4, word), Verdict.VXLAN_FLAGS)
    for vni in (0, 2, 256, 65536, 0x800001, 0xFFFFFF):
        found += _left(f"vni-{vni}", tunnelled(vxlan={"vni": vni}), Verdict.FOREIGN_VNI)
    for name, macs in {
        "to-another-vtep": {"dst": str(world.PEER_VTEP_MAC)},
        "to-the-uplink": {"dst": str(world.UPLINK_MAC)},
        "to-all": {"dst": _BROADCAST},
        "to-zero": {"dst": "00:00:00:00:00:00"},
        "from-ourselves": {"src": str(world.VTEP_MAC)},
        "from-zero": {"src": "00:00:00:00:00:00"},
        "from-a-group": {"src": "03:bb:00:00:00:02"},
        "from-all": {"src": _BROADCAST},
    }.items():
        found += _left(f"inner-mac-{name}", tunnelled(inner=macs), Verdict.INNER_MAC)
    for at in range(_INNER_AT, _INNER_AT + 6):
        wrong = patched(frame, at, bytes([frame[at] ^ 0x10]))
        found += _left(f"vtep-mac-byte-{at}", wrong, Verdict.INNER_MAC)
    found += _taken("inner-mac-from-a-stranger", inbound(), inner={"src": str(world.OTHER_MAC)})
    for kind in (0, 0x0806, 0x86DD, 0x8100, 0x0008, 0x0801):
        found += _left(f"inner-type-{kind:04x}", tunnelled(inner={"type": kind}), Verdict.INNER_NOT_IP)
    tagged = tunnelled(bytes(Dot1Q(vlan=0, type=0x0800) / inbound()), inner={"type": 0x8100})
    found += _left("inner-priority-tag", tagged, Verdict.INNER_NOT_IP)
    for version in (0, 5, 6):
        wrong = patched(frame, _PACKET_AT, bytes([version << 4 | 5]))
        found += _left(f"inner-version-{version}", wrong, Verdict.INNER_NOT_IP)
    return found


def _strangers() -> list[Case]:
    found = _taken("from-far-peer", inbound(source=world.FAR_IP), outer={"src": str(world.FAR_PEER_IP)})
    found += _taken("from-down-peer", inbound(source=world.DOWN_IP), outer={"src": str(world.DOWN_PEER_IP)})
    found += _taken("from-shorter-prefix", inbound(source=world.WIDE_IP))
    cross = {"outer": {"src": str(world.FAR_PEER_IP)}}
    unleased = {"outer": {"src": str(world.STRANGER_IP)}}
    ourselves = {"outer": {"src": str(world.OUR_IP)}}
    own = tunnelled(inbound(source=world.SIBLING_IP))
    cases_of = {
        "source-of-another-peer": (tunnelled(**cross), "SOURCE"),
        "source-in-longer-prefix": (tunnelled(inbound(source=world.NARROW_IP)), "SOURCE"),
        "source-of-the-world": (tunnelled(inbound(source=world.WORLD_IP)), "SOURCE"),
        "source-of-a-local-pod": (own, "SOURCE"),
        "source-of-the-very-pod": (tunnelled(inbound(source=world.POD_IP)), "SOURCE"),
        "source-zero": (tunnelled(inbound(source=world.IPv4Address(0))), "SOURCE"),
        "source-and-then-options": (
            tunnelled(inbound(source=world.WORLD_IP, options=[IPOption_NOP()] * 4)),
            "SOURCE",
        ),
        "no-lease": (tunnelled(**unleased), "VTEP"),
        "no-lease-unknown-source": (tunnelled(inbound(source=world.WORLD_IP), **unleased), "VTEP"),
        "our-own-address": (tunnelled(**ourselves), "VTEP"),
    }
    for name, (frame, kind) in cases_of.items():
        found += _left(f"stranger-{name}", frame, Verdict[f"STRANGER_{kind}"])
        dropped = Verdict[f"STRANGER_{kind}_DROPPED"]
        found += cases(INGRESS, f"strict-stranger-{name}", frame, dropped, state=world.STRICT)
    good = {"out": delivered(_hop(inbound())), "redirect": world.LO, "state": world.STRICT}
    return found + cases(INGRESS, "strict-udp", tunnelled(), Verdict.DECAPSULATED, **good)


def _inner() -> list[Case]:
    frame = tunnelled()
    found = []
    options = [IPOption_NOP()] * 4
    found += _left("inner-options", tunnelled(inbound(options=options)), Verdict.IP_OPTIONS)
    for words in (0, 4, 6, 15):
        wrong = patched(frame, _PACKET_AT, bytes([0x40 | words]))
        found += _left(f"inner-ihl-{words}", wrong, Verdict.IP_OPTIONS)
    for name, flags, offset in (("first", "MF", 0), ("middle", "MF", 9), ("last", 0, 1)):
        fragment = tunnelled(inbound(flags=flags, frag=offset))
        found += _left(f"inner-fragment-{name}", fragment, Verdict.FRAGMENT)
    for wrong in (0, 19, 20, 99, 101, 0xFFFF):
        found += _left(f"inner-length-{wrong}", tunnelled(inbound(len=wrong)), Verdict.BAD_LENGTH)
    found += _left("inner-trailing", tunnelled(bytes(inbound()) + b"\0"), Verdict.BAD_LENGTH)
    for at in (65, 68, 72, 73, 74, 75):
        wrong = patched(frame, at, bytes([frame[at] ^ 0x40]))
        found += _left(f"inner-byte-{at}-flipped", wrong, Verdict.BAD_CHECKSUM)
    for name, target in (("new", world.NEW_POD_IP), ("world", world.WORLD_IP), ("remote", world.FAR_IP)):
        unknown = tunnelled(inbound(target=target))
        found += _left(f"pod-unknown-{name}", unknown, Verdict.UNKNOWN_POD)
    for name, target in (
        ("broadcast", "10.244.1.255"),
        ("multicast", "224.0.0.1"),
        ("loopback", "127.0.0.1"),
    ):
        unknown = tunnelled(inbound(target=world.IPv4Address(target)))
        found += _left(f"pod-{name}", unknown, Verdict.UNKNOWN_POD)
    found += _left(
        "pod-unknown-and-ttl", tunnelled(inbound(target=world.NEW_POD_IP, ttl=1)), Verdict.UNKNOWN_POD
    )
    both = tunnelled(inbound(udp(world.MTU + 1), ttl=1))
    found += _left("ttl-and-size", both, Verdict.TTL_EXPIRED)
    return found + cases(INGRESS, "not-ready", frame, Verdict.NOT_READY, state=world.NOT_READY)


def _aggregates() -> list[Case]:
    found = []
    for name, packet, fits in (
        ("tcp", inbound(tcp(3000)), world.MTU - 40),
        ("udp", inbound(udp(3000)), world.MTU - 28),
    ):
        frame = tunnelled(packet)
        for gso_size in (1, fits):
            taken = _taken(f"gso-{name}-{gso_size}", packet, programs=(TC_INGRESS,), gso_size=gso_size)
            # A UDP socket loses an aggregate that still has the tunnel's GSO type.
            clears = world.WORLD if name == "tcp" else world.CLEARS_TUNNEL_GSO
            found += [evolve(case, state=clears) for case in taken]
            if name == "udp":
                left = Case(f"gso-udp-{gso_size}-type-kept", TC_INGRESS, frame, Verdict.UNSUPPORTED_PROTOCOL)
                found.append(evolve(left, gso_size=gso_size))
        found.append(Case(f"gso-{name}-{fits + 1}", TC_INGRESS, frame, Verdict.OVERSIZE, gso_size=fits + 1))
    sctp = tunnelled(inbound(Raw(bytes(2000)), proto=132))
    found.append(Case("gso-sctp", TC_INGRESS, sctp, Verdict.UNSUPPORTED_PROTOCOL, gso_size=1000))
    cleared = _taken("gso-tcp-type-cleared", inbound(tcp(3000)), programs=(TC_INGRESS,), gso_size=1400)
    return found + [evolve(case, state=world.CLEARS_TUNNEL_GSO) for case in cleared]


CASES = [
    *_sized(),
    *_headers(),
    *_ecn(),
    *_protocols(),
    *_not_tunnel(),
    *_cut(tunnelled()),
    *_shortened(),
    *_outer(),
    *_vxlan(),
    *_strangers(),
    *_inner(),
    *_aggregates(),
]

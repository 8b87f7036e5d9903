"""Frames from a pod: into `pod_egress` and `xdp_pod`."""

from attrs import evolve
from packets import world
from packets.build import (
    EGRESS,
    TC_EGRESS,
    XDP_EGRESS,
    Case,
    cases,
    framed,
    icmp,
    ip,
    outbound,
    patched,
    pseudo_sum,
    tcp,
    udp,
    wrapped,
)
from scapy.layers.inet import IP, TCP, IPOption_NOP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from xdpflannel.model.entries import RouteEntry
from xdpflannel.model.net import Mac
from xdpflannel.model.verdict import Verdict

_HEADERS = 34


def _hop(packet: Packet) -> Packet:
    """The same packet after the node has routed it."""
    after = packet.copy()
    after.ttl = packet.ttl - 1
    return after


def _sent(
    name: str,
    packet: Packet,
    route: RouteEntry = world.TO_PEER,
    tos: int = 0,
    programs: tuple[str, ...] = EGRESS,
    **rest: int,
) -> list[Case]:
    out = wrapped(_hop(packet), route, tos)
    return cases(
        programs, name, framed(packet), Verdict.ENCAPSULATED, out=out, redirect=route.ifindex, **rest
    )


def _left(name: str, frame: bytes, verdict: Verdict) -> list[Case]:
    return cases(EGRESS, name, frame, verdict)


def _with_check(check: int) -> Packet:
    """A packet whose right IP header checksum is ``check``: the id makes up the difference."""
    blank = outbound()
    blank.id = 0
    have = int.from_bytes(bytes(blank)[10:12])
    blank.id = (have - check) % 0xFFFF
    return blank


def _sized() -> list[Case]:
    found = []
    for size in (28, 29, world.MTU - 1, world.MTU):
        found += _sent(f"udp-{size}", outbound(udp(size)))
    for size in (40, 41, world.MTU - 1, world.MTU):
        found += _sent(f"tcp-{size}", outbound(tcp(size)))
    found += _sent("route-mtu", outbound(udp(1400), world.FAR_IP), world.TO_FAR_PEER)
    found += _left("route-mtu-exceeded", framed(outbound(udp(1401), world.FAR_IP)), Verdict.OVERSIZE)
    for flags in ("DF", 0):
        oversize = framed(outbound(udp(world.MTU + 1), flags=flags))
        found += _left(f"mtu-exceeded-flags-{flags}", oversize, Verdict.OVERSIZE)
    huge = outbound(udp(0xFFFF - 50), world.BIG_IP)
    found += _sent("as-long-as-outer-length-can-say", huge, world.TO_BIG_PEER)
    found += _left(
        "outer-length-overflow", framed(outbound(udp(0xFFFF - 49), world.BIG_IP)), Verdict.OVERSIZE
    )
    return found


def _headers() -> list[Case]:
    found = []
    for ttl in (2, 3, 64, 255):
        found += _sent(f"ttl-{ttl}", outbound(ttl=ttl))
    for ttl in (0, 1):
        found += _left(f"ttl-{ttl}", framed(outbound(ttl=ttl)), Verdict.TTL_EXPIRED)
    for ecn, outer in ((0, 0), (1, 1), (2, 2), (3, 2)):
        found += _sent(f"ecn-{ecn}", outbound(tos=ecn), tos=outer)
        found += _sent(f"ecn-{ecn}-dscp-46", outbound(tos=46 << 2 | ecn), tos=outer)
    for flags in ("DF", "evil", "evil+DF"):
        found += _sent(f"flags-{flags}", outbound(flags=flags))
    for check in (0x0000, 0x0001, 0x00FF, 0x0100, 0xFEFF, 0xFF00, 0xFFFE):
        found += _sent(f"header-checksum-{check:04x}", _with_check(check))
    minus_zero = patched(framed(_with_check(0)), 24, b"\xff\xff")
    out = wrapped(_hop(_with_check(0)))
    found += cases(
        EGRESS,
        "header-checksum-minus-zero",
        minus_zero,
        Verdict.ENCAPSULATED,
        out=out,
        redirect=world.UPLINK,
    )
    return found


def _protocols() -> list[Case]:
    found = _sent("icmp", outbound(icmp())) + _sent("udp-without-checksum", outbound(udp(chksum=0)))
    for payload, name in ((udp, "udp"), (tcp, "tcp")):
        unfinished = outbound(payload(chksum=pseudo_sum(outbound(payload()))))
        found += _sent(f"{name}-checksum-unfinished", unfinished, programs=(TC_EGRESS,))
        found += cases(
            (XDP_EGRESS,), f"{name}-checksum-unfinished", framed(unfinished), Verdict.CHECKSUM_UNFINISHED
        )
        wrong = outbound(payload(chksum=1 ^ pseudo_sum(outbound(payload()))))
        found += _sent(f"{name}-checksum-wrong", wrong)
    for number in (0, 2, 4, 41, 47, 50, 132, 255):
        other = outbound(Raw(bytes(40)), proto=number)
        found += _sent(f"protocol-{number}", other, programs=(TC_EGRESS,))
        found += cases((XDP_EGRESS,), f"protocol-{number}", framed(other), Verdict.UNSUPPORTED_PROTOCOL)
    for number, room in ((6, 20), (17, 8)):
        for size in (0, 1, room - 1):
            short = outbound(Raw(bytes(size)), proto=number)
            found += _sent(f"protocol-{number}-cut-to-{size}", short, programs=(TC_EGRESS,))
            found += cases(
                (XDP_EGRESS,), f"protocol-{number}-cut-to-{size}", framed(short), Verdict.BAD_LENGTH
            )
    for length in (0, 8, 79, 81, 0xFFFF):
        packet = outbound(udp(len=length))
        found += _sent(f"udp-length-{length}", packet, programs=(TC_EGRESS,))
        found += cases((XDP_EGRESS,), f"udp-length-{length}", framed(packet), Verdict.BAD_LENGTH)
    found += _sent("icmp-cut-to-0", outbound(Raw(b""), proto=1))
    return found


def _ways() -> list[Case]:
    found = _sent("by-a-router", outbound(udp(), world.FAR_IP), world.TO_FAR_PEER)
    found += _sent("shorter-prefix", outbound(udp(), world.WIDE_IP))
    found += _sent("longest-prefix", outbound(udp(), world.NARROW_IP), world.TO_FAR_PEER)
    found += _left("next-hop-unresolved", framed(outbound(udp(), world.DOWN_IP)), Verdict.UNRESOLVED)
    for name, target in (
        ("the-world", world.WORLD_IP),
        ("pod-not-learned", world.NEW_POD_IP),
        ("all-ones", world.IPv4Address("255.255.255.255")),
        ("multicast", world.IPv4Address("224.0.0.251")),
        ("loopback", world.IPv4Address("127.0.0.1")),
        ("zero", world.IPv4Address(0)),
        ("beside-a-subnet", world.IPv4Address("10.246.0.0")),
    ):
        found += _left(f"to-{name}", framed(outbound(udp(), target)), Verdict.NOT_OVERLAY)
    by_port = {"out": wrapped(_hop(outbound())), "redirect": world.UPLINK}
    to_port = framed(outbound(), target=world.POD.port_mac)
    found += cases(EGRESS, "by-mac-of-the-port", to_port, Verdict.ENCAPSULATED, **by_port)
    for name, mac in (
        ("a-pod", world.SIBLING.mac),
        ("the-port-of-a-sibling", world.SIBLING.port_mac),
        ("all", Mac(b"\xff" * 6)),
        ("vtep", world.VTEP_MAC),
    ):
        found += _left(f"remote-by-mac-of-{name}", framed(outbound(), target=mac), Verdict.HOST_BOUND)
    for at in range(6):
        frame = framed(outbound())
        found += _left(
            f"gateway-mac-byte-{at}", patched(frame, at, bytes([frame[at] ^ 1])), Verdict.HOST_BOUND
        )
    return found


def _not_ip() -> list[Case]:
    ether = Ether(src=str(world.POD.mac), dst=str(world.GATEWAY_MAC))
    frame = framed(outbound())
    found = _left("arp", bytes(ether / ARP(pdst=str(world.REMOTE_IP))), Verdict.NOT_IP)
    found += _left("ipv6", bytes(ether / IPv6(dst="fd00::1") / udp()), Verdict.NOT_IP)
    found += _left("vlan", bytes(ether / Dot1Q(vlan=5) / outbound()), Verdict.NOT_IP)
    found += _left("priority-tag", bytes(ether / Dot1Q(vlan=0) / outbound()), Verdict.NOT_IP)
    for version in (0, 3, 5, 6, 15):
        wrong = patched(frame, 14, bytes([version << 4 | 5]))
        found += _left(f"version-{version}", wrong, Verdict.NOT_IP)
    for size in range(len(frame)):
        verdict = Verdict.NOT_IP if size < _HEADERS else Verdict.BAD_LENGTH
        found += _left(f"cut-to-{size}", frame[:size], verdict)
    return found


def _malformed() -> list[Case]:
    plain = outbound()
    frame = framed(plain)
    found = []
    for count in (1, 4, 10):
        options = [IPOption_NOP()] * (4 * count)
        found += _left(f"options-{count}-words", framed(outbound(options=options)), Verdict.IP_OPTIONS)
    for words in (0, 4, 6, 15):
        found += _left(f"ihl-{words}", patched(frame, 14, bytes([0x40 | words])), Verdict.IP_OPTIONS)
    for name, flags, offset in (
        ("first", "MF", 0),
        ("middle", "MF", 100),
        ("last", 0, 1),
        ("df-mf", "DF+MF", 0),
    ):
        found += _left(f"fragment-{name}", framed(outbound(flags=flags, frag=offset)), Verdict.FRAGMENT)
    for length in (0, 1, 19, 20, 99, 101, 0xFFFF):
        found += _left(f"length-{length}", framed(outbound(len=length)), Verdict.BAD_LENGTH)
    for extra in (1, 4, 46):
        found += _left(f"trailing-{extra}", frame + bytes(extra), Verdict.BAD_LENGTH)
    for at in range(15, _HEADERS):
        if at in {16, 17, 20, 21, *range(26, 34)}:
            continue  # another check finds these first
        wrong = patched(frame, at, bytes([frame[at] ^ 0x40]))
        found += _left(f"header-byte-{at}-flipped", wrong, Verdict.BAD_CHECKSUM)
    return found


def _senders() -> list[Case]:
    found = _left("pod-not-learned-yet", framed(ip(world.NEW_POD_IP, world.REMOTE_IP)), Verdict.UNKNOWN_POD)
    for source in ("0.0.0.0", "127.0.0.1", "192.0.2.1", "255.255.255.255"):
        stranger = framed(ip(world.IPv4Address(source), world.REMOTE_IP))
        found += _left(f"from-{source}", stranger, Verdict.UNKNOWN_POD)
    sibling = ip(world.SIBLING_IP, world.REMOTE_IP)
    forged = {
        "address-of-a-remote-pod": framed(ip(world.FAR_IP, world.REMOTE_IP)),
        "address-of-the-target": framed(ip(world.REMOTE_IP, world.REMOTE_IP)),
        "address-of-a-sibling": framed(sibling),
        "address-and-mac-of-a-sibling": framed(sibling, source=world.SIBLING.mac),
        "mac-of-a-sibling": framed(outbound(), source=world.SIBLING.mac),
        "mac-of-the-gateway": framed(outbound(), source=world.GATEWAY_MAC),
        "to-a-sibling-with-another-mac": framed(
            ip(world.POD_IP, world.SIBLING_IP), source=world.OTHER_MAC, target=world.SIBLING.mac
        ),
        "mac-and-then-options": framed(outbound(options=[IPOption_NOP()] * 4), source=world.OTHER_MAC),
    }
    good = framed(outbound())
    for at in range(6, 12):
        forged[f"mac-byte-{at}"] = patched(good, at, bytes([good[at] ^ 0x80]))
    for name, frame in forged.items():
        found += _left(f"forged-{name}", frame, Verdict.FORGED_SOURCE)
        found += cases(
            EGRESS, f"strict-forged-{name}", frame, Verdict.FORGED_SOURCE_DROPPED, state=world.STRICT
        )
    strict = {"out": wrapped(_hop(outbound())), "redirect": world.UPLINK, "state": world.STRICT}
    found += cases(EGRESS, "strict-udp", good, Verdict.ENCAPSULATED, **strict)
    unknown = framed(ip(world.NEW_POD_IP, world.REMOTE_IP))
    found += cases(EGRESS, "strict-pod-not-learned", unknown, Verdict.UNKNOWN_POD, state=world.STRICT)
    return found + cases(EGRESS, "not-ready", good, Verdict.NOT_READY, state=world.NOT_READY)


def _precedence() -> list[Case]:
    options, fragment = [IPOption_NOP()] * 4, {"flags": "MF"}
    found = _left("options-and-fragment", framed(outbound(options=options, **fragment)), Verdict.IP_OPTIONS)
    found += _left("fragment-and-length", framed(outbound(len=99, **fragment)), Verdict.FRAGMENT)
    found += _left("length-and-checksum", framed(outbound(len=99, chksum=1)), Verdict.BAD_LENGTH)
    elsewhere = framed(outbound(chksum=1), target=world.OTHER_MAC)
    found += _left("checksum-and-mac", elsewhere, Verdict.BAD_CHECKSUM)
    found += _left("mac-and-ttl", framed(outbound(ttl=1), target=world.OTHER_MAC), Verdict.HOST_BOUND)
    unresolved = outbound(udp(world.MTU + 1), world.DOWN_IP)
    found += _left("unresolved-and-size", framed(unresolved), Verdict.UNRESOLVED)
    expired = outbound(udp(), world.DOWN_IP, ttl=1)
    return found + _left("ttl-and-unresolved", framed(expired), Verdict.TTL_EXPIRED)


def _same_node() -> list[Case]:
    found: list[Case] = []

    def to_sibling(name: str, packet: Packet, verdict: Verdict, programs: tuple[str, ...] = EGRESS) -> None:
        sibling = world.WORLD.pods[world.IPv4Address(packet.dst)]
        redirect = sibling.ifindex if verdict is Verdict.SWITCHED else None
        frame = framed(packet, target=sibling.mac)
        found.extend(cases(programs, f"same-node-{name}", frame, verdict, redirect=redirect))

    for name, payload in (("udp", udp()), ("tcp", tcp()), ("icmp", icmp()), ("no-checksum", udp(chksum=0))):
        to_sibling(name, outbound(payload, world.SIBLING_IP), Verdict.SWITCHED)
    for ttl in (0, 1, 2):
        to_sibling(f"ttl-{ttl}-stays", outbound(udp(), world.SIBLING_IP, ttl=ttl), Verdict.SWITCHED)
    for size in (1299, 1300):
        to_sibling(f"size-{size}", outbound(udp(size), world.SIBLING_IP), Verdict.SWITCHED)
    to_sibling("size-1301", outbound(udp(1301), world.SIBLING_IP), Verdict.OVERSIZE)
    to_sibling("fragment", outbound(udp(), world.SIBLING_IP, flags="MF"), Verdict.FRAGMENT)
    to_sibling("bad-checksum", outbound(udp(), world.SIBLING_IP, chksum=1), Verdict.BAD_CHECKSUM)
    old = outbound(udp(), world.OLD_SIBLING_IP)
    to_sibling("without-napi", old, Verdict.SWITCHED, (TC_EGRESS,))
    to_sibling("without-napi", old, Verdict.NO_NAPI, (XDP_EGRESS,))
    plain = outbound(tcp(), world.SIBLING_IP)
    unfinished = outbound(tcp(chksum=pseudo_sum(plain)), world.SIBLING_IP)
    to_sibling("checksum-unfinished", unfinished, Verdict.SWITCHED, (TC_EGRESS,))
    to_sibling("checksum-unfinished", unfinished, Verdict.CHECKSUM_UNFINISHED, (XDP_EGRESS,))
    sctp = outbound(Raw(bytes(40)), world.SIBLING_IP, proto=132)
    to_sibling("sctp", sctp, Verdict.SWITCHED, (TC_EGRESS,))
    to_sibling("sctp", sctp, Verdict.UNSUPPORTED_PROTOCOL, (XDP_EGRESS,))
    for name, mac in (
        ("gateway", world.GATEWAY_MAC),
        ("stranger", world.OTHER_MAC),
        ("all", Mac(b"\xff" * 6)),
    ):
        found += _left(f"same-node-by-mac-of-{name}", framed(plain, target=mac), Verdict.HOST_BOUND)
    oneself = framed(ip(world.POD_IP, world.POD_IP), target=world.POD.mac)
    found += _left("to-itself", oneself, Verdict.HOST_BOUND)
    return found


def _aggregates() -> list[Case]:
    """GSO: what counts is the size of a segment, with a copy of all headers."""
    found: list[Case] = []
    stamped = TCP(sport=4000, dport=5000, flags="A", options=[("Timestamp", (1, 2)), ("NOP", None)] * 1)
    timestamps = (
        IP(src=str(world.POD_IP), dst=str(world.REMOTE_IP), ttl=64, id=77) / stamped / Raw(bytes(2900))
    )
    headers = len(timestamps) - 2900
    for name, packet, fits in (
        ("tcp", outbound(tcp(3000)), world.MTU - 40),
        ("tcp-timestamps", timestamps, world.MTU - headers),
        ("udp", outbound(udp(3000)), world.MTU - 28),
    ):
        for gso_size in (1, 536, fits):
            found += _sent(f"gso-{name}-{gso_size}", packet, programs=(TC_EGRESS,), gso_size=gso_size)
        too_long = Case(
            f"gso-{name}-{fits + 1}", TC_EGRESS, framed(packet), Verdict.OVERSIZE, gso_size=fits + 1
        )
        found.append(too_long)
    sctp = framed(outbound(Raw(bytes(2000)), proto=132))
    found.append(Case("gso-sctp", TC_EGRESS, sctp, Verdict.UNSUPPORTED_PROTOCOL, gso_size=1000))
    short = framed(outbound(Raw(bytes(19)), proto=6))
    found.append(Case("gso-tcp-header-cut", TC_EGRESS, short, Verdict.NONLINEAR, gso_size=1000))
    switched = framed(outbound(tcp(3000), world.SIBLING_IP), target=world.SIBLING.mac)
    fits = Case(
        "gso-same-node", TC_EGRESS, switched, Verdict.SWITCHED, redirect=world.SIBLING.ifindex, gso_size=1260
    )
    return [
        *found,
        fits,
        evolve(fits, name="gso-same-node-exceeded", verdict=Verdict.OVERSIZE, redirect=None, gso_size=1261),
    ]


CASES = [
    *_sized(),
    *_headers(),
    *_protocols(),
    *_ways(),
    *_not_ip(),
    *_malformed(),
    *_senders(),
    *_precedence(),
    *_same_node(),
    *_aggregates(),
]

"""What happened to a packet. Generated from verdict.def by scripts/generate; do not edit."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class VerdictClass(StrEnum):
    """What a verdict means for the packet."""

    FAST = "fast"
    """Taken by the fast path."""
    SLOW = "slow"
    """Overlay traffic left, unmodified, to the kernel's path."""
    OTHER = "other"
    """Not overlay traffic."""
    DROP = "drop"
    """Dropped by us."""
    RETIRED = "retired"
    """No longer given; the number is kept."""


class Verdict(IntEnum):
    """Index in map ``counters`` and, in lower case, label of the metrics."""

    ENCAPSULATED = 0
    DECAPSULATED = 1
    SWITCHED = 2
    NOT_IP = 3
    NOT_TUNNEL = 4
    NOT_OVERLAY = 5
    NOT_READY = 6
    HOST_BOUND = 7
    IP_OPTIONS = 8
    FRAGMENT = 9
    TTL_EXPIRED = 10
    BAD_LENGTH = 11
    BAD_CHECKSUM = 12
    OVERSIZE = 13
    UNRESOLVED = 14
    UNKNOWN_POD = 15
    ECN_CONFLICT = 16
    NONLINEAR = 17
    CHECKSUM_UNFINISHED = 18
    NO_NAPI = 19
    LEFT_TO_GRO = 20
    UNSUPPORTED_PROTOCOL = 21
    HELPER_REFUSED = 22
    UNPROVEN = 23
    VXLAN_FLAGS = 24
    FOREIGN_VNI = 25
    INNER_MAC = 26
    INNER_NOT_IP = 27
    STRANGER_VTEP = 32
    STRANGER_SOURCE = 33
    FORGED_SOURCE = 34
    STRANGER_VTEP_DROPPED = 40
    STRANGER_SOURCE_DROPPED = 41
    FORGED_SOURCE_DROPPED = 42
    BROKEN = 43

    @property
    def label(self) -> str:
        """Name as metrics, logs and commands print it."""
        return self.name.lower()

    @property
    def kind(self) -> VerdictClass:
        """What it means for the packet."""
        return _KINDS[self]

    @property
    def help(self) -> str:
        """One sentence for people."""
        return _HELP[self]


_KINDS = {
    Verdict.ENCAPSULATED: VerdictClass.FAST,
    Verdict.DECAPSULATED: VerdictClass.FAST,
    Verdict.SWITCHED: VerdictClass.FAST,
    Verdict.NOT_IP: VerdictClass.OTHER,
    Verdict.NOT_TUNNEL: VerdictClass.OTHER,
    Verdict.NOT_OVERLAY: VerdictClass.OTHER,
    Verdict.NOT_READY: VerdictClass.OTHER,
    Verdict.HOST_BOUND: VerdictClass.OTHER,
    Verdict.IP_OPTIONS: VerdictClass.SLOW,
    Verdict.FRAGMENT: VerdictClass.SLOW,
    Verdict.TTL_EXPIRED: VerdictClass.SLOW,
    Verdict.BAD_LENGTH: VerdictClass.SLOW,
    Verdict.BAD_CHECKSUM: VerdictClass.SLOW,
    Verdict.OVERSIZE: VerdictClass.SLOW,
    Verdict.UNRESOLVED: VerdictClass.SLOW,
    Verdict.UNKNOWN_POD: VerdictClass.SLOW,
    Verdict.ECN_CONFLICT: VerdictClass.SLOW,
    Verdict.NONLINEAR: VerdictClass.SLOW,
    Verdict.CHECKSUM_UNFINISHED: VerdictClass.SLOW,
    Verdict.NO_NAPI: VerdictClass.SLOW,
    Verdict.LEFT_TO_GRO: VerdictClass.SLOW,
    Verdict.UNSUPPORTED_PROTOCOL: VerdictClass.SLOW,
    Verdict.HELPER_REFUSED: VerdictClass.SLOW,
    Verdict.UNPROVEN: VerdictClass.SLOW,
    Verdict.VXLAN_FLAGS: VerdictClass.SLOW,
    Verdict.FOREIGN_VNI: VerdictClass.SLOW,
    Verdict.INNER_MAC: VerdictClass.SLOW,
    Verdict.INNER_NOT_IP: VerdictClass.SLOW,
    Verdict.STRANGER_VTEP: VerdictClass.SLOW,
    Verdict.STRANGER_SOURCE: VerdictClass.SLOW,
    Verdict.FORGED_SOURCE: VerdictClass.SLOW,
    Verdict.STRANGER_VTEP_DROPPED: VerdictClass.DROP,
    Verdict.STRANGER_SOURCE_DROPPED: VerdictClass.DROP,
    Verdict.FORGED_SOURCE_DROPPED: VerdictClass.DROP,
    Verdict.BROKEN: VerdictClass.DROP,
}

_HELP = {
    Verdict.ENCAPSULATED: "sent to a peer node in VXLAN",
    Verdict.DECAPSULATED: "taken out of VXLAN and given to a local pod",
    Verdict.SWITCHED: "handed to another pod of the same node",
    Verdict.NOT_IP: "not an IPv4 frame: ARP, IPv6, VLAN tagged, or cut short",
    Verdict.NOT_TUNNEL: "came in on the uplink, but is not VXLAN for this node",
    Verdict.NOT_OVERLAY: "the destination is in no other node's subnet and no local pod",
    Verdict.NOT_READY: "the configuration map is still empty",
    Verdict.HOST_BOUND: "comes from or goes to the node itself",
    Verdict.IP_OPTIONS: "the IP header carries options",
    Verdict.FRAGMENT: "an IP fragment",
    Verdict.TTL_EXPIRED: "the time to live ends here: the kernel answers with ICMP",
    Verdict.BAD_LENGTH: "lengths in the headers do not fit the frame",
    Verdict.BAD_CHECKSUM: "the IP header checksum is wrong: the kernel drops and counts it",
    Verdict.OVERSIZE: "larger than the path: the kernel fragments it or answers with ICMP",
    Verdict.UNRESOLVED: "the next hop towards the peer has no known MAC, or its lease is being replaced",
    Verdict.UNKNOWN_POD: "the pod's address is not learned yet",
    Verdict.ECN_CONFLICT: "outer header says congestion, inner cannot: the kernel drops and counts it",
    Verdict.NONLINEAR: "headers are not in the linear part of the packet",
    Verdict.CHECKSUM_UNFINISHED: "the checksum is left to hardware, which a redirect by XDP would skip",
    Verdict.NO_NAPI: "the pod's interface cannot take frames from XDP",
    Verdict.LEFT_TO_GRO: "TCP, left by XDP to GRO and tc",
    Verdict.UNSUPPORTED_PROTOCOL: "a protocol whose checksum or segmentation the fast path does not know",
    Verdict.HELPER_REFUSED: "the kernel's helper refused to make or remove room",
    Verdict.UNPROVEN: "the flow has not been seen passing the kernel unchanged",
    Verdict.VXLAN_FLAGS: "VXLAN with reserved bits set: the kernel drops and counts it",
    Verdict.FOREIGN_VNI: "VXLAN of another network",
    Verdict.INNER_MAC: "the inner frame is not addressed to this node's VTEP, or comes from it",
    Verdict.INNER_NOT_IP: "the inner frame is not IPv4",
    Verdict.STRANGER_VTEP: "VXLAN from an address that holds no lease",
    Verdict.STRANGER_SOURCE: "the inner source is not in the sending node's subnet",
    Verdict.FORGED_SOURCE: "a pod sent with an address or MAC that is not its own",
    Verdict.STRANGER_VTEP_DROPPED: "VXLAN from an address that holds no lease (--strict)",
    Verdict.STRANGER_SOURCE_DROPPED: "the inner source is not in the sending node's subnet (--strict)",
    Verdict.FORGED_SOURCE_DROPPED: "a pod sent with an address or MAC that is not its own (--strict)",
    Verdict.BROKEN: "changed, then could not be finished; never expected, please report",
}

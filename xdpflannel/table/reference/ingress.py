"""From a peer node to a local pod: `uplink_ingress` (tc) and `xdp_uplink` (XDP)."""

from __future__ import annotations

from attrs import evolve, frozen

from xdpflannel.model.entries import ConfigEntry, PodEntry
from xdpflannel.model.net import OVERHEAD_IPV4
from xdpflannel.model.verdict import Verdict
from xdpflannel.table.reference.checks import (
    read_packet,
    require_finished_checksum,
    require_plain,
    require_size,
)
from xdpflannel.table.reference.headers import (
    ECN_CE,
    ECN_ECT0,
    ECN_ECT1,
    ECN_NONE,
    ETH_IPV4,
    ETH_LENGTH,
    ICMP,
    IP_LENGTH,
    TCP,
    UDP,
    UDP_LENGTH,
    VXLAN_FLAGS,
    VXLAN_LENGTH,
    Ethernet,
    Ipv4,
    has_l4_header,
    l4_checksum,
)
from xdpflannel.table.reference.state import Left, Outcome, State, require

_UDP_AT = ETH_LENGTH + IP_LENGTH
_VXLAN_AT = _UDP_AT + UDP_LENGTH
_INNER_AT = _VXLAN_AT + VXLAN_LENGTH
_PACKET_AT = _INNER_AT + ETH_LENGTH
_PAYLOAD_AT = _PACKET_AT + IP_LENGTH


def uplink_ingress(state: State, frame: bytes, gso_size: int = 0) -> Outcome:
    """Answer as on tc ingress of the uplink; ``gso_size`` 0: no aggregate."""
    return _Ingress(state, frame, gso_size, xdp=False).outcome()


def xdp_uplink(state: State, frame: bytes) -> Outcome:
    """Answer as XDP on the uplink."""
    return _Ingress(state, frame, gso_size=0, xdp=True).outcome()


@frozen
class _Ingress:
    """One frame on its way in from the underlay."""

    state: State
    frame: bytes
    gso_size: int
    xdp: bool

    def outcome(self) -> Outcome:
        try:
            return self._taken()
        except Left as left:
            return Outcome(left.verdict, self.frame)

    def _taken(self) -> Outcome:
        config = self.state.config
        if config is None:
            raise Left(Verdict.NOT_READY)
        ethernet, outer = read_packet(self.frame)
        self._require_tunnel(config, ethernet, outer)
        self._require_lengths(outer)
        self._require_vxlan(config)
        inner = self._inner_packet(config)
        self._require_known(config, outer, inner)
        require_plain(inner, outer.length - OVERHEAD_IPV4)
        pod = self._receiver(outer, inner)
        if self.xdp:
            self._require_redirectable(config, inner, pod)
        packet = evolve(inner, ttl=inner.ttl - 1, tos=_merged_tos(outer, inner)).write()
        frame = Ethernet(pod.mac, pod.gateway_mac, ETH_IPV4).write() + packet + self.frame[_PAYLOAD_AT:]
        return Outcome(Verdict.DECAPSULATED, frame, pod.ifindex)

    def _number(self, at: int, size: int) -> int:
        return int.from_bytes(self.frame[at : at + size])

    def _require_tunnel(self, config: ConfigEntry, ethernet: Ethernet, outer: Ipv4) -> None:
        require(outer.target == config.vtep_ip and outer.protocol == UDP, Verdict.NOT_TUNNEL)
        require(outer.words == 5, Verdict.IP_OPTIONS)
        require(not outer.is_fragment, Verdict.FRAGMENT)
        require(len(self.frame) >= _VXLAN_AT, Verdict.NOT_TUNNEL)
        require(self._number(_UDP_AT + 2, 2) == config.port, Verdict.NOT_TUNNEL)
        require(ethernet.target == config.uplink_mac, Verdict.NOT_TUNNEL)

    def _require_lengths(self, outer: Ipv4) -> None:
        require_plain(outer, len(self.frame) - ETH_LENGTH)
        require(self._number(_UDP_AT + 4, 2) == outer.length - IP_LENGTH, Verdict.BAD_LENGTH)
        require(len(self.frame) >= _PAYLOAD_AT, Verdict.BAD_LENGTH)

    def _require_vxlan(self, config: ConfigEntry) -> None:
        require(self._number(_VXLAN_AT, 4) == VXLAN_FLAGS, Verdict.VXLAN_FLAGS)
        require(self._number(_VXLAN_AT + 7, 1) == 0, Verdict.VXLAN_FLAGS)
        require(self._number(_VXLAN_AT + 4, 3) == config.vni, Verdict.FOREIGN_VNI)

    def _inner_packet(self, config: ConfigEntry) -> Ipv4:
        ethernet = Ethernet.read(self.frame[_INNER_AT:])
        require(ethernet.target == config.vtep_mac, Verdict.INNER_MAC)
        require(ethernet.source != config.vtep_mac and ethernet.source.is_unicast, Verdict.INNER_MAC)
        inner = Ipv4.read(self.frame[_PACKET_AT:])
        require(ethernet.type == ETH_IPV4 and inner.version == 4, Verdict.INNER_NOT_IP)
        return inner

    def _require_known(self, config: ConfigEntry, outer: Ipv4, inner: Ipv4) -> None:
        """The inner source must be of the very node that sent the outer packet."""
        route = self.state.route(inner.source)
        if route is not None and route.vtep_ip == outer.source:
            return
        if outer.source in self.state.vteps:
            raise Left(Verdict.STRANGER_SOURCE_DROPPED if config.strict else Verdict.STRANGER_SOURCE)
        raise Left(Verdict.STRANGER_VTEP_DROPPED if config.strict else Verdict.STRANGER_VTEP)

    def _receiver(self, outer: Ipv4, inner: Ipv4) -> PodEntry:
        """Return the pod that the packet is for, if the kernel would let the packet through to it."""
        payload = self.frame[_PAYLOAD_AT:]
        pod = self.state.pods.get(inner.target)
        if pod is None:
            raise Left(Verdict.UNKNOWN_POD)
        require(inner.ttl > 1, Verdict.TTL_EXPIRED)
        require_size(inner, payload, self.gso_size, pod.mtu)
        if self.gso_size and inner.protocol == UDP:
            # Without it the aggregate keeps the tunnel's GSO type, and the pod's socket loses it.
            cleared = self.state.config is not None and self.state.config.decap_clears_tunnel_gso
            require(cleared, Verdict.UNSUPPORTED_PROTOCOL)
        require(not (outer.ecn == ECN_CE and inner.ecn == ECN_NONE), Verdict.ECN_CONFLICT)
        if self._number(_UDP_AT + 6, 2) != 0 and inner.protocol not in (TCP, ICMP):
            # The outer checksum may be the only one over the payload, and only the kernel verifies it.
            require(inner.protocol == UDP, Verdict.UNSUPPORTED_PROTOCOL)
            require(has_l4_header(inner, payload), Verdict.BAD_LENGTH)
            require(l4_checksum(inner, payload) != 0, Verdict.UNSUPPORTED_PROTOCOL)
        return pod

    def _require_redirectable(self, config: ConfigEntry, inner: Ipv4, pod: PodEntry) -> None:
        require(inner.protocol != TCP or config.xdp_takes_tcp, Verdict.LEFT_TO_GRO)
        require(pod.napi, Verdict.NO_NAPI)
        require_finished_checksum(inner, self.frame[_PAYLOAD_AT:])


def _merged_tos(outer: Ipv4, inner: Ipv4) -> int:
    """Return the inner TOS byte after the tunnel (RFC 6040 section 4.2, as INET_ECN_decapsulate)."""
    if inner.ecn == ECN_NONE:
        return inner.tos
    if outer.ecn == ECN_CE:
        return inner.tos | ECN_CE
    if outer.ecn == ECN_ECT1 and inner.ecn == ECN_ECT0:
        return inner.tos & ~3 | ECN_ECT1
    return inner.tos

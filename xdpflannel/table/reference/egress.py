"""From a pod to another pod, of a peer node or of this one: `pod_egress` (tc) and `xdp_pod` (XDP)."""

from __future__ import annotations

import struct

from attrs import evolve, frozen

from xdpflannel.model.entries import ConfigEntry, PodEntry, RouteEntry
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
    ETH_IPV4,
    ETH_LENGTH,
    IP_LENGTH,
    UDP,
    UDP_LENGTH,
    VXLAN_FLAGS,
    VXLAN_LENGTH,
    Ethernet,
    Ipv4,
)
from xdpflannel.table.reference.state import Left, Outcome, State, require

_OUTER_TTL = 64


def pod_egress(state: State, frame: bytes, ifindex: int, gso_size: int = 0) -> Outcome:
    """Answer as on tc ingress of a pod's host-side veth ``ifindex``; ``gso_size`` 0: no aggregate."""
    return _Egress(state, frame, ifindex, gso_size, xdp=False).outcome()


def xdp_pod(state: State, frame: bytes, ifindex: int) -> Outcome:
    """Answer as XDP on a pod's host-side veth ``ifindex``."""
    return _Egress(state, frame, ifindex, gso_size=0, xdp=True).outcome()


@frozen
class _Egress:
    """One frame on its way out of a pod."""

    state: State
    frame: bytes
    ifindex: int
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
        ethernet, ip = read_packet(self.frame)
        way = self.state.route(ip.target) or self.state.pods.get(ip.target)
        if way is None:
            raise Left(Verdict.NOT_OVERLAY)
        pod = self._sender(config, ethernet, ip)
        require_plain(ip, len(self.frame) - ETH_LENGTH)
        if isinstance(way, PodEntry):
            return self._switched(ethernet, ip, way)
        return self._encapsulated(config, ethernet, ip, pod, way)

    def _sender(self, config: ConfigEntry, ethernet: Ethernet, ip: Ipv4) -> PodEntry:
        """Return the pod that may send from this address, on this interface, with this MAC."""
        forged = Verdict.FORGED_SOURCE_DROPPED if config.strict else Verdict.FORGED_SOURCE
        pod = self.state.pods.get(ip.source)
        if pod is None:
            raise Left(Verdict.UNKNOWN_POD if self.state.route(ip.source) is None else forged)
        require(pod.ifindex == self.ifindex and pod.mac == ethernet.source, forged)
        return pod

    def _payload(self) -> bytes:
        return self.frame[ETH_LENGTH + IP_LENGTH :]

    def _switched(self, ethernet: Ethernet, ip: Ipv4, peer: PodEntry) -> Outcome:
        """Hand the frame to a pod of this node as the bridge would: unchanged."""
        # To itself: only the bridge knows whether the port is in hairpin mode.
        require(peer.ifindex != self.ifindex and ethernet.target == peer.mac, Verdict.HOST_BOUND)
        require_size(ip, self._payload(), self.gso_size, peer.mtu)
        if self.xdp:
            require(peer.napi, Verdict.NO_NAPI)
            require_finished_checksum(ip, self._payload())
        return Outcome(Verdict.SWITCHED, self.frame, peer.ifindex)

    def _encapsulated(
        self, config: ConfigEntry, ethernet: Ethernet, ip: Ipv4, pod: PodEntry, route: RouteEntry
    ) -> Outcome:
        """Route the packet one hop and put it into VXLAN."""
        # A bridge takes frames to the MAC of the port they came in by, too.
        require(ethernet.target in (pod.gateway_mac, pod.port_mac), Verdict.HOST_BOUND)
        require(ip.ttl > 1, Verdict.TTL_EXPIRED)
        if route.next_hop_mac is None:
            raise Left(Verdict.UNRESOLVED)
        require(ip.length + OVERHEAD_IPV4 <= 0xFFFF, Verdict.OVERSIZE)
        require_size(ip, self._payload(), self.gso_size, route.mtu)
        if self.xdp:
            require_finished_checksum(ip, self._payload())
        inner = evolve(ip, ttl=ip.ttl - 1).write() + self._payload()
        ethernet = Ethernet(route.next_hop_mac, route.source_mac, ETH_IPV4)
        return Outcome(
            Verdict.ENCAPSULATED, ethernet.write() + _tunnel(config, route, ip) + inner, route.ifindex
        )


def _tunnel(config: ConfigEntry, route: RouteEntry, inner: Ipv4) -> bytes:
    """Return the 50 bytes between the two; id 0 and the first source port stand for any."""
    ip = Ipv4(
        version=4,
        words=5,
        tos=ECN_ECT0 if inner.ecn == ECN_CE else inner.ecn,  # RFC 6040 section 4.1, normal mode
        length=inner.length + OVERHEAD_IPV4,
        id=0,
        fragment=0,
        ttl=_OUTER_TTL,
        protocol=UDP,
        source=route.local_ip,
        target=route.vtep_ip,
    )
    udp_length = UDP_LENGTH + VXLAN_LENGTH + ETH_LENGTH + inner.length
    return b"".join(
        (
            ip.write(),
            struct.pack("!HHHH", config.source_ports[0], route.port, udp_length, 0),
            struct.pack("!II", VXLAN_FLAGS, route.vni << 8),
            Ethernet(route.vtep_mac, route.local_mac, ETH_IPV4).write(),
        )
    )

"""What the agent knows of the hosts around: next hops to every VTEP, and the pods behind the bridge."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address

import structlog
from attrs import evolve

from xdpflannel.host.netlink import Netlink
from xdpflannel.host.nexthop import probe, resolve_all
from xdpflannel.host.pods import (
    Sighting,
    merge_pods,
    probe_pods,
    sight_pods,
    silent_ports,
    unplaced,
)
from xdpflannel.model.entries import PodEntry
from xdpflannel.model.host import NextHop, Pod
from xdpflannel.model.net import Mac
from xdpflannel.table.forwarding import ForwardingTable

log = structlog.get_logger()

ASK_ALL_MAX = 1024
"""Addresses of a subnet that is asked through by ARP for pods nobody has heard of."""


class NextHops:
    """Keeps the table's next hops right. The fast path asks the kernel nothing, so this does."""

    def __init__(self, netlink: Netlink, table: ForwardingTable) -> None:
        self._netlink = netlink
        self._table = table
        self._hops: dict[IPv4Address, NextHop | None] = {}

    def forget(self) -> None:
        """Routes or the uplink changed: look every VTEP up again at the next `resolve`."""
        self._hops.clear()

    def take_macs(self, macs: Mapping[tuple[int, IPv4Address], Mac | None]) -> None:
        """Neighbours changed: by interface and address, the MAC or None if it is no longer known."""
        for (ifindex, ip), mac in macs.items():
            for vtep_ip, hop in self._hops.items():
                if hop is not None and (hop.ifindex, hop.gateway) == (ifindex, ip) and hop.mac != mac:
                    self._set(vtep_ip, evolve(hop, mac=mac))

    def resolve(self) -> None:
        """Look up VTEPs that are new or had no route, and ask for MACs that are missing."""
        for vtep_ip in [vtep_ip for vtep_ip in self._hops if vtep_ip not in self._table.vteps]:
            del self._hops[vtep_ip]
        fresh = [vtep_ip for vtep_ip in self._table.vteps if self._hops.get(vtep_ip) is None]
        if fresh:
            found = resolve_all(self._netlink, fresh)
            for vtep_ip in fresh:
                self._set(vtep_ip, found.get(vtep_ip))
        unresolved = [hop for hop in self._hops.values() if hop is not None and hop.mac is None]
        if unresolved:
            probe(self._netlink, unresolved)

    def confirm(self) -> None:
        """Have the kernel confirm every next hop, as it would for packets of its own."""
        probe(self._netlink, [hop for hop in self._hops.values() if hop is not None])

    def _set(self, vtep_ip: IPv4Address, hop: NextHop | None) -> None:
        self._hops[vtep_ip] = hop
        self._table.set_next_hop(vtep_ip, hop)


class LocalPods:
    """Keeps the table's pods right; ``adopted`` are those that a former agent knew."""

    def __init__(
        self,
        netlink: Netlink,
        table: ForwardingTable,
        bridge: str,
        adopted: Mapping[IPv4Address, PodEntry],
    ) -> None:
        self._netlink = netlink
        self._table = table
        self._bridge = bridge
        self._bridge_mac: Mac | None = None
        self.sighting = Sighting()
        self.pods = {ip: _pod(ip, entry) for ip, entry in adopted.items()}

    def look(self) -> None:
        """See who is behind the bridge now."""
        subnet = self._table.node.subnet
        self.sighting = sight_pods(self._netlink, self._bridge, subnet)
        pods = merge_pods(self.pods, self.sighting)
        for ip in pods.keys() - self.pods.keys():
            log.info("pod.learned", ip=str(ip), mac=str(pods[ip].mac), interface=pods[ip].ifname)
        for ip in self.pods.keys() - pods.keys():
            log.info("pod.forgotten", ip=str(ip))
        self.pods = pods
        self._table.set_pods(pods)
        lost = unplaced(self.sighting, pods)
        if self._bridge_mac != self.sighting.bridge_mac:
            # A bridge that changes its MAC forgets all neighbours, and one never asked knows none.
            self._bridge_mac = self.sighting.bridge_mac
            if silent_ports(self.sighting, pods) and subnet.num_addresses <= ASK_ALL_MAX:
                lost = list(subnet.hosts())
        if lost:
            probe_pods(self._netlink, self.sighting.bridge_ifindex, lost)

    def confirm(self) -> None:
        """Have the kernel ask every pod again: the bridge does not see what the fast path takes."""
        if self.sighting.bridge_ifindex:
            probe_pods(self._netlink, self.sighting.bridge_ifindex, self.pods)


def _pod(ip: IPv4Address, entry: PodEntry) -> Pod:
    return Pod(
        ip=ip,
        mac=entry.mac,
        ifindex=entry.ifindex,
        ifname="",
        bridge_mac=entry.gateway_mac,
        port_mac=entry.port_mac,
        mtu=entry.mtu,
        napi=entry.napi,
    )

"""The forwarding table: leases, next hops and pods in, desired contents of the kernel out.

Pure and incremental: every input marks what it touched, and `plan` compares only that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network

from attrs import frozen

from xdpflannel.model.entries import ConfigEntry, Contents, PeerEntry, PodEntry, RouteEntry
from xdpflannel.model.host import NextHop, Pod, Uplink, VxlanDevice
from xdpflannel.model.lease import Lease, SubnetKey
from xdpflannel.model.net import OVERHEAD_IPV4
from xdpflannel.table.plan import Plan, diff

BACKEND_TYPE = "vxlan"


@frozen
class Node:
    """What this node is and how its programs shall behave."""

    uplink: Uplink
    device: VxlanDevice
    subnet: IPv4Network
    source_ports: tuple[int, int]
    strict: bool = False
    xdp_takes_tcp: bool = False
    decap_clears_tunnel_gso: bool = False
    proof_refresh_ns: int = 0
    """How long the proof of a flow holds; 0: stateless."""
    fast_path: bool = True
    """False: only the kernel's own entries are wanted, the maps stay empty."""


class ForwardingTable:
    """Keeps the desired contents; ``skipped`` says why a lease is not among them."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._leases: dict[SubnetKey, Lease] = {}
        self._keys: dict[IPv4Network, dict[SubnetKey, None]] = {}
        self._hops: dict[IPv4Address, NextHop | None] = {}
        self._networks_of: dict[IPv4Address, set[IPv4Network]] = {}
        self._routes: dict[IPv4Network, RouteEntry] = {}
        self._peers: dict[IPv4Network, PeerEntry] = {}
        self._vteps: dict[IPv4Address, int] = {}
        self._pods: dict[IPv4Address, PodEntry] = {}
        self._dirty_networks: set[IPv4Network] = set()
        self._dirty_vteps: set[IPv4Address] = set()
        self.skipped: dict[SubnetKey, str] = {}

    @property
    def node(self) -> Node:
        """The node that the table is for."""
        return self._node

    @property
    def leases(self) -> Mapping[SubnetKey, Lease]:
        """Every lease known, also the skipped ones and this node's own."""
        return self._leases

    @property
    def vteps(self) -> Iterable[IPv4Address]:
        """Outer addresses of all peers: what next hops are needed for."""
        return self._networks_of.keys()

    def set_node(self, node: Node) -> None:
        """The uplink, the device or the options changed: everything is derived again."""
        self._node = node
        for network in list(self._keys):
            self._derive(network)

    def replace_leases(self, leases: Iterable[Lease]) -> None:
        """Take a snapshot: leases not in it are gone, changed attributes count."""
        fresh = {lease.key: lease for lease in leases}
        for key in [key for key in self._leases if key not in fresh]:
            self.delete_lease(key)
        for key, lease in fresh.items():
            if self._leases.get(key) != lease:
                self.put_lease(lease)
            else:
                self._leases[key] = lease  # a renewed TTL is no change, but is shown

    def put_lease(self, lease: Lease) -> None:
        """A lease is new or changed."""
        self._leases[lease.key] = lease
        network = lease.key.subnet
        if network is None:
            self.skipped[lease.key] = "it has no IPv4 subnet"
            return
        keys = self._keys.setdefault(network, {})
        keys.pop(lease.key, None)
        keys[lease.key] = None  # last: of two leases for one subnet the newer counts
        self._derive(network)

    def delete_lease(self, key: SubnetKey) -> None:
        """A lease is gone; unknown keys are fine."""
        self._leases.pop(key, None)
        self.skipped.pop(key, None)
        if key.subnet is None or key.subnet not in self._keys:
            return
        keys = self._keys[key.subnet]
        keys.pop(key, None)
        if not keys:
            del self._keys[key.subnet]
        self._derive(key.subnet)

    def set_next_hop(self, vtep_ip: IPv4Address, hop: NextHop | None) -> None:
        """The way to a VTEP was looked up: None if there is no route to it."""
        if vtep_ip in self._hops and self._hops[vtep_ip] == hop:
            return
        self._hops[vtep_ip] = hop
        for network in list(self._networks_of.get(vtep_ip, ())):
            self._derive(network)

    def set_pods(self, pods: Mapping[IPv4Address, Pod]) -> None:
        """The local pods, all of them."""
        self._pods = {
            ip: PodEntry(
                ifindex=pod.ifindex,
                mac=pod.mac,
                gateway_mac=pod.bridge_mac,
                port_mac=pod.port_mac,
                mtu=pod.mtu,
                napi=pod.napi,
            )
            for ip, pod in pods.items()
            if ip in self._node.subnet
        }

    def desired(self) -> Contents:
        """Return what the kernel should hold."""
        if not self._node.fast_path:
            return Contents(None, {}, {}, {}, self._peers)
        return Contents(self._config(), self._routes, self._pods, self._vteps, self._peers)

    def plan(self, actual: Contents, *, everything: bool = False) -> Plan:
        """Return what must change, comparing only what was touched since the last call."""
        networks, vteps = self._dirty_networks, self._dirty_vteps
        self._dirty_networks, self._dirty_vteps = set(), set()
        if everything:
            return diff(self.desired(), actual)
        return diff(self.desired(), actual, networks=networks, vteps=vteps)

    def _config(self) -> ConfigEntry:
        node = self._node
        return ConfigEntry(
            device_ifindex=node.device.ifindex,
            uplink_mac=node.uplink.mac,
            vtep_mac=node.device.mac,
            vtep_ip=node.uplink.address,
            vni=node.device.vni,
            port=node.device.port,
            source_ports=node.source_ports,
            strict=node.strict,
            xdp_takes_tcp=node.xdp_takes_tcp,
            decap_clears_tunnel_gso=node.decap_clears_tunnel_gso,
            proof_refresh_ns=node.proof_refresh_ns,
        )

    def _derive(self, network: IPv4Network) -> None:
        """Work out one subnet anew from the leases for it."""
        self._dirty_networks.add(network)
        before = self._peers.pop(network, None)
        self._routes.pop(network, None)
        if before is not None:
            self._leave_vtep(before.vtep_ip, network)
        lease = self._newest(network)
        if lease is not None:
            self._enter(network, lease)
        if before is not None and before.vtep_ip not in self._networks_of:
            self._hops.pop(before.vtep_ip, None)

    def _newest(self, network: IPv4Network) -> Lease | None:
        """The lease that counts for a subnet, None if none does; the others are noted as skipped."""
        keys = list(self._keys.get(network, ()))
        for older in keys[:-1]:
            self.skipped[older] = "another lease for the same subnet is newer"
        if not keys:
            return None
        lease = self._leases[keys[-1]]
        reason = self._reason_to_skip(lease)
        if reason:
            self.skipped[lease.key] = reason
            return None
        self.skipped.pop(lease.key, None)
        return lease

    def _enter(self, network: IPv4Network, lease: Lease) -> None:
        vtep, vtep_ip = lease.attributes.vtep, lease.attributes.public_ip
        if vtep is None or vtep_ip is None:
            return  # _reason_to_skip() has spoken
        self._peers[network] = PeerEntry(vtep.mac, vtep_ip)
        self._join_vtep(vtep_ip, network)
        hop = self._hops.get(vtep_ip)
        node = self._node
        resolved = hop is not None and hop.mac is not None
        mtu = node.device.mtu if hop is None else min(node.device.mtu, hop.mtu - OVERHEAD_IPV4)
        self._routes[network] = RouteEntry(
            vtep_ip=vtep_ip,
            vtep_mac=vtep.mac,
            local_ip=node.uplink.address,
            local_mac=node.device.mac,
            ifindex=hop.ifindex if hop is not None and resolved else 0,
            source_mac=hop.source_mac if hop is not None else node.uplink.mac,
            next_hop_mac=hop.mac if hop is not None else None,
            mtu=mtu,
            vni=node.device.vni,
            port=node.device.port,
        )

    def _reason_to_skip(self, lease: Lease) -> str:
        attributes, network = lease.attributes, lease.key.subnet
        own = self._node
        if network is None:
            return "it has no IPv4 subnet"
        if network == own.subnet:
            return "it is this node's own"
        if attributes.backend_type != BACKEND_TYPE:
            return f"its backend is {attributes.backend_type or 'not named'}, not vxlan"
        if attributes.vtep is None:
            return "it names no VTEP MAC"
        if attributes.public_ip is None or attributes.public_ip.is_unspecified:
            return "it names no public address"
        if attributes.public_ip in (own.uplink.public_ip, own.uplink.address):
            return "it carries this node's public address: a stale lease, or two nodes share one address"
        if network.overlaps(own.subnet):
            return f"it overlaps this node's subnet {own.subnet}"
        return ""

    def _join_vtep(self, vtep_ip: IPv4Address, network: IPv4Network) -> None:
        networks = self._networks_of.setdefault(vtep_ip, set())
        networks.add(network)
        self._vteps[vtep_ip] = len(networks)
        self._dirty_vteps.add(vtep_ip)

    def _leave_vtep(self, vtep_ip: IPv4Address, network: IPv4Network) -> None:
        networks = self._networks_of[vtep_ip]
        networks.discard(network)
        self._dirty_vteps.add(vtep_ip)
        if networks:
            self._vteps[vtep_ip] = len(networks)
            return
        del self._networks_of[vtep_ip]
        del self._vteps[vtep_ip]

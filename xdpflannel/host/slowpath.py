"""The kernel's own entries per remote lease on flannel.N, exactly as flannel programs them.

Per lease: a permanent neighbour (subnet's network address → VTEP MAC), a forwarding entry (VTEP MAC → node)
and an onlink route (subnet via its network address). They carry whatever the fast path does not take.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network

from attrs import frozen

from xdpflannel.errors import HostError, NotPermitted
from xdpflannel.host import messages
from xdpflannel.host.netlink import Netlink, explain
from xdpflannel.host.transport import Request
from xdpflannel.host.values import NeighbourState, Route
from xdpflannel.model.host import VxlanDevice
from xdpflannel.model.net import Mac

_ABSENT = (errno.ENOENT, errno.ESRCH, errno.ENODEV)


@frozen
class KernelPeer:
    """A remote lease as the kernel needs it."""

    subnet: IPv4Network
    vtep_mac: Mac
    vtep_ip: IPv4Address


@frozen
class NeighbourEntry:
    """A permanent neighbour on the device."""

    ip: IPv4Address
    mac: Mac


@frozen
class ForwardingEntry:
    """A forwarding entry on the device."""

    mac: Mac
    remote: IPv4Address


Entry = NeighbourEntry | ForwardingEntry | Route


@frozen
class SlowPath:
    """What is on the device: neighbours by address, forwarding entries by MAC, routes by destination."""

    neighbours: Mapping[IPv4Address, Mac]
    forwarding: Mapping[Mac, IPv4Address]
    routes: Mapping[IPv4Network, Route]

    def holds(self, peer: KernelPeer) -> bool:
        """True if all three entries of the peer are there."""
        gateway = peer.subnet.network_address
        route = self.routes.get(peer.subnet)
        return (
            self.neighbours.get(gateway) == peer.vtep_mac
            and self.forwarding.get(peer.vtep_mac) == peer.vtep_ip
            and route is not None
            and route.gateway == gateway
            and route.onlink
        )

    def peers(self) -> dict[IPv4Network, KernelPeer]:
        """The peers of which all three entries are there."""
        found: dict[IPv4Network, KernelPeer] = {}
        for subnet, route in self.routes.items():
            mac = self.neighbours.get(subnet.network_address)
            remote = self.forwarding.get(mac) if mac is not None else None
            if mac is not None and remote is not None and route.gateway == subnet.network_address:
                found[subnet] = KernelPeer(subnet, mac, remote)
        return found

    def strays(self, wanted: Iterable[KernelPeer]) -> list[Entry]:
        """Entries that belong to no wanted peer."""
        peers = list(wanted)
        addresses = {peer.subnet.network_address for peer in peers}
        macs = {peer.vtep_mac for peer in peers}
        subnets = {peer.subnet for peer in peers}
        strays: list[Entry] = [
            NeighbourEntry(ip, mac) for ip, mac in self.neighbours.items() if ip not in addresses
        ]
        strays += [ForwardingEntry(mac, ip) for mac, ip in self.forwarding.items() if mac not in macs]
        strays += [route for subnet, route in self.routes.items() if subnet not in subnets]
        return strays


def read_slow_path(netlink: Netlink, device: VxlanDevice) -> SlowPath:
    """The entries on the device, for a reconciler to compare; routes without a gateway are not ours."""
    neighbours = {
        entry.ip: entry.mac
        for entry in netlink.neighbours(device.ifindex)
        if entry.state == NeighbourState.PERMANENT and entry.mac is not None
    }
    forwarding = {
        entry.mac: entry.remote
        for entry in netlink.forwarding(device.ifindex)
        if entry.remote is not None and entry.mac.is_unicast
    }
    routes = {
        route.destination: route for route in netlink.routes(device.ifindex) if route.gateway is not None
    }
    return SlowPath(neighbours, forwarding, routes)


def set_peers(
    netlink: Netlink, device: VxlanDevice, peers: Sequence[KernelPeer]
) -> dict[KernelPeer, HostError | NotPermitted]:
    """Make or replace the entries of peers; those that failed, and why.

    As in flannel, a peer of which one entry was refused loses its others again. A forwarding entry that a
    changed MAC leaves behind (flannel keeps it) is removed.
    """
    before = netlink.neighbour_macs(device.ifindex, [peer.subnet.network_address for peer in peers])
    requests = [request for peer in peers for request in _set_requests(device, peer)]
    replies = netlink.apply(requests)
    failed: dict[KernelPeer, HostError | NotPermitted] = {}
    for number, peer in enumerate(peers):
        errors = [reply.error for reply in replies[3 * number : 3 * number + 3] if reply.error is not None]
        if errors:
            failed[peer] = explain(f"add subnet {peer.subnet} on {device.name}", errors[0])
    if failed:
        delete_peers(netlink, device, list(failed))
    now = {peer.subnet.network_address: peer.vtep_mac for peer in peers}
    _drop_unused(netlink, device, {mac for ip, mac in before.items() if now[ip] != mac})
    return failed


def delete_peers(
    netlink: Netlink, device: VxlanDevice, peers: Sequence[KernelPeer]
) -> dict[KernelPeer, HostError | NotPermitted]:
    """Remove the entries of peers; those that could not be removed, and why. All entries are tried.

    A forwarding entry stays while another subnet is behind the same MAC (a node whose subnet changed holds
    two leases for a while).
    """
    requests: list[Request] = []
    for peer in peers:
        requests.append(messages.delete_route(_route(device, peer)))
        requests.append(messages.delete_neighbour(device.ifindex, peer.subnet.network_address))
    replies = netlink.apply(requests)
    failed: dict[KernelPeer, HostError | NotPermitted] = {}
    for number, peer in enumerate(peers):
        errors = [reply.error for reply in replies[2 * number : 2 * number + 2]]
        real = [error for error in errors if error is not None and error.errno not in _ABSENT]
        if real:
            failed[peer] = explain(f"remove subnet {peer.subnet} from {device.name}", real[0])
    _drop_unused(netlink, device, {peer.vtep_mac for peer in peers})
    return failed


def delete_entries(netlink: Netlink, device: VxlanDevice, entries: Sequence[Entry]) -> int:
    """Remove single entries, such as strays; how many could not be removed."""
    replies = netlink.apply([_delete_request(device, entry) for entry in entries])
    return sum(1 for reply in replies if reply.error is not None and reply.error.errno not in _ABSENT)


def _route(device: VxlanDevice, peer: KernelPeer) -> Route:
    return Route(peer.subnet, device.ifindex, gateway=peer.subnet.network_address, onlink=True)


def _set_requests(device: VxlanDevice, peer: KernelPeer) -> tuple[Request, Request, Request]:
    return (
        messages.set_neighbour(device.ifindex, peer.subnet.network_address, peer.vtep_mac),
        messages.set_forwarding(device.ifindex, peer.vtep_mac, peer.vtep_ip),
        messages.set_route(_route(device, peer)),
    )


def _delete_request(device: VxlanDevice, entry: Entry) -> Request:
    if isinstance(entry, NeighbourEntry):
        return messages.delete_neighbour(device.ifindex, entry.ip)
    if isinstance(entry, ForwardingEntry):
        return messages.delete_forwarding(device.ifindex, entry.mac)
    return messages.delete_route(entry)


def _drop_unused(netlink: Netlink, device: VxlanDevice, macs: Collection[Mac]) -> None:
    """Remove the forwarding entries of those MACs that no neighbour uses any more."""
    if not macs:
        return
    unused = set(macs) - {entry.mac for entry in netlink.neighbours(device.ifindex)}
    netlink.apply([messages.delete_forwarding(device.ifindex, mac) for mac in sorted(unused)])

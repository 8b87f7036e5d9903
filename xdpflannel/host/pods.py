"""This node's pods, learned from netlink alone: the bridge's neighbours joined with its forwarding entries.

What the fast path takes, the bridge does not see: a busy pod's forwarding entry ages out (300 s) and its
neighbour goes stale although the pod lives. So what is seen is merged into what is known (`merge_pods`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network

from attrs import field, frozen

from xdpflannel.host import messages
from xdpflannel.host.bridge import Bridge, BridgePort, read_bridge
from xdpflannel.host.netlink import Netlink
from xdpflannel.host.values import Neighbour, NeighbourState
from xdpflannel.model.host import Pod
from xdpflannel.model.net import Mac


@frozen
class Sighting:
    """What netlink shows of the pods at one moment."""

    bridge_ifindex: int = 0
    """0 if there is no bridge."""
    bridge_mac: Mac | None = None
    pods: Mapping[IPv4Address, Pod] = field(factory=dict)
    """Those whose port is known."""
    ports: Mapping[int, BridgePort] = field(factory=dict)
    stations: Mapping[Mac, int] = field(factory=dict)
    """On which port each MAC was learned."""
    macs: Mapping[IPv4Address, Mac] = field(factory=dict)
    """The MAC of every address the kernel has a neighbour for, whether its port is known or not."""
    failed: frozenset[IPv4Address] = frozenset()
    """Addresses that did not answer when the kernel asked for them."""


def sight_pods(netlink: Netlink, bridge: str, subnet: IPv4Network) -> Sighting:
    """Look at the ports, forwarding entries and neighbours of a bridge, at addresses in ``subnet`` only."""
    found = read_bridge(netlink, bridge)
    if found is None:
        return Sighting()
    neighbours = netlink.neighbours(found.ifindex)
    return join(found, [entry for entry in neighbours if entry.ip in subnet], subnet)


def join(bridge: Bridge, neighbours: Iterable[Neighbour], subnet: IPv4Network) -> Sighting:
    """Put IP → MAC and MAC → port together."""
    known = list(neighbours)
    macs = {
        entry.ip: entry.mac
        for entry in known
        if entry.usable and entry.mac is not None and entry.ip != subnet.network_address
    }
    pods: dict[IPv4Address, Pod] = {}
    for ip, mac in macs.items():
        port = bridge.ports.get(bridge.stations.get(mac, 0))
        if port is not None and mac.is_unicast:
            pods[ip] = _pod(ip, mac, port, bridge.mac)
    return Sighting(
        bridge_ifindex=bridge.ifindex,
        bridge_mac=bridge.mac,
        pods=pods,
        ports=bridge.ports,
        stations=bridge.stations,
        macs=macs,
        failed=frozenset(entry.ip for entry in known if entry.state == NeighbourState.FAILED),
    )


def _pod(ip: IPv4Address, mac: Mac, port: BridgePort, bridge_mac: Mac) -> Pod:
    return Pod(
        ip=ip,
        mac=mac,
        ifindex=port.ifindex,
        ifname=port.name,
        bridge_mac=bridge_mac,
        port_mac=port.mac,
        mtu=port.mtu,
        napi=port.napi,
    )


def list_pods(netlink: Netlink, bridge: str, subnet: IPv4Network) -> dict[IPv4Address, Pod]:
    """The pods that netlink shows in full right now."""
    return dict(sight_pods(netlink, bridge, subnet).pods)


def merge_pods(known: Mapping[IPv4Address, Pod], sighting: Sighting) -> dict[IPv4Address, Pod]:
    """The pods after a look: those seen, and known ones that are not disproved.

    A known pod stays while its veth is a port of the bridge, unless its address has another MAC now, its
    MAC was learned on another port, or the kernel asked for the address and got no answer.
    """
    pods = dict(sighting.pods)
    for ip, pod in known.items():
        port = sighting.ports.get(pod.ifindex)
        if ip in pods or port is None or sighting.bridge_mac is None or _disproved(pod, sighting):
            continue
        pods[ip] = _pod(ip, pod.mac, port, sighting.bridge_mac)
    return pods


def _disproved(pod: Pod, sighting: Sighting) -> bool:
    return (
        pod.ip in sighting.failed
        or sighting.macs.get(pod.ip, pod.mac) != pod.mac
        or sighting.stations.get(pod.mac, pod.ifindex) != pod.ifindex
    )


def unplaced(sighting: Sighting, pods: Mapping[IPv4Address, Pod]) -> list[IPv4Address]:
    """Addresses whose MAC the kernel knows, but whose port nobody knows: worth a `probe_pods`."""
    return [ip for ip in sighting.macs if ip not in pods]


def silent_ports(sighting: Sighting, pods: Mapping[IPv4Address, Pod]) -> list[BridgePort]:
    """Ports no known pod is behind: the kernel has forgotten its address, or it has not spoken yet.

    To `probe_pods` every address of the subnet makes those that are there answer.
    """
    known = {pod.ifindex for pod in pods.values()}
    return [port for port in sighting.ports.values() if port.ifindex not in known]


def probe_pods(netlink: Netlink, bridge_ifindex: int, ips: Iterable[IPv4Address]) -> None:
    """Ask the kernel to resolve these addresses on the bridge; the answers teach it their ports again."""
    netlink.apply([messages.use_neighbour(bridge_ifindex, ip) for ip in ips])

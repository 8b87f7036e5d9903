"""How frames to other nodes leave this one: route, interface and MAC of the next hop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address

from xdpflannel.host import messages
from xdpflannel.host.netlink import Netlink
from xdpflannel.host.values import Link, Neighbour, Path
from xdpflannel.model.host import NextHop


def resolve_all(netlink: Netlink, vtep_ips: Iterable[IPv4Address]) -> dict[IPv4Address, NextHop]:
    """The next hop of every VTEP that this node can reach over Ethernet; the others are left out.

    One route look-up per VTEP and one dump of links and neighbours for all. ``mac`` is None where the
    neighbour is not resolved: `probe` it.
    """
    paths = netlink.paths(list(dict.fromkeys(vtep_ips)))
    if not paths:
        return {}
    links = {link.ifindex: link for link in netlink.links()}
    neighbours = {(entry.ifindex, entry.ip): entry for entry in netlink.neighbours()}
    hops = ((vtep, _join(path, links, neighbours)) for vtep, path in paths.items())
    return {vtep: hop for vtep, hop in hops if hop is not None}


def resolve(netlink: Netlink, vtep_ip: IPv4Address) -> NextHop | None:
    """The same for one VTEP."""
    return resolve_all(netlink, [vtep_ip]).get(vtep_ip)


def _join(
    path: Path, links: Mapping[int, Link], neighbours: Mapping[tuple[int, IPv4Address], Neighbour]
) -> NextHop | None:
    link = links.get(path.ifindex)
    if link is None or link.mac is None or link.loopback or not link.up:
        return None
    gateway = path.gateway or path.destination
    neighbour = neighbours.get((path.ifindex, gateway))
    return NextHop(
        ifindex=path.ifindex,
        source_mac=link.mac,
        source_ip=path.source,
        gateway=gateway,
        mac=neighbour.mac if neighbour is not None and neighbour.usable else None,
        mtu=min(path.mtu, link.mtu) if path.mtu else link.mtu,
    )


def probe(netlink: Netlink, next_hops: Iterable[NextHop]) -> None:
    """Ask the kernel to resolve or re-confirm these next hops, as if it sent them a packet (NTF_USE).

    The fast path's frames do not pass the neighbour table, so nothing else would. Answers show up as
    neighbour changes. What the kernel refuses (an interface gone meanwhile) is left to the next look.
    """
    targets = dict.fromkeys((hop.ifindex, hop.gateway) for hop in next_hops)
    netlink.apply([messages.use_neighbour(ifindex, gateway) for ifindex, gateway in targets])

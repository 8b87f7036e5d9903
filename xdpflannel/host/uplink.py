"""Choosing the interface that carries the underlay, by flannel's rules (`LookupExtIface`, v0.28.9)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

from attrs import frozen

from xdpflannel.errors import ConfigError, HostError, UplinkNotFound
from xdpflannel.host.netlink import Netlink
from xdpflannel.host.values import Link, LinkAddress, Route
from xdpflannel.model.host import Uplink

_DEFAULT = IPv4Network("0.0.0.0/0")


@frozen
class UplinkSelection:
    """flannel's --iface, --iface-regex, --iface-can-reach and --public-ip; all empty means "find it"."""

    names: tuple[str, ...] = ()
    """Interface names or addresses, tried in order."""
    regexes: tuple[str, ...] = ()
    """Matched against addresses first, then against names."""
    can_reach: IPv4Address | None = None
    public_ip: IPv4Address | None = None

    @property
    def explicit(self) -> bool:
        """Something was asked for, so that nothing else will do."""
        return bool(self.names or self.regexes or self.can_reach)

    def __str__(self) -> str:
        asked = [f"--iface {name}" for name in self.names]
        asked += [f"--iface-regex {regex}" for regex in self.regexes]
        asked += [f"--iface-can-reach {self.can_reach}"] if self.can_reach else []
        return ", ".join(asked) or "the default route"


@frozen
class _Interfaces:
    """What there is to choose from, read once."""

    links: dict[int, Link]
    addresses: tuple[LinkAddress, ...]

    def of(self, link: Link) -> list[LinkAddress]:
        return [address for address in self.addresses if address.ifindex == link.ifindex]

    def named(self, name: str) -> Link | None:
        return next((link for link in self.links.values() if link.name == name), None)

    def with_address(self, ip: IPv4Address) -> Link | None:
        return next((self.links[one.ifindex] for one in self.addresses if one.ip == ip), None)

    def __str__(self) -> str:
        described = []
        for link in self.links.values():
            addresses = " ".join(str(address.ip) for address in self.of(link)) or "no IPv4 address"
            described.append(f"{link.name} ({addresses})")
        return ", ".join(described)


Choice = tuple[Link, IPv4Address | None]
"""An interface, and the address of it that the rule picked (None: its preferred one)."""


def choose_uplink(netlink: Netlink, selection: UplinkSelection) -> Uplink:
    """The interface for the underlay, its address and the address peers know this node by.

    Raises:
        UplinkNotFound: nothing fits; the hint lists the interfaces there are.
        ConfigError: a regular expression cannot be read.
        HostError: the interface cannot be used (no Ethernet, no address, no MTU).
    """
    links = {link.ifindex: link for link in netlink.links()}
    addresses = tuple(one for one in netlink.addresses() if one.ifindex in links)
    there = _Interfaces(links, addresses)
    choice = _choose(netlink, there, selection)
    if choice is None:
        hint = f"choose one with --iface; there are: {there}"
        if not selection.explicit:
            hint = f"this node has no default route; {hint}"
        raise UplinkNotFound(f"no interface fits {selection}", hint=hint)
    return _describe(netlink, there, choice, selection.public_ip)


def _choose(netlink: Netlink, there: _Interfaces, selection: UplinkSelection) -> Choice | None:
    if not selection.explicit:
        return _public(there, selection.public_ip) or _default(netlink, there)
    for name in selection.names:
        if choice := _by_name(there, name):
            return choice
    for text in selection.regexes:
        if choice := _by_regex(there, text):
            return choice
    if selection.can_reach is not None:
        return _by_reach(netlink, there, selection.can_reach)
    return None


def _public(there: _Interfaces, public_ip: IPv4Address | None) -> Choice | None:
    link = there.with_address(public_ip) if public_ip is not None else None
    return (link, public_ip) if link is not None else None


def _default(netlink: Netlink, there: _Interfaces) -> Choice | None:
    def metric(route: Route) -> int:
        return route.priority

    routes = [route for route in netlink.routes() if route.destination == _DEFAULT]
    for route in sorted(routes, key=metric):
        if route.ifindex in there.links:
            return there.links[route.ifindex], None
    return None


def _by_name(there: _Interfaces, name: str) -> Choice | None:
    try:
        ip = IPv4Address(name)
    except ValueError:
        link = there.named(name)
        return (link, None) if link is not None else None
    return _public(there, ip)


def _by_regex(there: _Interfaces, text: str) -> Choice | None:
    try:
        regex = re.compile(text)
    except re.error as error:
        raise ConfigError(
            f"--iface-regex {text!r} is no regular expression: {error}",
            hint=r"for example 'eth.*' or '10\.0\..*'",
        ) from error
    for link in there.links.values():
        for address in there.of(link):
            if regex.search(str(address.ip)):
                return link, address.ip
    named = next((link for link in there.links.values() if regex.search(link.name)), None)
    return (named, None) if named is not None else None


def _by_reach(netlink: Netlink, there: _Interfaces, destination: IPv4Address) -> Choice | None:
    path = netlink.paths([destination]).get(destination)
    if path is None or path.ifindex not in there.links:
        return None
    return there.links[path.ifindex], path.source


def _describe(netlink: Netlink, there: _Interfaces, choice: Choice, public_ip: IPv4Address | None) -> Uplink:
    link, address = choice
    address = address or _preferred(one.ip for one in there.of(link))
    if address is None:
        raise UplinkNotFound(
            f"interface {link.name} has no IPv4 address", hint=f"choose one with --iface; there are: {there}"
        )
    if link.mac is None:
        raise HostError(
            f"interface {link.name} is not Ethernet, so it cannot carry frames of ours",
            hint=f"choose another with --iface; there are: {there}",
        )
    if link.mtu == 0:
        raise HostError(f"interface {link.name} has no MTU", hint=f"`ip link set {link.name} mtu 1500`")
    return Uplink(
        name=link.name,
        ifindex=link.ifindex,
        mac=link.mac,
        mtu=link.mtu,
        address=address,
        public_ip=public_ip or address,
        driver=netlink.driver(link.name) or link.kind,
    )


def _preferred(addresses: Iterable[IPv4Address]) -> IPv4Address | None:
    """The first global address, else the first link-local one."""
    known = list(addresses)
    usable = [one for one in known if not one.is_link_local and not one.is_loopback]
    return next(iter(usable or known), None)

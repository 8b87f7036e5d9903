"""The kernel's network state by netlink: the only module that imports pyroute2.

Links and addresses are built and read by pyroute2's message classes; what a node has per lease (neighbours,
forwarding entries, routes) by `messages`. Every refusal becomes a HostError or NotPermitted that names the
object.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from ipaddress import IPv4Address
from typing import Any, Self

from xdpflannel.errors import HostError, NotPermitted
from xdpflannel.host import ethtool, messages
from xdpflannel.host.features import FeatureReader
from xdpflannel.host.transport import HEADER, NLM_F_CREATE, NLM_F_EXCL, Refused, Reply, Request, Transport
from xdpflannel.host.values import Forwarding, Link, LinkAddress, Neighbour, Path, Route, Vxlan
from xdpflannel.model.net import Mac

_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK, _RTM_SETLINK = 16, 17, 18, 19
_RTM_NEWADDR, _RTM_DELADDR, _RTM_GETADDR = 20, 21, 22
_IFF_UP, _IFF_LOOPBACK = 0x1, 0x8
_ARPHRD_ETHER = 1
_AF_INET = 2
_SKIP_STATS = 1 << 3  # RTEXT_FILTER_SKIP_STATS
_MANY = 64  # look-ups cost about as much as dumping thousands from here on

_NOT_PERMITTED = (errno.EPERM, errno.EACCES)
_HINTS = {
    errno.EOPNOTSUPP: "the kernel lacks a module: `modprobe vxlan` (maybe from a package of extra modules)",
    errno.EEXIST: "something else made it first: `ip -d link` shows what is there",
    errno.EADDRINUSE: "another VXLAN device uses this port with other settings: choose another port or VNI",
    errno.ENODEV: "the interface is gone: `ip link` shows what is there",
    errno.ENETDOWN: "the interface is down: `ip link set … up`",
    errno.ENOBUFS: "the kernel is out of memory for network entries",
    errno.ENFILE: "raise net.ipv4.neigh.default.gc_thresh3",
}


def _message_classes() -> tuple[Any, Any]:
    """pyroute2's ifinfmsg and ifaddrmsg.

    Its __init__ imports all of its 160 modules: 24 MB and 100 ms for two classes. With the bare package in
    place the submodules load by themselves in 5 MB and 25 ms; whoever wants the whole library later gets it.
    """
    bare = "pyroute2" not in sys.modules
    if bare:
        spec = find_spec("pyroute2")
        if spec is None:
            raise HostError("the Python package pyroute2 is missing", hint="pip install pyroute2")
        sys.modules["pyroute2"] = module_from_spec(spec)
    try:
        link = import_module("pyroute2.netlink.rtnl.ifinfmsg").ifinfmsg
        address = import_module("pyroute2.netlink.rtnl.ifaddrmsg").ifaddrmsg
    finally:
        if bare:
            del sys.modules["pyroute2"]
    return link, address


_LinkMessage, _AddressMessage = _message_classes()


@contextmanager
def _doing(what: str) -> Iterator[None]:
    """Turn the kernel's refusal of ``what`` ("create flannel.1") into an error for people."""
    try:
        yield
    except OSError as error:
        raise explain(what, error) from error


def explain(what: str, error: OSError) -> HostError | NotPermitted:
    """The error to raise when the kernel refused to do ``what``."""
    message = f"cannot {what}: {error.strerror}"
    if error.errno in _NOT_PERMITTED:
        return NotPermitted(message, hint="run as root, or with CAP_NET_ADMIN")
    return HostError(message, hint=_HINTS.get(error.errno or 0, ""))


class Netlink:
    """One network namespace's state: the current one, or a named one (`/run/netns/NAME`).

    Use as a context manager. Calls may come from any thread. Unless said otherwise they raise HostError or
    NotPermitted.
    """

    def __init__(self, netns: str | None = None) -> None:
        self.netns = netns
        with _doing("open a netlink socket"):
            self._transport = Transport(netns=netns)
        self._features = FeatureReader(netns)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the sockets back."""
        self._transport.close()
        self._features.close()

    # Links

    def links(self, *, master: int = 0) -> list[Link]:
        """All interfaces, or the ports of one bridge."""
        attrs: list[tuple[str, Any]] = [("IFLA_EXT_MASK", _SKIP_STATS)]
        if master:
            attrs.append(("IFLA_MASTER", master))
        with _doing("list interfaces"):
            answers = self._transport.dump(_RTM_GETLINK, _link_body(attrs))
        links = [read_link(message) for message in answers]
        return [link for link in links if not master or link.master == master]

    def link(self, which: str | int) -> Link | None:
        """The interface of that name or index; None if there is none."""
        attrs: list[tuple[str, Any]] = [("IFLA_EXT_MASK", _SKIP_STATS)]
        index = 0
        if isinstance(which, int):
            index = which
        else:
            attrs.append(("IFLA_IFNAME", which))
        try:
            answers = self._transport.request(Request(_RTM_GETLINK, 0, _link_body(attrs, index)))
        except Refused as error:
            if error.errno == errno.ENODEV:
                return None
            raise explain(f"look up interface {which}", error) from error
        return read_link(answers[0])

    def add_vxlan(self, name: str, vxlan: Vxlan, *, mac: Mac, mtu: int) -> None:
        """Make a VXLAN device as flannel does (TTL and TOS inherited from the route, no group, no remote)."""
        data: list[tuple[str, Any]] = [
            ("IFLA_VXLAN_ID", vxlan.vni),
            ("IFLA_VXLAN_PORT", vxlan.port),
            ("IFLA_VXLAN_LEARNING", int(vxlan.learning)),
        ]
        if vxlan.lower:
            data.append(("IFLA_VXLAN_LINK", vxlan.lower))
        if vxlan.local is not None:
            data.append(("IFLA_VXLAN_LOCAL", str(vxlan.local)))
        if vxlan.gbp:
            data.append(("IFLA_VXLAN_GBP", True))
        attrs: list[tuple[str, Any]] = [
            ("IFLA_IFNAME", name),
            ("IFLA_ADDRESS", str(mac)),
            ("IFLA_MTU", mtu),
            ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "vxlan"), ("IFLA_INFO_DATA", {"attrs": data})]}),
        ]
        request = Request(_RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, _link_body(attrs))
        with _doing(f"create VXLAN device {name} (VNI {vxlan.vni}, port {vxlan.port})"):
            self._transport.request(request)

    def set_link(
        self, link: Link, *, up: bool = False, mtu: int | None = None, mac: Mac | None = None
    ) -> None:
        """Bring an interface up, set its MTU or its MAC."""
        attrs: list[tuple[str, Any]] = []
        if mtu is not None:
            attrs.append(("IFLA_MTU", mtu))
        if mac is not None:
            attrs.append(("IFLA_ADDRESS", str(mac)))
        flags = _IFF_UP if up else 0
        body = _link_body(attrs, link.ifindex, flags=flags, change=flags)
        what = ", ".join([*(["up"] if up else []), *(f"{kind[5:].lower()} {value}" for kind, value in attrs)])
        with _doing(f"set {link.name} to {what}"):
            self._transport.request(Request(_RTM_SETLINK, 0, body))

    def delete_link(self, link: Link) -> None:
        """Remove an interface; nothing happens if it is gone already."""
        try:
            self._transport.request(Request(_RTM_DELLINK, 0, _link_body([], link.ifindex)))
        except Refused as error:
            if error.errno != errno.ENODEV:
                raise explain(f"remove {link.name}", error) from error

    def driver(self, ifname: str) -> str:
        """Name of the driver behind an interface, "" if it has none to tell."""
        return ethtool.driver(ifname, self.netns)

    def xdp_features(self, ifindex: int) -> int | None:
        """NETDEV_XDP_ACT_* bits of a device; None if the kernel (before 6.3) does not tell."""
        with _doing(f"read the XDP features of interface {ifindex}"):
            return self._features.one(ifindex)

    def all_xdp_features(self) -> dict[int, int]:
        """The same for every device, by interface index; empty if the kernel does not tell."""
        with _doing("read the XDP features of the interfaces"):
            return self._features.every()

    # Addresses

    def addresses(self, ifindex: int = 0) -> list[LinkAddress]:
        """IPv4 addresses of one interface (0: of all), in the kernel's order."""
        with _doing("list addresses"):
            answers = self._transport.dump(_RTM_GETADDR, _address_body(ifindex, 0, []))
        return [address for address in map(read_address, answers) if address is not None]

    def add_address(self, link: Link, address: LinkAddress) -> None:
        """Give an interface an address (scope global); nothing happens if it has it."""
        try:
            self._transport.request(
                Request(_RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, _address_request(link, address))
            )
        except Refused as error:
            if error.errno != errno.EEXIST:
                raise explain(f"add address {address.ip}/{address.length} to {link.name}", error) from error

    def delete_address(self, link: Link, address: LinkAddress) -> None:
        """Take an address from an interface; nothing happens if it has it not."""
        try:
            self._transport.request(Request(_RTM_DELADDR, 0, _address_request(link, address)))
        except Refused as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.ENODEV):
                raise explain(f"remove address {address.ip} from {link.name}", error) from error

    # What there is once per lease

    def neighbours(self, ifindex: int = 0) -> list[Neighbour]:
        """IPv4 neighbours of one interface (0: of all)."""
        found = self._dump("list neighbours", messages.dump_neighbours(ifindex))
        return [entry for entry in map(messages.read_neighbour, found) if entry is not None]

    def forwarding(self, ifindex: int) -> list[Forwarding]:
        """Forwarding entries of one device."""
        found = self._dump("list forwarding entries", messages.dump_forwarding(ifindex, 0))
        entries = [entry for entry in map(messages.read_forwarding, found) if entry is not None]
        return [entry for entry in entries if entry.ifindex == ifindex]

    def bridge_forwarding(self, bridge: int) -> list[Forwarding]:
        """Forwarding entries of a bridge, each on the port it belongs to."""
        found = self._dump("list forwarding entries", messages.dump_forwarding(0, bridge))
        return [entry for entry in map(messages.read_forwarding, found) if entry is not None]

    def neighbour_macs(self, ifindex: int, ips: Sequence[IPv4Address]) -> dict[IPv4Address, Mac]:
        """The MACs of some neighbours of an interface; those without one are left out."""
        if len(ips) > _MANY:
            wanted = set(ips)
            entries = [entry for entry in self.neighbours(ifindex) if entry.ip in wanted]
        else:
            replies = self.apply([messages.get_neighbour(ifindex, ip) for ip in ips])
            found = [messages.read_neighbour(message) for reply in replies for message in reply.messages]
            entries = [entry for entry in found if entry is not None]
        return {entry.ip: entry.mac for entry in entries if entry.mac is not None}

    def routes(self, ifindex: int = 0) -> list[Route]:
        """Unicast IPv4 routes of the main table, all or those by one interface."""
        found = self._dump("list routes", messages.dump_routes(ifindex))
        routes = [route for route in map(messages.read_route, found) if route is not None]
        return [route for route in routes if not ifindex or route.ifindex == ifindex]

    def paths(self, destinations: Sequence[IPv4Address]) -> dict[IPv4Address, Path]:
        """Which way a packet to each address would go; those without a way out of this node are left out."""
        replies = self.apply([messages.route_to(destination) for destination in destinations])
        found: dict[IPv4Address, Path] = {}
        for destination, reply in zip(destinations, replies, strict=True):
            path = messages.read_path(reply.messages[0], destination) if reply.messages else None
            if path is not None:
                found[destination] = path
        return found

    def apply(self, requests: Sequence[Request]) -> list[Reply]:
        """Send requests made by `messages` in one go; refusals are in the replies, not raised."""
        with _doing("talk to the kernel"):
            return self._transport.batch(requests)

    def _dump(self, what: str, request: Request) -> list[bytes]:
        with _doing(what):
            return self._transport.dump(request.kind, request.body)


def _encoded(message: Any) -> bytes:
    """The message without its header, which `transport` writes."""
    message.encode()
    return bytes(message.data[HEADER.size :])


def _link_body(attrs: Iterable[tuple[str, Any]], index: int = 0, *, flags: int = 0, change: int = 0) -> bytes:
    message = _LinkMessage()
    message["index"] = index
    message["flags"] = flags
    message["change"] = change
    message["attrs"] = list(attrs)
    return _encoded(message)


def _address_body(index: int, length: int, attrs: Iterable[tuple[str, Any]]) -> bytes:
    message = _AddressMessage()
    message["family"] = _AF_INET
    message["prefixlen"] = length
    message["index"] = index
    message["attrs"] = list(attrs)
    return _encoded(message)


def _address_request(link: Link, address: LinkAddress) -> bytes:
    ip = str(address.ip)
    return _address_body(link.ifindex, address.length, [("IFA_LOCAL", ip), ("IFA_ADDRESS", ip)])


def _decoded(message_class: Any, message: bytes) -> Any:
    decoded = message_class(message)
    decoded.decode()
    return decoded


def read_link(message: bytes) -> Link:
    """A link message as a value."""
    link = _decoded(_LinkMessage, message)
    info = link.get_attr("IFLA_LINKINFO")
    kind = (info.get_attr("IFLA_INFO_KIND") or "") if info else ""
    data = info.get_attr("IFLA_INFO_DATA") if kind == "vxlan" else None
    address = link.get_attr("IFLA_ADDRESS")
    ethernet = link["ifi_type"] == _ARPHRD_ETHER and address
    return Link(
        ifindex=link["index"],
        name=link.get_attr("IFLA_IFNAME"),
        kind=kind,
        mac=Mac.parse(address) if ethernet else None,
        mtu=link.get_attr("IFLA_MTU") or 0,
        up=bool(link["flags"] & _IFF_UP),
        loopback=bool(link["flags"] & _IFF_LOOPBACK),
        master=link.get_attr("IFLA_MASTER") or 0,
        vxlan=_read_vxlan(data) if data else None,
    )


def _read_vxlan(data: Any) -> Vxlan:
    local = data.get_attr("IFLA_VXLAN_LOCAL")
    return Vxlan(
        vni=data.get_attr("IFLA_VXLAN_ID"),
        port=data.get_attr("IFLA_VXLAN_PORT"),
        local=IPv4Address(local) if local else None,
        lower=data.get_attr("IFLA_VXLAN_LINK") or 0,
        learning=bool(data.get_attr("IFLA_VXLAN_LEARNING")),
        group=any(data.get_attr(name) for name in ("IFLA_VXLAN_GROUP", "IFLA_VXLAN_GROUP6")),
        gbp=data.get_attr("IFLA_VXLAN_GBP") is not None,
        l2miss=bool(data.get_attr("IFLA_VXLAN_L2MISS")),
    )


def read_address(message: bytes) -> LinkAddress | None:
    """An address message as a value; None if it is not IPv4."""
    address = _decoded(_AddressMessage, message)
    local = address.get_attr("IFA_LOCAL")
    if address["family"] != _AF_INET or local is None:
        return None
    return LinkAddress(address["index"], IPv4Address(local), address["prefixlen"])

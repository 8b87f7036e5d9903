"""flannel.N: the kernel's VXLAN device, made and kept as flannel does (`ensureLink`, v0.28.9)."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network

import structlog
from attrs import frozen

from xdpflannel.errors import HostError
from xdpflannel.host import sysctl
from xdpflannel.host.netlink import Netlink
from xdpflannel.host.values import Link, LinkAddress, Vxlan
from xdpflannel.model.host import VxlanDevice
from xdpflannel.model.net import Mac

log = structlog.get_logger(__name__)


@frozen
class VxlanSpec:
    """The device that is wanted.

    ``local`` is the address peers know this node by, ``lower`` the uplink's interface index. ``mac`` None
    keeps the MAC of a device that is there and makes up one for a new device. ``mtu`` is the device's own, in
    bytes.
    """

    name: str
    vni: int
    port: int
    local: IPv4Address
    lower: int
    mtu: int
    mac: Mac | None = None
    learning: bool = False
    gbp: bool = False


def random_mac(random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> Mac:
    """A locally administered unicast MAC, as flannel makes them."""
    raw = random_bytes(6)
    return Mac(bytes([raw[0] & 0xFE | 0x02]) + raw[1:])


def difference(link: Link, spec: VxlanSpec) -> str:
    """Why a device that is there cannot serve, in words; "" if it can.

    Compared is what flannel compares (type, VNI, lower device, local address, group, l2miss, port, GBP) and
    learning, which flannel forgets; MAC and MTU can be changed on the device.
    """
    found = link.vxlan
    if found is None:
        return f"it is a {link.kind or 'hardware'} interface"
    pairs = (
        ("VNI", found.vni, spec.vni),
        ("lower device", found.lower, spec.lower),
        ("local address", found.local, spec.local),
        ("port", found.port, spec.port),
        ("GBP", found.gbp, spec.gbp),
        ("learning", found.learning, spec.learning),
        ("group", found.group, False),
        ("l2miss", found.l2miss, False),
    )
    return ", ".join(f"{name} is {there}, not {wanted}" for name, there, wanted in pairs if there != wanted)


def ensure_vxlan_device(
    netlink: Netlink, spec: VxlanSpec, *, random_bytes: Callable[[int], bytes] = secrets.token_bytes
) -> VxlanDevice:
    """Make the device, or keep the one that is there; it is up afterwards.

    A device that cannot serve is removed and made anew, and with it go all entries on it. Logs
    ``device.created``, ``device.kept`` or ``device.recreated``.

    Raises:
        HostError, NotPermitted: the kernel refused, or something changed the MAC behind our back.
    """
    link = netlink.link(spec.name)
    event, reason = "device.kept", ""
    if link is not None and (reason := difference(link, spec)):
        netlink.delete_link(link)
        link, event = None, "device.recreated"
    elif link is None:
        event = "device.created"
    if link is None:
        _create(netlink, spec, random_bytes)
        link = _found(netlink, spec.name)
    device = _bring_up(netlink, link, spec)
    log.info(event, device=device.name, ifindex=device.ifindex, mac=str(device.mac), reason=reason)
    return device


def _create(netlink: Netlink, spec: VxlanSpec, random_bytes: Callable[[int], bytes]) -> None:
    vxlan = Vxlan(
        vni=spec.vni,
        port=spec.port,
        local=spec.local,
        lower=spec.lower,
        learning=spec.learning,
        gbp=spec.gbp,
    )
    netlink.add_vxlan(spec.name, vxlan, mac=spec.mac or random_mac(random_bytes), mtu=spec.mtu)


def _bring_up(netlink: Netlink, link: Link, spec: VxlanSpec) -> VxlanDevice:
    mac = spec.mac or link.mac
    netlink.set_link(
        link,
        up=True,
        mtu=spec.mtu if link.mtu != spec.mtu else None,
        mac=spec.mac if link.mac != mac else None,
    )
    if netlink.netns is None:
        sysctl.write(f"net/ipv6/conf/{spec.name}/accept_ra", "0")
    after = _found(netlink, spec.name)
    if mac is None or after.mac != mac:
        raise HostError(
            f"{spec.name} has MAC {after.mac} though {mac} was set: something on this node changes it",
            hint="systemd-udevd does so: add a .link file with [Match] OriginalName=flannel* and "
            "[Link] MACAddressPolicy=none to /etc/systemd/network",
        )
    return VxlanDevice(
        name=after.name, ifindex=after.ifindex, mac=mac, mtu=after.mtu, vni=spec.vni, port=spec.port
    )


def _found(netlink: Netlink, name: str) -> Link:
    link = netlink.link(name)
    if link is None:
        raise HostError(
            f"{name} vanished while it was set up", hint="does another program manage it? Stop it, then retry"
        )
    return link


def ensure_device_address(
    netlink: Netlink, device: VxlanDevice, subnet: IPv4Network, network: IPv4Network
) -> None:
    """Give the device ``<subnet's network address>/32``, the source of what this node sends to pods.

    Other addresses inside ``network`` are removed (a former subnet's), foreign ones are kept.
    """
    link = _found(netlink, device.name)
    wanted = LinkAddress(link.ifindex, subnet.network_address, 32)
    for address in netlink.addresses(link.ifindex):
        if address.ip in network and address != wanted:
            netlink.delete_address(link, address)
    netlink.add_address(link, wanted)


def remove_vxlan_device(netlink: Netlink, name: str) -> bool:
    """Remove the device; False if there was none. An interface of that name that is no VXLAN is left alone.

    Raises:
        HostError: it is not a VXLAN device, or the kernel refused.
    """
    link = netlink.link(name)
    if link is None:
        return False
    if link.vxlan is None:
        raise HostError(
            f"{name} is not a VXLAN device, so it is not ours to remove",
            hint=f"look at `ip -d link show {name}`",
        )
    netlink.delete_link(link)
    log.info("device.removed", device=name)
    return True

"""flannel's network configuration: the value of ``<prefix>/config``, or the file net-conf.json.

The rules are flannel's own (pkg/subnet/config.go, ParseConfig and CheckNetworkConfig), with a message each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Generic, TypeVar

from attrs import frozen

from xdpflannel.errors import ConfigError
from xdpflannel.model import gojson
from xdpflannel.model.backend import DEFAULT_PORT, DEFAULT_VNI, VxlanBackend, parse_backend

__all__ = ["DEFAULT_PORT", "DEFAULT_VNI", "NetworkConfig", "VxlanBackend", "parse_network_config"]

_CIDR = re.compile(r"([0-9A-Fa-f:.]+)/([0-9]{1,3})")

_Address = TypeVar("_Address", IPv4Address, IPv6Address)
_Network = TypeVar("_Network", IPv4Network, IPv6Network)


@frozen
class NetworkConfig:
    """A valid network configuration, defaults filled in.

    ``subnet_len`` is each node's prefix length; ``subnet_min`` and ``subnet_max`` are the first and the last
    subnet that may be leased, both included. A family's members are None (0 for lengths) while it is off.
    """

    enable_ipv4: bool
    enable_ipv6: bool
    network: IPv4Network | None
    subnet_len: int
    subnet_min: IPv4Address | None
    subnet_max: IPv4Address | None
    network6: IPv6Network | None
    subnet_len6: int
    subnet_min6: IPv6Address | None
    subnet_max6: IPv6Address | None
    enable_nftables: bool
    backend: VxlanBackend


@frozen
class _Family(Generic[_Address, _Network]):
    """One address family's member names, sizes and types."""

    prefix: str
    bits: int
    usual_len: int
    address: Callable[[str | int], _Address]
    network: Callable[[tuple[int, int]], _Network]

    @property
    def name(self) -> str:
        return "IPv4" if self.bits == 32 else "IPv6"


@frozen
class _Range(Generic[_Address, _Network]):
    network: _Network
    length: int
    first: _Address
    last: _Address


_V4 = _Family("", 32, 24, IPv4Address, lambda value: IPv4Network(value, strict=False))
_V6 = _Family("IPv6", 128, 64, IPv6Address, lambda value: IPv6Network(value, strict=False))


def parse_network_config(text: str | bytes) -> NetworkConfig:
    """Read a network configuration, fill in flannel's defaults and check flannel's rules.

    Raises:
        ConfigError: a rule is broken or the backend is not one that xdpflannel does.
    """
    document = _document(text)
    enable_ipv4 = gojson.boolean(document, "EnableIPv4", default=True)
    enable_ipv6 = gojson.boolean(document, "EnableIPv6", default=False)
    if not enable_ipv4 and not enable_ipv6:
        raise ConfigError(
            "the network configuration turns both IPv4 and IPv6 off",
            hint="leave EnableIPv4 out, or set EnableIPv6 to true and IPv6Network to a network",
        )
    range4 = _range(document, _V4) if enable_ipv4 else None
    range6 = _range(document, _V6) if enable_ipv6 else None
    return NetworkConfig(
        enable_ipv4=enable_ipv4,
        enable_ipv6=enable_ipv6,
        network=range4.network if range4 else None,
        subnet_len=range4.length if range4 else 0,
        subnet_min=range4.first if range4 else None,
        subnet_max=range4.last if range4 else None,
        network6=range6.network if range6 else None,
        subnet_len6=range6.length if range6 else 0,
        subnet_min6=range6.first if range6 else None,
        subnet_max6=range6.last if range6 else None,
        enable_nftables=gojson.boolean(document, "EnableNFTables", default=False),
        backend=parse_backend(document),
    )


def _document(text: str | bytes) -> Mapping[str, object]:
    if not text.strip():
        raise ConfigError(
            "the network configuration is empty",
            hint='write at least {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}',
        )
    try:
        document = gojson.loads(text)
    except ValueError as error:
        raise ConfigError(
            f"the network configuration is not JSON: {error}",
            hint="check quotes, commas and brackets, e.g. with python3 -m json.tool",
        ) from None
    if not isinstance(document, dict):
        raise ConfigError(
            f"the network configuration is {gojson.kind(document)}, not a JSON object",
            hint='it has the form {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}',
        )
    return document


def _range(document: Mapping[str, object], family: _Family[_Address, _Network]) -> _Range[_Address, _Network]:
    network = _network(document, family)
    length = _subnet_len(document, family, network.prefixlen)
    size = 1 << (family.bits - length)
    start = int(network.network_address)
    end = int(network.broadcast_address) + 1
    # The first subnet is left out unless SubnetMin asks for it: flannel keeps the network's own address free.
    first = _bound(document, family, "SubnetMin", network, length) or family.address(start + size)
    last = _bound(document, family, "SubnetMax", network, length) or family.address(end - size)
    if int(first) > int(last):
        names = f"{family.prefix}SubnetMin {first}", f"{family.prefix}SubnetMax {last}"
        raise ConfigError(
            f"{names[0]} is above {names[1]}: no subnet could ever be leased", hint="swap or widen the two"
        )
    return _Range(network, length, first, last)


def _network(document: Mapping[str, object], family: _Family[_Address, _Network]) -> _Network:
    name = f"{family.prefix}Network"
    example = "10.244.0.0/16" if family.bits == 32 else "fd00:10:244::/56"
    if name.casefold() not in document:
        raise ConfigError(
            f"the network configuration has no {name}, though {family.name} is enabled",
            hint=f'define a correct {name}, e.g. "{name}": "{example}", or turn Enable{family.name} off',
        )
    value = document[name.casefold()]
    match = _CIDR.fullmatch(value) if isinstance(value, str) else None
    address = _address(match[1], family) if match else None
    if match is None or address is None or int(match[2]) > family.bits:
        raise ConfigError(
            f"{name} {gojson.shown(value)} is not an {family.name} network", hint=f'write it as "{example}"'
        )
    network = family.network((int(address), int(match[2])))
    if int(address) == 0 and network.prefixlen == 0:
        raise ConfigError(
            f"{name} {value} is everything: pods need a network of their own",
            hint=f'define a correct {name}, e.g. "{example}"',
        )
    return network


def _subnet_len(document: Mapping[str, object], family: _Family[_Address, _Network], network_len: int) -> int:
    name = f"{family.prefix}SubnetLen"
    longest = family.bits - 2
    length = gojson.integer(document, name, default=0)
    if length < 0:
        raise ConfigError(f"{name} {length} is negative", hint=f"choose {network_len + 2} to {longest}")
    if length > longest:
        raise ConfigError(
            f"{name} {length} is too long: a subnet must be no smaller than a /{longest}",
            hint=f"choose {network_len + 2} to {longest}, or leave {name} out",
        )
    if network_len > longest - 2:
        raise ConfigError(
            f"{family.prefix}Network /{network_len} is too small: it must hold four subnets of /{longest}",
            hint=f"use a /{longest - 2} or larger",
        )
    if length == 0:
        return max(family.usual_len, network_len + 2)
    if length < network_len + 2:
        raise ConfigError(
            f"{name} {length} leaves fewer than four subnets in a /{network_len}",
            hint=f"choose {network_len + 2} to {longest}, or leave {name} out",
        )
    return length


def _bound(
    document: Mapping[str, object],
    family: _Family[_Address, _Network],
    member: str,
    network: _Network,
    length: int,
) -> _Address | None:
    """SubnetMin or SubnetMax; None if absent. Go cannot tell its zero address from an absent one either."""
    name = f"{family.prefix}{member}"
    value = document.get(name.casefold())
    if value is None:
        return None
    address = _address(value, family) if isinstance(value, str) else None
    if address is None:
        raise ConfigError(
            f"{name} {gojson.shown(value)} is not an {family.name} address",
            hint=f'write the first address of a subnet, e.g. "{network.network_address}"',
        )
    if int(address) == 0:
        return None
    if not int(network.network_address) <= int(address) <= int(network.broadcast_address):
        raise ConfigError(
            f"{name} {address} is not in the range of {family.prefix}Network {network}",
            hint=f"choose a subnet of {network}",
        )
    size = 1 << (family.bits - length)
    below = family.address(int(address) // size * size)
    if address != below:
        raise ConfigError(
            f"{name} {address} is not on a subnet boundary (every subnet is a /{length})",
            hint=f"use {below}, where the subnet that holds it begins",
        )
    return address


def _address(text: str, family: _Family[_Address, _Network]) -> _Address | None:
    if "%" in text or (family.bits == 128 and "." in text):
        return None  # a zone, or IPv4 in disguise: no flannel network
    try:
        return family.address(text)
    except AddressValueError:
        return None

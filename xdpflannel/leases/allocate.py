"""Choose a free subnet. Pure: the network configuration and who holds what in, a subnet key out."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeVar

from attrs import frozen

from xdpflannel.errors import OutOfSubnets
from xdpflannel.model.config import NetworkConfig
from xdpflannel.model.lease import SubnetKey

CANDIDATES = 100
"""Free subnets among which chance decides: enough to keep nodes from colliding (flannel's number)."""

_Network = TypeVar("_Network", IPv4Network, IPv6Network)


@frozen
class _Range:
    """Subnets that may be leased: from ``first`` in steps of ``size`` up to ``last``, as numbers."""

    first: int
    last: int
    size: int


def fits(key: SubnetKey, config: NetworkConfig) -> bool:
    """True if the configuration allows it: just the enabled families, the right size, within the range."""
    if config.enable_ipv4 != (key.subnet is not None) or config.enable_ipv6 != (key.subnet6 is not None):
        return False
    range4, range6 = _range4(config), _range6(config)
    return (range4 is None or key.subnet is None or _is_in(key.subnet, range4)) and (
        range6 is None or key.subnet6 is None or _is_in(key.subnet6, range6)
    )


def is_free(key: SubnetKey, taken: Iterable[SubnetKey]) -> bool:
    """True if no taken subnet overlaps it, in either family."""
    return not any(
        _overlap(key.subnet, other.subnet) or _overlap(key.subnet6, other.subnet6) for other in taken
    )


def choose(config: NetworkConfig, taken: Iterable[SubnetKey], rng: random.Random) -> SubnetKey:
    """One of the first free subnets, by chance; each family for itself.

    Raises:
        OutOfSubnets: none is free.
    """
    taken = tuple(taken)
    range4, range6 = _range4(config), _range6(config)
    subnet = subnet6 = None
    if range4 is not None:
        held = [_bounds(key.subnet) for key in taken if key.subnet is not None]
        start = _pick(range4, held, rng, f"{IPv4Address(range4.first)} to {IPv4Address(range4.last)}")
        subnet = IPv4Network((start, config.subnet_len))
    if range6 is not None:
        held = [_bounds(key.subnet6) for key in taken if key.subnet6 is not None]
        start = _pick(range6, held, rng, f"{IPv6Address(range6.first)} to {IPv6Address(range6.last)}")
        subnet6 = IPv6Network((start, config.subnet_len6))
    return SubnetKey(subnet, subnet6)


def _pick(range_: _Range, held: list[tuple[int, int]], rng: random.Random, shown: str) -> int:
    free = _free(range_, sorted(held))
    candidates = [start for start, _ in zip(free, range(CANDIDATES), strict=False)]
    if not candidates:
        raise OutOfSubnets(
            f"out of subnets: all from {shown} are leased",
            hint="enlarge Network, lengthen SubnetLen or widen SubnetMin and SubnetMax; "
            "leases of dead nodes end by themselves within a day",
        )
    return rng.choice(candidates)


def _free(range_: _Range, held: list[tuple[int, int]]) -> Iterator[int]:
    """Free subnets in order. ``held`` is sorted, so one walk over both is enough, however large the range."""
    start = range_.first
    for first, last in held:
        while start <= range_.last and start + range_.size <= first:
            yield start
            start += range_.size
        if last >= start:
            start += -(-(last + 1 - start) // range_.size) * range_.size
    while start <= range_.last:
        yield start
        start += range_.size


def _range4(config: NetworkConfig) -> _Range | None:
    if config.subnet_min is None or config.subnet_max is None:
        return None
    return _Range(int(config.subnet_min), int(config.subnet_max), 1 << (32 - config.subnet_len))


def _range6(config: NetworkConfig) -> _Range | None:
    if config.subnet_min6 is None or config.subnet_max6 is None:
        return None
    return _Range(int(config.subnet_min6), int(config.subnet_max6), 1 << (128 - config.subnet_len6))


def _is_in(subnet: IPv4Network | IPv6Network, range_: _Range) -> bool:
    return subnet.num_addresses == range_.size and range_.first <= int(subnet.network_address) <= range_.last


def _overlap(one: _Network | None, other: _Network | None) -> bool:
    return one is not None and other is not None and one.overlaps(other)


def _bounds(subnet: IPv4Network | IPv6Network) -> tuple[int, int]:
    return int(subnet.network_address), int(subnet.broadcast_address)

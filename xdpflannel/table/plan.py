"""What to change so that the kernel holds what it should: a list of operations that can be read and applied.

The order keeps every packet deliverable at every step: the fast path forgets a route before the kernel
does, and the kernel knows a peer before the fast path sends to it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import TypeVar

from attrs import frozen

from xdpflannel.model.entries import ConfigEntry, Contents, PeerEntry, PodEntry, RouteEntry


@frozen
class SetConfig:
    """Write map ``config``; the programs take packets from then on."""

    entry: ConfigEntry

    def __str__(self) -> str:
        return f"config: VNI {self.entry.vni} port {self.entry.port} at {self.entry.vtep_ip}"


@frozen
class PutRoute:
    """Write an entry of map ``routes4``."""

    network: IPv4Network
    entry: RouteEntry

    def __str__(self) -> str:
        hop = self.entry.next_hop_mac or "unresolved"
        return f"route {self.network} to VTEP {self.entry.vtep_ip} ({self.entry.vtep_mac}) by {hop}"


@frozen
class DeleteRoute:
    """Remove an entry of map ``routes4``."""

    network: IPv4Network

    def __str__(self) -> str:
        return f"no route {self.network}"


@frozen
class PutPod:
    """Write an entry of map ``pods4``."""

    ip: IPv4Address
    entry: PodEntry

    def __str__(self) -> str:
        return f"pod {self.ip} at {self.entry.mac} on interface {self.entry.ifindex}"


@frozen
class DeletePod:
    """Remove an entry of map ``pods4``."""

    ip: IPv4Address

    def __str__(self) -> str:
        return f"no pod {self.ip}"


@frozen
class PutVtep:
    """Write an entry of map ``vteps4``."""

    ip: IPv4Address
    routes: int

    def __str__(self) -> str:
        return f"VTEP {self.ip} with {self.routes} subnets"


@frozen
class DeleteVtep:
    """Remove an entry of map ``vteps4``."""

    ip: IPv4Address

    def __str__(self) -> str:
        return f"no VTEP {self.ip}"


@frozen
class SetPeer:
    """Write the kernel's neighbour, FDB entry and route of a remote subnet. ``before``: what they replace."""

    network: IPv4Network
    entry: PeerEntry
    before: PeerEntry | None = None

    def __str__(self) -> str:
        return f"kernel peer {self.network} at {self.entry.vtep_ip} ({self.entry.vtep_mac})"


@frozen
class DeletePeer:
    """Remove the kernel's entries of a remote subnet."""

    network: IPv4Network
    entry: PeerEntry

    def __str__(self) -> str:
        return f"no kernel peer {self.network}"


Operation = (
    SetConfig | PutRoute | DeleteRoute | PutPod | DeletePod | PutVtep | DeleteVtep | SetPeer | DeletePeer
)
Plan = tuple[Operation, ...]

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def diff(
    desired: Contents,
    actual: Contents,
    *,
    networks: Collection[IPv4Network] | None = None,
    vteps: Collection[IPv4Address] | None = None,
) -> Plan:
    """Return what turns ``actual`` into ``desired``.

    ``networks`` and ``vteps`` limit the comparison of routes, peers and VTEPs to what is known to have
    changed, so that one lease among ten thousand costs one comparison.
    """
    plan: list[Operation] = []
    plan += (DeleteRoute(key) for key in _gone(desired.routes, actual.routes, networks))
    plan += (DeletePod(key) for key in _gone(desired.pods, actual.pods, None))
    plan += (
        SetPeer(key, entry, actual.peers.get(key))
        for key, entry in _new(desired.peers, actual.peers, networks)
    )
    plan += (PutVtep(key, count) for key, count in _new(desired.vteps, actual.vteps, vteps))
    plan += (PutRoute(key, entry) for key, entry in _new(desired.routes, actual.routes, networks))
    plan += (PutPod(key, entry) for key, entry in _new(desired.pods, actual.pods, None))
    if desired.config is not None and desired.config != actual.config:
        plan.append(SetConfig(desired.config))
    plan += (DeleteVtep(key) for key in _gone(desired.vteps, actual.vteps, vteps))
    plan += (DeletePeer(key, actual.peers[key]) for key in _gone(desired.peers, actual.peers, networks))
    return tuple(plan)


def _new(
    desired: Mapping[_Key, _Value], actual: Mapping[_Key, _Value], keys: Collection[_Key] | None
) -> Iterator[tuple[_Key, _Value]]:
    for key in desired if keys is None else keys:
        if key in desired and actual.get(key) != desired[key]:
            yield key, desired[key]


def _gone(
    desired: Mapping[_Key, _Value], actual: Mapping[_Key, _Value], keys: Collection[_Key] | None
) -> Iterator[_Key]:
    for key in list(actual) if keys is None else keys:
        if key in actual and key not in desired:
            yield key

"""The pinned maps as typed tables: what is written is a model value, what is read back is one too."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from types import TracebackType
from typing import Self

from attrs import frozen

from xdpflannel.dataplane import abi
from xdpflannel.dataplane.objects import Map
from xdpflannel.errors import PinMismatch
from xdpflannel.model.entries import ConfigEntry, Counter, FlowEntry, FlowKey, PodEntry, RouteEntry
from xdpflannel.model.verdict import Verdict

_ARRAY, _HASH, _PERCPU_ARRAY, _LRU_HASH, _LPM_TRIE = 2, 1, 6, 9, 11
_ZERO = struct.pack("=I", 0)


@frozen
class MapShape:
    """What a map of ours must look like; ``by``: which of the sizes given at load it has, "" if none."""

    type: int
    key_size: int
    value_size: int
    by: str = ""


MAPS = {
    "config": MapShape(_ARRAY, 4, 56),
    "routes4": MapShape(_LPM_TRIE, 8, 112, by="routes"),
    "pods4": MapShape(_HASH, 4, 28),
    "vteps4": MapShape(_HASH, 4, 4, by="routes"),
    "flows4": MapShape(_LRU_HASH, 16, 24, by="flows"),
    "counters": MapShape(_PERCPU_ARRAY, 4, 16),
}


def check_pinned_maps(folder: Path) -> None:
    """PinMismatch if something else is pinned where a map of ours belongs. Missing maps are fine."""
    for name, shape in MAPS.items():
        path = folder / name
        if path.exists():
            with Map.from_pin(path) as found:
                _check(path, found, shape)


def _check(path: Path, found: Map, shape: MapShape) -> None:
    facts = found.facts
    if (facts.type, facts.key_size, facts.value_size) != (shape.type, shape.key_size, shape.value_size):
        raise PinMismatch(
            f"{path} is a map of type {facts.type} with {facts.key_size}+{facts.value_size} byte entries, "
            f"not of type {shape.type} with {shape.key_size}+{shape.value_size}",
            hint="somebody else pinned it: `xdpflannel uninstall`, then start the agent again",
        )


class Tables:
    """The maps of one instance. One process writes them (the agent); anybody may read."""

    def __init__(self, maps: dict[str, Map]) -> None:
        self._maps = maps

    @classmethod
    def open(cls, pin_dir: Path) -> Self:
        """Open all maps under ``<pin_dir>/maps``; PinMismatch or DataplaneError if one is not ours."""
        maps: dict[str, Map] = {}
        try:
            for name, shape in MAPS.items():
                maps[name] = Map.from_pin(pin_dir / "maps" / name)
                _check(pin_dir / "maps" / name, maps[name], shape)
        except Exception:
            for opened in maps.values():
                opened.close()
            raise
        return cls(maps)

    def close(self) -> None:
        """Give the descriptors back; the pins stay."""
        for opened in self._maps.values():
            opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def capacity(self, name: str) -> int:
        """Return how many entries map ``name`` can hold."""
        return self._maps[name].facts.max_entries

    def config(self) -> ConfigEntry | None:
        """Return the configuration; None while the agent has not written it."""
        return abi.decode_config(self._maps["config"].lookup(_ZERO) or bytes(56))

    def set_config(self, entry: ConfigEntry) -> None:
        """Write the configuration: from here on the programs take packets."""
        self._maps["config"].update(_ZERO, abi.encode_config(entry))

    def clear_config(self) -> None:
        """Take readiness back: every program passes every packet to the kernel."""
        self._maps["config"].update(_ZERO, bytes(56))

    def routes(self) -> dict[IPv4Network, RouteEntry]:
        """Return all remote subnets."""
        return {
            abi.decode_prefix(key): abi.decode_route(value) for key, value in self._maps["routes4"].items()
        }

    def route(self, network: IPv4Network) -> RouteEntry | None:
        """Return what the programs find for the first address of a subnet, None if nothing."""
        key = abi.encode_prefix(IPv4Network(network.network_address))
        raw = self._maps["routes4"].lookup(key)
        return abi.decode_route(raw) if raw is not None else None

    def put_route(self, network: IPv4Network, entry: RouteEntry) -> None:
        """Create or replace a remote subnet."""
        self._maps["routes4"].update(abi.encode_prefix(network), abi.encode_route(entry))

    def delete_route(self, network: IPv4Network) -> bool:
        """Remove a remote subnet; False if it was not there."""
        return self._maps["routes4"].delete(abi.encode_prefix(network))

    def pods(self) -> dict[IPv4Address, PodEntry]:
        """Return all local pods."""
        return {IPv4Address(key): abi.decode_pod(value) for key, value in self._maps["pods4"].items()}

    def put_pod(self, ip: IPv4Address, entry: PodEntry) -> None:
        """Create or replace a local pod."""
        self._maps["pods4"].update(ip.packed, abi.encode_pod(entry))

    def delete_pod(self, ip: IPv4Address) -> bool:
        """Remove a local pod; False if it was not there."""
        return self._maps["pods4"].delete(ip.packed)

    def vteps(self) -> dict[IPv4Address, int]:
        """Return the nodes that hold leases, with how many subnets each has."""
        return {IPv4Address(key): abi.decode_vtep(value) for key, value in self._maps["vteps4"].items()}

    def put_vtep(self, ip: IPv4Address, routes: int) -> None:
        """Create or replace a node."""
        self._maps["vteps4"].update(ip.packed, abi.encode_vtep(routes))

    def delete_vtep(self, ip: IPv4Address) -> bool:
        """Remove a node; False if it was not there."""
        return self._maps["vteps4"].delete(ip.packed)

    def flows(self) -> dict[FlowKey, FlowEntry]:
        """Return all flows that have been seen and not evicted."""
        return {
            abi.decode_flow_key(key): abi.decode_flow(value) for key, value in self._maps["flows4"].items()
        }

    def counters(self) -> dict[tuple[abi.Program, Verdict], Counter]:
        """Return every counter of every program, zero ones too."""
        counters = self._maps["counters"]
        return {
            (program, verdict): abi.decode_counter(
                counters.per_cpu(struct.pack("=I", program * abi.VERDICTS + verdict))
            )
            for program in abi.Program
            for verdict in Verdict
        }

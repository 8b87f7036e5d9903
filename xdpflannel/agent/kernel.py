"""The one writer: applies plans to the maps and to the kernel's own entries, and remembers what is there."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import structlog

from xdpflannel.dataplane.maps import Tables
from xdpflannel.errors import XdpflannelError
from xdpflannel.host.netlink import Netlink
from xdpflannel.host.slowpath import (
    KernelPeer,
    delete_entries,
    delete_peers,
    read_slow_path,
    set_peers,
)
from xdpflannel.model.entries import ConfigEntry, Contents, PeerEntry, PodEntry, RouteEntry
from xdpflannel.model.host import VxlanDevice
from xdpflannel.table.plan import (
    DeletePeer,
    DeletePod,
    DeleteRoute,
    DeleteVtep,
    Operation,
    Plan,
    PutPod,
    PutRoute,
    PutVtep,
    SetConfig,
    SetPeer,
)

log = structlog.get_logger()


class KernelWriter:
    """``tables`` is None while only the kernel forwards."""

    def __init__(self, netlink: Netlink, device: VxlanDevice, tables: Tables | None) -> None:
        self._netlink = netlink
        self._device = device
        self._tables = tables
        self._config: ConfigEntry | None = None
        self._routes: dict[IPv4Network, RouteEntry] = {}
        self._pods: dict[IPv4Address, PodEntry] = {}
        self._vteps: dict[IPv4Address, int] = {}
        self._peers: dict[IPv4Network, PeerEntry] = {}
        self.read()

    @property
    def actual(self) -> Contents:
        """What the kernel held when last read, and what was applied since."""
        return Contents(self._config, self._routes, self._pods, self._vteps, self._peers)

    def set_device(self, device: VxlanDevice) -> None:
        """The device was made anew; nothing is on it."""
        self._device = device
        self._peers = {}

    def read(self) -> None:
        """Read everything back: at start to adopt it, later to find drift."""
        if self._tables is not None:
            self._config = self._tables.config()
            self._routes = self._tables.routes()
            self._pods = self._tables.pods()
            self._vteps = self._tables.vteps()
        found = read_slow_path(self._netlink, self._device).peers()
        self._peers = {subnet: PeerEntry(peer.vtep_mac, peer.vtep_ip) for subnet, peer in found.items()}

    def apply(self, plan: Plan) -> int:
        """Apply in order; return how many operations failed. Those stay in the difference and come again."""
        failed = 0
        peers = [step for step in plan if isinstance(step, SetPeer)]
        gone = [step for step in plan if isinstance(step, DeletePeer)]
        before, after = _split(plan)
        failed += sum(not self._one(step) for step in before)
        failed += self._set_peers(peers)
        failed += sum(not self._one(step) for step in after)
        failed += self._delete_peers(gone)
        return failed

    def remove_strays(self) -> int:
        """Remove what is on the device and belongs to no peer; only after a snapshot from a healthy store."""
        wanted = [self._peer(network, entry) for network, entry in self._peers.items()]
        strays = read_slow_path(self._netlink, self._device).strays(wanted)
        if strays:
            delete_entries(self._netlink, self._device, strays)
            log.info("peer.strays_removed", device=self._device.name, count=len(strays))
        return len(strays)

    def _one(self, step: Operation) -> bool:
        if self._tables is None:
            return True
        try:
            self._write(self._tables, step)
        except XdpflannelError as error:
            log.error("plan.step_failed", step=str(step), error=str(error), hint=error.hint)
            return False
        log.debug("plan.step_applied", step=str(step))
        return True

    def _write(self, tables: Tables, step: Operation) -> None:
        match step:
            case PutRoute(network, entry):
                tables.put_route(network, entry)
                self._routes[network] = entry
            case DeleteRoute(network):
                tables.delete_route(network)
                self._routes.pop(network, None)
            case PutPod(ip, pod):
                tables.put_pod(ip, pod)
                self._pods[ip] = pod
            case DeletePod(ip):
                tables.delete_pod(ip)
                self._pods.pop(ip, None)
            case PutVtep(ip, routes):
                tables.put_vtep(ip, routes)
                self._vteps[ip] = routes
            case DeleteVtep(ip):
                tables.delete_vtep(ip)
                self._vteps.pop(ip, None)
            case SetConfig(config):
                tables.set_config(config)
                self._config = config

    def _peer(self, network: IPv4Network, entry: PeerEntry) -> KernelPeer:
        return KernelPeer(network, entry.vtep_mac, entry.vtep_ip)

    def _set_peers(self, steps: list[SetPeer]) -> int:
        if not steps:
            return 0
        failures = set_peers(
            self._netlink, self._device, [self._peer(step.network, step.entry) for step in steps]
        )
        for peer, error in failures.items():
            log.error("peer.refused", subnet=str(peer.subnet), error=str(error), hint=error.hint)
        bad = {peer.subnet for peer in failures}
        for step in steps:
            if step.network not in bad:
                self._peers[step.network] = step.entry
                log.debug("plan.step_applied", step=str(step))
        return len(bad)

    def _delete_peers(self, steps: list[DeletePeer]) -> int:
        if not steps:
            return 0
        failures = delete_peers(
            self._netlink, self._device, [self._peer(step.network, step.entry) for step in steps]
        )
        for peer, error in failures.items():
            log.error("peer.not_removed", subnet=str(peer.subnet), error=str(error), hint=error.hint)
        bad = {peer.subnet for peer in failures}
        for step in steps:
            if step.network not in bad:
                self._peers.pop(step.network, None)
                log.debug("plan.step_applied", step=str(step))
        return len(bad)


def _split(plan: Plan) -> tuple[Plan, Plan]:
    """Map steps before and after the peers are set, in the plan's order."""
    removals = DeleteRoute | DeletePod
    before = tuple(step for step in plan if isinstance(step, removals))
    after = tuple(step for step in plan if not isinstance(step, removals | SetPeer | DeletePeer))
    return before, after

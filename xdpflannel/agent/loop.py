"""The agent's loop: leases and host facts in, one plan at a time out. It alone touches what it owns."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network

import structlog
from attrs import evolve

from xdpflannel.agent import bringup, conntrack
from xdpflannel.agent.bringup import Started
from xdpflannel.agent.fastpath import FastPath
from xdpflannel.agent.kernel import KernelWriter
from xdpflannel.agent.look import Look
from xdpflannel.agent.neighbourhood import LocalPods, NextHops
from xdpflannel.agent.settings import Settings
from xdpflannel.errors import LeaseLost, UplinkNotFound, XdpflannelError
from xdpflannel.host.device import ensure_vxlan_device
from xdpflannel.host.netlink import Netlink
from xdpflannel.host.pods import Sighting
from xdpflannel.host.watch import HostChange, NeighbourChanged, RouteChanged
from xdpflannel.leases.claim import OwnLease, own_lease_state
from xdpflannel.leases.store import LeaseDeleted, LeasePut, Skipped
from xdpflannel.leases.watch import LeaseEvents, LeaseSnapshot, LeaseUpdate, StoreHealth
from xdpflannel.model.entries import Contents
from xdpflannel.model.host import Pod
from xdpflannel.model.lease import Lease
from xdpflannel.observe.metrics import Instruments
from xdpflannel.table.forwarding import ForwardingTable

log = structlog.get_logger()

TICK_SECONDS = 1.0
RECONCILE_SECONDS = 30.0

Message = LeaseUpdate | Sequence[HostChange] | Lease
"""A Lease is our own, renewed."""


class Agent:
    """One node's control loop. Other threads put messages into ``inbox`` and read public attributes."""

    def __init__(
        self,
        settings: Settings,
        started: Started,
        netlink: Netlink,
        writer: KernelWriter,
        fastpath: FastPath | None,
        table: ForwardingTable,
        inbox: queue.SimpleQueue[Message],
        rewrite_lease: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._netlink = netlink
        self._writer = writer
        self._clock = clock
        self._inbox = inbox
        self._hops = NextHops(netlink, table)
        self._local = LocalPods(netlink, table, settings.bridge, writer.actual.pods)
        self._reconciled = self._mended = clock()
        self._suspect = False
        self.rewrite_lease = rewrite_lease
        self.fastpath = fastpath
        self.table = table
        self.instruments: Instruments | None = None
        self.started = started
        self.lease = started.lease
        self.skipped: tuple[Skipped, ...] = ()
        self.store = StoreHealth(up=True, detail="")
        self.resyncs = -1
        self.last_event_at: float | None = None
        self.last_turn = clock()
        self.loaded = False
        self.failed_steps = 0
        self.unattached = 0
        self.drift_repaired = 0

    @property
    def pods(self) -> Mapping[IPv4Address, Pod]:
        """The local pods."""
        return self._local.pods

    @property
    def sighting(self) -> Sighting:
        """What was last seen behind the bridge."""
        return self._local.sighting

    @property
    def actual(self) -> Contents:
        """What has been applied so far."""
        return self._writer.actual

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop. LeaseLost if this node's lease is gone."""
        self._relax_conntrack()
        look = self._new_look()
        look.check_pods = True
        self._turn([], look)
        while not stop.is_set():
            batch = self._take()
            look = self._new_look()
            if self._clock() - self._reconciled >= RECONCILE_SECONDS:
                self._reconcile(look)
            self._turn(batch, look)
            self.last_turn = self._clock()

    def _take(self) -> list[Message]:
        """Wait for a message, at most a tick; then take all that are there: one plan serves a burst."""
        batch: list[Message] = []
        try:
            batch.append(self._inbox.get(timeout=TICK_SECONDS))
            while True:
                batch.append(self._inbox.get_nowait())
        except queue.Empty:
            return batch

    def _new_look(self) -> Look:
        return Look(
            uplink_name=self.started.uplink.name,
            uplink=self.started.uplink.ifindex,
            device=self.started.device.ifindex,
            bridge_name=self._settings.bridge,
            bridge=self.sighting.bridge_ifindex,
            ports=self.sighting.ports,
        )

    def _turn(self, batch: Sequence[Message], look: Look) -> None:
        for message in batch:
            match message:
                case LeaseSnapshot() | LeaseEvents():
                    self._take_leases(message)
                case StoreHealth():
                    self._take_health(message)
                case Lease():
                    self.lease = message
                case _:
                    look.take(message)
        began = self._clock()
        try:
            self._look(look)
        except XdpflannelError as error:
            log.error("host.look_failed", error=str(error), hint=error.hint)
        self._suspect = self._suspect or look.wiped or any(map(self._is_foreign, look.on_device))
        if self.loaded:
            self._apply(began, everything=look.check_uplink or look.check_device)
            if self._suspect and self._clock() - self._mended >= TICK_SECONDS:
                self._mend()
            # After the maps are filled: an upgrade's programs take over from ones that were working.
            if self.fastpath is not None:
                self.unattached = self.fastpath.attach(
                    self.started.uplink, self.started.device, self.sighting.ports
                )

    def _take_leases(self, update: LeaseSnapshot | LeaseEvents) -> None:
        self.last_event_at = time.time()
        self._note_skipped(update)
        self._check_own(update)
        if isinstance(update, LeaseSnapshot):
            self.table.replace_leases(update.leases)
            self.resyncs += 1
            log.info("leases.loaded", count=len(update.leases), skipped=len(update.skipped))
            first, self.loaded = not self.loaded, True
            if first:
                self._first_snapshot()
            return
        for event in update.events:
            match event:
                case LeasePut(lease):
                    self._count_event("changed" if lease.key in self.table.leases else "added")
                    self.table.put_lease(lease)
                    log.info("lease.put", subnet=str(lease.key), public_ip=str(lease.attributes.public_ip))
                case LeaseDeleted(key):
                    self._count_event("removed")
                    self.table.delete_lease(key)
                    log.info("lease.removed", subnet=str(key))

    def _first_snapshot(self) -> None:
        """Now it is known what does not belong here: what a former life left and no lease wants."""
        began = self._clock()
        self._hops.resolve()
        self._apply(began, everything=True)
        self._writer.remove_strays()

    def _count_event(self, kind: str) -> None:
        if self.instruments is not None:
            self.instruments.lease_event(kind)

    def _note_skipped(self, update: LeaseSnapshot | LeaseEvents) -> None:
        for skipped in update.skipped:
            log.warning("lease.skipped", key=skipped.key, reason=skipped.reason)
        if isinstance(update, LeaseSnapshot):
            self.skipped = update.skipped
        elif update.skipped:
            fresh = {skipped.key: skipped for skipped in (*self.skipped, *update.skipped)}
            self.skipped = tuple(fresh.values())

    def _check_own(self, update: LeaseSnapshot | LeaseEvents) -> None:
        """LeaseLost if a healthy store says that the lease is no longer ours; rewritten if only changed."""
        hint = "pods keep the old subnet until they are restarted; start xdpflanneld again to take a lease"
        match own_lease_state(self.lease, update):
            case OwnLease.GONE:
                raise LeaseLost(f"this node's lease {self.lease.key} was deleted or has expired", hint=hint)
            case OwnLease.TAKEN:
                raise LeaseLost(f"this node's lease {self.lease.key} was taken by another node", hint=hint)
            case OwnLease.CHANGED:
                log.warning("lease.overwritten", subnet=str(self.lease.key), action="written again")
                self.rewrite_lease()
            case OwnLease.HELD:
                return

    def _take_health(self, health: StoreHealth) -> None:
        if health.up:
            log.info("store.followed")
        else:
            log.warning(
                "store.lost", reason=health.detail, hint=health.hint or "the loaded table stays in place"
            )
            if self.instruments is not None and self.loaded:
                self.instruments.resynced("error")
        self.store = health

    def _look(self, look: Look) -> None:
        for ifindex in look.gone:
            if self.fastpath is not None:
                self.fastpath.forget(ifindex)
        if look.check_uplink:
            self._look_at_uplink()
        if look.check_device or look.check_uplink:
            self._look_at_device()
        if look.check_hops:
            self._hops.forget()
        self._hops.take_macs(look.macs)
        self._hops.resolve()
        if look.check_pods:
            self._local.look()

    def _look_at_uplink(self) -> None:
        try:
            uplink = bringup.find_uplink(self._netlink, self._settings)
        except UplinkNotFound as error:
            log.error("uplink.lost", error=str(error), hint=error.hint)
            return
        if uplink != self.started.uplink:
            log.warning("uplink.changed", interface=uplink.name, address=str(uplink.address), mtu=uplink.mtu)
            self.started = evolve(self.started, uplink=uplink)
            self._hops.forget()

    def _look_at_device(self) -> None:
        """Make flannel.N anew if it vanished or no longer fits, and put everything back on it."""
        before = self.started
        spec = bringup.device_spec(before.config, before.uplink, before.device.mac)
        device = ensure_vxlan_device(self._netlink, spec)
        self.started = evolve(before, device=device, spec=spec)
        bringup.dress_device(self._netlink, self.started)
        if device.ifindex != before.device.ifindex:
            self._writer.set_device(device)
        node = self.table.node
        self.table.set_node(evolve(node, uplink=self.started.uplink, device=device))

    def _relax_conntrack(self) -> None:
        """At start and again later: conntrack may be loaded at any time, by the first rule that needs it."""
        if self.table.node.proof_refresh_ns:
            conntrack.relax(self._settings.run_dir)

    def _reconcile(self, look: Look) -> None:
        """Compare with the kernel itself; keep neighbours warm that the fast path's frames do not touch."""
        self._reconciled = self._clock()
        look.check_device = look.check_pods = True
        self._relax_conntrack()
        if self.fastpath is not None:
            self.fastpath.recheck()
        if self.loaded:
            self._mend()
        self._hops.confirm()
        self._local.confirm()

    def _mend(self) -> None:
        """Read everything back and repair what differs."""
        self._mended, self._suspect = self._clock(), False
        self._writer.read()
        drift = self.table.plan(self._writer.actual, everything=True)
        if drift:
            log.warning("drift.found", steps=[str(step) for step in drift[:10]], count=len(drift))
            self.drift_repaired += len(drift)
            self._writer.apply(drift)

    def _is_foreign(self, change: RouteChanged | NeighbourChanged) -> bool:
        """Somebody else changed an entry of ours on flannel.N: what we applied last says otherwise."""
        peers = self.actual.peers
        if isinstance(change, RouteChanged):
            return change.removed and change.destination in peers
        if change.ip is None:
            return change.removed and any(peer.vtep_mac == change.mac for peer in peers.values())
        # A lease of another length than ours is left to the reconciler.
        peer = peers.get(IPv4Network((change.ip, self.table.node.subnet.prefixlen), strict=False))
        return peer is not None and (change.removed or change.mac != peer.vtep_mac)

    def _apply(self, began: float, *, everything: bool) -> None:
        plan = self.table.plan(self._writer.actual, everything=everything or self.failed_steps > 0)
        if not plan:
            self.failed_steps = 0
            return
        self.failed_steps = self._writer.apply(plan)
        if self.instruments is not None:
            self.instruments.applied(self._clock() - began)
            if self.failed_steps:
                self.instruments.apply_failed()

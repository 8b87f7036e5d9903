"""The agent's state as the documents and metrics that others read."""

from __future__ import annotations

import os
from collections.abc import Mapping

from xdpflannel import __version__
from xdpflannel.agent.datapath import Choice
from xdpflannel.agent.loop import Agent
from xdpflannel.agent.settings import Settings
from xdpflannel.dataplane import source
from xdpflannel.dataplane.pins import Pins
from xdpflannel.model.entries import Counter
from xdpflannel.model.lease import Lease
from xdpflannel.model.state import (
    AgentState,
    Check,
    Counts,
    DeviceState,
    LeasesState,
    LeaseState,
    OwnLeaseState,
    SkippedState,
    StoreState,
    UplinkState,
)
from xdpflannel.model.verdict import Verdict


class Report:
    """Reads a running agent; implements `observe.metrics.MetricsSource`. Called from the servers' threads."""

    def __init__(
        self, agent: Agent, settings: Settings, choice: Choice, pins: Pins, started_at: float
    ) -> None:
        self._agent = agent
        self._settings = settings
        self._choice = choice
        self._pins = pins
        self._started_at = started_at

    def counters(self) -> Mapping[tuple[str, Verdict], Counter]:
        """Read the per-CPU counters of the programs in use."""
        fastpath = self._agent.fastpath
        if fastpath is None:
            return {}
        used = set(self._choice.programs) - set(self._choice.exit)  # exit hooks count nothing
        counters = fastpath.tables.counters()
        return {
            (program.label, verdict): counter
            for (program, verdict), counter in counters.items()
            if program in used
        }

    def checks(self) -> list[Check]:
        """What "ready" means, by name. The store is not among them: an outage there stops no packet."""
        agent = self._agent
        fastpath = agent.fastpath
        found = [
            Check(name="lease", ok=True, detail=str(agent.lease.key)),
            Check(name="leases-loaded", ok=agent.loaded, detail=f"{len(agent.table.leases)} known"),
            Check(
                name="plan-applied",
                ok=agent.loaded and agent.failed_steps == 0,
                detail=f"{agent.failed_steps} steps failed" if agent.failed_steps else "",
            ),
        ]
        if fastpath is not None:
            wanted = len(self._choice.uplink)
            attached = sum(key[1] == agent.started.uplink.ifindex for key in fastpath.attached)
            found.append(
                Check(
                    name="programs-attached",
                    ok=attached >= wanted and agent.unattached == 0,
                    detail=f"{len(fastpath.attached)} attached, {agent.unattached} refused",
                )
            )
        return found

    def state(self) -> AgentState:
        """Return everything ``xdpflannel status`` shows."""
        agent, settings = self._agent, self._settings
        uplink, device = agent.started.uplink, agent.started.device
        fastpath = agent.fastpath
        checks = self.checks()
        names = {uplink.ifindex: uplink.name, device.ifindex: device.name}
        names |= {ifindex: port.name for ifindex, port in agent.sighting.ports.items()}
        actual = agent.actual
        return AgentState(
            instance=settings.instance,
            version=__version__,
            pid=os.getpid(),
            started_at=self._started_at,
            role=settings.role.value,
            datapath_wanted=settings.datapath.value,
            datapath=[program.label for program in self._choice.programs],
            reasons=list(self._choice.reasons),
            bypass=settings.bypass.value,
            strict=settings.strict,
            loader=fastpath.report.loader if fastpath else "",
            abi=source.abi_hash(),
            pin_dir=str(self._pins.base),
            uplink=UplinkState(
                name=uplink.name,
                ifindex=uplink.ifindex,
                mac=str(uplink.mac),
                mtu=uplink.mtu,
                address=str(uplink.address),
                public_ip=str(uplink.public_ip),
                driver=uplink.driver,
            ),
            device=DeviceState(
                name=device.name,
                ifindex=device.ifindex,
                mac=str(device.mac),
                mtu=device.mtu,
                vni=device.vni,
                port=device.port,
            ),
            lease=OwnLeaseState(subnet=str(agent.lease.key), expires_at=agent.lease.expires_at),
            attachments=fastpath.describe(names) if fastpath else [],
            store=StoreState(
                kind="etcd",
                up=agent.store.up,
                endpoints=list(settings.etcd_endpoints),
                detail=agent.store.detail,
                last_event_at=agent.last_event_at,
                resyncs=max(agent.resyncs, 0),
            ),
            counts=Counts(
                leases=len(agent.table.leases),
                routes=len(actual.peers),
                pods=self._served_pods(),
                skipped=len(self.leases().skipped),
            ),
            checks=checks,
            ready=all(check.ok for check in checks),
        )

    def _served_pods(self) -> int:
        """Pods in the map whose interface has our programs; without a fast path, all that are known."""
        fastpath = self._agent.fastpath
        if fastpath is None:
            return len(self._agent.pods)
        ports = {ifindex for _, ifindex in fastpath.attached.copy()}
        return sum(pod.ifindex in ports for pod in list(self._agent.actual.pods.values()))

    def leases(self) -> LeasesState:
        """Return everything ``xdpflannel leases`` shows."""
        agent = self._agent
        own = agent.lease.key
        skipped = [SkippedState(key=it.key, reason=it.reason) for it in agent.skipped]
        skipped += [
            SkippedState(key=str(key), reason=reason)
            for key, reason in list(agent.table.skipped.items())
            if key != own
        ]
        leases = sorted(agent.table.leases.values(), key=lambda lease: str(lease.key))
        return LeasesState(leases=[_lease(lease, own=lease.key == own) for lease in leases], skipped=skipped)


def _lease(lease: Lease, *, own: bool) -> LeaseState:
    attributes = lease.attributes
    return LeaseState(
        subnet=str(lease.key),
        public_ip=str(attributes.public_ip) if attributes.public_ip else None,
        backend_type=attributes.backend_type,
        vtep_mac=str(attributes.vtep.mac) if attributes.vtep else None,
        vni=attributes.vtep.vni if attributes.vtep else None,
        expires_at=lease.expires_at,
        own=own,
    )

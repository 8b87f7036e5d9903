"""Every metric: its name, labels and help, once.

What the data plane counts and what the agent knows is read at each scrape (`XdpflannelCollector`), so no
number is older than the scrape. What happens between scrapes (an event, an apply) is told to `Instruments`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from xdpflannel.model import entries
from xdpflannel.model.state import AgentState
from xdpflannel.model.verdict import Verdict

Counters = Mapping[tuple[str, Verdict], entries.Counter]
"""By name of the program and verdict."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class MetricsSource(Protocol):
    """What a scrape asks; called from the server's threads."""

    def state(self) -> AgentState:
        """Return the agent's state as ``/state`` shows it."""
        ...

    def counters(self) -> Counters:
        """Return the data plane's counters; empty while nothing is loaded."""
        ...


class Instruments:
    """What the agent tells as it happens. Safe to call from any thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lease_events = Counter(
            "xdpflannel_lease_events",
            "Leases of other nodes that appeared, changed or went away.",
            ["type"],
            registry=registry,
        )
        self._resyncs = Counter(
            "xdpflannel_store_resyncs",
            "How often the leases were read anew after the watch broke: an error, or compaction.",
            ["cause"],
            registry=registry,
        )
        self._apply_errors = Counter(
            "xdpflannel_apply_errors",
            "Plans that could not be applied in full; the reconciler tries again.",
            registry=registry,
        )
        self._apply_duration = Histogram(
            "xdpflannel_apply_duration_seconds",
            "Time to bring maps, routes and neighbours to what the leases say.",
            buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
            registry=registry,
        )
        for kind in ("added", "changed", "removed"):
            self._lease_events.labels(kind)
        for cause in ("error", "compacted"):
            self._resyncs.labels(cause)

    def lease_event(self, kind: str) -> None:
        """Count one lease that was ``added``, ``changed`` or ``removed``."""
        self._lease_events.labels(kind).inc()

    def resynced(self, cause: str) -> None:
        """Count one new snapshot because of ``error`` or ``compacted``."""
        self._resyncs.labels(cause).inc()

    def applied(self, seconds: float) -> None:
        """Note how long a plan took to apply."""
        self._apply_duration.observe(seconds)

    def apply_failed(self) -> None:
        """Count one plan that could not be applied in full."""
        self._apply_errors.inc()


class XdpflannelCollector(Collector):
    """Reads a `MetricsSource` at each scrape."""

    def __init__(self, source: MetricsSource) -> None:
        self._source = source

    def describe(self) -> Iterable[Metric]:
        """Return the names without asking the source, so that registering needs no running data plane."""
        return [*_packet_families({}), *_empty_state_families()]

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as of now."""
        yield from _packet_families(self._source.counters())
        yield from _state_families(self._source.state())


def new_registry(source: MetricsSource) -> CollectorRegistry:
    """Return a registry of our own: the source's numbers and ``process_*``."""
    registry = CollectorRegistry()
    registry.register(XdpflannelCollector(source))
    ProcessCollector(registry=registry)
    return registry


def render(registry: CollectorRegistry) -> bytes:
    """Return what a scrape gets, in the text format of `CONTENT_TYPE`."""
    return generate_latest(registry)


def _packet_families(counters: Counters) -> list[Metric]:
    labels = ["program", "verdict", "class"]
    packets = CounterMetricFamily(
        "xdpflannel_packets",
        "Packets that each program saw, by what became of them (docs/verdicts.md). class fast: taken by the"
        " fast path; slow: overlay traffic left to the kernel; other: not overlay; drop: dropped. A GSO"
        " aggregate is one packet. Starts again at 0 when the maps are made anew.",
        labels=labels,
    )
    size = CounterMetricFamily(
        "xdpflannel_bytes", "Bytes of these packets as the program saw them.", labels=labels
    )
    for (program, verdict), counter in sorted(counters.items()):
        values = [program, verdict.label, verdict.kind.value]
        packets.add_metric(values, counter.packets)
        size.add_metric(values, counter.bytes)
    return [packets, size]


_GAUGES = {
    "routes": "Remote subnets in the data plane's map.",
    "pods": "Local pods in the data plane's map.",
    "leases": "Leases known, the own one included.",
    "leases_skipped": "Lease entries of the store that could not be read; they removed nothing.",
    "ready": "1 if /readyz says yes.",
    "strict": "1 if frames of strangers are dropped, 0 if they are left to the kernel.",
    "start_time_seconds": "When the agent started, seconds since the epoch.",
    "lease_expiry_timestamp_seconds": "When this node's lease ends unless renewed. Alert well before.",
    "store_last_event_timestamp_seconds": "When the lease store last said anything.",
}


def _gauge(name: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"xdpflannel_{name}", _GAUGES[name])


def _labelled() -> tuple[GaugeMetricFamily, GaugeMetricFamily, GaugeMetricFamily, InfoMetricFamily]:
    return (
        GaugeMetricFamily(
            "xdpflannel_store_up",
            "1 if the lease store answers. At 0 loaded routes stay and traffic flows, changes are missed.",
            labels=["kind"],
        ),
        GaugeMetricFamily("xdpflannel_check", "1 if this condition of readiness holds.", labels=["check"]),
        GaugeMetricFamily(
            "xdpflannel_program_info",
            "1 for each program and the interface it is attached to; mode generic means slow XDP.",
            labels=["program", "hook", "mode", "interface"],
        ),
        InfoMetricFamily("xdpflannel_build", "What is running."),
    )


def _empty_state_families() -> list[Metric]:
    return [*map(_gauge, _GAUGES), *_labelled()]


def _state_families(state: AgentState) -> list[Metric]:
    values: dict[str, float | None] = {
        "routes": state.counts.routes,
        "pods": state.counts.pods,
        "leases": state.counts.leases,
        "leases_skipped": state.counts.skipped,
        "ready": state.ready,
        "strict": state.strict,
        "start_time_seconds": state.started_at,
        "lease_expiry_timestamp_seconds": state.lease.expires_at if state.lease else None,
        "store_last_event_timestamp_seconds": state.store.last_event_at,
    }
    gauges = {name: _gauge(name) for name in _GAUGES}
    for name, value in values.items():
        if value is not None:
            gauges[name].add_metric([], value)
    store_up, checks, programs, build = _labelled()
    store_up.add_metric([state.store.kind], state.store.up)
    for check in state.checks:
        checks.add_metric([check.name], check.ok)
    for it in state.attachments:
        programs.add_metric([it.program, it.hook, it.mode, it.interface], 1)
    build.add_metric(
        [],
        {
            "version": state.version,
            "abi": state.abi,
            "loader": state.loader,
            "role": state.role,
            "datapath": state.datapath_wanted,
            "bypass": state.bypass,
        },
    )
    return [*gauges.values(), store_up, checks, programs, build]

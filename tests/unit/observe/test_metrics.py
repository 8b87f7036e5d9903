"""What a scrape says, parsed by Prometheus' own parser."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from xdpflannel.model.state import StoreState
from xdpflannel.observe.metrics import Instruments, new_registry, render


def scrape(registry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = render(registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_counters_carry_program_verdict_and_class(source) -> None:
    samples = scrape(new_registry(source))
    fast = (("class", "fast"), ("program", "uplink_ingress"), ("verdict", "decapsulated"))
    slow = (("class", "slow"), ("program", "pod_egress"), ("verdict", "fragment"))
    assert samples["xdpflannel_packets_total", fast] == 101
    assert samples["xdpflannel_bytes_total", fast] == 10103
    assert samples["xdpflannel_packets_total", slow] == 7
    assert samples["xdpflannel_bytes_total", slow] == 997


def test_state_becomes_gauges(source) -> None:
    samples = scrape(new_registry(source))
    assert samples["xdpflannel_routes", ()] == 2
    assert samples["xdpflannel_pods", ()] == 4
    assert samples["xdpflannel_leases", ()] == 3
    assert samples["xdpflannel_leases_skipped", ()] == 1
    assert samples["xdpflannel_ready", ()] == 1
    assert samples["xdpflannel_lease_expiry_timestamp_seconds", ()] == 2000.5
    assert samples["xdpflannel_store_last_event_timestamp_seconds", ()] == 1500
    assert samples["xdpflannel_store_up", (("kind", "etcd"),)] == 1
    assert samples["xdpflannel_check", (("check", "lease"),)] == 1


def test_programs_and_build_are_info(source) -> None:
    names = scrape(new_registry(source))
    info = (("hook", "xdp"), ("interface", "eth0"), ("mode", "native"), ("program", "xdp_uplink"))
    assert names["xdpflannel_program_info", info] == 1
    (build,) = [dict(labels) for name, labels in names if name == "xdpflannel_build_info"]
    assert build["version"] == "1.2.3"
    assert build["abi"] == "abc123"


def test_each_scrape_asks_anew(source) -> None:
    registry = new_registry(source)
    scrape(registry)
    source.counted = {}
    source.now = source.now.__class__(
        **{
            name: getattr(source.now, name)
            for name in source.now.__struct_fields__
            if name not in {"store", "lease"}
        },
        store=StoreState(kind="etcd", up=False),
        lease=None,
    )
    samples = scrape(registry)
    assert samples["xdpflannel_store_up", (("kind", "etcd"),)] == 0
    assert not [name for name, _ in samples if name == "xdpflannel_packets_total"]
    # What is not known is absent, not zero: an alert on "ends soon" must not fire.
    assert ("xdpflannel_lease_expiry_timestamp_seconds", ()) not in samples


def test_instruments_count(source) -> None:
    registry = new_registry(source)
    instruments = Instruments(registry)
    assert scrape(registry)["xdpflannel_lease_events_total", (("type", "removed"),)] == 0
    instruments.lease_event("added")
    instruments.lease_event("added")
    instruments.resynced("compacted")
    instruments.apply_failed()
    instruments.applied(0.003)
    samples = scrape(registry)
    assert samples["xdpflannel_lease_events_total", (("type", "added"),)] == 2
    assert samples["xdpflannel_store_resyncs_total", (("cause", "compacted"),)] == 1
    assert samples["xdpflannel_apply_errors_total", ()] == 1
    assert samples["xdpflannel_apply_duration_seconds_count", ()] == 1
    assert samples["xdpflannel_apply_duration_seconds_bucket", (("le", "0.002"),)] == 0
    assert samples["xdpflannel_apply_duration_seconds_bucket", (("le", "0.005"),)] == 1


def test_registering_asks_nothing_of_the_source() -> None:
    class Broken:
        def state(self):
            pytest.fail("asked before the first scrape")

        counters = state

    new_registry(Broken())


def test_every_metric_has_help_and_our_prefix(source) -> None:
    registry = new_registry(source)
    Instruments(registry)
    for family in registry.collect():
        assert family.name.startswith(("xdpflannel_", "process_"))
        assert family.documentation

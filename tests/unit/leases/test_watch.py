import itertools
import random
import threading
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from xdpflannel.errors import ConfigError, StoreDenied, StoreUnavailable
from xdpflannel.leases import codec
from xdpflannel.leases.memory import MemoryServer, MemoryStore
from xdpflannel.leases.store import LeasePut
from xdpflannel.leases.watch import (
    Backoff,
    LeaseEvents,
    LeaseSnapshot,
    LeaseUpdate,
    LeaseWatcher,
    StoreHealth,
)
from xdpflannel.model.lease import Lease, LeaseAttributes

MakeLease = Callable[..., Lease]
QUICK = Backoff(0.001, 0.01)
DOWN = StoreUnavailable("nobody there", hint="wait")


def watcher(server: MemoryServer, sink: object, **options: object) -> LeaseWatcher:
    given_options = {"backoff": QUICK, "heartbeat": 60.0, **options}
    return LeaseWatcher(lambda: MemoryStore(server), sink, **given_options)


def test_snapshot_then_events(sink, follow, lease: MakeLease) -> None:
    server = MemoryServer()
    store = MemoryStore(server)
    store.create(lease("10.5.1.0/24"), 600)
    follow(watcher(server, sink))
    sink.until(lambda s: "10.5.1.0/24" in s.leases())
    store.create(lease("10.5.2.0/24"), 600)
    sink.until(lambda s: "10.5.2.0/24" in s.leases())
    store.overwrite(lease("10.5.2.0/24", "192.0.2.9"), 600)
    sink.until(lambda s: str(s.leases()["10.5.2.0/24"].attributes.public_ip) == "192.0.2.9")
    store.delete(lease("10.5.1.0/24").key)
    sink.until(lambda s: "10.5.1.0/24" not in s.leases())
    assert [type(update) for update in sink.updates[:2]] == [LeaseSnapshot, StoreHealth]
    assert sink.health() == [True]
    assert sink.count(LeaseSnapshot) == 1


def test_the_first_list_is_tried_for_ever(sink, follow, lease: MakeLease) -> None:
    server = MemoryServer()
    server.fail(DOWN)
    follow(watcher(server, sink))
    sink.until(lambda _: server.requests > 20)
    assert sink.updates == [StoreHealth(up=False, detail="nobody there", hint="wait")]
    server.fail(StoreDenied("not you", hint="log in"))
    sink.until(lambda s: len(s.updates) == 2)
    server.fail(None)
    sink.until(lambda s: s.health()[-1])
    MemoryStore(server).create(lease(), 600)
    sink.until(lambda s: s.count(LeaseEvents) == 1)


def test_an_outage_removes_nothing_and_a_relist_brings_what_was_missed(
    sink, follow, lease: MakeLease
) -> None:
    server = MemoryServer()
    store = MemoryStore(server)
    for number in range(5):
        store.create(lease(f"10.5.{number}.0/24"), 600)
    follow(watcher(server, sink))
    sink.until(lambda s: len(s.leases()) == 5)
    server.fail(DOWN)
    sink.until(lambda s: s.health() == [True, False])
    assert len(sink.leases()) == 5
    server.delete("subnets/10.5.0.0-24")
    server.put("subnets/10.5.1.0-24", codec.format_value(lease(public_ip="192.0.2.77").attributes), 600)
    server.compact()
    server.fail(None)
    sink.until(lambda s: s.health() == [True, False, True])
    assert sorted(sink.leases()) == [f"10.5.{number}.0/24" for number in range(1, 5)]
    assert str(sink.leases()["10.5.1.0/24"].attributes.public_ip) == "192.0.2.77"


def test_malformed_entries_are_told_and_remove_nothing(sink, follow, lease: MakeLease) -> None:
    server = MemoryServer()
    store = MemoryStore(server)
    store.create(lease("10.5.1.0/24"), 600)
    store.create(lease("10.5.2.0/24"), 600)
    follow(watcher(server, sink))
    sink.until(lambda s: len(s.leases()) == 2)
    server.put("subnetsXYZ", b"junk")
    server.put("subnets/not-a-subnet", b"{}")
    server.put("subnets/10.5.1.0-24", b"\xff{")
    sink.until(lambda s: len(s.skipped()) == 3)
    assert len(sink.leases()) == 2
    server.fail(DOWN)
    sink.until(lambda s: s.health() == [True, False])
    server.fail(None)
    sink.until(lambda s: s.count(LeaseSnapshot) == 2)
    # Unreadable is not gone: the new list keeps what was known of 10.5.1.0/24.
    assert sorted(sink.leases()) == ["10.5.1.0/24", "10.5.2.0/24"]
    server.delete("subnets/10.5.1.0-24")
    sink.until(lambda s: sorted(s.leases()) == ["10.5.2.0/24"])
    server.delete("subnets/not-a-subnet")
    store.create(lease("10.5.3.0/24"), 600)
    sink.until(lambda s: "10.5.3.0/24" in s.leases())


def test_a_store_that_hangs_silently_is_noticed_by_the_heartbeat(sink, follow) -> None:
    server = MemoryServer()
    hung = threading.Event()
    opened = itertools.count()

    class Hanging(MemoryStore):
        def revision(self) -> int:
            if hung.is_set():
                raise DOWN
            return super().revision()

    def open_store() -> MemoryStore:
        next(opened)
        return Hanging(server)

    follow(LeaseWatcher(open_store, sink, heartbeat=0.01, backoff=QUICK))
    sink.until(lambda s: s.health() == [True])
    hung.set()
    sink.until(lambda s: False in s.health())
    hung.clear()
    sink.until(lambda s: s.health()[-1])
    assert next(opened) >= 2


def test_compaction_during_a_cut_is_a_relist_not_an_outage(sink, follow, lease: MakeLease) -> None:
    server = MemoryServer()
    first = threading.Event()

    class Slow(MemoryStore):
        def watch(self, revision: int):
            if not first.is_set():
                first.set()
                MemoryStore(server).overwrite(lease("10.5.1.0/24"), 600)
                MemoryStore(server).overwrite(lease("10.5.2.0/24"), 600)
                server.compact()
            return super().watch(revision)

    follow(LeaseWatcher(lambda: Slow(server), sink, backoff=QUICK))
    sink.until(lambda s: s.count(LeaseSnapshot) == 2 and s.health() == [True])
    assert len(sink.leases()) == 2


def test_there_is_no_hot_loop() -> None:
    """A list that works and a watch that never does must not be repeated without ever longer pauses."""
    server = MemoryServer()
    stop = threading.Event()
    pauses: list[float] = []

    class Deaf(MemoryStore):
        def watch(self, _: int):
            raise DOWN

    def wait(_: threading.Event, seconds: float) -> bool:
        pauses.append(seconds)
        if len(pauses) == 12:
            stop.set()
        return stop.is_set()

    LeaseWatcher(lambda: Deaf(server), lambda _: None, rng=random.Random(1), wait=wait).run(stop)
    assert server.requests == 12
    nominal = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2] + [5.0] * 6
    assert all(want / 2 <= got <= want for got, want in zip(pauses, nominal, strict=True))
    assert len(set(pauses)) == 12


def test_a_connection_that_lasted_starts_the_backoff_again() -> None:
    server = MemoryServer()
    server.fail(DOWN)
    stop = threading.Event()
    pauses: list[float] = []
    times = itertools.count(0, 10)  # every look at the clock is 10 s later

    def wait(_: threading.Event, seconds: float) -> bool:
        pauses.append(seconds)
        if len(pauses) == 5:
            stop.set()
        return stop.is_set()

    LeaseWatcher(
        lambda: MemoryStore(server), lambda _: None, wait=wait, clock=lambda: float(next(times))
    ).run(stop)
    assert max(pauses) <= 0.1


def test_unusable_options_are_reported_and_tried_again(sink, follow) -> None:
    server = MemoryServer()
    answers: list[Exception] = [ConfigError("TLS file ca.pem cannot be read", hint="check it")] * 3

    def open_store() -> MemoryStore:
        if answers:
            raise answers.pop()
        return MemoryStore(server)

    follow(LeaseWatcher(open_store, sink, backoff=QUICK))
    sink.until(lambda s: s.health() == [False, True])
    assert sink.updates[0] == StoreHealth(up=False, detail="TLS file ca.pem cannot be read", hint="check it")


def test_a_store_that_went_back_in_time_is_told(sink, follow, lease: MakeLease) -> None:
    servers = [MemoryServer(), MemoryServer()]
    for number in range(5):
        MemoryStore(servers[0]).create(lease(f"10.5.{number}.0/24"), 600)
    follow(LeaseWatcher(lambda: MemoryStore(servers[0]), sink, backoff=QUICK))
    sink.until(lambda s: s.health() == [True])
    old = servers.pop(0)
    old.fail(DOWN)
    sink.until(lambda s: s.health() == [True, False, True])
    last = sink.updates[-1]
    assert isinstance(last, StoreHealth)
    assert "went back from revision 6 to 1" in last.detail


def test_what_the_sink_raises_ends_the_run() -> None:
    def sink(_: object) -> None:
        raise RuntimeError("full")

    stop = threading.Event()
    with pytest.raises(RuntimeError, match="full"):
        LeaseWatcher(lambda: MemoryStore(MemoryServer()), sink, heartbeat=0.01).run(stop)


def test_events_carry_reservations_and_attributes(sink, follow, lease: MakeLease) -> None:
    server = MemoryServer()
    follow(watcher(server, sink))
    sink.until(lambda s: s.health() == [True])
    MemoryStore(server).overwrite(
        evolve(lease(), attributes=LeaseAttributes(None, backend_type="alloc")), None
    )
    sink.until(lambda s: bool(s.leases()))
    found = sink.leases()["10.5.1.0/24"]
    assert found.reserved
    assert found.attributes.backend_type == "alloc"


SUBNETS = st.integers(1, 4).map(lambda number: f"10.5.{number}.0/24")
STEPS = st.one_of(
    st.tuples(st.just("put"), SUBNETS, st.integers(1, 3)),
    st.tuples(st.just("delete"), SUBNETS),
    st.tuples(st.just("junk"), st.sampled_from(["subnets/junk", "subnetsX", "subnets/10.9.9.9-24"])),
    st.tuples(st.sampled_from(["fail", "recover", "compact"])),
)


def apply(server: MemoryServer, step: tuple[Any, ...]) -> None:
    store = MemoryStore(server)
    match step:
        case ("put", subnet, number):
            server.put(f"subnets/{subnet.replace('/', '-')}", value_of(number))
        case ("delete", subnet):
            server.delete(f"subnets/{subnet.replace('/', '-')}")
        case ("junk", key):
            server.put(key, b"junk")
        case ("fail",):
            server.fail(DOWN)
        case ("recover",):
            server.fail(None)
        case ("compact",):
            server.compact()
    store.close()


def value_of(number: int) -> bytes:
    return codec.format_value(LeaseAttributes(IPv4Address(f"192.0.2.{number}")))


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=30))
def test_whatever_happens_the_picture_becomes_the_stores(steps: list[tuple[Any, ...]]) -> None:
    server = MemoryServer()
    stop = threading.Event()
    seen: list[LeaseUpdate] = []
    follower = watcher(server, seen.append, backoff=Backoff(0.0005, 0.002))
    thread = threading.Thread(target=follower.run, args=(stop,))
    thread.start()
    for step in steps:
        apply(server, step)
    server.fail(None)
    want = {str(lease.key): lease for lease in MemoryStore(server).snapshot().leases}
    deadline = time.monotonic() + 20
    while picture(seen) != want:
        assert time.monotonic() < deadline, (steps, seen)
        time.sleep(0.001)
    stop.set()
    thread.join(20)
    assert not thread.is_alive()


def picture(updates: list[LeaseUpdate]) -> dict[str, Lease] | None:
    """What the updates so far say the store holds; None before the first snapshot."""
    held: dict[str, Lease] | None = None
    for update in tuple(updates):
        match update:
            case LeaseSnapshot(leases):
                held = {str(lease.key): lease for lease in leases}
            case LeaseEvents(events):
                assert held is not None
                for event in events:
                    held.pop(str(event.lease.key if isinstance(event, LeasePut) else event.key), None)
                    if isinstance(event, LeasePut):
                        held[str(event.lease.key)] = event.lease
    return held

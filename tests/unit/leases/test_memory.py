from collections.abc import Callable

import pytest

from xdpflannel.errors import NetworkConfigMissing, StoreCompacted, StoreUnavailable, SubnetTaken
from xdpflannel.leases.memory import MemoryServer, MemoryStore
from xdpflannel.leases.store import LeaseDeleted, LeasePut, LeaseStore
from xdpflannel.model.lease import Lease

MakeLease = Callable[..., Lease]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_it_is_a_lease_store() -> None:
    store: LeaseStore = MemoryStore(MemoryServer("{}"))
    assert store.network_config() == "{}"
    with pytest.raises(NetworkConfigMissing):
        MemoryStore(MemoryServer()).network_config()


def test_create_once_overwrite_delete(lease: MakeLease) -> None:
    store = MemoryStore(MemoryServer(clock=Clock()))
    written = store.create(lease(), 60)
    assert written.expires_at == 1060
    with pytest.raises(SubnetTaken):
        store.create(lease(public_ip="192.0.2.2"), 60)
    assert store.overwrite(lease(), None).reserved
    found = store.get(lease().key)
    assert found == lease()
    assert found.reserved
    store.delete(lease().key)
    assert store.get(lease().key) is None


def test_snapshot_then_watch_misses_nothing(lease: MakeLease) -> None:
    server = MemoryServer()
    store = MemoryStore(server)
    store.create(lease("10.5.1.0/24"), 60)
    snapshot = store.snapshot(expiry=True)
    assert [found.key for found in snapshot.leases] == [lease("10.5.1.0/24").key]
    assert snapshot.leases[0].expires_at is not None
    assert store.snapshot().leases[0].expires_at is None or not store.snapshot().leases[0].reserved
    store.create(lease("10.5.2.0/24"), 60)
    store.delete(lease("10.5.1.0/24").key)
    server.put("other/key", b"")
    with store.watch(snapshot.revision + 1) as watch:
        batch = next(iter(watch))
    assert batch.events == (LeasePut(lease("10.5.2.0/24")), LeaseDeleted(lease("10.5.1.0/24").key))


def test_expiry_is_a_deletion(lease: MakeLease) -> None:
    clock = Clock()
    server = MemoryServer(clock=clock)
    store = MemoryStore(server)
    store.create(lease(), 60)
    with store.watch(server.revision + 1) as watch:
        clock.now += 61
        server.tick()
        assert next(iter(watch)).events == (LeaseDeleted(lease().key),)


def test_a_compacted_revision_cannot_be_watched(lease: MakeLease) -> None:
    server = MemoryServer()
    store = MemoryStore(server)
    for number in range(3):
        store.overwrite(lease(f"10.5.{number}.0/24"), 60)
    server.compact()
    with pytest.raises(StoreCompacted):
        store.watch(2)
    store.watch(server.revision).cancel()


def test_a_closed_store_answers_nothing_and_ends_its_watches(lease: MakeLease) -> None:
    store = MemoryStore(MemoryServer())
    watch = store.watch(2)
    store.close()
    store.close()
    assert list(watch) == []
    with pytest.raises(StoreUnavailable):
        store.overwrite(lease(), 60)

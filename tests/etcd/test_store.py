import json
import random
import threading
import time
from collections.abc import Callable

import pytest

from xdpflannel.errors import (
    LeaseFormatError,
    NetworkConfigMissing,
    StoreCompacted,
    StoreUnavailable,
    SubnetTaken,
)
from xdpflannel.leases.claim import LeaseKeeper, claim
from xdpflannel.leases.etcd import EtcdOptions, EtcdStore
from xdpflannel.leases.store import LeaseDeleted, LeasePut
from xdpflannel.model.config import parse_network_config
from xdpflannel.model.lease import Lease

PREFIX = "/coreos.com/network"
CONFIG = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'
OpenStore = Callable[..., EtcdStore]
MakeLease = Callable[..., Lease]


def stored(etcd, key: str) -> dict:
    answer = json.loads(etcd.ctl("get", key, "-w", "json").stdout)
    return answer["kvs"][0]


def test_the_network_configuration(etcd, open_store: OpenStore) -> None:
    store = open_store(etcd)
    with pytest.raises(NetworkConfigMissing, match=f"{PREFIX}/config does not exist") as caught:
        store.network_config()
    assert "etcdctl put" in caught.value.hint
    etcd.ctl("put", f"{PREFIX}/config", CONFIG)
    assert store.network_config() == CONFIG
    assert open_store(etcd, prefix="/coreos.com//network/").network_config() == CONFIG


def test_create_writes_flannels_bytes_once(etcd, open_store: OpenStore, make_lease: MakeLease) -> None:
    store = open_store(etcd)
    before = time.time()
    written = store.create(make_lease(), 3600)
    assert before + 3600 <= written.expires_at <= time.time() + 3600
    value = etcd.ctl("get", "--print-value-only", f"{PREFIX}/subnets/10.5.1.0-24").stdout
    assert value == (
        b'{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"vxlan",'
        b'"BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}}\n'
    )
    leases = json.loads(etcd.ctl("lease", "list", "-w", "json").stdout)["leases"]
    with pytest.raises(SubnetTaken):
        store.create(make_lease(public_ip="192.0.2.2"), 3600)
    # The losing side's grant is given back.
    assert json.loads(etcd.ctl("lease", "list", "-w", "json").stdout)["leases"] == leases


def test_get_overwrite_delete(etcd, open_store: OpenStore, make_lease: MakeLease) -> None:
    store = open_store(etcd)
    assert store.get(make_lease().key) is None
    store.create(make_lease(), 3600)
    first = stored(etcd, f"{PREFIX}/subnets/10.5.1.0-24")["lease"]
    store.overwrite(make_lease(public_ip="192.0.2.9"), 3600)
    assert stored(etcd, f"{PREFIX}/subnets/10.5.1.0-24")["lease"] != first
    found = store.get(make_lease().key)
    assert found == make_lease(public_ip="192.0.2.9")
    assert time.time() + 3500 < found.expires_at <= time.time() + 3600
    store.overwrite(make_lease(), None)
    found = store.get(make_lease().key)
    assert found.reserved
    assert found.expires_at is None
    assert "lease" not in stored(etcd, f"{PREFIX}/subnets/10.5.1.0-24")
    store.delete(make_lease().key)
    store.delete(make_lease().key)
    assert store.get(make_lease().key) is None
    etcd.ctl("put", f"{PREFIX}/subnets/10.5.1.0-24", "junk")
    with pytest.raises(LeaseFormatError):
        store.get(make_lease().key)


def test_snapshot_tells_reservations_malformed_entries_and_expiry(
    etcd, open_store: OpenStore, make_lease: MakeLease
) -> None:
    store = open_store(etcd)
    store.create(make_lease("10.5.1.0/24"), 3600)
    store.create(make_lease("10.5.2.0/24"), None)
    for key, value in [
        ("subnets/10.5.3.0-24", "junk"),
        ("subnets/junk", "{}"),
        ("subnetsXYZ", ""),
        ("subnets", "x"),
        ("subnets/10.5.4.1-24", "{}"),
    ]:
        etcd.ctl("put", f"{PREFIX}/{key}", "--", value)
    etcd.ctl("put", f"{PREFIX}/config", CONFIG)
    snapshot = store.snapshot()
    assert [(str(lease.key), lease.reserved, lease.expires_at) for lease in snapshot.leases] == [
        ("10.5.1.0/24", False, None),
        ("10.5.2.0/24", True, None),
    ]
    assert len(snapshot.skipped) == 5
    assert all(skipped.reason for skipped in snapshot.skipped)
    assert [str(skipped.lease_key) for skipped in snapshot.skipped if skipped.lease_key] == ["10.5.3.0/24"]
    first, second = store.snapshot(expiry=True).leases
    assert time.time() + 3500 < first.expires_at <= time.time() + 3600
    assert second.expires_at is None
    assert snapshot.revision == store.revision()


def test_watch_sees_put_change_expiry_and_deletion(
    etcd, open_store: OpenStore, make_lease: MakeLease
) -> None:
    store = open_store(etcd)
    revision = store.snapshot().revision
    store.create(make_lease("10.5.1.0/24"), 3600)  # before the watch: from the revision, nothing is missed
    with store.watch(revision + 1) as watch:
        batches = iter(watch)
        assert next(batches).events == (LeasePut(make_lease("10.5.1.0/24")),)
        changed = make_lease("10.5.1.0/24", mac="02:00:00:00:00:02")
        store.overwrite(changed, 3600)
        assert next(batches).events == (LeasePut(changed),)
        store.delete(changed.key)
        assert next(batches).events == (LeaseDeleted(changed.key),)
        store.create(make_lease("10.5.2.0/24"), 2)
        assert isinstance(next(batches).events[0], LeasePut)
        assert next(batches).events == (LeaseDeleted(make_lease("10.5.2.0/24").key),)  # it expired


def test_a_watch_ends_by_cancel_and_by_close(etcd, open_store: OpenStore) -> None:
    for end in ("cancel", "close"):
        store = open_store(etcd)
        watch = store.watch(store.revision() + 1)
        reader = threading.Thread(target=lambda watch=watch: list(watch))
        reader.start()
        getattr(watch if end == "cancel" else store, end)()
        reader.join(10)
        assert not reader.is_alive(), end
    with pytest.raises(StoreUnavailable, match="closed"):
        store.revision()
    with pytest.raises(StoreUnavailable, match="closed"):
        store.watch(1)


def test_a_compacted_revision_is_told_as_such(etcd, open_store: OpenStore, make_lease: MakeLease) -> None:
    store = open_store(etcd)
    revision = store.revision()
    for number in range(4):
        store.overwrite(make_lease(f"10.5.{number}.0/24"), 3600)
    etcd.ctl("compact", str(store.revision()))
    with pytest.raises(StoreCompacted):
        list(store.watch(revision + 1))


def test_claimers_race_for_the_same_subnets(etcd, open_store: OpenStore, make_lease: MakeLease) -> None:
    """Three subnets, three nodes with the same chance: each ends with one of its own."""
    config = parse_network_config('{"Network":"10.5.0.0/22","Backend":{"Type":"vxlan"}}')
    together = threading.Barrier(3)
    claimed: list[Lease] = []

    def node(number: int) -> None:
        store = open_store(etcd)
        attributes = make_lease(public_ip=f"192.0.2.{number}").attributes
        together.wait(20)
        claimed.append(claim(store, config, attributes, None, random.Random(7)))

    threads = [threading.Thread(target=node, args=(number,)) for number in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(str(lease.key) for lease in claimed) == ["10.5.1.0/24", "10.5.2.0/24", "10.5.3.0/24"]
    assert set(open_store(etcd).snapshot().leases) == set(claimed)


def test_a_keeper_renews_before_the_lease_ends(etcd, open_store: OpenStore, make_lease: MakeLease) -> None:
    claimed = open_store(etcd).create(make_lease(), 4)
    renewed: list[Lease] = []
    stop = threading.Event()

    def on_renewed(lease: Lease) -> None:
        renewed.append(lease)
        if len(renewed) == 2:
            stop.set()

    options = EtcdOptions((etcd.url,))
    LeaseKeeper(lambda: EtcdStore(options), claimed, 3.0, on_renewed, lambda _: stop.set(), ttl=4).run(stop)
    assert len(renewed) == 2
    assert renewed[1].expires_at > renewed[0].expires_at > claimed.expires_at
    assert open_store(etcd).get(claimed.key) == claimed


def test_thousands_of_leases_load_in_one_request(etcd, open_store: OpenStore) -> None:
    """2,000 leases must cost far less than 2,000 requests."""
    store = open_store(etcd)
    lease_id = etcd.ctl("lease", "grant", "3600").stdout.split()[1].decode()
    data = '"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}'
    for start in range(0, 2000, 100):  # etcd takes 128 operations in a transaction
        tails = [f"{number >> 8}.{number & 255}" for number in range(start, start + 100)]
        puts = [
            f"put --lease={lease_id} {PREFIX}/subnets/10.{tail}.0-24 "
            + json.dumps(f'{{"PublicIP":"192.0.{tail}",{data}}}')
            for tail in tails
        ]
        etcd.ctl("txn", stdin="\n".join(["", *puts, "", "", ""]).encode())
    began = time.perf_counter()
    for _ in range(20):
        store.revision()
    request = (time.perf_counter() - began) / 20
    began = time.perf_counter()
    snapshot = store.snapshot()
    plain = time.perf_counter() - began
    assert snapshot.skipped == ()
    assert len(snapshot.leases) == 2000
    assert plain < request * 2000
    assert all(lease.expires_at is not None for lease in store.snapshot(expiry=True).leases)

"""The watcher against etcd that restarts, hangs, forgets and lies."""

import signal
import socket
import statistics
import time
from collections.abc import Callable

import pytest

from xdpflannel.errors import StoreUnavailable
from xdpflannel.leases.etcd import EtcdOptions, EtcdStore
from xdpflannel.leases.watch import StoreHealth
from xdpflannel.model.lease import Lease

PREFIX = "/coreos.com/network"
OpenStore = Callable[..., EtcdStore]
MakeLease = Callable[..., Lease]


def test_a_lease_reaches_the_sink_within_milliseconds(
    etcd, open_store: OpenStore, make_lease: MakeLease, sink, follow
) -> None:
    """From the put's begin to the sink takes about as long as the put itself."""
    store = open_store(etcd)
    follow(sink, etcd)
    sink.until(lambda s: s.health() == [True])
    puts: list[float] = []
    arrivals: list[float] = []
    for number in range(50):
        began = time.monotonic()
        store.overwrite(make_lease(f"10.5.{number}.0/24"), None)
        puts.append(time.monotonic() - began)
        sink.until(lambda s, number=number: f"10.5.{number}.0/24" in s.leases())
        arrivals.append(sink.times[-1] - began)
    assert len(sink.updates) == 52
    assert statistics.median(arrivals) < 3 * statistics.median(puts) + 0.005


def test_a_lease_that_expires_is_removed(
    etcd, open_store: OpenStore, make_lease: MakeLease, sink, follow
) -> None:
    follow(sink, etcd)
    open_store(etcd).create(make_lease("10.5.30.0/24"), 2)
    sink.until(lambda s: "10.5.30.0/24" in s.leases())
    sink.until(lambda s: not s.leases())
    assert sink.health() == [True]


def test_malformed_entries_are_told_and_remove_nothing(
    etcd, open_store: OpenStore, make_lease: MakeLease, sink, follow
) -> None:
    store = open_store(etcd)
    store.create(make_lease("10.5.1.0/24"), 600)
    follow(sink, etcd)
    sink.until(lambda s: s.health() == [True])
    etcd.ctl("put", f"{PREFIX}/subnetsXYZ", "junk")
    etcd.ctl("put", f"{PREFIX}/subnets/not-a-subnet", "{}")
    etcd.ctl("put", f"{PREFIX}/subnets/10.5.1.0-24", '{"PublicIP":7}')
    etcd.ctl("put", f"{PREFIX}/subnets/10.5.2.0-24", "[]")
    sink.until(lambda s: len(s.skipped()) == 4)
    store.overwrite(make_lease("10.5.3.0/24"), 600)
    sink.until(lambda s: sorted(s.leases()) == ["10.5.1.0/24", "10.5.3.0/24"])
    assert sink.health() == [True]


def test_etcd_absent_at_start_then_killed_and_restarted(
    new_etcd, open_store: OpenStore, make_lease: MakeLease, sink, follow
) -> None:
    etcd = new_etcd()
    follow(sink, etcd)
    sink.until(lambda s: s.health() == [False])
    down = sink.updates[0]
    assert isinstance(down, StoreHealth)
    assert etcd.url in down.detail
    assert "Connection refused" in down.detail
    assert "is etcd running" in down.hint
    etcd.start()
    sink.until(lambda s: s.health() == [False, True])
    open_store(etcd).create(make_lease("10.5.1.0/24"), 600)
    sink.until(lambda s: sorted(s.leases()) == ["10.5.1.0/24"])
    etcd.kill()
    sink.until(lambda s: s.health() == [False, True, False])
    assert sorted(sink.leases()) == ["10.5.1.0/24"]
    etcd.start()
    open_store(etcd).overwrite(make_lease("10.5.2.0/24"), 600)
    sink.until(lambda s: s.health() == [False, True, False, True])
    sink.until(lambda s: sorted(s.leases()) == ["10.5.1.0/24", "10.5.2.0/24"])


def test_compaction_while_cut_off(
    new_etcd, open_store: OpenStore, make_lease: MakeLease, sink, follow
) -> None:
    etcd = new_etcd()
    etcd.start()
    store = open_store(etcd)
    store.create(make_lease("10.5.1.0/24"), 600)
    store.create(make_lease("10.5.2.0/24"), 600)
    follow(sink, etcd)
    sink.until(lambda s: s.health() == [True])
    etcd.kill()
    sink.until(lambda s: s.health() == [True, False])
    etcd.start()
    store = open_store(etcd)
    store.delete(make_lease("10.5.1.0/24").key)
    store.overwrite(make_lease("10.5.2.0/24", mac="02:00:00:00:00:99"), 600)
    store.overwrite(make_lease("10.5.3.0/24"), 600)
    etcd.ctl("compact", str(store.revision()))
    sink.until(lambda s: s.health()[-1] and sorted(s.leases()) == ["10.5.2.0/24", "10.5.3.0/24"])
    sink.until(lambda s: str(s.leases()["10.5.2.0/24"].attributes.vtep.mac) == "02:00:00:00:00:99")


def test_a_hung_etcd_is_noticed_and_left_again(
    new_etcd, open_store: OpenStore, make_lease: MakeLease, sink, follow
) -> None:
    etcd = new_etcd()
    etcd.start()
    open_store(etcd).create(make_lease("10.5.1.0/24"), 600)
    follow(sink, etcd, heartbeat=0.2, timeout=0.5)
    sink.until(lambda s: s.health() == [True])
    etcd.signal(signal.SIGSTOP)
    sink.until(lambda s: s.health() == [True, False])
    down = next(update for update in reversed(sink.updates) if isinstance(update, StoreHealth))
    assert "did not answer within 0.5 s" in down.detail
    assert sorted(sink.leases()) == ["10.5.1.0/24"]
    etcd.signal(signal.SIGCONT)
    sink.until(lambda s: s.health() == [True, False, True])
    open_store(etcd).overwrite(make_lease("10.5.2.0/24"), 600)
    sink.until(lambda s: sorted(s.leases()) == ["10.5.1.0/24", "10.5.2.0/24"])


def test_keepalive_alone_notices_a_hung_etcd(new_etcd, sink, follow) -> None:
    """A heartbeat that never comes: gRPC's own pings end the watch (10 s and 3 s)."""
    etcd = new_etcd()
    etcd.start()
    follow(sink, etcd, heartbeat=3600.0)
    sink.until(lambda s: s.health() == [True])
    etcd.signal(signal.SIGSTOP)
    sink.until(lambda s: s.health() == [True, False], seconds=60)
    etcd.signal(signal.SIGCONT)
    sink.until(lambda s: s.health() == [True, False, True], seconds=60)


@pytest.mark.parametrize(
    ("listen", "hints"), [(False, ("is etcd running",)), (True, ("hung", "API", "hung up", "check"))]
)
def test_a_wrong_endpoint_says_so(listen: bool, hints: tuple[str, ...]) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        if listen:
            sock.listen()
        port = sock.getsockname()[1]
        with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{port}") as caught:
            EtcdStore(EtcdOptions((f"http://127.0.0.1:{port}",), timeout=0.5))
    assert any(hint in caught.value.hint for hint in hints)


def test_an_unknown_host_says_so() -> None:
    with pytest.raises(StoreUnavailable, match=r"no-such-host\.invalid"):
        EtcdStore(EtcdOptions(("http://no-such-host.invalid:2379",), timeout=5))


def test_several_endpoints_the_dead_ones_are_passed_over(etcd, new_etcd, sink, follow) -> None:
    dead = new_etcd()
    follow(sink, dead, etcd)
    sink.until(lambda s: s.health() == [True])
    with pytest.raises(StoreUnavailable) as caught:
        EtcdStore(EtcdOptions((dead.url, "http://127.0.0.1:1")))
    assert dead.url in str(caught.value)
    assert "http://127.0.0.1:1" in str(caught.value)

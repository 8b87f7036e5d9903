"""Three members; one is killed, one hangs."""

import signal
import time
from collections.abc import Callable, Iterator

import pytest

from xdpflannel.errors import StoreUnavailable
from xdpflannel.leases.etcd import EtcdOptions, EtcdStore
from xdpflannel.model.lease import Lease

MakeLease = Callable[..., Lease]


@pytest.fixture
def cluster(new_etcd) -> Iterator[list]:
    members = [new_etcd() for _ in range(3)]
    peers = ",".join(f"{member.name}={member.peer_url}" for member in members)
    for member in members:
        member.arguments = [f"--initial-cluster={peers}", "--initial-cluster-state=new"]
        member.launch()
    for member in members:
        member.await_up()
    return members


def written(members: list, lease: Lease) -> bool:
    """Write by any of the members; they may be busy electing a leader."""
    options = EtcdOptions(tuple(member.url for member in members))
    try:
        with EtcdStore(options) as store:
            store.overwrite(lease, 600)
    except StoreUnavailable:
        return False
    return True


def poll(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what


@pytest.mark.parametrize("trouble", [signal.SIGKILL, signal.SIGSTOP])
def test_the_watcher_moves_to_another_member(
    cluster,
    trouble: signal.Signals,
    open_store: Callable[..., EtcdStore],
    make_lease: MakeLease,
    sink,
    follow,
) -> None:
    open_store(*cluster, timeout=10.0).create(make_lease("10.5.1.0/24"), 600)
    follow(sink, *cluster, heartbeat=0.3, timeout=2.0)
    sink.until(lambda s: s.health() == [True])
    # One after the other until the watcher's own was hit; the rest keep their quorum.
    for member in cluster:
        others = [other for other in cluster if other is not member]
        seen = len(sink.health())
        member.signal(trouble)
        if trouble is signal.SIGKILL:
            member.kill()
        lease = make_lease(f"10.5.{cluster.index(member) + 10}.0/24")
        poll(lambda others=others, lease=lease: written(others, lease), "a quorum of two takes a lease")
        sink.until(lambda s, lease=lease: str(lease.key) in s.leases())
        assert "10.5.1.0/24" in sink.leases()
        moved = len(sink.health()) > seen
        if trouble is signal.SIGKILL:
            member.launch()
        else:
            member.signal(signal.SIGCONT)
        member.await_up()
        if moved:
            return
    pytest.fail("every member was taken away once, and the watcher never moved")


def test_nodes_spread_over_the_members(cluster, open_store: Callable[..., EtcdStore]) -> None:
    assert len({open_store(*cluster, timeout=10.0).endpoint for _ in range(40)}) == 3

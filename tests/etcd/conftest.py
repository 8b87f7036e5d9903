"""Real etcd processes on free loopback ports, each gone when its fixture ends."""

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from xdpflannel.leases.etcd import EtcdOptions, EtcdStore
from xdpflannel.leases.watch import LeaseEvents, LeaseSnapshot, LeaseUpdate, LeaseWatcher, StoreHealth
from xdpflannel.model.lease import Lease, LeaseAttributes, SubnetKey, Vtep
from xdpflannel.model.net import Mac

PREFIX = "/coreos.com/network"
_numbers = itertools.count(1)


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]


def poll(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


class Etcd:
    """One member. It can be stopped, killed, hung and started again on the same data and ports."""

    def __init__(self, folder: Path, *arguments: str, name: str = "lz", tls: bool = False) -> None:
        self.port, self.peer_port = free_ports(2)
        self.scheme = "https" if tls else "http"
        self.url = f"{self.scheme}://127.0.0.1:{self.port}"
        self.peer_url = f"http://127.0.0.1:{self.peer_port}"
        self.name = name
        self.folder = folder
        self.arguments = list(arguments)
        self.process: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    "etcd",
                    f"--name={self.name}",
                    f"--data-dir={self.folder / self.name}",
                    f"--listen-client-urls={self.url}",
                    f"--advertise-client-urls={self.url}",
                    f"--listen-peer-urls={self.peer_url}",
                    f"--initial-advertise-peer-urls={self.peer_url}",
                    *self.arguments,
                ],
                stdout=log,
                stderr=log,
            )

    def start(self) -> None:
        self.launch()
        self.await_up()

    def await_up(self) -> None:
        poll(
            self.answers, f"etcd {self.name} answers; {(self.folder / f'{self.name}.log').read_text()[-800:]}"
        )

    def answers(self) -> bool:
        return self.ctl("endpoint", "health", check=False).returncode == 0

    def ctl(
        self, *arguments: str, check: bool = True, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["etcdctl", f"--endpoints={self.url}", "--command-timeout=5s", *arguments],
            input=stdin,
            capture_output=True,
            check=check,
            env={**os.environ, "ETCDCTL_API": "3"},
        )

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is None:
            return
        self.process.kill()
        self.process.wait(10)
        self.process = None


@pytest.fixture(scope="session")
def etcd_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="lz-etcd-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def shared_etcd(etcd_folder: Path) -> Iterator[Etcd]:
    """For tests that leave it running."""
    etcd = Etcd(etcd_folder, name="shared")
    etcd.start()
    process = etcd.process
    yield etcd
    etcd.kill()
    assert process is not None
    assert process.poll() is not None


@pytest.fixture
def etcd(shared_etcd: Etcd) -> Etcd:
    """Running and empty."""
    shared_etcd.ctl("del", "--prefix", "/")
    return shared_etcd


@pytest.fixture
def new_etcd(etcd_folder: Path) -> Iterator[Callable[..., Etcd]]:
    """Makes members of its own, for tests that treat them badly; not started."""
    made: list[Etcd] = []

    def make(*arguments: str, **options: bool) -> Etcd:
        etcd = Etcd(etcd_folder, *arguments, name=f"lz{next(_numbers)}", **options)
        made.append(etcd)
        return etcd

    yield make
    for etcd in made:
        etcd.kill()
        shutil.rmtree(etcd_folder / etcd.name, ignore_errors=True)


@pytest.fixture
def open_store() -> Iterator[Callable[..., EtcdStore]]:
    """Opens stores and closes them."""
    opened: list[EtcdStore] = []

    def make(*etcds: Etcd, **options: object) -> EtcdStore:
        store = EtcdStore(EtcdOptions(tuple(etcd.url for etcd in etcds), **options))
        opened.append(store)
        return store

    yield make
    for store in opened:
        store.close()


class Sink:
    """Collects updates; keeps the picture that they draw."""

    def __init__(self) -> None:
        self.updates: list[LeaseUpdate] = []
        self.times: list[float] = []

    def __call__(self, update: LeaseUpdate) -> None:
        self.times.append(time.monotonic())
        self.updates.append(update)

    def until(self, condition: Callable[["Sink"], object], seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition(self):
            assert time.monotonic() < deadline, self.updates
            time.sleep(0.002)

    def leases(self) -> dict[str, Lease]:
        held: dict[str, Lease] = {}
        for update in tuple(self.updates):
            if isinstance(update, LeaseSnapshot):
                held = {str(lease.key): lease for lease in update.leases}
            elif isinstance(update, LeaseEvents):
                for event in update.events:
                    if hasattr(event, "lease"):
                        held[str(event.lease.key)] = event.lease
                    else:
                        held.pop(str(event.key), None)
        return held

    def skipped(self) -> list[str]:
        updates = [update for update in tuple(self.updates) if not isinstance(update, StoreHealth)]
        return [skipped.key for update in updates for skipped in update.skipped]

    def health(self) -> list[bool]:
        return [update.up for update in tuple(self.updates) if isinstance(update, StoreHealth)]

    def snapshots(self) -> int:
        return sum(isinstance(update, LeaseSnapshot) for update in tuple(self.updates))


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def follow() -> Iterator[Callable[..., None]]:
    """Runs watchers in threads and stops them: none may hang, and no thread may stay."""
    stop = threading.Event()
    threads: list[threading.Thread] = []
    before = set(threading.enumerate())

    def start(sink: Sink, *etcds: Etcd, heartbeat: float = 30.0, **options: object) -> None:
        settings = EtcdOptions(tuple(etcd.url for etcd in etcds), **options)
        watcher = LeaseWatcher(lambda: EtcdStore(settings), sink, heartbeat=heartbeat)
        thread = threading.Thread(target=watcher.run, args=(stop,))
        thread.start()
        threads.append(thread)

    yield start
    stop.set()
    deadline = time.monotonic() + 20
    for thread in threads:
        thread.join(max(0.1, deadline - time.monotonic()))
        assert not thread.is_alive(), "a watcher did not stop"
    poll(lambda: set(threading.enumerate()) <= before, f"no thread is left: {threading.enumerate()}")


@pytest.fixture
def make_lease() -> Callable[..., Lease]:
    def make(
        subnet: str = "10.5.1.0/24", public_ip: str = "192.0.2.1", mac: str = "02:00:00:00:00:01"
    ) -> Lease:
        vtep = Vtep(Mac.parse(mac), 1)
        attributes = LeaseAttributes(IPv4Address(public_ip), backend_type="vxlan", vtep=vtep)
        return Lease(SubnetKey(IPv4Network(subnet)), attributes)

    return make

"""Leases made short, and a sink to poll."""

import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network

import pytest

from xdpflannel.leases.watch import LeaseEvents, LeaseSnapshot, LeaseUpdate, LeaseWatcher, StoreHealth
from xdpflannel.model.lease import Lease, LeaseAttributes, SubnetKey, Vtep
from xdpflannel.model.net import Mac


class Sink:
    """Collects updates; keeps the picture that they draw."""

    def __init__(self) -> None:
        self.updates: list[LeaseUpdate] = []
        self.changed = threading.Condition()

    def __call__(self, update: LeaseUpdate) -> None:
        with self.changed:
            self.updates.append(update)
            self.changed.notify_all()

    def until(self, condition: Callable[["Sink"], bool], seconds: float = 20.0) -> None:
        with self.changed:
            deadline = time.monotonic() + seconds
            while not condition(self):
                assert time.monotonic() < deadline, self.updates
                self.changed.wait(0.01)  # conditions may also look at what sends no update

    def leases(self) -> dict[str, Lease]:
        held: dict[str, Lease] = {}
        for update in self.updates:
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
        return [
            skipped.key
            for update in self.updates
            if not isinstance(update, StoreHealth)
            for skipped in update.skipped
        ]

    def count(self, kind: type) -> int:
        return sum(isinstance(update, kind) for update in self.updates)

    def health(self) -> list[bool]:
        return [update.up for update in self.updates if isinstance(update, StoreHealth)]


def make_attributes(public_ip: str = "192.0.2.1", mac: str = "02:00:00:00:00:01") -> LeaseAttributes:
    return LeaseAttributes(IPv4Address(public_ip), backend_type="vxlan", vtep=Vtep(Mac.parse(mac), 1))


def make_lease(subnet: str = "10.5.1.0/24", public_ip: str = "192.0.2.1") -> Lease:
    return Lease(SubnetKey(IPv4Network(subnet)), make_attributes(public_ip))


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def attributes() -> Callable[..., LeaseAttributes]:
    return make_attributes


@pytest.fixture
def lease() -> Callable[..., Lease]:
    return make_lease


@pytest.fixture
def follow() -> Iterator[Callable[[LeaseWatcher], threading.Thread]]:
    """Runs watchers in threads and stops them: none may hang."""
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def start(watcher: LeaseWatcher) -> threading.Thread:
        thread = threading.Thread(target=watcher.run, args=(stop,))
        thread.start()
        threads.append(thread)
        return thread

    yield start
    stop.set()
    deadline = time.monotonic() + 20
    for thread in threads:
        thread.join(max(0.1, deadline - time.monotonic()))
        assert not thread.is_alive(), "a watcher did not stop"
    while any(thread.name == "lease-guard" for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "a guard is left"
        time.sleep(0.01)

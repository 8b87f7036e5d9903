"""Follow all leases for ever: list, watch, and start over after any trouble.

    open a store → snapshot at R → watch from R + 1 → error, compaction, missed heartbeat → new store, …

The sink gets snapshots, events and changes of health, in order, from the thread that runs `LeaseWatcher.run`.
Health turns up after the snapshot, once the watch runs.
Nothing that goes wrong between us and the store removes a lease: only a healthy store's word does.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Protocol

from attrs import frozen

from xdpflannel.errors import StoreCompacted, StoreUnavailable, XdpflannelError
from xdpflannel.leases.store import (
    EventBatch,
    LeaseDeleted,
    LeaseEvent,
    LeasePut,
    LeaseStore,
    OpenStore,
    Skipped,
    Snapshot,
    Watch,
)
from xdpflannel.model.lease import Lease, SubnetKey

HEARTBEAT = 30.0
"""Seconds between heartbeats; with the store's own deadline, the longest that a hung store goes unnoticed."""


@frozen
class LeaseSnapshot:
    """All leases there are now: whatever is not among them is gone."""

    leases: tuple[Lease, ...]
    skipped: tuple[Skipped, ...]


@frozen
class LeaseEvents:
    """What changed since the last update, in order."""

    events: tuple[LeaseEvent, ...]
    skipped: tuple[Skipped, ...]


@frozen
class StoreHealth:
    """Whether the store is followed; sent when that, or the reason why not, changes. ``hint``: what to do."""

    up: bool
    detail: str
    hint: str = ""


LeaseUpdate = LeaseSnapshot | LeaseEvents | StoreHealth


@frozen
class Backoff:
    """Seconds to wait before trying again: ``first``, then doubling up to ``last``, shortened by chance."""

    first: float = 0.1
    last: float = 5.0

    def delay(self, failures: int, rng: random.Random) -> float:
        """After ``failures`` in a row (1 or more): between half of the nominal time and all of it."""
        nominal = min(self.last, self.first * 2.0 ** min(failures - 1, 30))
        return nominal * rng.uniform(0.5, 1.0)


class Pause(Protocol):
    """Wait for ``seconds`` or until ``stop`` is set; True if it is."""

    def __call__(self, stop: threading.Event, seconds: float, /) -> bool:
        """Wait."""


def pause(stop: threading.Event, seconds: float, /) -> bool:
    """The real one."""
    return stop.wait(seconds)


class LeaseWatcher:
    """Follows all leases and tells ``sink``.

    Args:
        open_store: opens a new connection; called again after every trouble.
        sink: gets every update. What it raises ends `run`.
        heartbeat: seconds between reads that prove that the store still answers.
        backoff: waiting times between attempts.
        rng: chance, so that nodes do not come back all at once.
        clock: monotonic seconds.
        wait: how to wait between attempts.
    """

    def __init__(
        self,
        open_store: OpenStore,
        sink: Callable[[LeaseUpdate], None],
        *,
        heartbeat: float = HEARTBEAT,
        backoff: Backoff | None = None,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
        wait: Pause = pause,
    ) -> None:
        self._open_store = open_store
        self._sink = sink
        self._heartbeat = heartbeat
        self._backoff = backoff or Backoff()
        self._rng = rng or random.SystemRandom()
        self._clock = clock
        self._wait = wait
        self._known: dict[SubnetKey, Lease] = {}
        self._health: StoreHealth | None = None
        self._session: _Session | None = None
        self._revision = 0

    def run(self, stop: threading.Event) -> None:
        """Follow the leases until ``stop`` is set. The first list is tried for ever, like every other."""
        ended = threading.Event()
        guard = threading.Thread(target=self._guard, args=(stop, ended), name="lease-guard", daemon=True)
        guard.start()
        failures = 0
        try:
            while not stop.is_set():
                began = self._clock()
                error = self._follow(stop)
                if error is None:
                    return
                # A store that answers a list and then fails would make us list without pause, so only a
                # connection that has lasted starts the count again.
                failures = 1 if self._clock() - began > self._backoff.last else failures + 1
                if not isinstance(error, StoreCompacted):  # the store is well, we were away for long
                    self._report(StoreHealth(up=False, detail=str(error), hint=error.hint))
                if self._wait(stop, self._backoff.delay(failures, self._rng)):
                    return
        finally:
            ended.set()
            if stop.is_set():
                guard.join()

    def _follow(self, stop: threading.Event) -> XdpflannelError | None:
        """One connection, from its opening to its end. Returns why it ended, None if we are to stop."""
        try:
            store = self._open_store()
        except XdpflannelError as error:
            return error
        session = self._session = _Session(store)
        try:
            if not stop.is_set():  # set before the guard could see this session
                self._list_and_watch(session)
        except XdpflannelError as error:
            return None if stop.is_set() else session.failure or error
        finally:
            self._session = None
            store.close()
        if stop.is_set():
            return None
        return session.failure or StoreUnavailable("the watch ended", hint="it is started again")

    def _list_and_watch(self, session: _Session) -> None:
        snapshot = session.store.snapshot()
        self._sink(self._take_snapshot(snapshot))
        with session.store.watch(snapshot.revision + 1) as watch:
            session.watch = watch
            if session.failure is not None:
                return
            self._report(self._good_health(snapshot.revision))
            for batch in watch:
                self._revision = batch.revision
                self._sink(self._take_batch(batch))

    def _take_snapshot(self, snapshot: Snapshot) -> LeaseSnapshot:
        """A lease that we knew and that can no longer be read stays as it was: unreadable is not gone."""
        leases = {lease.key: lease for lease in snapshot.leases}
        for skipped in snapshot.skipped:
            if skipped.lease_key in self._known:
                leases.setdefault(skipped.lease_key, self._known[skipped.lease_key])
        self._known = leases
        return LeaseSnapshot(tuple(leases.values()), snapshot.skipped)

    def _take_batch(self, batch: EventBatch) -> LeaseEvents:
        for event in batch.events:
            match event:
                case LeasePut(lease):
                    self._known[lease.key] = lease
                case LeaseDeleted(key):
                    self._known.pop(key, None)
        return LeaseEvents(batch.events, batch.skipped)

    def _good_health(self, revision: int) -> StoreHealth:
        before, self._revision = self._revision, revision
        if revision >= before:
            return StoreHealth(up=True, detail="")
        return StoreHealth(
            up=True,
            detail=f"the store went back from revision {before} to {revision}",
            hint="it was replaced or restored from a backup: check that the leases of all nodes are there",
        )

    def _report(self, health: StoreHealth) -> None:
        if health != self._health:
            self._health = health
            self._sink(health)

    def _guard(self, stop: threading.Event, ended: threading.Event) -> None:
        """Heartbeats, in a thread of its own: silence of a watch is not health. Also ends it on ``stop``."""
        while not stop.wait(self._heartbeat) and not ended.is_set():
            session = self._session
            if session is not None and session.watch is not None:
                session.check()
        session = self._session
        if session is not None:
            session.store.close()


class _Session:
    """One connection."""

    def __init__(self, store: LeaseStore) -> None:
        self.store = store
        self.watch: Watch | None = None
        self.failure: XdpflannelError | None = None

    def check(self) -> None:
        try:
            self.store.revision()
        except XdpflannelError as error:
            self.failure = error
            if self.watch is not None:
                self.watch.cancel()

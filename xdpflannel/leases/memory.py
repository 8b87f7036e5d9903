"""A lease store in this process, for tests, benchmarks and demonstrations.

`MemoryServer` stands for etcd: one keyspace with revisions, history, compaction and expiry. `MemoryStore` is
a connection to it. It keeps the rules of etcd that matter to leases, and holds raw keys and values, so that
unreadable entries can be put in too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from attrs import evolve, frozen

from xdpflannel.errors import (
    NetworkConfigMissing,
    StoreCompacted,
    StoreError,
    StoreUnavailable,
    SubnetTaken,
)
from xdpflannel.leases import codec
from xdpflannel.leases.store import EventBatch, LeaseDeleted, LeasePut, Skipped, Snapshot
from xdpflannel.model.lease import Lease, SubnetKey

PREFIX = "/coreos.com/network"


@frozen
class Entry:
    """A value; ``expires_at`` None: kept for ever."""

    value: bytes
    expires_at: float | None


@frozen
class Change:
    """One write; ``entry`` None: deleted or expired."""

    revision: int
    key: str
    entry: Entry | None


class MemoryServer:
    """The keyspace. ``clock`` gives seconds since the epoch; what has expired goes at the next `tick`.

    Every request ticks first. A watch sees an expiry only after a tick, so tests that move the clock call it.
    """

    def __init__(self, config: str | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.changed = threading.Condition()
        self.config = config
        self.fault: StoreError | None = None
        """Set it and every request and watch fails with it."""
        self.requests = 0
        """How often it was asked: tests look for hot loops with it."""
        self._revision = 1
        self._compacted = 0
        self._entries: dict[str, Entry] = {}
        self._history: list[Change] = []

    def put(self, key: str, value: bytes, ttl: float | None = None) -> int:
        """Write ``key`` (below the prefix, e.g. "subnets/10.5.1.0-24") and return the new revision."""
        with self.changed:
            self.tick()
            entry = Entry(value, None if ttl is None else self.clock() + ttl)
            return self._change(f"{PREFIX}/{key}", entry)

    def delete(self, key: str) -> None:
        """Delete ``key`` (below the prefix) if it exists."""
        with self.changed:
            self.tick()
            if f"{PREFIX}/{key}" in self._entries:
                self._change(f"{PREFIX}/{key}", None)

    def compact(self) -> None:
        """Forget what came before the present revision; a watch from there fails."""
        with self.changed:
            self._compacted = self._revision
            self._history = [change for change in self._history if change.revision >= self._compacted]
            self.changed.notify_all()

    def fail(self, fault: StoreError | None) -> None:
        """Let every request and running watch fail with ``fault``; None: work again."""
        with self.changed:
            self.fault = fault
            self.changed.notify_all()

    def tick(self) -> None:
        """Remove what has expired."""
        with self.changed:
            now = self.clock()
            for key, entry in list(self._entries.items()):
                if entry.expires_at is not None and entry.expires_at <= now:
                    self._change(key, None)

    def request(self) -> None:
        """Called by every request, with the lock held: count, fail if told to, expire."""
        self.requests += 1
        if self.fault is not None:
            raise self.fault
        self.tick()

    @property
    def revision(self) -> int:
        """Revision of the last change."""
        return self._revision

    @property
    def entries(self) -> dict[str, Entry]:
        """All entries by full key, sorted as etcd lists them."""
        return dict(sorted(self._entries.items()))

    def changes(self, revision: int) -> list[Change]:
        """Changes from ``revision`` on; StoreCompacted if some are forgotten."""
        if revision < self._compacted:
            raise StoreCompacted(
                f"revision {revision} is compacted, {self._compacted} is the oldest",
                hint="take a new snapshot",
            )
        return [change for change in self._history if change.revision >= revision]

    def _change(self, key: str, entry: Entry | None) -> int:
        self._revision += 1
        if entry is None:
            del self._entries[key]
        else:
            self._entries[key] = entry
        self._history.append(Change(self._revision, key, entry))
        self.changed.notify_all()
        return self._revision


class MemoryStore:
    """A connection to a `MemoryServer`; a `LeaseStore`."""

    def __init__(self, server: MemoryServer) -> None:
        self.server = server
        self.closed = False
        self._folder = f"{PREFIX}/subnets"

    def network_config(self) -> str:
        """The configuration given to the server."""
        with self.server.changed:
            self._request()
            if self.server.config is None:
                raise NetworkConfigMissing(f"{PREFIX}/config does not exist", hint="set the server's config")
            return self.server.config

    def snapshot(self, *, expiry: bool = False) -> Snapshot:
        """All leases."""
        with self.server.changed:
            self._request()
            revision = self.server.revision
            entries = self.server.entries
        read = [
            self._read(key, entry, expiry=expiry)
            for key, entry in entries.items()
            if key.startswith(self._folder)
        ]
        leases = tuple(item for item in read if isinstance(item, Lease))
        return Snapshot(revision, leases, tuple(item for item in read if isinstance(item, Skipped)))

    def watch(self, revision: int) -> MemoryWatch:
        """Watch from ``revision`` on."""
        with self.server.changed:
            self._request()
            self.server.changes(revision)
        return MemoryWatch(self, revision, self._folder)

    def get(self, key: SubnetKey) -> Lease | None:
        """One lease."""
        name = self._name(key)
        with self.server.changed:
            self._request()
            entry = self.server.entries.get(name)
        if entry is None:
            return None
        lease = Lease(key, codec.parse_value(entry.value))
        return evolve(lease, expires_at=entry.expires_at, reserved=entry.expires_at is None)

    def create(self, lease: Lease, ttl: int | None) -> Lease:
        """Write a lease that must not exist."""
        with self.server.changed:
            self._request()
            if self._name(lease.key) in self.server.entries:
                raise SubnetTaken(f"subnet {lease.key} is taken", hint="choose another subnet")
            return self._put(lease, ttl)

    def overwrite(self, lease: Lease, ttl: int | None) -> Lease:
        """Write a lease."""
        with self.server.changed:
            self._request()
            return self._put(lease, ttl)

    def delete(self, key: SubnetKey) -> None:
        """Delete a lease."""
        with self.server.changed:
            self._request()
            self.server.delete(f"subnets/{codec.format_key(key)}")

    def revision(self) -> int:
        """The server's revision."""
        with self.server.changed:
            self._request()
            return self.server.revision

    def close(self) -> None:
        """End all watches of this connection."""
        with self.server.changed:
            self.closed = True
            self.server.changed.notify_all()

    def _request(self) -> None:
        if self.closed:
            raise StoreUnavailable("the connection is closed", hint="open a new one")
        self.server.request()

    def _name(self, key: SubnetKey) -> str:
        return f"{self._folder}/{codec.format_key(key)}"

    def _put(self, lease: Lease, ttl: int | None) -> Lease:
        value = codec.format_value(lease.attributes)
        self.server.put(f"subnets/{codec.format_key(lease.key)}", value, ttl)
        expires_at = None if ttl is None else self.server.clock() + ttl
        return evolve(lease, expires_at=expires_at, reserved=ttl is None)

    def _read(self, key: str, entry: Entry, *, expiry: bool) -> Lease | Skipped:
        reserved = entry.expires_at is None
        read = codec.read_lease(key, entry.value, self._folder, reserved=reserved)
        return evolve(read, expires_at=entry.expires_at) if expiry and isinstance(read, Lease) else read


class MemoryWatch:
    """A watch of a `MemoryStore`."""

    def __init__(self, store: MemoryStore, revision: int, folder: str) -> None:
        self._store = store
        self._server = store.server
        self._revision = revision
        self._folder = folder
        self._cancelled = False

    def __enter__(self) -> Self:
        """It already runs."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Cancel."""
        self.cancel()

    def cancel(self) -> None:
        """End the iteration."""
        with self._server.changed:
            self._cancelled = True
            self._server.changed.notify_all()

    def __iter__(self) -> Iterator[EventBatch]:
        """Batches of changes; one revision may hold several, never half of one."""
        while True:
            with self._server.changed:
                self._server.changed.wait_for(self._is_due)
                if self._cancelled or self._store.closed:
                    return
                if self._server.fault is not None:
                    raise self._server.fault
                changes = self._server.changes(self._revision)
            self._revision = changes[-1].revision + 1
            batch = self._batch(changes)
            if batch.events or batch.skipped:
                yield batch

    def _is_due(self) -> bool:
        over = self._cancelled or self._store.closed or self._server.fault is not None
        return over or self._server.revision >= self._revision

    def _batch(self, changes: list[Change]) -> EventBatch:
        read = [
            codec.read_event(
                change.key,
                change.entry.value if change.entry else None,
                self._folder,
                reserved=change.entry is not None and change.entry.expires_at is None,
            )
            for change in changes
            if change.key.startswith(self._folder)
        ]
        return EventBatch(
            changes[-1].revision,
            tuple(event for event in read if isinstance(event, LeasePut | LeaseDeleted)),
            tuple(entry for entry in read if isinstance(entry, Skipped)),
        )

"""What every lease store can do, and the values that it hands out.

    snapshot at revision R → watch from R + 1 → on any error a new store, and a snapshot again

A store is a connection: after an error it is closed and another one opened (`leases.watch` does that).
Every method answers or raises within the store's own deadline; none waits for ever, except the iteration of a
watch, which ends on error or by `cancel`. Methods may be called from several threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Protocol, Self

from attrs import frozen

from xdpflannel.model.lease import Lease, SubnetKey

LEASE_TTL = 86400
"""Seconds that a lease lives unless renewed (flannel's constant)."""


@frozen
class Skipped:
    """An entry that is no readable lease: its full key and why. Never a reason to remove anything.

    ``lease_key`` is the lease that it should have been, None if the key itself is no lease's.
    """

    key: str
    reason: str
    lease_key: SubnetKey | None = None


@frozen
class Snapshot:
    """All leases at one revision."""

    revision: int
    leases: tuple[Lease, ...]
    skipped: tuple[Skipped, ...] = ()


@frozen
class LeasePut:
    """A lease was made, changed or renewed."""

    lease: Lease


@frozen
class LeaseDeleted:
    """A lease was deleted or has expired."""

    key: SubnetKey


LeaseEvent = LeasePut | LeaseDeleted


@frozen
class EventBatch:
    """What happened to leases up to ``revision``, in order."""

    revision: int
    events: tuple[LeaseEvent, ...]
    skipped: tuple[Skipped, ...] = ()


class Watch(Protocol):
    """A running watch. Leave it as a context manager, or `cancel` it from any thread."""

    def __enter__(self) -> Self:
        """Nothing more to do: the watch already runs."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Cancel."""

    def __iter__(self) -> Iterator[EventBatch]:
        """Wait for batches; the iteration ends after `cancel`, and raises StoreError on any trouble."""

    def cancel(self) -> None:
        """End the iteration, from any thread."""


class LeaseStore(Protocol):
    """Where leases come from. All methods raise StoreUnavailable or StoreDenied."""

    def network_config(self) -> str:
        """The raw network configuration (JSON); NetworkConfigMissing if there is none."""

    def snapshot(self, *, expiry: bool = False) -> Snapshot:
        """All leases. With ``expiry`` also when each one ends, at the cost of a request per lease."""

    def watch(self, revision: int) -> Watch:
        """Watch all changes from ``revision`` on; runs on return. StoreCompacted if that is gone."""

    def get(self, key: SubnetKey) -> Lease | None:
        """The lease under ``key``, None if there is none; LeaseFormatError if it cannot be read."""

    def create(self, lease: Lease, ttl: int | None) -> Lease:
        """Write a lease that must not exist, for ``ttl`` seconds (None: for ever); SubnetTaken if it does."""

    def overwrite(self, lease: Lease, ttl: int | None) -> Lease:
        """Write a lease whatever was there, for ``ttl`` seconds (None: for ever, a reservation)."""

    def delete(self, key: SubnetKey) -> None:
        """Delete the lease if it exists."""

    def revision(self) -> int:
        """The store's revision by a cheap linearizable read: the heartbeat."""

    def close(self) -> None:
        """Cancel watches and hang up; may be called twice, from any thread."""


OpenStore = Callable[[], LeaseStore]
"""Opens a new connection; raises StoreError."""

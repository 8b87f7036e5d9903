"""Take a subnet for this node, keep it, and notice when it is lost.

The order of `claim` is flannel's (pkg/subnet/etcd/local_manager.go): the lease that carries our public IP,
then the subnet that we had before, then one of the first hundred free ones by chance.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from enum import Enum

from attrs import evolve

from xdpflannel.errors import (
    ConfigError,
    LeaseError,
    LeaseFormatError,
    LeaseLost,
    SubnetTaken,
    XdpflannelError,
)
from xdpflannel.leases.allocate import choose, fits, is_free
from xdpflannel.leases.store import LEASE_TTL, LeaseDeleted, LeasePut, LeaseStore, OpenStore, Snapshot
from xdpflannel.leases.watch import LeaseEvents, LeaseSnapshot, LeaseUpdate, Pause, pause
from xdpflannel.model.config import NetworkConfig
from xdpflannel.model.lease import Lease, LeaseAttributes, SubnetKey

ROUNDS = 10
"""How often to start over when other nodes take what we chose."""

RETRY = 60.0
"""Seconds between attempts to renew."""

MARGIN = 3600.0
"""Seconds before expiry at which to renew (flannel's --subnet-lease-renew-margin of 60 minutes)."""


def claim(
    store: LeaseStore,
    config: NetworkConfig,
    attributes: LeaseAttributes,
    previous: SubnetKey | None,
    rng: random.Random,
    *,
    ttl: int = LEASE_TTL,
) -> Lease:
    """Take a subnet for this node and return the lease, written with ``attributes`` for ``ttl`` seconds.

    Other than stock flannel it goes on when another node is quicker, keeps reservations (keys without a TTL)
    reserved, and keeps clear of subnets whose entries it cannot read.

    Raises:
        ConfigError: ``attributes`` has no public IP to be known by.
        OutOfSubnets: no free subnet is left.
        LeaseError: other nodes were quicker ten times.
        StoreError: the store did not do its part.
    """
    if attributes.public_ip is None and attributes.public_ip6 is None:
        raise ConfigError("a lease needs a public IP", hint="choose an uplink that has an address")
    for _ in range(ROUNDS):
        snapshot = store.snapshot()
        own = [lease for lease in snapshot.leases if _is_ours(lease, attributes)]
        usable = [lease for lease in own if fits(lease.key, config)]
        if usable:
            return _reuse(store, usable, attributes, previous, ttl)
        taken = _taken(snapshot) - _give_back(store, own)
        try:
            return store.create(Lease(_choose(config, previous, taken, rng), attributes), ttl)
        except SubnetTaken:
            continue
    raise LeaseError(
        f"other nodes took the subnet first, {ROUNDS} times in a row",
        hint="start again; if it persists, enlarge the network or look for a node that claims without end",
    )


def _reuse(
    store: LeaseStore,
    usable: list[Lease],
    attributes: LeaseAttributes,
    previous: SubnetKey | None,
    ttl: int,
) -> Lease:
    """Our own lease again; the previous one if there are several."""
    lease = next((lease for lease in usable if lease.key == previous), usable[0])
    return store.overwrite(evolve(lease, attributes=attributes), None if lease.reserved else ttl)


def _give_back(store: LeaseStore, own: list[Lease]) -> set[SubnetKey]:
    """Delete our leases that the configuration no longer allows, but never what somebody reserved."""
    old = {lease.key for lease in own if not lease.reserved}
    for key in old:
        store.delete(key)
    return old


def _taken(snapshot: Snapshot) -> set[SubnetKey]:
    """Subnets of all leases, and of entries that are unreadable but for their key."""
    unreadable = {skipped.lease_key for skipped in snapshot.skipped if skipped.lease_key is not None}
    return {lease.key for lease in snapshot.leases} | unreadable


def _choose(
    config: NetworkConfig, previous: SubnetKey | None, taken: set[SubnetKey], rng: random.Random
) -> SubnetKey:
    if previous is not None and fits(previous, config) and is_free(previous, taken):
        return previous
    return choose(config, taken, rng)


class OwnLease(Enum):
    """What an update says about this node's own lease."""

    HELD = "held"
    """It is there as we wrote it, or the update does not speak of it."""
    CHANGED = "changed"
    """It is still ours, but somebody wrote other attributes or something unreadable: write it again."""
    GONE = "gone"
    """It was deleted, or has expired."""
    TAKEN = "taken"
    """Another public IP holds the subnet now."""


def own_lease_state(own: Lease, update: LeaseUpdate) -> OwnLease:
    """What ``update`` says about ``own``. Pure; the last event counts."""
    match update:
        case LeaseSnapshot(leases):
            if any(skipped.lease_key == own.key for skipped in update.skipped):
                return OwnLease.CHANGED
            found = next((lease for lease in leases if lease.key == own.key), None)
            return OwnLease.GONE if found is None else _compare(own, found)
        case LeaseEvents(events, skipped):
            state = OwnLease.HELD
            for event in events:
                match event:
                    case LeasePut(lease) if lease.key == own.key:
                        state = _compare(own, lease)
                    case LeaseDeleted(key) if key == own.key:
                        state = OwnLease.GONE
            unreadable = any(entry.lease_key == own.key for entry in skipped)
            return OwnLease.CHANGED if unreadable and state is OwnLease.HELD else state
        case _:
            return OwnLease.HELD


class LeaseKeeper:
    """Renews this node's lease in time.

    Args:
        open_store: opens a connection; one is opened for each renewal and closed again.
        lease: what `claim` returned. A reservation never needs renewing.
        margin: seconds before expiry at which to renew.
        on_renewed: gets the lease with its new expiry.
        on_failed: gets the error; after LeaseLost the keeper has stopped, after others it tries again.
        ttl: seconds of each renewal.
        retry: seconds between attempts after a failure.
        clock: seconds since the epoch.
        wait: how to wait.
    """

    def __init__(
        self,
        open_store: OpenStore,
        lease: Lease,
        margin: float,
        on_renewed: Callable[[Lease], None],
        on_failed: Callable[[XdpflannelError], None],
        *,
        ttl: int = LEASE_TTL,
        retry: float = RETRY,
        clock: Callable[[], float] = time.time,
        wait: Pause = pause,
    ) -> None:
        self._open_store = open_store
        self._lease = lease
        self._margin = margin
        self._on_renewed = on_renewed
        self._on_failed = on_failed
        self._ttl = ttl
        self._retry = retry
        self._clock = clock
        self._wait = wait
        self._lock = threading.Lock()

    @property
    def lease(self) -> Lease:
        """The lease as it was last written."""
        return self._lease

    def publish(self, attributes: LeaseAttributes) -> Lease:
        """Write new attributes now, e.g. another MAC, and keep them from now on.

        Raises:
            LeaseLost: another node holds the subnet.
            StoreError: the store did not do its part; the old attributes are kept.
        """
        with self._lock:
            self._lease = self._renew(self._lease, attributes)
            return self._lease

    def run(self, stop: threading.Event) -> None:
        """Renew until ``stop`` is set or the lease is lost."""
        while not self._wait(stop, self._until_due()):
            if self._until_due() > 0:
                continue
            try:
                with self._lock:
                    self._lease = self._renew(self._lease, self._lease.attributes)
            except LeaseLost as error:
                self._on_failed(error)
                return
            except XdpflannelError as error:
                self._on_failed(error)
                if self._wait(stop, self._retry):
                    return
            else:
                self._on_renewed(self._lease)

    def _until_due(self) -> float:
        """Seconds to wait now. Never long: clocks are set, machines sleep, and `replace` may have come."""
        if self._lease.expires_at is None:
            return self._retry
        # Half the TTL at least lies between renewals, whatever the margin.
        margin = min(self._margin, self._ttl / 2)
        due = self._lease.expires_at - margin
        return min(max(due - self._clock(), 0.0), self._retry)

    def _renew(self, lease: Lease, attributes: LeaseAttributes) -> Lease:
        """Write the whole value under a fresh TTL, as flannel does, but never over another node's lease."""
        ttl = None if lease.reserved else self._ttl
        written = evolve(lease, attributes=attributes)
        store = self._open_store()
        try:
            current = store.get(lease.key)
            if current is None:
                return store.create(written, ttl)
            if not _is_ours(current, lease.attributes):
                raise _lost(lease, current)
            return store.overwrite(written, ttl)
        except LeaseFormatError:
            return store.overwrite(written, ttl)  # what nobody can read is nobody's
        except SubnetTaken:
            raise _lost(lease, None) from None
        finally:
            store.close()


def _lost(lease: Lease, current: Lease | None) -> LeaseLost:
    holder = "another node"
    if current is not None and current.attributes.public_ip is not None:
        holder = f"the node with public IP {current.attributes.public_ip}"
    return LeaseLost(
        f"the lease of {lease.key} is lost: {holder} holds it now",
        hint="restart this node's agent to take another subnet, and its pods to get addresses of it",
    )


def _compare(own: Lease, found: Lease) -> OwnLease:
    if not _is_ours(found, own.attributes):
        return OwnLease.TAKEN
    return OwnLease.HELD if found.attributes == own.attributes else OwnLease.CHANGED


def _is_ours(lease: Lease, attributes: LeaseAttributes) -> bool:
    """A node is known by its public IP; one without IPv4 by its IPv6 address."""
    if attributes.public_ip is not None:
        return lease.attributes.public_ip == attributes.public_ip
    return lease.attributes.public_ip is None and lease.attributes.public_ip6 == attributes.public_ip6

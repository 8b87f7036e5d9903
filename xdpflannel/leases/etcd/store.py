"""The lease store in etcd: flannel's keys, by one member of the cluster."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from attrs import evolve

from xdpflannel.errors import NetworkConfigMissing, StoreError, SubnetTaken
from xdpflannel.leases import codec
from xdpflannel.leases.endpoints import EtcdOptions
from xdpflannel.leases.etcd.member import connect, rpc
from xdpflannel.leases.etcd.watch import EtcdWatch, end_of, text
from xdpflannel.leases.store import Skipped, Snapshot
from xdpflannel.model.lease import Lease, SubnetKey

_LOOKUPS_AT_ONCE = 256
_PAGE = 1000
_EXAMPLE = '{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}'


class EtcdStore:
    """A connection to one member of an etcd cluster; a `LeaseStore`.

    Args:
        options: where and how.
        rng: shuffles the members, so that nodes spread over them and a sick one is soon left.
        clock: seconds since the epoch, for the expiry of leases.

    Raises:
        ConfigError: the options cannot be used, or a TLS file cannot be read.
        StoreUnavailable: no member answered; the message names each.
        StoreDenied: a member refused the credentials.
    """

    def __init__(
        self,
        options: EtcdOptions,
        *,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = f"{options.folder}/subnets"
        self._config_key = f"{options.folder}/config"
        self._clock = clock
        self._member = connect(options, self._config_key.encode(), rng or random.SystemRandom())
        self._watches: set[EtcdWatch] = set()

    def __enter__(self) -> Self:
        """The connection is made already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Close."""
        self.close()

    @property
    def endpoint(self) -> str:
        """URL of the member that this store talks to."""
        return str(self._member.endpoint)

    def network_config(self) -> str:
        """The value of ``<prefix>/config``."""
        response = self._member.call(self._member.kv.Range, rpc.RangeRequest(key=self._config_key.encode()))
        if not response.kvs:
            raise NetworkConfigMissing(
                f"etcd at {self.endpoint} has no network configuration: {self._config_key} does not exist",
                hint=f"check the prefix, or write it: etcdctl put {self._config_key} '{_EXAMPLE}'",
            )
        value: bytes = response.kvs[0].value
        return value.decode(errors="replace")

    def snapshot(self, *, expiry: bool = False) -> Snapshot:
        """All leases at one revision, read in pages: decoded answers take many times their size in memory."""
        request = rpc.RangeRequest(key=self._folder.encode(), range_end=end_of(self._folder), limit=_PAGE)
        read: list[Lease | Skipped] = []
        while True:
            response = self._member.call(self._member.kv.Range, request)
            read += self._page(response.kvs, expiry=expiry)
            if not response.more:
                break
            request.key = response.kvs[-1].key + b"\0"
            request.revision = request.revision or response.header.revision
        return Snapshot(
            int(request.revision or response.header.revision),
            tuple(item for item in read if isinstance(item, Lease)),
            tuple(item for item in read if isinstance(item, Skipped)),
        )

    def watch(self, revision: int) -> EtcdWatch:
        """Watch from ``revision`` on; the server has confirmed it on return."""
        create = rpc.WatchCreateRequest(
            key=self._folder.encode(), range_end=end_of(self._folder), start_revision=revision
        )
        watch = EtcdWatch(self._member, rpc.WatchRequest(create_request=create), self._folder)
        self._watches.add(watch)
        return watch

    def get(self, key: SubnetKey) -> Lease | None:
        """One lease by a linearizable read."""
        response = self._member.call(self._member.kv.Range, rpc.RangeRequest(key=self._name(key)))
        if not response.kvs:
            return None
        kv = response.kvs[0]
        attributes = codec.parse_value(kv.value)
        return Lease(key, attributes, self._expiries([kv.lease])[0], reserved=not kv.lease)

    def create(self, lease: Lease, ttl: int | None) -> Lease:
        """Write the lease in a transaction that requires the key not to exist."""
        name, value = self._name(lease.key), codec.format_value(lease.attributes)
        lease_id, expires_at = self._grant(ttl)
        request = rpc.TxnRequest(
            compare=[rpc.Compare(result=rpc.Compare.EQUAL, target=rpc.Compare.VERSION, key=name, version=0)],
            success=[rpc.RequestOp(request_put=rpc.PutRequest(key=name, value=value, lease=lease_id))],
        )
        try:
            response = self._member.call(self._member.kv.Txn, request)
        except StoreError:
            # It may have happened all the same; without its lease the key goes too.
            self._revoke(lease_id)
            raise
        if not response.succeeded:
            self._revoke(lease_id)
            raise SubnetTaken(f"subnet {lease.key} is taken by another node", hint="choose another subnet")
        return evolve(lease, expires_at=expires_at, reserved=ttl is None)

    def overwrite(self, lease: Lease, ttl: int | None) -> Lease:
        """Write the lease under a fresh grant, as flannel renews."""
        name, value = self._name(lease.key), codec.format_value(lease.attributes)
        lease_id, expires_at = self._grant(ttl)
        self._member.call(self._member.kv.Put, rpc.PutRequest(key=name, value=value, lease=lease_id))
        return evolve(lease, expires_at=expires_at, reserved=ttl is None)

    def delete(self, key: SubnetKey) -> None:
        """Delete the key."""
        self._member.call(self._member.kv.DeleteRange, rpc.DeleteRangeRequest(key=self._name(key)))

    def revision(self) -> int:
        """The cluster's revision by a read that needs its quorum."""
        return self._member.probe(self._config_key.encode(), self._member.timeout)

    def close(self) -> None:
        """Cancel watches and hang up."""
        for watch in tuple(self._watches):
            watch.cancel()
        self._member.close()

    def _page(self, kvs: Any, *, expiry: bool) -> list[Lease | Skipped]:
        read = [codec.read_lease(text(kv.key), kv.value, self._folder, reserved=not kv.lease) for kv in kvs]
        if not expiry:
            return read
        ends = self._expiries([kv.lease for kv in kvs])
        pairs = zip(read, ends, strict=True)
        return [evolve(item, expires_at=end) if isinstance(item, Lease) else item for item, end in pairs]

    def _name(self, key: SubnetKey) -> bytes:
        return f"{self._folder}/{codec.format_key(key)}".encode()

    def _grant(self, ttl: int | None) -> tuple[int, float | None]:
        """An etcd lease and when it ends, by a clock read before: it never ends earlier than we think."""
        if ttl is None:
            return 0, None
        now = self._clock()
        response = self._member.call(self._member.leases.LeaseGrant, rpc.LeaseGrantRequest(TTL=ttl))
        return int(response.ID), now + int(response.TTL)

    def _revoke(self, lease_id: int) -> None:
        if lease_id:
            with contextlib.suppress(StoreError):  # it ends by itself
                self._member.call(self._member.leases.LeaseRevoke, rpc.LeaseRevokeRequest(ID=lease_id))

    def _expiries(self, lease_ids: list[int]) -> list[float | None]:
        """When each etcd lease ends; None for 0 and for what ended meanwhile. Asked many at once."""
        now = self._clock()
        ends: list[float | None] = []
        for start in range(0, len(lease_ids), _LOOKUPS_AT_ONCE):
            some = lease_ids[start : start + _LOOKUPS_AT_ONCE]
            ends += [None if ttl < 0 else now + ttl for ttl in self._member.lifetimes(some)]
        return ends

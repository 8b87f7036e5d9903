"""A watch on etcd's lease keys."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from xdpflannel.errors import StoreCompacted, StoreError, StoreUnavailable
from xdpflannel.leases import codec
from xdpflannel.leases.etcd.member import Member, RpcError
from xdpflannel.leases.etcd.refusals import refusal
from xdpflannel.leases.store import EventBatch, LeaseDeleted, LeasePut, Skipped


class EtcdWatch:
    """A running watch. Reading ends by `cancel`, an error, or the server's own cancellation."""

    def __init__(self, member: Member, create: Any, folder: str) -> None:
        self._member = member
        self._folder = folder
        self._cancelled = False
        # gRPC reads requests in a thread of its own, until None ends it.
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._requests.put(create)
        self._call = member.stream(iter(self._requests.get, None))
        self._await_created()

    def __enter__(self) -> Self:
        """It already runs."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Cancel."""
        self.cancel()

    def __iter__(self) -> Iterator[EventBatch]:
        """Batches as etcd sends them: whole revisions, in order."""
        while True:
            response = self._next()
            if response is None:
                return
            batch = self._batch(response)
            if batch.events or batch.skipped:
                yield batch

    def cancel(self) -> None:
        """End the stream."""
        self._cancelled = True
        self._requests.put(None)
        self._call.cancel()

    def _await_created(self) -> None:
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._call.cancel()

        timer = threading.Timer(self._member.timeout, give_up)
        timer.start()
        try:
            response = self._next()
        except StoreError:
            self.cancel()
            if late.is_set():
                raise self._member.silent() from None
            raise
        finally:
            timer.cancel()
            timer.join()
        if response is None:
            raise self._member.closed()

    def _next(self) -> Any:
        """The next response, None once cancelled."""
        try:
            response = next(self._call)
        except RpcError as error:
            if self._cancelled:
                return None
            raise self._member.translate(error) from None
        except StopIteration:
            if self._cancelled:
                return None
            raise StoreUnavailable(
                f"etcd at {self._member.endpoint} ended the watch", hint="it will be started again"
            ) from None
        if response.compact_revision:
            raise StoreCompacted(
                f"etcd at {self._member.endpoint} has compacted up to revision {response.compact_revision}",
                hint="take a new snapshot",
            )
        if response.canceled:
            raise refusal(
                "CANCELLED", response.cancel_reason, str(self._member.endpoint), self._member.timeout
            )
        return response

    def _batch(self, response: Any) -> EventBatch:
        read = [
            codec.read_event(
                text(event.kv.key),
                event.kv.value if event.type == 0 else None,
                self._folder,
                reserved=not event.kv.lease,
            )
            for event in response.events
        ]
        return EventBatch(
            int(response.header.revision),
            tuple(event for event in read if isinstance(event, LeasePut | LeaseDeleted)),
            tuple(entry for entry in read if isinstance(entry, Skipped)),
        )


def text(raw: bytes) -> str:
    """A key for people, whatever bytes it holds."""
    return raw.decode(errors="backslashreplace")


def end_of(prefix: str) -> bytes:
    """Where etcd's range of all keys that begin with ``prefix`` ends."""
    raw = prefix.encode()
    return raw[:-1] + bytes([raw[-1] + 1])

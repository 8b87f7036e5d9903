"""One member of an etcd cluster, asked by gRPC. The only file that imports etcd3 and grpc.

Of the etcd3 package the generated messages and stubs are used. Its client drops the server's cancellation of
a watch and sends tokens in a way that gRPC refuses without TLS, and its watcher's thread never ends.

A store talks to one member. A token is good at the member that gave it, and a certificate is checked against
the name that was dialled; gRPC's own lists of addresses know neither. So a failure ends the store, and the
next one opened tries the members in another random order.
"""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xdpflannel.errors import ConfigError, StoreError, StoreUnavailable, Unsupported
from xdpflannel.leases.endpoints import Endpoint, EtcdOptions
from xdpflannel.leases.etcd.refusals import is_stale_token, refusal

# The package's messages were generated for protobuf 3: newer ones read them in their pure-Python form only.
os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
# gRPC's C core writes to stderr by itself, and its fork handlers may hang a child; we fork only to exec.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    try:
        import grpc
        from etcd3 import etcdrpc
    except TypeError as error:  # protobuf's "Descriptors cannot be created directly"
        raise Unsupported(
            "the etcd3 package does not work with protobuf's C implementation, which is already loaded",
            hint="set PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python in the environment",
        ) from error

__all__ = ["Member", "RpcError", "connect", "rpc"]

rpc: Any = etcdrpc
"""Messages of etcd's API."""

RpcError: Any = grpc.RpcError

_CHANNEL_OPTIONS = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    # Newer gRPC waits this long for a ping's answer, a minute unless told: a hung etcd would go unnoticed.
    ("grpc.http2.ping_timeout_ms", 3_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # Channels of one target share connections and their back-off unless told: a new store were no new try.
    ("grpc.use_local_subchannel_pool", 1),
    # 10,000 leases are 2.5 MB, gRPC's limit is 4.
    ("grpc.max_receive_message_length", -1),
    # etcd is never behind a web proxy, whatever the environment says.
    ("grpc.enable_http_proxy", 0),
)

_PROBE_TIMEOUT = 2.0
"""Seconds that a member gets to answer when there are others to try."""


def connect(options: EtcdOptions, key: bytes, rng: random.Random) -> Member:
    """The first member that answers, tried in random order."""
    endpoints = options.members()
    problems: dict[Endpoint, StoreError] = {}
    for endpoint in rng.sample(endpoints, len(endpoints)):
        member = Member(endpoint, options)
        timeout = options.timeout if len(endpoints) == 1 else min(_PROBE_TIMEOUT, options.timeout)
        try:
            member.authenticate(timeout)
            member.probe(key, timeout)
        except StoreUnavailable as error:
            problems[endpoint] = error
            member.close()
        except StoreError:
            member.close()
            raise
        else:
            return member
    errors = [problems[endpoint] for endpoint in endpoints]
    if len(errors) == 1:
        raise errors[0]
    raise StoreUnavailable("no etcd member answers: " + "; ".join(map(str, errors)), hint=errors[0].hint)


class Member:
    """A channel to one member: deadlines, tokens, and errors in our words."""

    def __init__(self, endpoint: Endpoint, options: EtcdOptions) -> None:
        self.endpoint = endpoint
        self.timeout = options.timeout
        self._options = options
        self._token: tuple[tuple[str, str], ...] = ()
        self._channel = _channel(endpoint, options)
        self.kv = rpc.KVStub(self._channel)
        self.leases = rpc.LeaseStub(self._channel)

    def call(self, method: Any, request: Any, timeout: float | None = None) -> Any:
        """One request; a token that the member has forgotten is renewed, once."""
        seconds = self.timeout if timeout is None else timeout
        try:
            return self._ask(method, request, seconds)
        except _StaleToken:
            self.authenticate(seconds)
        try:
            return self._ask(method, request, seconds)
        except _StaleToken as error:
            raise refusal("UNAUTHENTICATED", str(error), str(self.endpoint), seconds) from None

    def probe(self, key: bytes, timeout: float) -> int:
        """The cluster's revision, by a linearizable read that returns no value."""
        request = rpc.RangeRequest(key=key, count_only=True)
        return int(self.call(self.kv.Range, request, timeout).header.revision)

    def authenticate(self, timeout: float) -> None:
        """Get a token. A cluster without authentication needs none, whatever the options say."""
        if not self._options.username:
            return
        request = rpc.AuthenticateRequest(name=self._options.username, password=self._options.password)
        self._token = ()
        try:
            response = rpc.AuthStub(self._channel).Authenticate(request, timeout=timeout)
        except grpc.RpcError as error:
            if "authentication is not enabled" in (error.details() or ""):
                return
            raise self.translate(error, timeout) from None
        except ValueError:
            raise self.closed() from None
        self._token = (("token", response.token),)

    def stream(self, requests: Iterator[Any]) -> Any:
        """Start a watch stream; a member that loses its leader ends it instead of keeping silent."""
        try:
            return rpc.WatchStub(self._channel).Watch(
                requests, metadata=(*self._token, ("hasleader", "true"))
            )
        except ValueError:
            raise self.closed() from None

    def lifetimes(self, lease_ids: list[int]) -> list[int]:
        """Seconds that each etcd lease has left, negative if it is gone or 0; all asked at once."""
        method = self.leases.LeaseTimeToLive
        try:
            calls = [
                method.future(
                    rpc.LeaseTimeToLiveRequest(ID=lease_id), timeout=self.timeout, metadata=self._token
                )
                if lease_id
                else None
                for lease_id in lease_ids
            ]
            return [-1 if call is None else int(call.result().TTL) for call in calls]
        except grpc.RpcError as error:
            raise self.translate(error) from None
        except ValueError:
            raise self.closed() from None

    def translate(self, error: Any, timeout: float | None = None) -> StoreError:
        """An error of gRPC in our words."""
        if error.code() is grpc.StatusCode.CANCELLED:
            return self.closed()
        seconds = self.timeout if timeout is None else timeout
        return refusal(error.code().name, error.details() or "", str(self.endpoint), seconds)

    def silent(self) -> StoreError:
        """No answer in time."""
        return refusal("DEADLINE_EXCEEDED", "", str(self.endpoint), self.timeout)

    def closed(self) -> StoreError:
        """Used after `close`."""
        return StoreUnavailable(f"the connection to etcd at {self.endpoint} is closed", hint="open a new one")

    def close(self) -> None:
        """Hang up."""
        self._channel.close()

    def _ask(self, method: Any, request: Any, timeout: float) -> Any:
        try:
            return method(request, timeout=timeout, metadata=self._token)
        except grpc.RpcError as error:
            details = error.details() or ""
            if self._options.username and is_stale_token(details):
                raise _StaleToken(details) from None
            raise self.translate(error, timeout) from None
        except ValueError:  # "Cannot invoke RPC on closed channel!"
            raise self.closed() from None


class _StaleToken(Exception):
    """The member has forgotten our token."""


def _channel(endpoint: Endpoint, options: EtcdOptions) -> Any:
    if not endpoint.tls:
        return grpc.insecure_channel(endpoint.target, options=_CHANNEL_OPTIONS)
    credentials = grpc.ssl_channel_credentials(
        _read(options.ca_file), _read(options.key_file), _read(options.cert_file)
    )
    return grpc.secure_channel(endpoint.target, credentials, options=_CHANNEL_OPTIONS)


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"TLS file {path} cannot be read: {error.strerror}", hint="check the path and its permissions"
        ) from None

"""What etcd's and gRPC's answers mean, as our errors. Pure: status codes come in by name."""

from __future__ import annotations

from xdpflannel.errors import StoreCompacted, StoreDenied, StoreError, StoreUnavailable

# etcd says most of what concerns users with INVALID_ARGUMENT (etcd: api/v3rpc/rpctypes/error.go).
_DENIED_CODES = {"UNAUTHENTICATED", "PERMISSION_DENIED"}
_DENIED_TEXTS = (
    "authentication failed",
    "user name",
    "permission denied",
    "invalid auth token",
    "auth store",
)
_STALE_TOKEN_TEXTS = ("invalid auth token", "revision of auth store is old", "auth store revision")

_HINTS = (
    (
        "certificate_verify_failed",
        "the server's certificate is not by the given CA, or not for this host name",
    ),
    (
        "certificate required",
        "the server wants a client certificate: give --etcd-certfile and --etcd-keyfile",
    ),
    ("tsi_data_corrupted", "the server ended TLS: does it want a client certificate (--etcd-certfile)?"),
    ("wrong_version_number", "the server does not talk TLS here: use http://"),
    ("handshake", "check that CA, certificate and key belong to this etcd"),
    ("http2 settings", "something answers there, but not etcd's v3 API; or it talks TLS: use https://"),
    ("socket closed", "the server hung up: does it want https://, or a client certificate?"),
    ("connection reset", "the server hung up: does it want https://, or a client certificate?"),
    ("connection refused", "nothing listens there: is etcd running, and is the port right?"),
    ("dns", "the name does not resolve: check the host name and this node's resolver"),
    ("no route", "check the address and this node's routes"),
    ("unreachable", "check the address and this node's routes"),
    ("space exceeded", "etcd's disk quota is used up: compact, defragment, then disarm the alarm"),
    ("no leader", "etcd has lost its quorum: check its other members"),
    ("leader changed", "etcd is choosing a leader; if that goes on, check its members"),
    ("context deadline exceeded", "etcd has lost its quorum or its disk is too slow: check its members"),
    ("request timed out", "etcd has lost its quorum or its disk is too slow: check its members"),
)
_HINT = "check the endpoints, etcdctl endpoint health, and the network between"


def refusal(code: str, details: str, where: str, timeout: float) -> StoreError:
    """An answer other than success.

    Args:
        code: gRPC's status code by name, e.g. "UNAVAILABLE".
        details: the text that came with it.
        where: the member asked.
        timeout: seconds that the request was given.
    """
    text = _tidy(details)
    lower = text.lower()
    if "compacted" in lower:
        return StoreCompacted(f"etcd at {where}: {text}", hint="take a new snapshot")
    if code in _DENIED_CODES or any(part in lower for part in _DENIED_TEXTS):
        return StoreDenied(
            f"etcd at {where} refuses these credentials: {text}",
            hint="check user name, password and certificate, and that the user may read and write the prefix",
        )
    if code == "DEADLINE_EXCEEDED":
        return StoreUnavailable(
            f"etcd at {where} did not answer within {timeout:g} s",
            hint="is it hung, without a leader, or behind a firewall that drops? see etcdctl endpoint status",
        )
    hint = next((hint for part, hint in _HINTS if part in lower), _HINT)
    return StoreUnavailable(f"etcd at {where}: {text or code}", hint=hint)


def is_stale_token(details: str) -> bool:
    """The token was lost (etcd restarted, or idle for 5 minutes), so asking for a new one helps."""
    lower = details.lower()
    return any(text in lower for text in _STALE_TOKEN_TEXTS)


def _tidy(details: str) -> str:
    """The text of gRPC without its preamble and line breaks."""
    text = " ".join(details.split())
    for preamble in ("failed to connect to all addresses; last error:", "etcdserver:"):
        text = text.removeprefix(preamble).strip()
    return text

import pytest

from xdpflannel.errors import StoreCompacted, StoreDenied, StoreUnavailable
from xdpflannel.leases.etcd.refusals import is_stale_token, refusal


@pytest.mark.parametrize(
    ("code", "details", "kind", "message", "hint"),
    [
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", StoreUnavailable, "did not answer within 5 s", "hung"),
        (
            "UNAVAILABLE",
            (
                "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to "
                "connect to remote host: connect: Connection refused (111)"
            ),
            StoreUnavailable,
            "Connection refused",
            "nothing listens",
        ),
        (
            "OUT_OF_RANGE",
            "etcdserver: mvcc: required revision has been compacted",
            StoreCompacted,
            "compacted",
            "",
        ),
        ("PERMISSION_DENIED", "etcdserver: permission denied", StoreDenied, "permission denied", "may read"),
        (
            "INVALID_ARGUMENT",
            "etcdserver: authentication failed, invalid user ID or password",
            StoreDenied,
            "invalid user ID",
            "",
        ),
        (
            "INVALID_ARGUMENT",
            "etcdserver: user name is empty",
            StoreDenied,
            "user name is empty",
            "credentials",
        ),
        ("UNAVAILABLE", "etcdserver: no leader", StoreUnavailable, "no leader", "quorum"),
        (
            "RESOURCE_EXHAUSTED",
            "etcdserver: mvcc: database space exceeded",
            StoreUnavailable,
            "space",
            "quota",
        ),
        ("UNKNOWN", "", StoreUnavailable, "UNKNOWN", "check"),
    ],
)
def test_refusals(code: str, details: str, kind: type, message: str, hint: str) -> None:
    error = refusal(code, details, "http://10.0.0.1:2379", 5.0)
    assert type(error) is kind
    assert message in str(error)
    assert "10.0.0.1:2379" in str(error)
    assert error.hint
    assert hint in error.hint or kind is StoreDenied


def test_stale_tokens() -> None:
    assert is_stale_token("etcdserver: invalid auth token")
    assert is_stale_token("etcdserver: revision of auth store is old")
    assert not is_stale_token("etcdserver: permission denied")

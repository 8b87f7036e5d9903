"""No permission: exit 4, and the missing capability has a name."""

import pytest

from xdpflannel.agent.privileges import missing, require
from xdpflannel.errors import EXIT_NOT_PERMITTED, NotPermitted


@pytest.mark.parametrize(
    ("effective", "bpf", "expected"),
    [
        (1 << 12 | 1 << 39, True, []),
        (1 << 12 | 1 << 21, True, []),
        (1 << 12, False, []),
        (1 << 12, True, ["CAP_BPF (or CAP_SYS_ADMIN)"]),
        (1 << 39, True, ["CAP_NET_ADMIN"]),
        (0, True, ["CAP_NET_ADMIN", "CAP_BPF (or CAP_SYS_ADMIN)"]),
    ],
)
def test_missing_capabilities_are_named(effective, bpf, expected):
    assert missing(f"Name:\tx\nCapEff:\t{effective:016x}\n", bpf=bpf) == expected


def test_refusal_says_what_to_do(tmp_path):
    status = tmp_path / "status"
    status.write_text("CapEff:\t0000000000000000\n")
    with pytest.raises(NotPermitted, match="CAP_NET_ADMIN and CAP_BPF") as caught:
        require(bpf=True, status=status)
    assert caught.value.exit_code == EXIT_NOT_PERMITTED
    assert "root" in caught.value.hint

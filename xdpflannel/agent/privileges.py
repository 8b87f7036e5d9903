"""Which capabilities the agent needs and whether it has them."""

from __future__ import annotations

from pathlib import Path

from xdpflannel.errors import NotPermitted

_CAP_NET_ADMIN, _CAP_SYS_ADMIN, _CAP_BPF = 12, 21, 39
_STATUS = Path("/proc/self/status")


def missing(status: str, *, bpf: bool) -> list[str]:
    """Return the names of the capabilities that ``status`` (as /proc/self/status) lacks."""
    line = next((line for line in status.splitlines() if line.startswith("CapEff:")), "CapEff: 0")
    effective = int(line.split()[1], 16)

    def has(number: int) -> bool:
        return bool(effective >> number & 1)

    lacking = [] if has(_CAP_NET_ADMIN) else ["CAP_NET_ADMIN"]
    # CAP_BPF was split off in 5.8; before, and still today, CAP_SYS_ADMIN does as well.
    if bpf and not has(_CAP_BPF) and not has(_CAP_SYS_ADMIN):
        lacking.append("CAP_BPF (or CAP_SYS_ADMIN)")
    return lacking


def require(*, bpf: bool, status: Path = _STATUS) -> None:
    """NotPermitted, naming what is missing."""
    lacking = missing(status.read_text(), bpf=bpf)
    if lacking:
        raise NotPermitted(
            f"xdpflanneld lacks {' and '.join(lacking)}",
            hint="run it as root, or grant these capabilities (systemd: AmbientCapabilities=, Kubernetes: "
            "securityContext.capabilities.add)",
        )

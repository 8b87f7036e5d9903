"""The node's connection tracking, which sees only some packets of a flow that the fast path takes.

It sees the beginning, the end, and one packet now and then. Without `nf_conntrack_tcp_be_liberal` it would
call those out of window, and a rule that drops INVALID packets (kube-proxy has one) would cut the connection.
"""

from __future__ import annotations

from pathlib import Path

import structlog

from xdpflannel.agent import footprint
from xdpflannel.errors import XdpflannelError
from xdpflannel.host import sysctl

log = structlog.get_logger()

SETTING = "net/netfilter/nf_conntrack_tcp_be_liberal"


def relax(run_dir: Path) -> None:
    """Set it, and remember what it was; nothing to do where conntrack is not loaded (yet)."""
    before = sysctl.read(SETTING)
    if before in (None, "1"):
        return
    footprint.add_setting(run_dir, SETTING, str(before))
    try:
        sysctl.write(SETTING, "1")
    except XdpflannelError as error:
        log.warning("conntrack.not_relaxed", setting=SETTING, error=str(error), hint=error.hint)
        return
    log.info("conntrack.relaxed", setting=SETTING, before=before)


def relaxed_from(record: footprint.Footprint | None) -> str | None:
    """What `relax` found; None if it changed nothing, or somebody else has changed it since."""
    before = record.settings.get(SETTING) if record is not None else None
    return before if before is not None and sysctl.read(SETTING) == "1" else None


def restore(before: str) -> None:
    """Put back what `relax` found."""
    sysctl.write(SETTING, before)

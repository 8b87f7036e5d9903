"""The node's connection tracking, which sees only some packets of a flow that the fast path takes.

It sees the beginning, the end, and one packet now and then. Without `nf_conntrack_tcp_be_liberal` it would call
those out of window, and a rule that drops INVALID packets (kube-proxy has one) would cut the connection.
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


def restore(record: footprint.Footprint) -> list[str]:
    """Put back what `relax` found, unless somebody else has changed it since."""
    before = record.settings.get(SETTING)
    if before is None or sysctl.read(SETTING) != "1":
        return []
    sysctl.write(SETTING, before)
    return [f"setting {SETTING}, which is {before} again"]

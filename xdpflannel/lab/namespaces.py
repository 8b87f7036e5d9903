"""The lab's namespaces, each with a mark, so that nothing else is ever removed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable

from xdpflannel.errors import LabError
from xdpflannel.host import sysctl
from xdpflannel.host.namespace import NETNS_DIR, call_inside, exists
from xdpflannel.lab.shell import ip, run

_BUSY_SECONDS = 5.0


def _mark(lab: str) -> str:
    return f"xdpflannel-lab:{lab}"


def refuse_existing(names: Iterable[str]) -> None:
    """LabError if one of them is there: it is not ours, so it is not touched."""
    there = [name for name in names if exists(name)]
    if there:
        raise LabError(
            f"network namespace {there[0]} exists, and this lab did not make it",
            hint=f"choose another --name, or remove it yourself: ip netns del {there[0]}",
        )


def create(lab: str, names: Iterable[str]) -> None:
    """Make namespaces, marked as this lab's (alias of `lo`), with `lo` up."""
    wanted = list(names)
    ip(f"netns add {name}" for name in wanted)
    for name in wanted:
        ip([f"link set lo alias {_mark(lab)} up"], netns=name)


def forwarding(name: str) -> None:
    """Let a namespace route IPv4, as any node does."""
    call_inside(name, lambda: sysctl.write("net/ipv4/ip_forward", "1"))


def owned(lab: str, names: Iterable[str]) -> list[str]:
    """Those of the names that exist and are this lab's.

    One without a mark is ours only if there is nothing in it: then we were ended while making it. So is a
    name with no namespace behind it.
    """
    return [name for name in names if exists(name) and _is_ours(lab, name)]


def _is_ours(lab: str, name: str) -> bool:
    if (NETNS_DIR / name).stat().st_dev == NETNS_DIR.stat().st_dev:
        return True
    links = json.loads(run(["ip", "-n", name, "-json", "link", "show"]))
    if any(link.get("ifalias") == _mark(lab) for link in links):
        return True
    return len(links) == 1 and "UP" not in links[0]["flags"] and "ifalias" not in links[0]


def remove(names: Iterable[str]) -> None:
    """Remove namespaces, and with them all that is in them."""
    for name in names:
        _remove(name)


def _remove(name: str) -> None:
    deadline = time.monotonic() + _BUSY_SECONDS
    while exists(name):
        try:
            ip([f"netns del {name}"])
        except LabError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)

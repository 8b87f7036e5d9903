"""The tools a lab uses: ip, nsenter, ethtool."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from xdpflannel.errors import LabError, NotPermitted
from xdpflannel.host.namespace import NETNS_DIR

_PACKAGES = {
    "ip": "iproute2",
    "nsenter": "util-linux",
    "ethtool": "ethtool",
    "etcd": "etcd-server (Debian 13, Ubuntu 24.04) or etcd (Debian 12)",
}


def require(*tools: str) -> None:
    """Check rights and tools. NotPermitted if not root, LabError naming the package that is missing."""
    if os.geteuid() != 0:
        raise NotPermitted("a lab makes network namespaces, which only root may", hint="use sudo")
    for tool in tools:
        if shutil.which(tool) is None:
            raise LabError(f"the program {tool} is missing", hint=f"apt install {_PACKAGES.get(tool, tool)}")


_passed_on: list[int] = []


@contextmanager
def passing_on(descriptor: int) -> Iterator[None]:
    """Let tools inherit a descriptor meanwhile."""
    _passed_on.append(descriptor)
    try:
        yield
    finally:
        _passed_on.remove(descriptor)


def run(command: Sequence[str], *, stdin: str | None = None) -> str:
    """Output of a command; LabError with what it said if it fails."""
    done = subprocess.run(
        list(command),
        input=stdin,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        pass_fds=_passed_on,
    )
    if done.returncode == 0:
        return done.stdout
    said = (done.stderr or done.stdout).strip()
    raise LabError(f"`{' '.join(command)}` failed: {_said(said, stdin)}", hint=_hint(said))


def _said(said: str, stdin: str | None) -> str:
    """Name the line of a batch that failed; ip only gives its number."""
    place = said.rpartition("Command failed -:")[2]
    if stdin is None or not place.isdecimal():
        return said
    return f"{said.splitlines()[0]} (at: {stdin.splitlines()[int(place) - 1]})"


def _hint(said: str) -> str:
    if "Operation not permitted" in said:
        return "run the lab as root; in a container it has to be privileged"
    if "not supported" in said or "Unknown device type" in said:
        return "a kernel module is missing: `modprobe veth bridge vxlan`"
    return ""


def ip(commands: Iterable[str], *, netns: str | None = None) -> None:
    """Commands for `ip`, all by one process, inside a namespace or outside."""
    batch = "\n".join(commands)
    inside = ["-n", netns] if netns else []
    if batch:
        run(["ip", *inside, "-batch", "-"], stdin=batch + "\n")


def inside(netns: str, command: Sequence[str]) -> list[str]:
    """The command, to be run inside a namespace. Not `ip netns exec`: that hides bpffs."""
    return ["nsenter", f"--net={NETNS_DIR / netns}", "--", *command]

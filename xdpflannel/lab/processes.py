"""Starting processes that outlive us, and ending them for sure."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from xdpflannel.errors import LabError
from xdpflannel.host.namespace import NETNS_DIR
from xdpflannel.lab.state import Process

_TERM_SECONDS = 5.0
_KILL_SECONDS = 5.0
_POLL_SECONDS = 0.005
_STATE, _START = 0, 19  # in /proc/PID/stat, counted behind the name
# Children of ours whose end nobody was told of yet; others' children are not ours to wait for.
_children: set[int] = set()
_PACKAGE_PARENT = Path(__file__).resolve().parents[2]


def start(command: Sequence[str], log: Path) -> Process:
    """Start a process in a session of its own, its output going to ``log``. It keeps inheritable descriptors.

    LabError if the program is not there.
    """
    program = shutil.which(command[0])
    if program is None:
        raise LabError(f"the program {command[0]} is missing", hint="is it installed, and in PATH?")
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    # Not subprocess: it wants to be told of the end of what shall outlive it.
    pid = os.posix_spawn(program, list(command), _environment(), file_actions=actions, setsid=True)
    _children.add(pid)
    # A child is in /proc until we wait for it, even if it has ended already.
    return Process(pid, int(_stat(pid)[_START]))


def _environment() -> Mapping[str, str]:
    """Ours without proxies, which HTTP and gRPC clients would use even inside a namespace."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    # Flags come from the command line alone.
    kept = {name: value for name, value in kept.items() if not name.startswith(("FLANNELD_", "ETCD_"))}
    path = kept.get("PYTHONPATH")
    kept["PYTHONPATH"] = f"{_PACKAGE_PARENT}:{path}" if path else str(_PACKAGE_PARENT)
    return kept


def _stat(pid: int) -> list[str]:
    """What /proc/PID/stat says behind the name."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def start_time(pid: int) -> int | None:
    """When a process began, in clock ticks since boot; None if it has ended."""
    try:
        fields = _stat(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[_STATE] in "ZX" else int(fields[_START])


def alive(process: Process) -> bool:
    """True if that very process runs."""
    _reap(process.pid)
    return start_time(process.pid) == process.started


def _reap(pid: int) -> None:
    """Take the exit status of a child of ours that has ended: else it would stay as a zombie."""
    if pid not in _children:
        return
    with contextlib.suppress(ChildProcessError):
        if os.waitpid(pid, os.WNOHANG)[0] == 0:
            return
    _children.discard(pid)


def members(namespaces: Iterable[str]) -> list[Process]:
    """The processes that run inside these network namespaces."""
    inodes = {f"net:[{(NETNS_DIR / name).stat().st_ino}]" for name in namespaces}
    found: list[Process] = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        pid = int(folder.name)
        try:
            where = str((folder / "ns/net").readlink())
        except OSError:
            continue
        started = start_time(pid)
        if where in inodes and started is not None:
            found.append(Process(pid, started))
    return found


def end(processes: Iterable[Process], *, kill: bool = False) -> None:
    """End processes: SIGTERM, then SIGKILL for those that do not go (or at once); LabError if one stays."""
    left = [process for process in processes if alive(process)]
    if not kill:
        _signal(left, signal.SIGTERM)
        left = _wait(left, _TERM_SECONDS)
    _signal(left, signal.SIGKILL)
    left = _wait(left, _KILL_SECONDS)
    if left:
        raise LabError(
            f"process {left[0].pid} does not end, not even by SIGKILL",
            hint="it hangs in the kernel: see `dmesg`, then repeat",
        )


def _signal(processes: Iterable[Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _wait(processes: list[Process], seconds: float) -> list[Process]:
    """Those that are still there after the time."""
    deadline = time.monotonic() + seconds
    while True:
        processes = [process for process in processes if alive(process)]
        if not processes or time.monotonic() > deadline:
            return processes
        time.sleep(_POLL_SECONDS)

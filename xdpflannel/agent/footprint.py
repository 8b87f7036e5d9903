"""What an instance has made on this node, written down so that `uninstall` removes that and nothing else."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

import msgspec

from xdpflannel.errors import HostError, NotPermitted

RUN_DIR = Path("/run/xdpflannel")
_RECORD = "footprint.json"
_LOCK = "agent.lock"


class Footprint(msgspec.Struct, frozen=True, kw_only=True):
    """Beside the pins: the VXLAN device and the file for the CNI plugin."""

    instance: str
    bpffs: str
    device: str
    subnet_file: str


def write(run_dir: Path, footprint: Footprint) -> None:
    """Write it, at once."""
    draft = run_dir / f".{_RECORD}"
    draft.write_bytes(msgspec.json.encode(footprint))
    draft.replace(run_dir / _RECORD)


def read(run_dir: Path) -> Footprint | None:
    """Read it; None if there is none or it cannot be read (then only pins are known)."""
    try:
        return msgspec.json.decode((run_dir / _RECORD).read_bytes(), type=Footprint)
    except (OSError, msgspec.MsgspecError):
        return None


def forget(run_dir: Path) -> list[Path]:
    """Remove the record, the lock and the folder; return what was removed."""
    removed = []
    for path in (run_dir / _RECORD, run_dir / _LOCK, run_dir / "agent.sock"):
        if path.exists():
            path.unlink()
            removed.append(path)
    for folder in (run_dir, run_dir.parent):
        try:
            folder.rmdir()
        except OSError:
            break
        removed.append(folder)
    return removed


def lock(run_dir: Path) -> IO[str]:
    """Be the only agent of this instance for as long as the result is open; HostError if there is one.

    The kernel lets go of the lock when the process ends, however it ends.
    """
    try:
        run_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        held = (run_dir / _LOCK).open("a+")
    except PermissionError as error:
        raise NotPermitted(f"cannot write to {run_dir}", hint="run as root, or give --run-dir") from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held.seek(0)
        pid = held.read().strip()
        held.close()
        raise HostError(
            f"another agent of this instance is running (process {pid or 'unknown'}, {run_dir / _LOCK})",
            hint="stop it, or give this one its own --instance",
        ) from None
    held.truncate(0)
    held.write(str(os.getpid()))
    held.flush()
    return held

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
    """Where the pins are, and beside them: the VXLAN devices and the file for the CNI plugin."""

    instance: str
    bpffs: str
    subnet_file: str
    devices: dict[str, str] = {}
    """MAC by name. The MAC tells ours from another's, as in another network namespace."""
    settings: dict[str, str] = {}
    """Kernel settings we changed, with what they were before."""


def write(run_dir: Path, footprint: Footprint) -> None:
    """Write it, at once; devices of former runs stay in it."""
    before = read(run_dir)
    if before is not None:
        footprint = msgspec.structs.replace(
            footprint,
            devices={**before.devices, **footprint.devices},
            settings={**footprint.settings, **before.settings},
        )
    draft = run_dir / f".{_RECORD}"
    draft.write_bytes(msgspec.json.encode(footprint))
    draft.replace(run_dir / _RECORD)


def add_device(run_dir: Path, name: str, mac: str) -> None:
    """Note a device in a record that is there."""
    record = read(run_dir)
    if record is not None:
        write(run_dir, msgspec.structs.replace(record, devices={name: mac}))


def add_setting(run_dir: Path, name: str, before: str) -> None:
    """Note what a setting was before our first change of it."""
    record = read(run_dir)
    if record is not None:
        write(run_dir, msgspec.structs.replace(record, settings={name: before}))


def read(run_dir: Path) -> Footprint | None:
    """Read it; None if there is none or it cannot be read (then only pins are known)."""
    try:
        return msgspec.json.decode((run_dir / _RECORD).read_bytes(), type=Footprint)
    except (OSError, msgspec.MsgspecError):
        return None


def files(run_dir: Path) -> list[Path]:
    """Return what we keep in the run folder, as far as it is there."""
    return [path for name in (_RECORD, _LOCK, "agent.sock") if (path := run_dir / name).exists()]


def forget(run_dir: Path) -> None:
    """Remove what we keep there, and the folder if nobody else keeps anything in it."""
    for path in files(run_dir):
        path.unlink()
    for folder in (run_dir, RUN_DIR):
        try:
            folder.rmdir()
        except OSError:
            break


def lock(run_dir: Path) -> IO[str]:
    """Be the only agent of this instance for as long as the result is open; HostError if there is one.

    The kernel lets go of the lock when the process ends, however it ends.
    """
    try:
        run_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        held = (run_dir / _LOCK).open("a+")
    except PermissionError as error:
        raise NotPermitted(f"cannot write to {run_dir}", hint="run as root, or give --run-dir") from error
    except OSError as error:
        raise HostError(
            f"cannot make {run_dir}: {error.strerror}", hint="choose another --run-dir"
        ) from error
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

"""Paths under the BPF file system: everything of ours is in ``<bpffs>/xdpflannel/<instance>/<abi hash>/``."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from xdpflannel.dataplane import source
from xdpflannel.errors import DataplaneError, NotPermitted

BPFFS = Path("/sys/fs/bpf")
_BPF_FS_MAGIC = 0xCAFE4A11
_FOLDERS = ("maps", "programs", "links")


@frozen
class Pins:
    """The folder of one instance and one ABI."""

    base: Path

    @property
    def maps(self) -> Path:
        """Maps by name."""
        return self.base / "maps"

    @property
    def programs(self) -> Path:
        """Programs by label."""
        return self.base / "programs"

    @property
    def links(self) -> Path:
        """Attachments, as ``<label>-<ifindex>``."""
        return self.base / "links"

    def create(self) -> None:
        """Make the folders; NotPermitted or DataplaneError if the file system is not what it should be."""
        require_bpffs(self.base)
        for name in _FOLDERS:
            try:
                (self.base / name).mkdir(parents=True, exist_ok=True)
            except PermissionError as error:
                raise NotPermitted(
                    f"cannot create {self.base / name}", hint="run as root or with CAP_BPF and write access"
                ) from error

    def all(self) -> Iterator[Path]:
        """Every pinned object, links first: removing a link detaches its program."""
        for name in reversed(_FOLDERS):
            if (self.base / name).is_dir():
                yield from sorted((self.base / name).iterdir())


def pins(instance: str, bpffs: Path = BPFFS) -> Pins:
    """Return the folder of this version's ABI."""
    return Pins(bpffs / "xdpflannel" / instance / source.abi_hash())


def find(instance: str, bpffs: Path = BPFFS) -> Path:
    """Return the pin folder of an instance; DataplaneError if nothing of this ABI is there."""
    found = pins(instance, bpffs).base
    if found.is_dir():
        return found
    others = [path.name for path in every_abi(instance, bpffs)]
    hint = f"pins of another version exist ({', '.join(others)}): use that version" if others else ""
    raise DataplaneError(
        f"instance {instance!r} has no data plane: nothing is pinned at {found}",
        hint=hint or "start xdpflanneld, or name another --instance",
    )


def every_abi(instance: str, bpffs: Path = BPFFS) -> list[Path]:
    """Return the pin folders of an instance, of all versions."""
    folder = top(instance, bpffs)
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def top(instance: str, bpffs: Path = BPFFS) -> Path:
    """Return the folder of an instance, of all versions."""
    return bpffs / "xdpflannel" / instance


def others(own: Pins) -> list[Pins]:
    """Return the pins of the same instance that other versions, with other maps, have left."""
    return [Pins(path) for path in sorted(own.base.parent.iterdir()) if path.is_dir() and path != own.base]


def require_bpffs(path: Path) -> None:
    """DataplaneError unless ``path`` is (or will be) on a BPF file system."""
    existing = path
    while not existing.exists():
        existing = existing.parent
    if _magic(existing) != _BPF_FS_MAGIC:
        raise DataplaneError(
            f"{existing} is not a BPF file system, so nothing can be pinned at {path}",
            hint="mount -t bpf bpf /sys/fs/bpf (in a container: mount the host's /sys/fs/bpf)",
        )


def _magic(path: Path) -> int:
    # statvfs() does not tell the type of a file system; statfs(2) does, in its first word.
    buffer = ctypes.create_string_buffer(256)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.statfs(os.fsencode(path), buffer) != 0:
        raise DataplaneError(f"statfs {path}: {os.strerror(ctypes.get_errno())}")
    return int.from_bytes(buffer.raw[:8], "little")


def remove_tree(base: Path) -> None:
    """Remove one ABI's pins and folders, links first, and the folders around them once they are empty."""
    for path in Pins(base).all():
        path.unlink(missing_ok=True)
    for folder in (*(base / name for name in _FOLDERS), base):
        remove_empty(folder)
    remove_top(base.parent)


def remove_top(folder: Path) -> None:
    """Remove an instance's folder, and the one of all instances, if nothing else is in them."""
    remove_empty(folder)
    remove_empty(folder.parent)


def remove_empty(folder: Path) -> None:
    """Remove a folder; one that is in use (another version or instance), or is not there, is fine."""
    with contextlib.suppress(OSError):
        folder.rmdir()

"""The first file system of a machine: it mounts this machine's root, read-only, under a layer of its own."""

from __future__ import annotations

from pathlib import Path

from kernels.packages import Kernel, modules_for

MODULES = ("virtio_pci", "virtio_ring", "9pnet_virtio", "9p", "overlay")

_INIT = """#!/bin/busybox sh
export PATH=/bin
busybox mount -t proc proc /proc
for module in {modules}; do busybox insmod /modules/$module || echo "init: $module cannot be loaded"; done
share="trans=virtio,version=9p2000.L,msize=262144"
busybox mount -t 9p -o ro,cache=loose,$share root /below || echo "init: no root"
busybox mount -t 9p -o ro,cache=loose,$share layer /layer || echo "init: no modules"
busybox mount -t tmpfs tmpfs /above
busybox mkdir /above/changes /above/work
layers="lowerdir=/layer:/below,upperdir=/above/changes,workdir=/above/work"
busybox mount -t overlay -o $layers overlay /root || echo "init: no overlay"
for place in proc sys dev run tmp; do busybox mkdir -p /root/$place; done
busybox mount -t proc proc /root/proc
busybox mount -t sysfs sysfs /root/sys
busybox mount -t bpf bpf /root/sys/fs/bpf
busybox mount -t devtmpfs devtmpfs /root/dev
busybox mkdir -p /root/dev/shm /root/dev/pts
for place in dev/shm run tmp; do busybox mount -t tmpfs tmpfs /root/$place; done
busybox mkdir -p /root/run/out
busybox mount -t 9p -o $share out /root/run/out || echo "init: no place for results"
exec busybox chroot /root {command}
"""


def write(target: Path, kernel: Kernel, busybox: Path, command: list[str]) -> None:
    """Write the archive; ``command`` becomes process 1 once everything is mounted."""
    modules = modules_for(kernel, MODULES)
    init = _INIT.format(modules=" ".join(name for name, _ in modules), command=" ".join(command))
    folders = ("bin", "modules", "proc", "layer", "below", "above", "root")
    files = [("init", init.encode(), 0o755), ("bin/busybox", busybox.read_bytes(), 0o755)]
    files += [(f"modules/{name}", data, 0o644) for name, data in modules]
    target.write_bytes(archive([*((name, None, 0o755) for name in folders), *files]))


def archive(entries: list[tuple[str, bytes | None, int]]) -> bytes:
    """A cpio archive in the kernel's "newc" format of (name, content or None for a folder, mode)."""
    parts = [_console()]
    for name, content, mode in entries:
        kind = 0o040000 if content is None else 0o100000
        parts.append(_entry(name, kind | mode, content or b""))
    parts.append(_entry("TRAILER!!!", 0, b""))
    return b"".join(parts)


def _console() -> bytes:
    # Without it process 1 has no standard output (init/main.c: console_on_rootfs()).
    return _entry("dev", 0o040755, b"") + _entry("dev/console", 0o020600, b"", device=(5, 1))


def _entry(name: str, mode: int, content: bytes, *, device: tuple[int, int] = (0, 0)) -> bytes:
    fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
    return _padded(head) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)

"""A machine in QEMU that runs one command on this machine's file system and ends."""

from __future__ import annotations

import subprocess
import tempfile
import threading
from pathlib import Path
from typing import TextIO

from kernels import initramfs
from kernels.packages import Kernel

QEMU = "qemu-system-x86_64"
MEMORY = "2G"
CPUS = 2
NICS = 2


class Lost(Exception):
    """The machine did not say how it ended; the message holds the end of its console."""


def run(kernel: Kernel, busybox: Path, command: list[str], out: Path, seconds: float, echo: TextIO) -> None:
    """Boot, let ``command`` write into ``out`` (its /run/out) until it is done; Lost if it does not end.

    Two virtio network cards of the machine are connected to each other, and to nothing else.
    """
    with tempfile.TemporaryDirectory(prefix="xdpflannel-kernel-") as folder:
        archive = Path(folder) / "initramfs"
        initramfs.write(archive, kernel, busybox, command)
        # No KVM asked for: it is not there on most machines that run tests, and results must not differ.
        process = subprocess.Popen(
            [QEMU, *_hardware(), *_shares(kernel, out), "-kernel", kernel.image, "-initrd", archive],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        timer = threading.Timer(seconds, process.kill)
        timer.start()
        said = []
        try:
            assert process.stdout is not None
            for line in process.stdout:
                said.append(line)
                echo.write(line)
                echo.flush()
        finally:
            expired = not timer.is_alive()
            timer.cancel()
            process.kill()
            process.wait()
    if expired:
        raise Lost(f"not done within {seconds:.0f} s; it said last:\n{''.join(said[-20:])}")
    if not (out / "done").exists():
        raise Lost(
            f"it ended without a result (QEMU: {process.returncode}); it said last:\n{''.join(said[-30:])}"
        )


def _hardware() -> list[str]:
    options = ["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", MEMORY]
    options += ["-smp", str(CPUS), "-display", "none", "-serial", "stdio", "-no-reboot", "-nodefaults"]
    options += ["-append", "console=ttyS0 panic=-1 quiet loglevel=4 mitigations=off nokaslr"]
    for number in range(NICS):
        options += ["-netdev", f"hubport,id=n{number},hubid=0"]
        options += [
            "-device",
            f"virtio-net-pci,netdev=n{number},mac=02:00:00:00:fe:{number + 1:02x},romfile=",
        ]
    return options


def _shares(kernel: Kernel, out: Path) -> list[str]:
    common = "security_model=none,multidevs=remap"
    root = f"local,path=/,mount_tag=root,readonly=on,{common}"
    layer = f"local,path={kernel.layer},mount_tag=layer,readonly=on,{common}"
    return ["-virtfs", root, "-virtfs", layer, "-virtfs", f"local,path={out},mount_tag=out,{common}"]

"""Runs as the first process of a machine: loads modules, looks at the kernel, runs the tests, ends."""

from __future__ import annotations

import argparse
import ctypes
import os
import subprocess
import sys
import traceback
from pathlib import Path

OUT = Path("/run/out")
TOP = Path(__file__).resolve().parents[2]
# The others come when they are asked for.
_MODULES = ("tun", "virtio_net", "veth", "vxlan", "bridge", "sch_ingress", "cls_bpf")
_RESTART = 0x01234567


def prepare() -> None:
    """Make the machine what tests expect of a host."""
    os.environ.update(PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", HOME="/root")
    os.environ.update(PYTHONDONTWRITEBYTECODE="1", LANG="C.UTF-8")
    os.umask(0o022)
    subprocess.run(["mount", "-t", "devpts", "devpts", "/dev/pts"], check=True)
    for name in _MODULES:
        subprocess.run(["modprobe", name], check=False)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["hostname", "kernels"], check=False)
    os.chdir(TOP)


def work(arguments: list[str]) -> int:
    """Look, then test; the exit status is pytest's."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--facts", action="store_true")
    parser.add_argument("--examples", default="10")
    chosen, others = parser.parse_known_args(arguments)
    facts = TOP / "tests" / "kernels" / "facts.py"
    subprocess.run([sys.executable, facts, OUT / "facts.json"], check=True)
    if chosen.facts:
        return 0
    os.environ["XDPFLANNEL_EXAMPLES"] = chosen.examples
    options = ["-p", "no:cacheprovider", "-p", "no:randomly", f"--junit-xml={OUT / 'junit.xml'}"]
    return subprocess.run([sys.executable, "-m", "pytest", *options, *others], check=False).returncode


def main() -> None:
    """Do the work in a child and be a good first process: take in orphans."""
    child = os.fork()
    if child == 0:
        status = 99
        try:
            prepare()
            status = work(sys.argv[1:])
        except Exception:  # noqa: BLE001  there is nobody else to tell
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(status)
    status = 99
    while True:
        ended, code = os.wait()
        if ended == child:
            status = os.waitstatus_to_exitcode(code)
            break
    (OUT / "done").write_text(str(status))
    os.sync()
    ctypes.CDLL(None).reboot(_RESTART)


if __name__ == "__main__":
    main()

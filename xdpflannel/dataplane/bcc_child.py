"""Compile and pin with bcc, in a process of its own: ``python bcc_child.py < job.json``.

bcc keeps LLVM in memory (130 MB) for as long as the process lives, and prints compiler and verifier
messages on standard error only. So the agent runs this file, waits, reads both, and adopts the pins. It
imports nothing of xdpflannel: the interpreter that has the distribution's bcc need not be the one that has
our packages.

Exit status: 0 pinned, 1 rejected (messages on standard error), 3 this interpreter has no usable bcc.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, TypedDict

NO_BCC = 3


class Wanted(TypedDict):
    """One program: its C function, "tc" or "xdp", and where to pin it."""

    function: str
    kind: str
    pin: str


class Job(TypedDict):
    """What to do."""

    text: str
    cflags: list[str]
    headers: str
    programs: list[Wanted]


def run(job: Job) -> int:
    """Do it; return the exit status."""
    os.environ["BCC_KERNEL_SOURCE"] = job["headers"]
    try:
        import bcc  # noqa: PLC0415  reads BCC_KERNEL_SOURCE while it is imported and used
    except ImportError as error:
        print(f"python3-bpfcc cannot be imported: {error}", file=sys.stderr)
        return NO_BCC
    if not hasattr(bcc, "BPF"):
        print("the module bcc is not the BPF compiler collection", file=sys.stderr)
        return NO_BCC
    return _compile(bcc, job)


def _compile(bcc: Any, job: Job) -> int:
    kinds = {"tc": bcc.BPF.SCHED_CLS, "xdp": bcc.BPF.XDP}
    try:
        module = bcc.BPF(text=job["text"], cflags=job["cflags"])
        for wanted in job["programs"]:
            program = module.load_func(wanted["function"], kinds[wanted["kind"]])
            if bcc.lib.bpf_obj_pin(program.fd, os.fsencode(wanted["pin"])) != 0:
                print(f"pinning at {wanted['pin']} failed", file=sys.stderr)
                return 1
    except Exception as error:  # noqa: BLE001  bcc raises bare Exception for everything
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(run(json.load(sys.stdin)))

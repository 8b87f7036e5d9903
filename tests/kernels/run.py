"""Runs the data-plane tests on Debian's kernels, each in a machine of its own; see `scripts/test-kernels`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TextIO

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests"))

from kernels import machine, packages, report  # noqa: E402  found by the path above

DEFAULT = ("6.1", "6.12")
TESTS = ("tests/abi", "tests/bpf", "tests/kernels/cluster_checks.py")
SECONDS = 1200.0
EXAMPLES = 10
"""Frames that hypothesis makes per program: a machine is emulated, and 20 times slower than this one."""


class Prefixed:
    """Passes lines on with a kernel's name before them."""

    def __init__(self, name: str, target: TextIO, *, quiet: bool) -> None:
        self._name, self._target, self._quiet = name, target, quiet

    def write(self, line: str) -> None:
        """One line of a machine's console."""
        if not self._quiet:
            self._target.write(f"{self._name:>5} | {line}")

    def flush(self) -> None:
        """Let it be seen."""
        self._target.flush()


def cache() -> Path:
    """Where kernels are kept between runs."""
    chosen = os.environ.get("XDPFLANNEL_KERNELS_CACHE")
    folder = Path(chosen) if chosen else Path.home() / ".cache" / "xdpflannel-kernels"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def run_one(series: str, kernel: packages.Kernel, chosen: argparse.Namespace) -> report.Outcome:
    """Boot one kernel, run the tests, read what it left."""
    inside = TOP / "tests" / "kernels" / "inside.py"
    options = ["-q", "--color=no", f"--examples={chosen.examples}"]
    command = [str(TOP / ".venv" / "bin" / "python"), str(inside), *options, *(chosen.tests or TESTS)]
    if chosen.facts:
        command = [*command[:2], "--facts"]
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"xdpflannel-kernel-{series}-") as folder:
        out = Path(folder)
        problem = ""
        try:
            echo = Prefixed(series, sys.stderr, quiet=chosen.quiet)
            machine.run(kernel, packages.busybox(cache()), command, out, chosen.seconds, echo)
        except machine.Lost as error:
            problem = str(error)
        facts: dict[str, Any] = {}
        if (out / "facts.json").exists():
            facts = json.loads((out / "facts.json").read_text())
        seconds = time.monotonic() - started
        return report.outcome(series, kernel.release, facts, out / "junit.xml", problem, seconds)


def main() -> int:
    """Run, print, perhaps write docs/kernels.md; return the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/test-kernels", description=__doc__)
    parser.add_argument(
        "series", nargs="*", default=DEFAULT, help=f"kernels (default: {' '.join(DEFAULT)}), for example 5.10"
    )
    parser.add_argument("--write", action="store_true", help="write the tables into docs/kernels.md")
    parser.add_argument("--facts", action="store_true", help="run no tests, only look at the kernel")
    parser.add_argument("--quiet", action="store_true", help="do not show what machines say")
    parser.add_argument("--tests", nargs="+", metavar="PATH", help="what to run instead of the usual set")
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="frames per program from hypothesis")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="deadline of one kernel")
    parser.add_argument("--jobs", type=int, default=2, help="machines at the same time (2 CPUs, 2 GiB each)")
    chosen = parser.parse_args()
    try:
        packages.busybox(cache())
        kernels = [(series, packages.kernel(series, cache())) for series in chosen.series]
    except packages.Unavailable as error:
        print(f"test-kernels: {error}", file=sys.stderr)
        return 1
    with ThreadPoolExecutor(max(1, chosen.jobs)) as pool:
        outcomes = list(pool.map(lambda pair: run_one(*pair, chosen), kernels))
    tables = report.tables(outcomes)
    if chosen.write:
        report.write(TOP / "docs" / "kernels.md", tables)
    print(tables)
    for outcome in outcomes:
        for line in outcome.problems():
            print(f"test-kernels: {outcome.release}: {line}", file=sys.stderr)
    return 0 if not any(outcome.problems() for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())

"""The nodes that are compared: built once, and on one CPU, where a frame has come out when it was sent."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from differential.judge import Judge
from differential.node import PLANES, Node

_TOP = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def judge() -> Iterator[Judge]:
    """A node without the fast path, and one with each kind of it."""
    if os.geteuid() != 0:
        pytest.skip("making network namespaces and loading BPF programs needs root")
    done = subprocess.run(["make", "-C", _TOP / "bpf"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    name = f"dz{os.getpid():x}"
    with ExitStack() as stack:
        kernel = Node(f"{name}-kernel")
        stack.callback(kernel.close)
        segmenting = Node(f"{name}-segments", segments=True)
        stack.callback(segmenting.close)
        ours = {}
        for label, plane in PLANES.items():
            ours[label] = Node(f"{name}-{label}")
            stack.callback(ours[label].close)
            ours[label].speed_up(plane, f"{name}-{label}")
        for node in (kernel, segmenting, *ours.values()):
            node.settled()
        yield Judge(kernel, segmenting, ours)
    left = [path.name for path in Path("/run/netns").iterdir() if path.name.startswith(f"{name}-")]
    assert left == [], f"namespaces left behind: {left}"


@pytest.fixture(autouse=True)
def one_cpu() -> Iterator[None]:
    """Stay on one CPU: a frame's softirqs then run before the call that sent it returns."""
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cpus)})
    yield
    os.sched_setaffinity(0, cpus)

"""Real network namespaces for tests; whatever a test made and did not remove fails it."""

from __future__ import annotations

import itertools
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import frozen

NETNS_DIR = Path("/run/netns")
PREFIX = f"xt{os.getpid():x}"
"""Names made by this run start so; two runs on one machine do not meet."""


@frozen
class Namespace:
    """A network namespace of a test."""

    name: str

    def ip(self, command: str) -> str:
        """`ip -n NAME …`; its output."""
        return run("ip", "-n", self.name, *command.split())

    def run(self, *command: str) -> str:
        """A command inside the namespace (and nowhere else: /sys and /proc/sys stay as they are)."""
        return run("nsenter", f"--net={NETNS_DIR / self.name}", *command)


def run(*command: str) -> str:
    """Output of a command that has to succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}{done.stdout}"
    return done.stdout


def poll(check: Callable[[], object], *, seconds: float = 5.0, what: str = "") -> object:
    """The first true result of ``check``, asked again and again; fails after the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        result = check()
        if result:
            return result
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what or check}; last answer {result!r}")
        time.sleep(0.005)


def _leftovers() -> list[str]:
    namespaces = [path.name for path in NETNS_DIR.glob(f"{PREFIX}*")] if NETNS_DIR.exists() else []
    links = [path.name for path in Path("/sys/class/net").glob(f"{PREFIX}*")]
    pins = [str(path) for path in Path("/sys/fs/bpf/xdpflannel").glob(f"{PREFIX}*")]
    runs = [str(path) for path in Path("/run/xdpflannel-lab").glob(f"{PREFIX}*")]
    runs += [str(path) for path in Path("/run/xdpflannel").glob(f"{PREFIX}*")]
    return namespaces + links + pins + runs


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """The test's namespaces, links, pins and run directories are gone after it."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    before = _leftovers()
    yield
    assert [name for name in _leftovers() if name not in before] == []


@pytest.fixture(scope="session")
def eventually() -> Callable[..., object]:
    """`poll`, for tests that wait."""
    return poll


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    """Numbers that make names unique in this run."""
    return itertools.count(1)


@pytest.fixture
def unique_name(numbers: Iterator[int]) -> str:
    """A name nothing else has; what is named after it must be gone at the end of the test."""
    return f"{PREFIX}n{next(numbers)}"


@pytest.fixture
def make_namespace(numbers: Iterator[int]) -> Iterator[Callable[..., Namespace]]:
    """Makes namespaces that go away with the test; `lo` is up in them."""
    made: list[Namespace] = []

    def make(name: str = "") -> Namespace:
        namespace = Namespace(name or f"{PREFIX}n{next(numbers)}")
        run("ip", "netns", "add", namespace.name)
        made.append(namespace)
        namespace.ip("link set lo up")
        return namespace

    yield make
    for namespace in made:
        run("ip", "netns", "del", namespace.name)


@pytest.fixture
def namespace(make_namespace: Callable[..., Namespace]) -> Namespace:
    """One namespace."""
    return make_namespace()

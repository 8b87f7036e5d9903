"""Labs for end-to-end tests: real namespaces, a real etcd, the real daemon."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from xdpflannel import lab

_numbers = itertools.count(1)


def _left(name):
    namespaces = [entry.name for entry in Path("/run/netns").glob(f"{name}*")]
    pins = Path("/sys/fs/bpf/xdpflannel")
    instances = [entry.name for entry in pins.iterdir()] if pins.is_dir() else []
    folders = [*Path("/run/xdpflannel").glob(f"{name}*"), *Path("/run/xdpflannel-lab").glob(f"{name}*")]
    return namespaces + [entry for entry in instances if entry.startswith(name)] + folders


@pytest.fixture
def new_lab():
    """Build labs; they are taken down afterwards, and must leave nothing."""
    built = []

    def build(**options):
        name = f"e{os.getpid() % 10000}-{next(_numbers)}"
        built.append(name)
        return lab.up(lab.LabSpec(name=name, **options))

    yield build
    for name in built:
        lab.down(name)
        assert _left(name) == []

"""Pins of one test, and the C sources with a mistake planted."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from xdpflannel.dataplane import pins, source

TOP = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session", autouse=True)
def _object():
    subprocess.run(["make", "-s", "-C", TOP / "bpf"], check=True)


@pytest.fixture
def pinned(unique_name):
    """The pin folder of an instance named like nothing else."""
    made = pins.pins(unique_name)
    yield made
    for base in pins.every_abi(unique_name):
        pins.remove_tree(base)


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """Makes the loaders use a copy of bpf/, and changes a text in it: sources("pod_egress.c", old, new)."""
    copy = tmp_path / "bpf"
    # The Makefile asks the package beside it for the ABI.
    (tmp_path / "xdpflannel").symlink_to(TOP / "xdpflannel")
    shutil.copytree(TOP / "bpf", copy, ignore=shutil.ignore_patterns("build"))

    def change(name, old, new):
        text = (copy / name).read_text()
        assert old in text
        (copy / name).write_text(text.replace(old, new))
        monkeypatch.setattr(source, "folder", lambda: copy)
        return copy

    return change

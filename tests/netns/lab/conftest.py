"""Labs that go away with the test."""

from __future__ import annotations

import pytest

from xdpflannel import lab


@pytest.fixture
def lab_name(unique_name):
    """Name of a lab; whatever of it is left after the test is removed, and was not the test's intention."""
    yield unique_name
    if unique_name in lab.names():
        lab.down(unique_name)


@pytest.fixture
def spec(lab_name):
    """Makes a LabSpec of that name; the kernel's path alone unless told otherwise, which starts fastest."""
    return lambda **wanted: lab.LabSpec(**{"name": lab_name, "datapath": "kernel", **wanted})

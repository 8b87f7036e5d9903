"""The programs, loaded once per loader into pins of their own, and run on single frames."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from attrs import frozen

from xdpflannel.dataplane import abi, loader, pins
from xdpflannel.dataplane.maps import Tables
from xdpflannel.dataplane.objects import Program
from xdpflannel.model.verdict import Verdict, VerdictClass
from xdpflannel.table.reference import State

TOP = Path(__file__).resolve().parent.parent.parent
LOADERS = ("bcc", "libbpf")

# Return values (linux/pkt_cls.h, linux/bpf.h): pass on, drop, redirect.
_TC = {VerdictClass.FAST: 7, VerdictClass.DROP: 2}
_TC_NEXT = 0xFFFFFFFF
_XDP = {VerdictClass.FAST: 4, VerdictClass.DROP: 1}
_XDP_PASS = 2


@frozen
class Seen:
    """What a program did with a frame."""

    verdict: Verdict
    frame: bytes
    action: int
    """Return value of the program."""


class Plane:
    """The four programs of one loader with their maps."""

    def __init__(self, tables: Tables, programs: dict[str, Program]) -> None:
        self.tables = tables
        self.programs = programs
        self._state: State | None = None

    def run(self, program: str, state: State, frame: bytes, *, ifindex: int = 1, gso_size: int = 0) -> Seen:
        """Put the maps into ``state``, run ``program`` on ``frame``; the verdict is what it counted."""
        if state is not self._state:
            self.become(state)
        before = self.tables.counters()
        result = self.programs[program].test_run(frame, ifindex=ifindex, gso_size=gso_size)
        changed = {key: now for key, now in self.tables.counters().items() if now != before[key]}
        assert len(changed) == 1, f"not one verdict but {changed}"
        (counted_by, verdict), now = changed.popitem()
        assert counted_by.label == program
        assert now.packets - before[counted_by, verdict].packets == 1
        assert now.bytes - before[counted_by, verdict].bytes == len(frame)
        return Seen(verdict, result.data, result.retval)

    @staticmethod
    def action_of(program: str, verdict: Verdict) -> int:
        """Return what ``program`` has to return with this verdict."""
        if program.startswith("xdp"):
            return _XDP.get(verdict.kind, _XDP_PASS)
        return _TC.get(verdict.kind, _TC_NEXT)

    def become(self, state: State) -> None:
        """Make the maps hold exactly this."""
        tables = self.tables
        for network in tables.routes().keys() - state.routes.keys():
            tables.delete_route(network)
        for ip in tables.pods().keys() - state.pods.keys():
            tables.delete_pod(ip)
        for ip in tables.vteps().keys() - state.vteps.keys():
            tables.delete_vtep(ip)
        for network, route in state.routes.items():
            tables.put_route(network, route)
        for ip, pod in state.pods.items():
            tables.put_pod(ip, pod)
        for ip, routes in state.vteps.items():
            tables.put_vtep(ip, routes)
        if state.config is None:
            tables.clear_config()
        else:
            tables.set_config(state.config)
        self._state = state


def build_object() -> None:
    """Build the object for the libbpf loader from the sources as they are now."""
    done = subprocess.run(["make", "-C", TOP / "bpf"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@contextmanager
def loaded(by: str) -> Iterator[Plane]:
    """Load all programs into pins that are gone afterwards."""
    folder = pins.pins(f"rz-packets-{by}-{os.getpid()}")
    with ExitStack() as stack:
        stack.callback(_gone, folder)
        report = loader.load(folder, loader=by, sizes=loader.MapSizes(routes=64))
        assert report.loader == by
        programs = {
            name.label: stack.enter_context(loader.open_program(folder, name)) for name in abi.Program
        }
        yield Plane(stack.enter_context(Tables.open(folder.base)), programs)


def _gone(folder: pins.Pins) -> None:
    pins.remove_tree(folder.base)
    assert not folder.base.parent.exists(), f"{folder.base.parent} was left behind"


@pytest.fixture(scope="session")
def planes() -> Iterator[dict[str, Plane]]:
    """The programs as each loader makes them."""
    if os.geteuid() != 0:
        pytest.skip("loading BPF programs needs root")
    build_object()
    with ExitStack() as stack:
        yield {by: stack.enter_context(loaded(by)) for by in LOADERS}


@pytest.fixture(params=LOADERS)
def plane(request: pytest.FixtureRequest, planes: dict[str, Plane]) -> Plane:
    """The programs of one loader."""
    return planes[request.param]

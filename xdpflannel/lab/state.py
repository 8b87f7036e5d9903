"""What a lab has made, written down before it is made, so that `down` finds it whatever happens."""

from __future__ import annotations

import fcntl
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import IO

import msgspec

from xdpflannel.errors import LabError, NotPermitted
from xdpflannel.lab import shell
from xdpflannel.lab.spec import METRICS_PORT, UNDERLAY, Lab, LabNode, LabPod, NodeKind

LABS_DIR = Path("/run/xdpflannel-lab")
AGENTS_DIR = Path("/run/xdpflannel")
_FILE = "lab.json"
_SCHEMA = 1
_LOCK_SECONDS = 20.0
_LOCK_POLL_SECONDS = 0.01


class Process(msgspec.Struct, frozen=True):
    """A process of ours. ``started`` is its start time in clock ticks since boot: pids are used again."""

    pid: int
    started: int


class PodRecord(msgspec.Struct, frozen=True):
    """A pod and its address."""

    netns: str
    ip: str


class NodeRecord(msgspec.Struct):
    """A node; ``subnet`` is empty until its lease is known, ``command`` until its daemon runs."""

    number: int
    netns: str
    kind: NodeKind
    subnet: str = ""
    pods: list[PodRecord] = []
    command: list[str] = []
    offload: bool = True
    """False: its pods send finished checksums, for XDP to take their frames."""


class Record(msgspec.Struct):
    """Everything about one lab."""

    schema: int
    name: str
    namespaces: list[str]
    """Planned ones too: which of them are ours, their mark says."""
    instances: list[str]
    etcd_port: int = 0
    processes: dict[str, Process] = {}
    nodes: list[NodeRecord] = []


class LabState:
    """The record of one lab and its file. Methods may be called from several threads."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.lock = threading.RLock()

    @property
    def folder(self) -> Path:
        """Everything the lab keeps in files."""
        return LABS_DIR / self.record.name

    def node_folder(self, number: int) -> Path:
        """What belongs to one node: its log and its subnet.env."""
        return self.folder / f"node{number}"

    def node(self, number: int) -> NodeRecord:
        """Record of a node; LabError if there is none of that number."""
        for node in self.record.nodes:
            if node.number == number:
                return node
        raise LabError(
            f"lab {self.record.name} has no node {number}", hint=f"it has {len(self.record.nodes)} nodes"
        )

    def save(self) -> None:
        """Write it down, at once."""
        with self.lock:
            draft = self.folder / f".{_FILE}"
            draft.write_bytes(msgspec.json.format(msgspec.json.encode(self.record)))
            draft.replace(self.folder / _FILE)

    def lab(self) -> Lab:
        """The lab as others see it."""
        with self.lock:
            nodes = tuple(_node(record) for record in self.record.nodes)
            return Lab(self.record.name, nodes, f"http://127.0.0.1:{self.record.etcd_port}")

    def forget(self) -> None:
        """Remove the files."""
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            LABS_DIR.rmdir()
        except OSError:
            return  # other labs are there


def _node(record: NodeRecord) -> LabNode:
    return LabNode(
        name=f"node{record.number}",
        netns=record.netns,
        underlay_ip=UNDERLAY[record.number],
        subnet=IPv4Network(record.subnet),
        metrics=f"http://127.0.0.1:{METRICS_PORT}/metrics",
        pods=tuple(LabPod(pod.netns, IPv4Address(pod.ip)) for pod in record.pods),
        kind=record.kind,
    )


@contextmanager
def creating(name: str, namespaces: list[str], instances: list[str]) -> Iterator[LabState]:
    """Claim a name and keep everybody else from changing the lab meanwhile.

    Raises:
        LabError: a lab of that name is there.
        NotPermitted: no right to write its record.
    """
    state = LabState(Record(_SCHEMA, name, namespaces, instances))
    try:
        state.folder.mkdir(mode=0o755, parents=True)
    except FileExistsError:
        raise LabError(
            f"there is a lab {name} already", hint=f"`xdpflannel lab down --name {name}`, or another --name"
        ) from None
    except PermissionError as error:
        raise NotPermitted(f"cannot write to {LABS_DIR}", hint="run the lab as root") from error
    with _locked(name):
        state.save()
        yield state


def load(name: str) -> LabState:
    """Read a lab's record; LabError if there is no such lab or it cannot be read."""
    path = LABS_DIR / name / _FILE
    try:
        return LabState(msgspec.json.decode(path.read_bytes(), type=Record))
    except FileNotFoundError:
        if path.parent.is_dir():  # ended before it was written, so nothing else is there
            return LabState(Record(_SCHEMA, name, [], []))
        there = ", ".join(names()) or "none"
        raise LabError(f"there is no lab {name}", hint=f"there are: {there}") from None
    except PermissionError as error:
        raise NotPermitted(f"cannot read {path}", hint="run the lab as root") from error
    except msgspec.MsgspecError as error:
        raise LabError(
            f"{path} cannot be read: {error}",
            hint="remove its namespaces (`ip netns`) and the folder by hand",
        ) from error


@contextmanager
def changing(name: str) -> Iterator[LabState]:
    """A lab's record, to be changed by nobody else meanwhile.

    LabError if there is no such lab, or if somebody else does not let go of it.
    """
    load(name)
    with _locked(name):
        yield load(name)


@contextmanager
def _locked(name: str) -> Iterator[None]:
    """Be the only one to change a lab.

    Tools that we run hold the lock too: one that outlives us (kill -9) is waited for, so that nothing appears
    behind the back of `down`.
    """
    with (LABS_DIR / name / ".lock").open("w") as lock:
        deadline = time.monotonic() + _LOCK_SECONDS
        while not _try(lock):
            if time.monotonic() > deadline:
                raise LabError(
                    f"lab {name} is being built or changed by another process",
                    hint="wait for it, or end it, then repeat",
                )
            time.sleep(_LOCK_POLL_SECONDS)
        with shell.passing_on(lock.fileno()):
            yield


def _try(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def names() -> list[str]:
    """The labs that are there."""
    return sorted(path.name for path in LABS_DIR.iterdir()) if LABS_DIR.is_dir() else []

"""Maps, programs and links of the kernel as Python objects that own one file descriptor each."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from attrs import frozen

from xdpflannel.dataplane import libbpf
from xdpflannel.errors import DataplaneError, PinMismatch

_Info = TypeVar("_Info", bound=ctypes.Structure)

MAP_TYPE_PERCPU_ARRAY = 6
_PERCPU_TYPES = (5, MAP_TYPE_PERCPU_ARRAY, 10)

SK_BUFF_BYTES = 192
_SK_BUFF_IFINDEX = 40
_SK_BUFF_GSO_SEGS = 164
_SK_BUFF_GSO_SIZE = 176
_OUTPUT_ROOM = 1 << 17


class Handle:
    """A file descriptor of the BPF subsystem, closed when the object is."""

    KIND = ""
    """What the kernel calls such a descriptor in /proc/PID/fd, without the punctuation it varies."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def from_pin(cls, path: Path) -> Self:
        """Open a pinned object; DataplaneError if nothing is pinned there, PinMismatch if another kind is."""
        fd = libbpf.check(libbpf.library().bpf_obj_get(bytes(path)), f"opening the pin {path}")
        # The kernel fills in any kind of info for any kind of object: it must be asked first.
        kind = Path(f"/proc/self/fd/{fd}").readlink().name.removeprefix("anon_inode:").replace("_", "-")
        if kind != cls.KIND:
            os.close(fd)
            raise PinMismatch(
                f"{path} is a {kind}, not a {cls.KIND}",
                hint="somebody else pinned it: `xdpflannel uninstall`, then start the agent again",
            )
        return cls(fd)

    def pin(self, path: Path) -> None:
        """Pin at ``path``; the object then outlives this process."""
        libbpf.check(libbpf.library().bpf_obj_pin(self.fd, bytes(path)), f"pinning at {path}")

    def close(self) -> None:
        """Give the descriptor back; safe to call twice."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _info(self, info: _Info) -> _Info:
        size = ctypes.c_uint32(ctypes.sizeof(info))
        result = libbpf.library().bpf_obj_get_info_by_fd(self.fd, ctypes.byref(info), ctypes.byref(size))
        libbpf.check(result, "asking the kernel about a BPF object")
        return info


@frozen
class MapFacts:
    """What the kernel says a map is."""

    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    id: int


class Map(Handle):
    """A BPF map with keys and values as bytes. Per-CPU values come as one bytes object per CPU."""

    KIND = "bpf-map"

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        info = self._info(libbpf.MapInfo())
        self.facts = MapFacts(
            info.type, info.key_size, info.value_size, info.max_entries, info.map_flags, info.id
        )
        self.name = info.name.decode()
        per_cpu = info.type in _PERCPU_TYPES
        self._stride = (info.value_size + 7) // 8 * 8 if per_cpu else info.value_size
        self._value = ctypes.create_string_buffer(self._stride * (libbpf.possible_cpus() if per_cpu else 1))
        self._lib = libbpf.library()

    def lookup(self, key: bytes) -> bytes | None:
        """Return the value under ``key`` (all CPUs' values, one after another), None if there is none."""
        result = self._lib.bpf_map_lookup_elem(self.fd, key, self._value)
        if result == -errno.ENOENT:
            return None
        libbpf.check(result, f"reading map {self.name}")
        return self._value.raw

    def per_cpu(self, key: bytes) -> list[bytes]:
        """Return the value of each possible CPU."""
        raw = self.lookup(key) or b""
        size = self.facts.value_size
        return [raw[start : start + size] for start in range(0, len(raw), self._stride)]

    def update(self, key: bytes, value: bytes) -> None:
        """Create or replace an entry; DataplaneError if the map is full."""
        result = self._lib.bpf_map_update_elem(self.fd, key, value, 0)
        if result in (-errno.E2BIG, -errno.ENOSPC):
            raise DataplaneError(
                f"map {self.name} is full: it holds {self.facts.max_entries} entries",
                hint="raise --max-routes and restart the agent",
            )
        libbpf.check(result, f"writing map {self.name}")

    def delete(self, key: bytes) -> bool:
        """Remove an entry; False if there was none."""
        result = self._lib.bpf_map_delete_elem(self.fd, key)
        if result == -errno.ENOENT:
            return False
        libbpf.check(result, f"deleting from map {self.name}")
        return True

    def keys(self) -> Iterator[bytes]:
        """Walk over the keys; entries that come or go meanwhile may or may not be seen."""
        key: bytes | None = None
        following = ctypes.create_string_buffer(self.facts.key_size)
        while True:
            result = self._lib.bpf_map_get_next_key(self.fd, key, following)
            if result == -errno.ENOENT:
                return
            libbpf.check(result, f"walking map {self.name}")
            key = following.raw
            yield key

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Walk over the entries."""
        # Keys first: deleting the current key in mid-walk would restart the walk (kernel, htab and trie).
        for key in list(self.keys()):
            value = self.lookup(key)
            if value is not None:
                yield key, value


@frozen
class TestRun:
    """Result of BPF_PROG_TEST_RUN; ``duration_ns`` is the mean of all repeats."""

    __test__ = False

    retval: int
    data: bytes
    duration_ns: int


@frozen
class ProgramFacts:
    """What the kernel says a program is."""

    id: int
    tag: str
    name: str
    jited_bytes: int


class Program(Handle):
    """A loaded BPF program."""

    KIND = "bpf-prog"
    TYPE_SCHED_CLS = 3
    TYPE_XDP = 6

    @property
    def facts(self) -> ProgramFacts:
        """Ask the kernel."""
        info = self._info(libbpf.ProgramInfo())
        return ProgramFacts(info.id, bytes(info.tag).hex(), info.name.decode(), info.jited_prog_len)

    def test_run(self, frame: bytes, *, ifindex: int = 1, gso_size: int = 0, repeat: int = 1) -> TestRun:
        """Run on one frame without a network (BPF_PROG_TEST_RUN).

        ``ifindex`` (of this network namespace) and ``gso_size`` are seen by tc programs only; an XDP program
        sees the loopback interface.
        """
        output = ctypes.create_string_buffer(_OUTPUT_ROOM)
        options = libbpf.TestRunOptions(sz=ctypes.sizeof(libbpf.TestRunOptions), repeat=repeat)
        buffer = ctypes.create_string_buffer(frame, len(frame))
        options.data_in = ctypes.addressof(buffer)
        options.data_size_in = len(frame)
        options.data_out = ctypes.addressof(output)
        options.data_size_out = len(output)
        if self._info(libbpf.ProgramInfo()).type == self.TYPE_SCHED_CLS:
            context = bytearray(SK_BUFF_BYTES)
            context[_SK_BUFF_IFINDEX : _SK_BUFF_IFINDEX + 4] = ifindex.to_bytes(4, "little")
            if gso_size:
                context[_SK_BUFF_GSO_SEGS : _SK_BUFF_GSO_SEGS + 4] = (1).to_bytes(4, "little")
                context[_SK_BUFF_GSO_SIZE : _SK_BUFF_GSO_SIZE + 4] = gso_size.to_bytes(4, "little")
            raw = (ctypes.c_char * SK_BUFF_BYTES).from_buffer(context)
            options.ctx_in = ctypes.addressof(raw)
            options.ctx_size_in = SK_BUFF_BYTES
        result = libbpf.library().bpf_prog_test_run_opts(self.fd, ctypes.byref(options))
        libbpf.check(result, f"running a program on a frame of {len(frame)} bytes")
        return TestRun(options.retval, output.raw[: options.data_size_out], options.duration)


@frozen
class LinkFacts:
    """What the kernel says a link holds; ``ifindex`` 0: the interface is gone."""

    id: int
    program_id: int
    ifindex: int


class Link(Handle):
    """An attachment that belongs to whoever holds it (or its pin)."""

    KIND = "bpf-link"
    TCX_INGRESS = 46
    TCX_EGRESS = 47
    XDP = 37
    XDP_GENERIC = 1 << 1
    XDP_NATIVE = 1 << 2

    @classmethod
    def create(cls, program: Program, ifindex: int, attach_type: int, flags: int = 0) -> Link:
        """Attach ``program`` to an interface."""
        options = libbpf.LinkCreateOptions(sz=ctypes.sizeof(libbpf.LinkCreateOptions), flags=flags)
        fd = libbpf.library().bpf_link_create(program.fd, ifindex, attach_type, ctypes.byref(options))
        if fd in (-errno.EEXIST, -errno.EBUSY):
            raise DataplaneError(
                f"attaching to interface {ifindex}: another program holds the place",
                hint="`bpftool net` shows it; the kernel's own path forwards meanwhile",
            )
        return cls(libbpf.check(fd, f"attaching to interface {ifindex}"))

    def replace(self, new: Program) -> None:
        """Swap the program atomically: every packet sees the old or the new one."""
        result = libbpf.library().bpf_link_update(self.fd, new.fd, None)
        libbpf.check(result, "replacing an attached program")

    @property
    def facts(self) -> LinkFacts:
        """Ask the kernel."""
        info = self._info(libbpf.LinkInfo())
        return LinkFacts(info.id, info.prog_id, info.ifindex)

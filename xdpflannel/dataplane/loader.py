"""Load the programs by one of two loaders and leave them, with their maps, pinned.

Both take the same C source. ``libbpf`` loads an object built ahead (milliseconds, no compiler on the node),
``bcc`` compiles on the spot in a child process. ``auto`` is libbpf where an object of this ABI exists.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from attrs import frozen

from xdpflannel.dataplane import libbpf, source
from xdpflannel.dataplane.abi import Program as ProgramName
from xdpflannel.dataplane.bcc_child import NO_BCC
from xdpflannel.dataplane.maps import MAPS, check_pinned_maps
from xdpflannel.dataplane.objects import Handle, Map, Program
from xdpflannel.dataplane.pins import Pins, require_bpffs
from xdpflannel.errors import DataplaneError, NotPermitted, ProgramRejected, Unsupported

_COMPILE_DEADLINE_S = 60.0
_SYSTEM_PYTHON = "/usr/bin/python3"

KINDS = {
    ProgramName.POD_EGRESS: "tc",
    ProgramName.UPLINK_INGRESS: "tc",
    ProgramName.XDP_UPLINK: "xdp",
    ProgramName.XDP_POD: "xdp",
    ProgramName.FLOW_EXIT: "tc",
}


@frozen
class MapSizes:
    """How many entries the maps get that are made now; maps that are adopted keep theirs."""

    routes: int = 65536
    flows: int = 65536

    @property
    def cflags(self) -> list[str]:
        """The same for a compiler."""
        return [f"-DXF_MAX_ROUTES={self.routes}", f"-DXF_MAX_FLOWS={self.flows}"]


@frozen
class LoadReport:
    """What was loaded, by which loader, in how many seconds."""

    loader: str
    seconds: float
    programs: tuple[ProgramName, ...]


def choose(wanted: str) -> str:
    """Turn ``auto`` into ``libbpf`` or ``bcc``."""
    if wanted != "auto":
        return wanted
    return "libbpf" if source.prebuilt_object() else "bcc"


def check(pins: Pins, wanted: str) -> None:
    """Tell at once, before anything is made, what would keep `load` from its work; raises what it raises."""
    require_bpffs(pins.base)
    check_pinned_maps(pins.maps)
    if choose(wanted) == "libbpf":
        _object()


def load(
    pins: Pins,
    *,
    loader: str = "auto",
    programs: Iterable[ProgramName] = ProgramName,
    sizes: MapSizes | None = None,
) -> LoadReport:
    """Load ``programs`` and pin them, adopting maps that are pinned already.

    A program that was pinned before is replaced by name; what is attached keeps running until `attach` swaps
    it. Raises ProgramRejected with the compiler's or verifier's log, NotPermitted, Unsupported, PinMismatch.
    """
    chosen = choose(loader)
    names = tuple(programs)
    started = time.monotonic()
    pins.create()
    check_pinned_maps(pins.maps)
    # bpffs refuses names with a dot.
    fresh = {name: pins.programs / f"{name.label}-new" for name in names}
    _unpin(fresh.values())
    try:
        if chosen == "libbpf":
            _load_object(pins, fresh, sizes or MapSizes())
        else:
            _load_by_bcc(pins, fresh, sizes or MapSizes())
        for name, path in fresh.items():
            path.rename(pins.programs / name.label)
    finally:
        _unpin(fresh.values())
    return LoadReport(chosen, time.monotonic() - started, names)


def _unpin(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def open_program(pins: Pins, name: ProgramName) -> Program:
    """Open a program that `load` pinned."""
    return Program.from_pin(pins.programs / name.label)


def _object() -> Path:
    path = source.prebuilt_object()
    if path is None:
        raise Unsupported(
            f"there is no prebuilt object of ABI {source.abi_hash()} in {source.object_folder()}",
            hint="build it with `make -C bpf` (needs clang and libbpf-dev), or use --loader=bcc",
        )
    return path


def _load_object(pins: Pins, fresh: dict[ProgramName, Path], sizes: MapSizes) -> None:
    path = _object()
    log: list[str] = []
    restore = libbpf.capture_log(log)
    lib = libbpf.library()
    handle = lib.bpf_object__open_file(os.fsencode(path), None)
    try:
        if not handle:
            restore()
            raise DataplaneError(f"{path} is not a BPF object: {' '.join(log)[-200:]}")
        _prepare_maps(handle, pins, sizes)
        chosen = _choose_programs(handle, fresh)
        result = lib.bpf_object__load(handle)
        restore()
        if result < 0:
            raise _rejected("\n".join(log), f"the kernel refused {path.name}", result)
        for pointer, target in chosen.items():
            _pin(lib.bpf_program__fd(pointer), target)
        _pin_new_maps(handle, pins)
    finally:
        if handle:
            lib.bpf_object__close(handle)


def _walk(handle: int, kind: str) -> Iterable[tuple[int, str]]:
    lib = libbpf.library()
    following = getattr(lib, f"bpf_object__next_{kind}")
    name_of = getattr(lib, f"bpf_{kind}__name")
    pointer = following(handle, None)
    while pointer:
        yield pointer, name_of(pointer).decode()
        pointer = following(handle, pointer)


def _prepare_maps(handle: int, pins: Pins, sizes: MapSizes) -> None:
    lib = libbpf.library()
    for pointer, name in _walk(handle, "map"):
        pinned = pins.maps / name
        if pinned.exists():
            with Map.from_pin(pinned) as existing:
                libbpf.check(lib.bpf_map__reuse_fd(pointer, existing.fd), f"adopting {pinned}")
        elif name in MAPS and MAPS[name].by:
            entries = getattr(sizes, MAPS[name].by)
            libbpf.check(lib.bpf_map__set_max_entries(pointer, entries), f"sizing map {name}")


def _choose_programs(handle: int, fresh: dict[ProgramName, Path]) -> dict[int, Path]:
    wanted = {f"xf_{name.label}": path for name, path in fresh.items()}
    chosen = {}
    for pointer, name in _walk(handle, "program"):
        libbpf.library().bpf_program__set_autoload(pointer, name in wanted)
        if name in wanted:
            chosen[pointer] = wanted[name]
    return chosen


def _pin_new_maps(handle: int, pins: Pins) -> None:
    for pointer, name in _walk(handle, "map"):
        target = pins.maps / name
        if name in MAPS and not target.exists():
            _pin(libbpf.library().bpf_map__fd(pointer), target)


def _pin(fd: int, target: Path) -> None:
    Handle(fd).pin(target)  # the descriptor stays libbpf's own


def _load_by_bcc(pins: Pins, fresh: dict[ProgramName, Path], sizes: MapSizes) -> None:
    job = json.dumps(
        {
            "text": source.flattened(),
            "cflags": ["-DXF_BCC", *sizes.cflags, f'-DXF_PINS="{pins.maps}"'],
            "headers": str(source.folder() / "kernel"),
            "programs": [
                {"function": f"xf_{name.label}", "kind": KINDS[name], "pin": str(path)}
                for name, path in fresh.items()
            ],
        }
    )
    child = Path(__file__).with_name("bcc_child.py")
    log = ""
    for python in dict.fromkeys((sys.executable, _SYSTEM_PYTHON)):
        try:
            done = subprocess.run(
                [python, str(child)],
                input=job,
                capture_output=True,
                text=True,
                timeout=_COMPILE_DEADLINE_S,
                check=False,
            )
        except FileNotFoundError:
            continue
        except subprocess.TimeoutExpired as error:
            raise DataplaneError(f"bcc has not finished in {_COMPILE_DEADLINE_S:.0f} s") from error
        log = done.stderr
        if done.returncode == 0:
            return
        if done.returncode != NO_BCC:
            raise _rejected(log, "bcc could not compile and load the programs", 0)
    raise Unsupported(
        f"--loader=bcc needs the BPF compiler collection: {log.strip() or 'no Python has it'}",
        hint="apt-get install python3-bpfcc (the package called bcc on the Python index is another thing)",
    )


def _rejected(log: str, what: str, result: int) -> Exception:
    if "Operation not permitted" in log or result == -1:
        return NotPermitted(
            f"{what}: operation not permitted",
            hint="needs root, or the capabilities CAP_BPF and CAP_NET_ADMIN (CAP_SYS_ADMIN before 5.8)",
        )
    return ProgramRejected(f"{what}: {summary(log)}", log=log, hint="the whole log: --log-level debug")


def summary(log: str) -> str:
    """Return the lines of a compiler's or verifier's log that say why."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if " error: " in line]
    if errors:
        return "; ".join(errors[:3])
    ends = [number for number, line in enumerate(lines) if line.startswith("processed ")]
    reasons = lines[: ends[0]][-2:] if ends else lines[-2:]
    return "; ".join(reasons) or "no reason was given"

"""What a kernel can do and what it says of the programs: written as JSON, for docs/kernels.md."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from xdpflannel.dataplane import abi, libbpf, loader, pins, probe
from xdpflannel.dataplane.objects import Link, Program
from xdpflannel.errors import XdpflannelError
from xdpflannel.host.features import FeatureReader

LOADERS = ("libbpf", "bcc")
_PREFIX = f"kz-facts-{os.getpid()}"


class VerifiedProgramInfo(ctypes.Structure):
    """``struct bpf_prog_info`` up to ``verified_insns`` (linux/bpf.h, kernel 5.16 and later; 0 before)."""

    _fields_ = (
        ("head", libbpf.ProgramInfo),
        ("ifindex_to_recursion_misses", ctypes.c_uint8 * 136),
        ("verified_insns", ctypes.c_uint32),
    )


def verified_instructions(program: Program) -> int:
    """How many instructions the verifier looked at, over all paths; its limit is one million."""
    return int(program._info(VerifiedProgramInfo()).verified_insns)


def loaded_facts(by: str, names: Iterable[abi.Program] = abi.Program) -> dict[str, object]:
    """Load programs: instructions verified, bytes of machine code; or why one is refused."""
    chosen = list(names)
    folder = pins.pins(f"{_PREFIX}-{by}")
    try:
        loader.load(folder, loader=by, programs=chosen, sizes=loader.MapSizes(routes=64))
        return {name.label: _program_facts(folder, name) for name in chosen}
    except XdpflannelError as error:
        if len(chosen) == 1:
            return {chosen[0].label: {"error": str(error)[-400:]}}
    finally:
        pins.remove_tree(folder.base)
    # One is refused: which?
    found: dict[str, object] = {}
    for name in chosen:
        found |= loaded_facts(by, [name])
    return found


def _program_facts(folder: pins.Pins, name: abi.Program) -> dict[str, int]:
    with loader.open_program(folder, name) as program:
        return {
            "verified_insns": verified_instructions(program),
            "jited_bytes": program.facts.jited_bytes,
        }


@contextmanager
def veth() -> Iterator[str]:
    """A veth interface that is up, as is its peer."""
    subprocess.run(["ip", "link", "add", "kzfacts0", "type", "veth", "peer", "name", "kzfacts1"], check=True)
    try:
        for name in ("kzfacts0", "kzfacts1"):
            subprocess.run(["ip", "link", "set", name, "up"], check=True)
        yield "kzfacts0"
    finally:
        subprocess.run(["ip", "link", "del", "kzfacts0"], check=True)


def virtio_cards() -> list[str]:
    """The network cards that `machine` gave this machine; none anywhere else."""
    cards = Path("/sys/class/net").glob("*/address")
    return sorted(card.parent.name for card in cards if card.read_text().startswith("02:00:00:00:fe:"))


def native_xdp(interface: str) -> str:
    """Attach xdp_uplink natively; "yes", or what the kernel says."""
    folder = pins.pins(f"{_PREFIX}-native")
    ifindex = int(Path(f"/sys/class/net/{interface}/ifindex").read_text())
    try:
        loader.load(
            folder, loader="libbpf", programs=[abi.Program.XDP_UPLINK], sizes=loader.MapSizes(routes=64)
        )
        with loader.open_program(folder, abi.Program.XDP_UPLINK) as program:
            Link.create(program, ifindex, Link.XDP, Link.XDP_NATIVE).close()
    except XdpflannelError as error:
        return str(error)
    finally:
        pins.remove_tree(folder.base)
    return "yes"


def kernel_facts() -> dict[str, object]:
    """Everything that differs between kernels and matters to us."""
    with ExitStack() as stack:
        reader = FeatureReader()
        stack.callback(reader.close)
        interfaces = [stack.enter_context(veth()), *virtio_cards()[:1]]
        kinds = dict(zip(("veth", "virtio_net"), interfaces, strict=False))
        try:
            features = probe.features()
            probed: dict[str, object] = {"tcx": features.tcx, "decap_l4": features.decap_l4}
        except XdpflannelError as error:
            probed = {"error": str(error)}
        return {
            "release": platform.release(),
            "probed": probed,
            "netdev_family": bool(reader.every()),
            "native_xdp": {kind: native_xdp(name) for kind, name in kinds.items()},
            "programs": {by: loaded_facts(by) for by in LOADERS},
        }


if __name__ == "__main__":
    document = json.dumps(kernel_facts(), indent=2)
    Path(sys.argv[1]).write_text(document + "\n")

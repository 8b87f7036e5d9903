"""Remove everything that an instance made on this node, and nothing else."""

from __future__ import annotations

from pathlib import Path

from xdpflannel.agent import footprint
from xdpflannel.agent.privileges import require
from xdpflannel.dataplane import pins
from xdpflannel.dataplane.attach import Attacher, Hook
from xdpflannel.host.clsact import Clsact
from xdpflannel.host.device import remove_vxlan_device
from xdpflannel.host.netlink import Netlink


def uninstall(instance: str, dry_run: bool = False, run_dir: Path | None = None) -> list[str]:
    """Detach the programs, remove pins, flannel.N, subnet.env and the run folder; return what was removed.

    HostError while the agent still runs: it would put everything back.
    """
    require(bpf=True)
    folder = run_dir or footprint.RUN_DIR / instance
    record = footprint.read(folder)
    bpffs = Path(record.bpffs) if record else pins.BPFFS
    if dry_run:
        return _planned(instance, bpffs, record)
    if record is None and not folder.exists() and not pins.every_abi(instance, bpffs):
        return []
    held = footprint.lock(folder)
    removed: list[str] = []
    clsact = Clsact()
    try:
        for base in pins.every_abi(instance, bpffs):
            removed += _detach(pins.Pins(base), clsact)
            removed += [str(path) for path in pins.remove_tree(base)]
    finally:
        clsact.close()
    if record is not None:
        removed += _remove_made(record)
    held.close()
    removed += [str(path) for path in footprint.forget(folder)]
    return removed


def _detach(pinned: pins.Pins, clsact: Clsact) -> list[str]:
    attacher = Attacher(pinned, clsact)
    removed = []
    for attachment in attacher.attached() if pinned.links.is_dir() else []:
        attacher.detach(attachment)
        if attachment.hook is Hook.CLSACT:
            removed.append(f"clsact filter {attachment.program.label} on interface {attachment.ifindex}")
    return removed


def _remove_made(record: footprint.Footprint) -> list[str]:
    removed = []
    with Netlink() as netlink:
        if remove_vxlan_device(netlink, record.device):
            removed.append(f"interface {record.device}, with its addresses, neighbours and routes")
    subnet_file = Path(record.subnet_file)
    if subnet_file.exists():
        subnet_file.unlink()
        removed.append(str(subnet_file))
    return removed


def _planned(instance: str, bpffs: Path, record: footprint.Footprint | None) -> list[str]:
    planned = [
        str(path) for base in pins.every_abi(instance, bpffs) for path in (*pins.Pins(base).all(), base)
    ]
    if record is not None:
        with Netlink() as netlink:
            if netlink.link(record.device) is not None:
                planned.append(f"interface {record.device}, with its addresses, neighbours and routes")
        if Path(record.subnet_file).exists():
            planned.append(record.subnet_file)
    return planned

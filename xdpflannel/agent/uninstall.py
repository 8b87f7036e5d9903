"""Remove everything that an instance made on this node, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from xdpflannel.agent import conntrack, footprint
from xdpflannel.agent.privileges import require
from xdpflannel.dataplane import pins
from xdpflannel.dataplane.attach import is_egress
from xdpflannel.errors import HostError
from xdpflannel.host.clsact import Clsact
from xdpflannel.host.device import remove_vxlan_device
from xdpflannel.host.netlink import Netlink


def uninstall(instance: str, dry_run: bool = False, run_dir: Path | None = None) -> list[str]:
    """Detach the programs, remove pins, flannel.N, subnet.env and the run folder; return what was removed.

    ``dry_run`` only returns what would be. HostError while the agent still runs: it would put all of it back.
    """
    require(bpf=True)
    folder = run_dir or footprint.RUN_DIR / instance
    record = footprint.read(folder)
    if record is not None and record.instance != instance:
        raise HostError(
            f"{folder} belongs to instance {record.instance}, not {instance}",
            hint=f"--instance {record.instance}",
        )
    pinned = pins.top(instance, Path(record.bpffs) if record else pins.BPFFS)
    with Netlink() as netlink:
        found = _Found(netlink, folder, record, pinned)
        listed = list(found.describe())
        if listed and not dry_run:
            found.remove()
    return listed


class _Found:
    """What there is of an instance."""

    def __init__(
        self, netlink: Netlink, folder: Path, record: footprint.Footprint | None, pinned: Path
    ) -> None:
        self._netlink = netlink
        self._folder = folder
        self._pinned = pinned
        self._bases = pins.every_abi(pinned.name, pinned.parent.parent)
        self._filters = _filters() if self._bases or record else []
        self._devices = [name for name in record.devices if self._is_ours(name, record)] if record else []
        self._relaxed_from = conntrack.relaxed_from(record)
        self._files = [file for file in [Path(record.subnet_file)] if file.exists()] if record else []

    def _is_ours(self, name: str, record: footprint.Footprint) -> bool:
        link = self._netlink.link(name)
        return link is not None and str(link.mac) == record.devices[name]

    def describe(self) -> Iterator[str]:
        for ifindex, name in self._filters:
            yield f"clsact filter {name} on interface {ifindex}"
        for base in self._bases:
            yield from map(str, pins.Pins(base).all())
            yield str(base)
        if self._pinned.is_dir():
            yield str(self._pinned)
        for device in self._devices:
            yield f"interface {device}, with its addresses, neighbours and routes"
        if self._relaxed_from is not None:
            yield f"setting {conntrack.SETTING}, which becomes {self._relaxed_from} again"
        yield from map(str, self._files)
        if self._folder.is_dir():
            yield from map(str, footprint.files(self._folder))
            yield str(self._folder)

    def remove(self) -> None:
        held = footprint.lock(self._folder)
        try:
            self._detach()
            for base in self._bases:
                pins.remove_tree(base)
            pins.remove_top(self._pinned)
            for device in self._devices:
                remove_vxlan_device(self._netlink, device)
            if self._relaxed_from is not None:
                conntrack.restore(self._relaxed_from)
            for file in self._files:
                file.unlink(missing_ok=True)
        finally:
            held.close()
        footprint.forget(self._folder)

    def _detach(self) -> None:
        """Links go with their pins; filters belong to the interface."""
        clsact = Clsact()
        try:
            for ifindex, name in self._filters:
                clsact.delete_clsact(ifindex, egress=is_egress(name))
        finally:
            clsact.close()


def _filters() -> list[tuple[int, str]]:
    clsact = Clsact()
    try:
        return clsact.list_clsact()
    finally:
        clsact.close()

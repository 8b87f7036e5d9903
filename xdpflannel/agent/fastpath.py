"""Programs on interfaces: load what was chosen, attach it where pods and the uplink are."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import structlog

from xdpflannel.agent.datapath import Choice
from xdpflannel.dataplane import loader, pins
from xdpflannel.dataplane.abi import Program
from xdpflannel.dataplane.attach import Attacher, Attachment, ClsactPort, Hook
from xdpflannel.dataplane.loader import KINDS, LoadReport, MapSizes
from xdpflannel.dataplane.maps import Tables
from xdpflannel.dataplane.pins import Pins
from xdpflannel.errors import XdpflannelError
from xdpflannel.model.host import Uplink, VxlanDevice
from xdpflannel.model.state import AttachmentState

log = structlog.get_logger()


class FastPath:
    """The loaded programs of one instance."""

    def __init__(
        self, pinned: Pins, report: LoadReport, choice: Choice, clsact: ClsactPort, *, tcx: bool
    ) -> None:
        self._choice = choice
        self._pins = pinned
        self._attacher = Attacher(pinned, clsact)
        self._tc_hook = Hook.TCX if tcx else Hook.CLSACT
        self._adopted = False
        self._refused: dict[tuple[Program, int], str] = {}
        self.report = report
        self.tables = Tables.open(pinned.base)
        self.attached: dict[tuple[Program, int], Attachment] = {}

    def attach(self, uplink: Uplink, device: VxlanDevice, ports: Collection[int]) -> int:
        """Attach to the uplink, flannel.N and every port, take off what is elsewhere; return what failed.

        A port that refuses a program keeps the kernel's path; the reason is logged once.
        """
        wanted = [(program, uplink.ifindex) for program in self._choice.uplink]
        wanted += [(program, port) for port in ports for program in (*self._choice.pod, *self._choice.exit)]
        wanted += [(program, device.ifindex) for program in self._choice.exit]
        if not self._adopted:
            self._adopt(wanted)
        for key in [key for key in self.attached if key not in wanted]:
            self._detach(key)
        for key in [key for key in self._refused if key not in wanted]:
            del self._refused[key]
        fresh = [key for key in wanted if key not in self.attached]
        return sum(not self._attach(key) for key in fresh)

    def recheck(self) -> None:
        """Ask the kernel what is attached; the next `attach` mends the rest."""
        there = {(it.program, it.ifindex): it for it in self._attacher.attached()}
        for program, ifindex in self.attached.keys() - there.keys():
            log.warning("program.lost", program=program.label, ifindex=ifindex)
        self.attached = there

    def forget(self, ifindex: int) -> None:
        """An interface vanished; its number may come again."""
        for key in [key for key in self.attached if key[1] == ifindex]:
            self._detach(key)

    def close(self) -> None:
        """Leave everything as it is."""
        self.tables.close()

    def describe(self, names: Mapping[int, str]) -> list[AttachmentState]:
        """Attachments for people; ``names`` by interface index."""
        return [
            AttachmentState(
                program=it.program.label,
                hook="xdp" if it.hook.is_xdp else it.hook.value,
                mode=it.hook.value if it.hook.is_xdp else "",
                interface=names.get(it.ifindex, str(it.ifindex)),
                ifindex=it.ifindex,
            )
            for it in sorted(self.attached.values())
        ]

    def _adopt(self, wanted: list[tuple[Program, int]]) -> None:
        """Swap what a former agent left attached for what was loaded now; no packet meets a gap."""
        self._adopted = True
        others = pins.others(self._pins)
        for other in others:
            self._attacher.take_over(other)
        found = {(it.program, it.ifindex): it for it in self._attacher.attached()}
        for key in [key for key in found if key in wanted]:
            try:
                self._attacher.attach(found[key])
            except XdpflannelError as error:
                log.warning("program.not_swapped", program=key[0].label, ifindex=key[1], error=str(error))
                self._attacher.detach(found.pop(key))
        self.attached = found  # only now: it says that what was loaded is what runs
        for other in others:
            pins.remove_tree(other.base)
            log.info("pins.retired", folder=str(other.base), reason="they are another version's")

    def _attach(self, key: tuple[Program, int]) -> bool:
        program, ifindex = key
        hooks = [self._tc_hook] if KINDS[program] == "tc" else [Hook.XDP_NATIVE, Hook.XDP_GENERIC]
        for hook in hooks:
            wanted = Attachment(program, ifindex, hook)
            try:
                self._attacher.attach(wanted)
            except XdpflannelError as error:
                reason = error
                continue
            self.attached[key] = wanted
            event = log.warning if hook is Hook.XDP_GENERIC else log.info
            event("program.attached", program=program.label, ifindex=ifindex, hook=hook.value)
            return True
        if self._refused.get(key) != str(reason):
            log.error(
                "program.refused", program=program.label, ifindex=ifindex, error=str(reason), hint=reason.hint
            )
        self._refused[key] = str(reason)
        return False

    def _detach(self, key: tuple[Program, int]) -> None:
        self._attacher.detach(self.attached.pop(key))
        log.info("program.detached", program=key[0].label, ifindex=key[1])


def load(pinned: Pins, choice: Choice, *, wanted: str, sizes: MapSizes) -> LoadReport:
    """Load what was chosen. ``auto`` falls back to bcc only where there is no prebuilt object."""
    report = loader.load(pinned, loader=wanted, programs=choice.programs, sizes=sizes)
    log.info(
        "programs.loaded",
        loader=report.loader,
        seconds=round(report.seconds, 3),
        programs=[program.label for program in report.programs],
    )
    return report

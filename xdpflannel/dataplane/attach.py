"""Attach programs to interfaces, swap them without a gap, take them off again.

XDP and (from kernel 6.6 on) tcx attachments are BPF links pinned beside the programs, so they belong to this
instance and outlive the agent. Older kernels get a clsact filter, which belongs to the interface.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Protocol

from attrs import frozen

from xdpflannel.dataplane.abi import Program as ProgramName
from xdpflannel.dataplane.loader import open_program
from xdpflannel.dataplane.objects import Link, Program
from xdpflannel.dataplane.pins import Pins

EGRESS = frozenset({ProgramName.FLOW_EXIT})
"""Programs that are attached where an interface sends; all others where it receives."""


class Hook(StrEnum):
    """Where and how a program is attached."""

    TCX = "tcx"
    CLSACT = "clsact"
    XDP_NATIVE = "native"
    XDP_GENERIC = "generic"

    @property
    def is_xdp(self) -> bool:
        """True for both modes of XDP."""
        return self in (Hook.XDP_NATIVE, Hook.XDP_GENERIC)


@frozen(order=True)
class Attachment:
    """One program on one interface."""

    program: ProgramName
    ifindex: int
    hook: Hook

    @property
    def egress(self) -> bool:
        """True for a program that sees what an interface sends."""
        return self.program in EGRESS

    @property
    def pin_name(self) -> str:
        """Name of the pinned link."""
        return f"{self.program.label}-{self.hook}-{self.ifindex}"


class ClsactPort(Protocol):
    """How clsact filters are set; `host` does it by netlink."""

    def set_clsact(self, ifindex: int, program_fd: int, name: str, *, egress: bool = False) -> None:
        """Create the qdisc if it is missing, and create or replace our filter of that direction."""

    def delete_clsact(self, ifindex: int, *, egress: bool = False) -> None:
        """Remove our filter, and the qdisc if nothing else is on it; a missing interface is fine."""

    def list_clsact(self) -> list[tuple[int, str]]:
        """Interfaces that carry a filter of ours, with its name."""


class Attacher:
    """Attachments of one instance."""

    def __init__(self, pins: Pins, clsact: ClsactPort) -> None:
        self._pins = pins
        self._clsact = clsact

    def attach(self, wanted: Attachment) -> bool:
        """Make it so with the pinned program; return False if nothing had to change."""
        with open_program(self._pins, wanted.program) as program:
            if wanted.hook is Hook.CLSACT:
                name = f"xf_{wanted.program.label}"
                self._clsact.set_clsact(wanted.ifindex, program.fd, name, egress=wanted.egress)
                return True
            path = self._pins.links / wanted.pin_name
            if path.exists():
                kept = self._adopt(path, program, wanted)
                if kept is not None:
                    return not kept
            self._create(path, program, wanted)
            return True

    def _adopt(self, path: Path, program: Program, wanted: Attachment) -> bool | None:
        """True: already right; False: program swapped; None: the link was dead and is removed."""
        with Link.from_pin(path) as link:
            facts = link.facts
            if facts.ifindex == wanted.ifindex:
                if facts.program_id == program.facts.id:
                    return True
                link.replace(program)
                return False
        path.unlink()
        return None

    def _create(self, path: Path, program: Program, wanted: Attachment) -> None:
        kind = Link.TCX_EGRESS if wanted.egress else Link.TCX_INGRESS
        if wanted.hook.is_xdp:
            kind = Link.XDP
        flags = {Hook.XDP_NATIVE: Link.XDP_NATIVE, Hook.XDP_GENERIC: Link.XDP_GENERIC}.get(wanted.hook, 0)
        with Link.create(program, wanted.ifindex, kind, flags) as link:
            link.pin(path)

    def detach(self, gone: Attachment) -> None:
        """Take a program off; one that is off already is fine."""
        if gone.hook is Hook.CLSACT:
            self._clsact.delete_clsact(gone.ifindex, egress=gone.egress)
            return
        (self._pins.links / gone.pin_name).unlink(missing_ok=True)

    def take_over(self, other: Pins) -> None:
        """Make the links of another version's pins ours; they run its programs until `attach` swaps them."""
        for path in other.all():
            target = self._pins.links / path.name
            if path.parent == other.links and _parse(path.name) is not None and not target.exists():
                path.rename(target)

    def attached(self) -> list[Attachment]:
        """What is attached now. Links whose interface vanished are forgotten on the way."""
        found = []
        for path in sorted(self._pins.links.iterdir()):
            attachment = _parse(path.name)
            if attachment is None:
                continue
            with Link.from_pin(path) as link:
                alive = link.facts.ifindex == attachment.ifindex
            if alive:
                found.append(attachment)
            else:
                path.unlink()
        for ifindex, name in self._clsact.list_clsact():
            program = _by_function(name)
            if program is not None:
                found.append(Attachment(program, ifindex, Hook.CLSACT))
        return found


def is_egress(function: str) -> bool:
    """Tell the direction of a clsact filter by the C function it is named after."""
    return _by_function(function) in EGRESS


def _by_function(name: str) -> ProgramName | None:
    return next((program for program in ProgramName if f"xf_{program.label}" == name), None)


def _parse(name: str) -> Attachment | None:
    parts = name.rsplit("-", 2)
    program = _by_function(f"xf_{parts[0]}")
    if program is None or len(parts) != 3 or parts[1] not in set(Hook) or not parts[2].isdigit():
        return None
    return Attachment(program, int(parts[2]), Hook(parts[1]))

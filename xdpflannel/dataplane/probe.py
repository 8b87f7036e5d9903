"""Ask this kernel what it can do, by trying; a version number says little on a distribution's kernel."""

from __future__ import annotations

import ctypes
import errno
import struct

from attrs import frozen

from xdpflannel.dataplane import libbpf
from xdpflannel.dataplane.objects import Link, Program

_NO_INTERFACE = 0x7FFFFFFF
_ADJUST_ROOM = 50  # bpf_skb_adjust_room(), number of the helper in linux/bpf.h
_ROOM_MAC = 1
_FIXED_GSO = 1 << 0
_DECAP_L4_UDP = 1 << 10
_FRAME_BYTES = 128


@frozen
class KernelFeatures:
    """What matters to us and differs between kernels."""

    tcx: bool
    """Links on tc hooks (6.6)."""
    decap_l4: bool
    """BPF_F_ADJ_ROOM_DECAP_L4_UDP: an aggregate taken out of its tunnel may be cut again."""


def features() -> KernelFeatures:
    """Probe; NotPermitted without the capabilities to load a program."""
    with _load(struct.pack("=BBhi", 0xB7, 0, 0, 0) + _EXIT) as nothing:
        tcx = _link_error(nothing) == errno.ENODEV
    with _load(_SHRINK) as shrink:
        frame = bytes(12) + b"\x08\x00\x45" + bytes(_FRAME_BYTES)
        decap_l4 = shrink.test_run(frame).retval == 0
    return KernelFeatures(tcx=tcx, decap_l4=decap_l4)


_EXIT = struct.pack("=BBhi", 0x95, 0, 0, 0)


def _move(register: int, value: int) -> bytes:
    return struct.pack("=BBhi", 0xB7, register, 0, value)


# r1 is the context already: return bpf_skb_adjust_room(ctx, -50, MAC, FIXED_GSO | DECAP_L4_UDP)
_SHRINK = (
    _move(2, -50)
    + _move(3, _ROOM_MAC)
    + _move(4, _FIXED_GSO | _DECAP_L4_UDP)
    + struct.pack("=BBhi", 0x85, 0, 0, _ADJUST_ROOM)
    + _EXIT
)


def _load(instructions: bytes) -> Program:
    lib = libbpf.library()
    fd = lib.bpf_prog_load(
        Program.TYPE_SCHED_CLS, b"xf_probe", b"GPL", instructions, len(instructions) // 8, None
    )
    return Program(libbpf.check(fd, "loading a BPF program to probe the kernel"))


def _link_error(program: Program) -> int:
    options = libbpf.LinkCreateOptions(sz=ctypes.sizeof(libbpf.LinkCreateOptions))
    lib = libbpf.library()
    return -int(lib.bpf_link_create(program.fd, _NO_INTERFACE, Link.TCX_INGRESS, ctypes.byref(options)))

"""The few functions of the distribution's ``libbpf.so.1`` that we call, by ctypes.

No Python binding of libbpf is kept up and small (docs/decisions/003-dependencies.md); these functions
belong to its stable ABI since 1.0. Every call either succeeds or raises an error that names the object.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from functools import cache

from xdpflannel.errors import DataplaneError, NotPermitted, Unsupported, XdpflannelError

_SONAME = "libbpf.so.1"

PRINT_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
"""``libbpf_print_fn_t``; its va_list is opaque to us and formatted by vsnprintf."""


class TestRunOptions(ctypes.Structure):
    """``struct bpf_test_run_opts``."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("data_in", ctypes.c_void_p),
        ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_void_p),
        ("ctx_out", ctypes.c_void_p),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    )


class LinkCreateOptions(ctypes.Structure):
    """``struct bpf_link_create_opts``, up to ``flags``; libbpf takes shorter structs than its own."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("flags", ctypes.c_uint32),
    )


class LinkUpdateOptions(ctypes.Structure):
    """``struct bpf_link_update_opts``, up to ``old_prog_fd``."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("flags", ctypes.c_uint32),
        ("old_prog_fd", ctypes.c_uint32),
    )


class MapInfo(ctypes.Structure):
    """The head of ``struct bpf_map_info`` (linux/bpf.h)."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("name", ctypes.c_char * 16),
    )


class ProgramInfo(ctypes.Structure):
    """The head of ``struct bpf_prog_info`` (linux/bpf.h)."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("tag", ctypes.c_uint8 * 8),
        ("jited_prog_len", ctypes.c_uint32),
        ("xlated_prog_len", ctypes.c_uint32),
        ("jited_prog_insns", ctypes.c_uint64),
        ("xlated_prog_insns", ctypes.c_uint64),
        ("load_time", ctypes.c_uint64),
        ("created_by_uid", ctypes.c_uint32),
        ("nr_map_ids", ctypes.c_uint32),
        ("map_ids", ctypes.c_uint64),
        ("name", ctypes.c_char * 16),
    )


class LinkInfo(ctypes.Structure):
    """``struct bpf_link_info`` with the members of XDP and tcx links."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("prog_id", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
        ("ifindex", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("room", ctypes.c_uint8 * 64),
    )


_INT = ctypes.c_int
_PTR = ctypes.c_void_p
_STR = ctypes.c_char_p
_U32 = ctypes.c_uint32
_U64 = ctypes.c_uint64

_SIGNATURES: dict[str, tuple[type | None, tuple[type, ...]]] = {
    "bpf_obj_get": (_INT, (_STR,)),
    "bpf_obj_pin": (_INT, (_INT, _STR)),
    "bpf_obj_get_info_by_fd": (_INT, (_INT, _PTR, _PTR)),
    "bpf_map_create": (_INT, (_INT, _STR, _U32, _U32, _U32, _PTR)),
    "bpf_map_lookup_elem": (_INT, (_INT, _PTR, _PTR)),
    "bpf_map_update_elem": (_INT, (_INT, _PTR, _PTR, _U64)),
    "bpf_map_delete_elem": (_INT, (_INT, _PTR)),
    "bpf_map_get_next_key": (_INT, (_INT, _PTR, _PTR)),
    "bpf_prog_load": (_INT, (_INT, _STR, _STR, _PTR, ctypes.c_size_t, _PTR)),
    "bpf_prog_test_run_opts": (_INT, (_INT, _PTR)),
    "bpf_link_create": (_INT, (_INT, _INT, _INT, _PTR)),
    "bpf_link_update": (_INT, (_INT, _INT, _PTR)),
    "bpf_link_detach": (_INT, (_INT,)),
    "libbpf_set_print": (_PTR, (_PTR,)),
    "libbpf_num_possible_cpus": (_INT, ()),
    "bpf_object__open_file": (_PTR, (_STR, _PTR)),
    "bpf_object__load": (_INT, (_PTR,)),
    "bpf_object__close": (None, (_PTR,)),
    "bpf_object__next_program": (_PTR, (_PTR, _PTR)),
    "bpf_object__next_map": (_PTR, (_PTR, _PTR)),
    "bpf_program__name": (_STR, (_PTR,)),
    "bpf_program__fd": (_INT, (_PTR,)),
    "bpf_program__set_autoload": (_INT, (_PTR, ctypes.c_bool)),
    "bpf_map__name": (_STR, (_PTR,)),
    "bpf_map__fd": (_INT, (_PTR,)),
    "bpf_map__reuse_fd": (_INT, (_PTR, _INT)),
    "bpf_map__set_max_entries": (_INT, (_PTR, _U32)),
}


@cache
def library() -> ctypes.CDLL:
    """Load libbpf once; Unsupported if the distribution's package is not installed."""
    try:
        loaded = ctypes.CDLL(_SONAME, use_errno=True)
    except OSError as error:
        raise Unsupported(
            f"{_SONAME} cannot be loaded: {error}", hint="install the package libbpf1 (Debian, Ubuntu)"
        ) from error
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(loaded, name)
        function.restype = result
        function.argtypes = arguments
    return loaded


@cache
def possible_cpus() -> int:
    """Return how many values a per-CPU map has per key."""
    return int(library().libbpf_num_possible_cpus())


def failure(number: int, action: str) -> XdpflannelError:
    """Turn a (negative) errno into an error about ``action``."""
    code = abs(number)
    text = f"{action}: {os.strerror(code)}"
    if code in (errno.EPERM, errno.EACCES):
        return NotPermitted(text, hint="needs root, or the capabilities CAP_BPF and CAP_NET_ADMIN")
    if code in (errno.EOPNOTSUPP, errno.ENOSYS):
        return Unsupported(text, hint="this kernel or driver does not know it; see `xdpflannel doctor`")
    return DataplaneError(text)


def check(result: int, action: str) -> int:
    """Return a non-negative result; raise what fits a negative one."""
    if result < 0:
        raise failure(result, action)
    return result


def capture_log(sink: list[str]) -> Callable[[], None]:
    """Collect what libbpf and the verifier print in ``sink`` until the result is called."""
    libc = ctypes.CDLL(None)
    libc.vsnprintf.argtypes = (_PTR, ctypes.c_size_t, _STR, _PTR)

    def take(_level: int, template: bytes, arguments: int) -> int:
        text = ctypes.create_string_buffer(1 << 20)
        libc.vsnprintf(text, len(text), template, arguments)
        sink.append(text.value.decode(errors="replace"))
        return 0

    callback = PRINT_CALLBACK(take)
    library().libbpf_set_print(ctypes.cast(callback, _PTR))

    def restore(_keep: object = callback) -> None:
        library().libbpf_set_print(None)
        sink[:] = "".join(sink).splitlines()

    return restore

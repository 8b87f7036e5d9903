"""Doing something inside a named network namespace (`/run/netns/NAME`, as `ip netns` makes them).

A namespace belongs to a thread, so every call runs in a thread of its own that ends with it: no caller is
ever left in the wrong namespace.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from xdpflannel.errors import HostError, NotPermitted

NETNS_DIR = Path("/run/netns")
CLONE_NEWNET = 0x40000000

T = TypeVar("T")


def exists(netns: str) -> bool:
    """True if a namespace of that name is there."""
    return (NETNS_DIR / netns).exists()


def enter(netns: str) -> None:
    """Move the calling thread into the namespace, for good; use in threads and processes that end there.

    Raises:
        HostError: there is no such namespace.
        NotPermitted: CAP_SYS_ADMIN is missing.
    """
    try:
        descriptor = os.open(NETNS_DIR / netns, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise HostError(
            f"there is no network namespace {netns}", hint="`ip netns list` shows those that exist"
        ) from None
    try:
        libc = ctypes.CDLL(None, use_errno=True)  # os.setns only exists from Python 3.12 on
        if libc.setns(descriptor, CLONE_NEWNET) == 0:
            return
        number = ctypes.get_errno()
    finally:
        os.close(descriptor)
    message = f"cannot enter network namespace {netns}: {os.strerror(number)}"
    if number in (1, 13):
        raise NotPermitted(message, hint="run as root, or with CAP_SYS_ADMIN")
    raise HostError(message, hint="is it a network namespace?")


class _Call(threading.Thread, Generic[T]):
    """One function call in one thread in one namespace."""

    def __init__(self, netns: str, function: Callable[[], T]) -> None:
        super().__init__(name=f"in-{netns}", daemon=True)
        self._netns = netns
        self._function = function
        self._result: list[T] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            enter(self._netns)
            self._result.append(self._function())
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, whatever it is
            self._error = error

    def result(self) -> T:
        self.start()
        self.join()
        if self._error is not None:
            raise self._error
        return self._result[0]


def call_inside(netns: str | None, function: Callable[[], T]) -> T:
    """Result of ``function()`` run inside the namespace; None means the caller's own.

    Sockets made inside keep belonging to the namespace. Raises what `enter` and the function raise.
    """
    if netns is None:
        return function()
    return _Call(netns, function).result()

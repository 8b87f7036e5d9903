"""Network namespaces, and TAP interfaces whose far end is a test that says what is left to hardware."""

import ctypes
import errno
import fcntl
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from attrs import frozen

from xdpflannel.dataplane import probe
from xdpflannel.dataplane.objects import Link, Program
from xdpflannel.host.clsact import Clsact

T = TypeVar("T")

GSO_NONE, GSO_TCP4, GSO_UDP4 = 0, 1, 5
"""``gso_type`` of struct virtio_net_hdr."""

_NEEDS_CSUM = 1
_HEADER = struct.Struct("=BBHHHH")
_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NAPI, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x0010, 0x1000, 0x4000
_CLONE_NEWNET = 0x40000000
_ROOM = 1 << 17
_TCP_HEADERS = 54
"""Ethernet, IPv4 and TCP: a hint for the kernel, how much to keep in one piece."""


@frozen
class Offloaded:
    """A frame and what is still to be done to it."""

    frame: bytes
    gso_type: int = GSO_NONE
    gso_size: int = 0
    checksum_at: tuple[int, int] | None = None
    """Where the checksummed part starts, and where in it the checksum belongs; None: it is complete."""

    def write(self) -> bytes:
        """The frame behind a struct virtio_net_hdr."""
        start, offset = self.checksum_at or (0, 0)
        flags = _NEEDS_CSUM if self.checksum_at else 0
        headers = _TCP_HEADERS if self.gso_type else 0
        return _HEADER.pack(flags, self.gso_type, headers, self.gso_size, start, offset) + self.frame

    @classmethod
    def read(cls, data: bytes) -> "Offloaded":
        """The reverse of `write`."""
        flags, gso_type, _, gso_size, start, offset = _HEADER.unpack_from(data)
        unfinished = (start, offset) if flags & _NEEDS_CSUM else None
        return cls(data[_HEADER.size :], gso_type, gso_size, unfinished)


class Namespace:
    """A network namespace of our own; `inside` runs a function in it."""

    def __init__(self, name: str) -> None:
        if os.geteuid() != 0:
            pytest.skip("making network namespaces needs root")
        self.name = name
        self.path = Path("/run/netns") / name
        self.run_outside("ip", "netns", "add", name)
        # No frames but those of the test.
        self.run("sysctl", "-eqw", "net.ipv6.conf.default.disable_ipv6=1")

    @staticmethod
    def run_outside(*command: str) -> None:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"

    def run(self, *command: str) -> None:
        """Run a command in the namespace, with the file systems (bpffs, sysfs of the host) as they are."""
        self.run_outside("nsenter", f"--net={self.path}", *command)

    def inside(self, function: Callable[[], T]) -> T:
        """Call a function in a thread that has entered the namespace: namespaces belong to threads."""
        found: list[T] = []
        errors: list[BaseException] = []

        def enter() -> None:
            libc = ctypes.CDLL(None, use_errno=True)
            with self.path.open() as namespace:
                if libc.setns(namespace.fileno(), _CLONE_NEWNET) != 0:
                    errors.append(OSError(ctypes.get_errno(), f"setns {self.path}"))
                    return
            try:
                found.append(function())
            except BaseException as error:  # noqa: BLE001  raised again in the caller's thread
                errors.append(error)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return found[0]

    def index(self, interface: str) -> int:
        """Interface index of a name."""
        return self.inside(lambda: socket.if_nametoindex(interface))

    @contextmanager
    def tc_ingress(self, program: Program, ifindex: int) -> Iterator[None]:
        """Attach to the tc ingress of an interface as the agent does: by tcx where the kernel has it."""
        if probe.features().tcx:
            with self.inside(lambda: Link.create(program, ifindex, Link.TCX_INGRESS)):
                yield
            return
        clsact = Clsact(self.name)
        try:
            clsact.set_clsact(ifindex, program.fd, "xf_test")
            yield
            clsact.delete_clsact(ifindex)
        finally:
            clsact.close()

    def close(self) -> None:
        """Remove it with all that is in it."""
        self.run_outside("ip", "netns", "delete", self.name)


class Tap:
    """A TAP interface that is up, without IPv6 and so without frames of its own."""

    def __init__(self, namespace: Namespace, name: str, *, napi: bool = False) -> None:
        flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR | (_IFF_NAPI if napi else 0)

        def create() -> int:
            fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
            return fd

        self.name = name
        self.fd = namespace.inside(create)
        namespace.run("ip", "link", "set", name, "up")
        self.ifindex = namespace.index(name)

    def send(self, frame: Offloaded) -> None:
        """Let the interface receive a frame; skips the test if this kernel's TAP knows no such frame."""
        try:
            os.write(self.fd, frame.write())
        except OSError as error:
            if frame.gso_type != GSO_UDP4 or error.errno != errno.EINVAL:
                raise
            pytest.skip("this kernel's TAP takes no UDP aggregate (VIRTIO_NET_HDR_GSO_UDP_L4, 6.2)")

    def receive(
        self, count: int, wanted: Callable[[bytes], bool], deadline_s: float = 5.0
    ) -> list[Offloaded]:
        """Return the next ``count`` frames that the interface sent; fewer if the deadline passes first."""
        found: list[Offloaded] = []
        end = time.monotonic() + deadline_s
        while len(found) < count and time.monotonic() < end:
            found += [frame for frame in self.pending() if wanted(frame.frame)]
        return found

    def pending(self) -> list[Offloaded]:
        """Return what the interface has sent so far."""
        found = []
        while True:
            try:
                found.append(Offloaded.read(os.read(self.fd, _ROOM)))
            except BlockingIOError:
                return found

    def close(self) -> None:
        """Give the descriptor back: the interface goes with it."""
        os.close(self.fd)

"""A netlink socket: requests, dumps, batches and notifications as bytes.

What the bytes mean is known by `messages` and `netlink`. Why not pyroute2's own socket: its every request
goes through an event loop (170 us each, measured), and a node of a large cluster writes 30,000 of them.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from xdpflannel.host.namespace import call_inside

NETLINK_ROUTE = 0
NETLINK_GENERIC = 16

NLM_F_REQUEST = 0x01
NLM_F_ACK = 0x04
NLM_F_DUMP_INTR = 0x10
NLM_F_DUMP = 0x300
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400

HEADER = struct.Struct("=IHHII")
"""nlmsghdr, host byte order: length, type, flags, sequence number, port id."""

_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NLMSGERR_ATTR_MSG = 1
_NLM_F_CAPPED = 0x100
_NLM_F_ACK_TLVS = 0x200
_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_NETLINK_GET_STRICT_CHK = 12
_SO_RCVBUFFORCE = 33

_RECEIVE_BYTES = 1 << 20
# Replies wait in the socket while a chunk is worked on, and each may hold a page of it.
_CHUNK = 100
_ANSWER_SECONDS = 10
_DUMP_ATTEMPTS = 8


class Refused(OSError):
    """The kernel's answer to a request was an error; ``strerror`` carries its own words if it had any."""


class Request(NamedTuple):
    """One message to send: type, flags beyond NLM_F_REQUEST, and what follows the header."""

    kind: int
    flags: int
    body: bytes


class Reply(NamedTuple):
    """What came back for one request of a batch."""

    error: Refused | None
    messages: list[bytes]


def split(datagram: bytes) -> Iterator[bytes]:
    """The messages of one datagram, headers included."""
    offset = 0
    while offset + HEADER.size <= len(datagram):
        length = HEADER.unpack_from(datagram, offset)[0]
        if length < HEADER.size:
            return
        yield datagram[offset : offset + length]
        offset += (length + 3) & ~3


def attributes(message: bytes, offset: int) -> dict[int, bytes]:
    """The attributes from ``offset`` on, by type; the last one of a type wins."""
    found: dict[int, bytes] = {}
    end = len(message)
    while offset + 4 <= end:
        length, kind = struct.unpack_from("=HH", message, offset)
        if length < 4:
            break
        found[kind & 0x3FFF] = message[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return struct.pack("=HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)


def refusal(message: bytes) -> Refused | None:
    """The error that a NLMSG_ERROR message carries; None if it is an acknowledgement."""
    number = -struct.unpack_from("=i", message, HEADER.size)[0]
    if number == 0:
        return None
    flags = HEADER.unpack_from(message)[2]
    text = ""
    if flags & _NLM_F_ACK_TLVS:
        echoed = HEADER.unpack_from(message, HEADER.size + 4)[0]
        skip = HEADER.size if flags & _NLM_F_CAPPED else (echoed + 3) & ~3
        said = attributes(message, HEADER.size + 4 + skip).get(_NLMSGERR_ATTR_MSG, b"")
        text = said.rstrip(b"\0").decode(errors="replace")
    plain = os.strerror(number)
    return Refused(number, f"{plain} ({text})" if text else plain)


class Transport:
    """A netlink socket in the current network namespace or in a named one; calls may come from any thread."""

    def __init__(self, protocol: int = NETLINK_ROUTE, netns: str | None = None, groups: int = 0) -> None:
        self._socket = call_inside(netns, lambda: _open(protocol, groups))
        self._sequence = 0
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """Descriptor to poll."""
        return self._socket.fileno()

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    def request(self, request: Request) -> list[bytes]:
        """Send one request, return what came back before its acknowledgement; raises Refused."""
        reply = self.batch([request])[0]
        if reply.error is not None:
            raise reply.error
        return reply.messages

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """All messages of a dump, taken again if the table changed meanwhile; raises Refused."""
        messages: list[bytes] = []
        for _ in range(_DUMP_ATTEMPTS):
            with self._lock:
                self._sequence += 1
                self._send([(self._sequence, Request(kind, NLM_F_DUMP, body))])
                messages, whole = self._read_dump(self._sequence)
            if whole:
                break
        # A table that never stands still is read as well as it can be: each entry is true by itself.
        return messages

    def batch(self, requests: Sequence[Request]) -> list[Reply]:
        """Send many requests at few system calls' cost; one reply each, in order."""
        replies: list[Reply] = []
        for start in range(0, len(requests), _CHUNK):
            with self._lock:
                replies.extend(self._chunk(requests[start : start + _CHUNK]))
        return replies

    def receive(self) -> list[bytes]:
        """Notifications that are waiting, without waiting for more; OSError ENOBUFS if some were lost."""
        messages: list[bytes] = []
        while True:
            try:
                datagram = self._socket.recv(1 << 16, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return messages
            messages.extend(split(datagram))

    def _chunk(self, requests: Sequence[Request]) -> list[Reply]:
        first = self._sequence + 1
        self._sequence += len(requests)
        last = self._sequence
        # Errors are always reported; success only where asked for. The last one closes the chunk.
        numbered = [(first + index, request) for index, request in enumerate(requests)]
        number, closing = numbered[-1]
        numbered[-1] = (number, closing._replace(flags=closing.flags | NLM_F_ACK))
        self._send(numbered)
        replies = [Reply(None, []) for _ in requests]
        while True:
            for message in split(self._receive()):
                _, kind, _, sequence, _ = HEADER.unpack_from(message)
                if not first <= sequence <= last:
                    continue  # left over from a request that timed out
                if kind != _NLMSG_ERROR:
                    replies[sequence - first].messages.append(message)
                    continue
                replies[sequence - first] = replies[sequence - first]._replace(error=refusal(message))
                if sequence == last:
                    return replies

    def _send(self, numbered: Sequence[tuple[int, Request]]) -> None:
        parts = bytearray()
        for sequence, request in numbered:
            length = HEADER.size + len(request.body)
            parts += HEADER.pack(length, request.kind, request.flags | NLM_F_REQUEST, sequence, 0)
            parts += request.body
            parts += bytes(-length % 4)
        self._socket.send(parts)

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(1 << 16)
        except BlockingIOError:
            raise Refused(110, f"the kernel did not answer within {_ANSWER_SECONDS} s") from None

    def _read_dump(self, sequence: int) -> tuple[list[bytes], bool]:
        messages: list[bytes] = []
        whole = True
        while True:
            for message in split(self._receive()):
                _, kind, flags, number, _ = HEADER.unpack_from(message)
                if number != sequence:
                    continue
                whole = whole and not flags & NLM_F_DUMP_INTR
                if kind not in (_NLMSG_DONE, _NLMSG_ERROR):
                    messages.append(message)
                    continue
                # A dump that fails on its way says so in its last message.
                error = refusal(message)
                if error is not None:
                    raise error
                if kind == _NLMSG_DONE:
                    return messages, whole


def _open(protocol: int, groups: int) -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    try:
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            opened.setsockopt(_SOL_NETLINK, option, 1)
        try:
            opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BYTES)
        except PermissionError:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", _ANSWER_SECONDS, 0))
        opened.bind((0, groups))
    except OSError:
        opened.close()
        raise
    return opened

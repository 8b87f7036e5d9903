"""BPF filters on the clsact qdisc, for kernels that have no tcx (before 6.6).

Layouts: linux/rtnetlink.h (tcmsg) and linux/pkt_cls.h; host byte order unless said otherwise.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct

from xdpflannel.host.netlink import explain
from xdpflannel.host.transport import (
    HEADER,
    NETLINK_ROUTE,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Refused,
    Request,
    Transport,
    attribute,
    attributes,
)

PRIORITY = 0x7846
"""Place of our filter among others on the hook ("xF"); also how it is told from theirs, with its name."""

_RTM_NEWQDISC, _RTM_DELQDISC, _RTM_GETQDISC = 36, 37, 38
_RTM_NEWTFILTER, _RTM_DELTFILTER, _RTM_GETTFILTER = 44, 45, 46
_TCMSG = struct.Struct("=BxxxiIII")
"""family, interface index, handle, parent, info."""
_CLSACT_HANDLE, _CLSACT_PARENT = 0xFFFF0000, 0xFFFFFFF1
_INGRESS, _EGRESS = 0xFFFFFFF2, 0xFFFFFFF3
_INFO = PRIORITY << 16 | socket.htons(0x0003)  # priority, ETH_P_ALL in network order
_TCA_KIND, _TCA_OPTIONS = 1, 2
_TCA_BPF_FD, _TCA_BPF_NAME, _TCA_BPF_FLAGS = 6, 7, 8
_DIRECT_ACTION = 1
_GONE = (errno.ENODEV, errno.ENOENT, errno.EINVAL)


class Clsact:
    """Sets, removes and lists our filters in one network namespace."""

    def __init__(self, netns: str | None = None) -> None:
        self._transport = Transport(NETLINK_ROUTE, netns)

    def close(self) -> None:
        """Give the socket back."""
        self._transport.close()

    def set_clsact(self, ifindex: int, program_fd: int, name: str, *, egress: bool = False) -> None:
        """Create the qdisc if it is missing, and create or replace our filter of that direction.

        While a qdisc comes (or goes) the interface drops what it sends, up to 0.1 s: qdisc_graft() takes its
        queues down. A filter is replaced without a gap, so a qdisc that is there stays.
        """
        qdisc = _TCMSG.pack(0, ifindex, _CLSACT_HANDLE, _CLSACT_PARENT, 0) + _text(_TCA_KIND, "clsact")
        options = attribute(_TCA_BPF_FD, struct.pack("=I", program_fd)) + _text(_TCA_BPF_NAME, name)
        options += attribute(_TCA_BPF_FLAGS, struct.pack("=I", _DIRECT_ACTION))
        body = _TCMSG.pack(0, ifindex, 1, _EGRESS if egress else _INGRESS, _INFO) + _text(_TCA_KIND, "bpf")
        body += attribute(_TCA_OPTIONS, options)
        try:
            self._make_qdisc(qdisc)
            self._transport.request(Request(_RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_REPLACE, body))
        except Refused as error:
            raise explain(f"attach {name} to interface {ifindex} by clsact", error) from error

    def _make_qdisc(self, body: bytes) -> None:
        try:
            self._transport.request(Request(_RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, body))
        except Refused as error:
            if error.errno != errno.EEXIST:
                raise

    def delete_clsact(self, ifindex: int, *, egress: bool = False) -> None:
        """Remove our filter, and the qdisc if nothing else is on it; a missing interface is fine."""
        body = _TCMSG.pack(0, ifindex, 1, _EGRESS if egress else _INGRESS, _INFO) + _text(_TCA_KIND, "bpf")
        try:
            self._transport.request(Request(_RTM_DELTFILTER, 0, body))
            if not self._filters(ifindex, _INGRESS) and not self._filters(ifindex, _EGRESS):
                qdisc = _TCMSG.pack(0, ifindex, _CLSACT_HANDLE, _CLSACT_PARENT, 0)
                self._transport.request(Request(_RTM_DELQDISC, 0, qdisc + _text(_TCA_KIND, "clsact")))
        except Refused as error:
            if error.errno not in _GONE:
                raise explain(f"detach from interface {ifindex}", error) from error

    def list_clsact(self) -> list[tuple[int, str]]:
        """Interfaces that carry a filter of ours, with its name."""
        found = []
        body = _TCMSG.pack(0, 0, 0, 0, 0)
        for message in self._transport.dump(_RTM_GETQDISC, body):
            ifindex = _TCMSG.unpack_from(message, HEADER.size)[1]
            kind = attributes(message, HEADER.size + _TCMSG.size).get(_TCA_KIND, b"")
            if kind.rstrip(b"\0") == b"clsact":
                names = self._filters(ifindex, _INGRESS) + self._filters(ifindex, _EGRESS)
                found += [(ifindex, name) for name in names if name]
        return found

    def _filters(self, ifindex: int, parent: int) -> list[str]:
        """Every filter of the hook: its name if it is ours, "" if it is another's."""
        body = _TCMSG.pack(0, ifindex, 0, parent, 0)
        messages: list[bytes] = []
        with contextlib.suppress(Refused):
            messages = self._transport.dump(_RTM_GETTFILTER, body)
        names = []
        for message in messages:
            info = _TCMSG.unpack_from(message, HEADER.size)[4]
            found = attributes(message, HEADER.size + _TCMSG.size)
            options = attributes(found.get(_TCA_OPTIONS, b""), 0)
            if not options:
                continue  # the head of a priority, not a filter
            name = options.get(_TCA_BPF_NAME, b"").rstrip(b"\0").decode(errors="replace")
            names.append(name if info >> 16 == PRIORITY and name.startswith("xf_") else "")
        return names


def _text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")

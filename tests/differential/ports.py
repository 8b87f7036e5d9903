"""Where frames go into a node and come out of it, with everything a receiver can learn about them."""

import os
import socket
import struct
from typing import Protocol

from attrs import frozen
from packets.netns import Namespace, Offloaded, Tap

_ETH_P_ALL = 3
_SOL_PACKET = 263
_PACKET_AUXDATA, _PACKET_VNET_HDR, _PACKET_IGNORE_OUTGOING = 8, 15, 23
_AUXDATA = struct.Struct("=IIIHHHH")
"""struct tpacket_auxdata: status, length, snapped, mac, net, VLAN tag, VLAN protocol (linux/if_packet.h)."""
_CHECKSUM_VERIFIED, _TAGGED = 1 << 7, 1 << 4
_ROOM = 1 << 17
_MERGE_NS = 20_000_000
_KINDS = ("host", "broadcast", "multicast", "otherhost", "outgoing")
"""PACKET_HOST and so on: whom the receiving stack takes the frame to be for."""


@frozen
class Seen:
    """One frame as it came out."""

    frame: bytes
    kind: str = ""
    """For whom the receiver takes it, one of `_KINDS`; empty on the wire, where nobody has looked yet."""
    gso_type: int = 0
    gso_size: int = 0
    checksum_at: tuple[int, int] | None = None
    """The checksum is still to be finished, from where and at which offset from there."""
    tag: int | None = None
    """VLAN tag beside the frame."""
    verified: bool = False
    """The receiver will not verify the checksum any more."""


class Port(Protocol):
    """One end of a node."""

    def send(self, frame: Offloaded) -> None:
        """Let the node receive a frame. OSError if the interface does not take it at all."""

    def pending(self) -> list[Seen]:
        """What the node has sent since the last call."""


class Wire:
    """The node's uplink: a TAP, so that native XDP, tc and the stack all take part."""

    def __init__(self, node: Namespace, name: str, *, merges: bool = False) -> None:
        """``merges``: with NAPI, so that GRO runs, and segments wait a while for each other."""
        self.tap = Tap(node, name, napi=merges)
        if merges:
            device = f"/sys/class/net/{name}"
            wait = f"echo 1 > {device}/napi_defer_hard_irqs; echo {_MERGE_NS} > {device}/gro_flush_timeout"
            # Only ip-netns shows the namespace's own /sys.
            Namespace.run_outside("ip", "netns", "exec", node.name, "sh", "-c", wait)

    def send(self, frame: Offloaded) -> None:
        os.write(self.tap.fd, frame.write())

    def pending(self) -> list[Seen]:
        return [
            Seen(
                found.frame,
                gso_type=found.gso_type,
                gso_size=found.gso_size,
                checksum_at=found.checksum_at,
            )
            for found in self.tap.pending()
        ]

    def close(self) -> None:
        self.tap.close()


class Pod:
    """A pod's end of a veth pair. The pod is silent: it has no address, and we hold its packet socket."""

    def __init__(self, pods: Namespace, name: str) -> None:
        def open_socket() -> socket.socket:
            opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
            for option in (_PACKET_VNET_HDR, _PACKET_AUXDATA, _PACKET_IGNORE_OUTGOING):
                opened.setsockopt(_SOL_PACKET, option, 1)
            opened.bind((name, _ETH_P_ALL))
            opened.setblocking(False)
            return opened

        self._socket = pods.inside(open_socket)

    def send(self, frame: Offloaded) -> None:
        self._socket.send(frame.write())

    def pending(self) -> list[Seen]:
        found = []
        while True:
            try:
                data, extra, _, sender = self._socket.recvmsg(_ROOM, 64)
            except BlockingIOError:
                return found
            found.append(_seen(Offloaded.read(data), extra[0][2], sender[2]))

    def close(self) -> None:
        self._socket.close()


def _seen(found: Offloaded, auxiliary: bytes, kind: int) -> Seen:
    status, _, _, _, _, tag, _ = _AUXDATA.unpack(auxiliary)
    return Seen(
        found.frame,
        kind=_KINDS[kind],
        gso_type=found.gso_type,
        gso_size=found.gso_size,
        checksum_at=found.checksum_at,
        tag=tag if status & _TAGGED else None,
        verified=bool(status & _CHECKSUM_VERIFIED),
    )

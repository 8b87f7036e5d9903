"""XDP features of devices, by the generic netlink family `netdev` (linux/netdev.h, kernel 6.3 and later)."""

from __future__ import annotations

import errno
import struct

from xdpflannel.host.transport import (
    HEADER,
    NETLINK_GENERIC,
    Refused,
    Request,
    Transport,
    attribute,
    attributes,
)

NDO_XMIT = 1 << 2
"""The device takes frames that XDP redirects to it (NETDEV_XDP_ACT_NDO_XMIT)."""

_GENL = struct.Struct("=BBxx")
"""command, version."""
_GENL_ID_CTRL = 16
_CTRL_CMD_GETFAMILY = 3
_CTRL_ATTR_FAMILY_ID, _CTRL_ATTR_FAMILY_NAME = 1, 2
_NETDEV_CMD_DEV_GET = 1
_NETDEV_A_DEV_IFINDEX, _NETDEV_A_DEV_XDP_FEATURES = 1, 3
_GONE = (errno.ENODEV, errno.ENOENT, errno.EOPNOTSUPP)


class FeatureReader:
    """Reads XDP features in one network namespace; opens its socket when first asked."""

    def __init__(self, netns: str | None = None) -> None:
        self._netns = netns
        self._transport: Transport | None = None
        self._family = 0

    def close(self) -> None:
        """Give the socket back."""
        if self._transport is not None:
            self._transport.close()

    def one(self, ifindex: int) -> int | None:
        """Feature bits of a device; None if it is gone or the kernel does not tell."""
        transport = self._open()
        if not self._family:
            return None
        body = _GENL.pack(_NETDEV_CMD_DEV_GET, 1)
        body += attribute(_NETDEV_A_DEV_IFINDEX, struct.pack("=I", ifindex))
        try:
            messages = transport.request(Request(self._family, 0, body))
        except Refused as error:
            if error.errno in _GONE:
                return None
            raise
        return dict(map(_read, messages)).get(ifindex)

    def every(self) -> dict[int, int]:
        """Feature bits of all devices by interface index; empty if the kernel does not tell."""
        transport = self._open()
        if not self._family:
            return {}
        return dict(map(_read, transport.dump(self._family, _GENL.pack(_NETDEV_CMD_DEV_GET, 1))))

    def _open(self) -> Transport:
        if self._transport is not None:
            return self._transport
        self._transport = Transport(NETLINK_GENERIC, self._netns)
        body = _GENL.pack(_CTRL_CMD_GETFAMILY, 1) + attribute(_CTRL_ATTR_FAMILY_NAME, b"netdev\0")
        try:
            messages = self._transport.request(Request(_GENL_ID_CTRL, 0, body))
        except Refused as error:
            if error.errno not in _GONE:
                raise
            return self._transport
        found = attributes(messages[0], HEADER.size + _GENL.size)
        self._family = struct.unpack("=H", found[_CTRL_ATTR_FAMILY_ID])[0]
        return self._transport


def _read(message: bytes) -> tuple[int, int]:
    found = attributes(message, HEADER.size + _GENL.size)
    ifindex = struct.unpack("=I", found[_NETDEV_A_DEV_IFINDEX])[0]
    bits = found.get(_NETDEV_A_DEV_XDP_FEATURES, bytes(8))
    return ifindex, struct.unpack("=Q", bits)[0]

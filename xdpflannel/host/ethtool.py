"""The driver of an interface, by the ethtool ioctl (linux/ethtool.h): every kernel has it, no tool needed."""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct

from xdpflannel.host.namespace import call_inside

_SIOCETHTOOL = 0x8946
_ETHTOOL_GDRVINFO = 0x03
_DRVINFO_BYTES = 196


def driver(ifname: str, netns: str | None = None) -> str:
    """Name of the driver ("virtio_net", "mlx5_core", "veth"); "" if the interface has none to tell."""
    with call_inside(netns, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as opened:
        info = ctypes.create_string_buffer(struct.pack("=I", _ETHTOOL_GDRVINFO), _DRVINFO_BYTES)
        request = struct.pack("16sP", ifname.encode(), ctypes.addressof(info))
        try:
            fcntl.ioctl(opened, _SIOCETHTOOL, request.ljust(40, b"\0"))
        except OSError:
            return ""
        return info.raw[4:36].split(b"\0")[0].decode(errors="replace")

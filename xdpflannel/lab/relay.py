"""Carries TCP connections from outside into a namespace: so is the lab's etcd reached at 127.0.0.1.

    python -m xdpflannel.lab.relay DESCRIPTOR NETNS ADDRESS PORT

takes connections on the listening socket DESCRIPTOR, which was opened outside, and continues them from inside
NETNS to ADDRESS:PORT.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys

from xdpflannel.host.namespace import enter

_PIECE = 1 << 16


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(_PIECE):
        writer.write(piece)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str, port: int) -> None:
    try:
        far_reader, far_writer = await asyncio.open_connection(address, port)
    except OSError:
        writer.close()
        return
    try:
        with contextlib.suppress(OSError):
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
    finally:
        far_writer.close()
        writer.close()


async def _serve(listener: socket.socket, address: str, port: int) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = await asyncio.start_server(
        lambda reader, writer: _carry(reader, writer, address, port), sock=listener
    )
    async with server:
        await stop.wait()


def main() -> None:
    """Run until SIGTERM."""
    descriptor, netns, address, port = sys.argv[1:5]
    listener = socket.socket(fileno=int(descriptor))
    enter(netns)
    asyncio.run(_serve(listener, address, int(port)))


if __name__ == "__main__":
    main()

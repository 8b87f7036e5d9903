"""Runs inside pods: answers connections, or makes a list of them and tells how each one went."""

import asyncio
import contextlib
import json
import random
import socket
import sys

PORT = 17171
PATIENCE = 4.0
TRIES = 4
AT_ONCE = 40


async def answer(reader, writer):
    """Return each message with who answers and whom it sees."""
    me, peer = (writer.get_extra_info(name)[0] for name in ("sockname", "peername"))
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while length := await reader.readline():
            data = await reader.readexactly(int(length))
            writer.write(f"{me} {peer}\n".encode() + data)
            await writer.drain()
    writer.close()


class Datagrams(asyncio.DatagramProtocol):
    """The same for UDP."""

    def __init__(self, me):
        self._me = me

    def connection_made(self, transport):
        self._transport = transport

    def datagram_received(self, data, peer):
        self._transport.sendto(f"{self._me} {peer[0]}\n".encode() + data, peer)


async def serve(ip):
    server = await asyncio.start_server(answer, ip, PORT, backlog=256)
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(lambda: Datagrams(ip), local_addr=(ip, PORT))
    print("ready", flush=True)
    await server.serve_forever()


class Tcp:
    """One connection."""

    async def open(self, wanted):
        chosen = {"local_addr": ("0.0.0.0", wanted["from_port"])} if wanted.get("from_port") else {}
        opening = asyncio.open_connection(wanted["ip"], wanted["port"], **chosen)
        self._reader, self._writer = await asyncio.wait_for(opening, PATIENCE)

    async def exchange(self, data):
        self._writer.write(f"{len(data)}\n".encode() + data)
        return await asyncio.wait_for(self._read(len(data)), PATIENCE)

    async def _read(self, length):
        who = await self._reader.readline()
        if not who:
            raise ConnectionResetError("closed by the other side")
        return who + await self._reader.readexactly(length)

    def close(self):
        self._writer.close()


class Udp:
    """One socket that talks to one address; what is lost is sent again."""

    async def open(self, wanted):
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(("", wanted.get("from_port", 0)))
        self._socket.connect((wanted["ip"], wanted["port"]))

    async def exchange(self, data):
        loop = asyncio.get_running_loop()
        data = data[:1200]
        for _ in range(TRIES):
            await loop.sock_sendall(self._socket, data)
            with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
                while True:
                    got = await asyncio.wait_for(loop.sock_recv(self._socket, 65535), PATIENCE / TRIES)
                    if got.endswith(data):
                        return got
        raise TimeoutError

    def close(self):
        self._socket.close()


async def talk(wanted, turn):
    """One connection of the list: {"tcp", "ip", "port", "sizes", "pause"}."""
    chance = random.Random(wanted["seed"])
    async with turn:
        way = Tcp() if wanted["tcp"] else Udp()
        seen = []
        try:
            await way.open(wanted)
            for size in wanted["sizes"]:
                data = chance.randbytes(size)
                who, _, back = (await way.exchange(data)).partition(b"\n")
                if back[-len(data) :] != data[: len(back)] or not back:
                    return {"outcome": "other bytes", "seen": seen}
                seen.append(who.decode().split())
                await asyncio.sleep(wanted["pause"])
        except ConnectionRefusedError:
            return {"outcome": "refused", "seen": seen}
        except TimeoutError:
            return {"outcome": "no answer", "seen": seen}
        except (ConnectionResetError, asyncio.IncompleteReadError, BrokenPipeError):
            return {"outcome": "cut", "seen": seen}
        except OSError as error:
            return {"outcome": f"errno {error.errno}", "seen": seen}
        finally:
            with contextlib.suppress(AttributeError):
                way.close()
    return {"outcome": "ok", "seen": seen}


async def visit(wanted):
    turn = asyncio.Semaphore(AT_ONCE)
    print(json.dumps(await asyncio.gather(*(talk(one, turn) for one in wanted))))


def main():
    if sys.argv[1] == "serve":
        asyncio.run(serve(sys.argv[2]))
    else:
        asyncio.run(visit(json.load(sys.stdin)))


main()

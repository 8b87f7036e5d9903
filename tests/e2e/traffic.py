"""Runs inside a pod: `traffic.py serve IP` answers, `traffic.py visit IP…` asks each and checks every byte.

TCP: sends N random bytes and gets their SHA-256, then fetches as many and compares theirs. UDP: every
datagram must come back as it went; sizes from 1 byte to far beyond the MTU, and N bytes in all. Standard
library only.
"""

import argparse
import hashlib
import json
import random
import socket
import sys
import threading

PORT = 17171  # none that tshark takes for another protocol
DEADLINE = 20.0
WINDOW = 16
HEAD = b"this is noise of xdpflannel's tests: "
"""So that tshark does not take noise for a protocol that it guesses from its first bytes."""
SIZES = (1, 2, 63, 512, 1400, 1421, 1422, 1423, 1472, 1473, 2900, 9000, 60000)


def noise(seed, length):
    return (HEAD + random.Random(seed).randbytes(length))[:length]


def read(connection, length):
    data = bytearray()
    while len(data) < length:
        piece = connection.recv(min(1 << 20, length - len(data)))
        if not piece:
            raise ConnectionError(f"ended after {len(data)} of {length} bytes")
        data += piece
    return bytes(data)


def serve(ip):
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    datagrams.bind((ip, PORT))

    def echo():
        while True:
            data, sender = datagrams.recvfrom(65535)
            datagrams.sendto(data, sender)

    def answer(connection):
        with connection:
            connection.settimeout(DEADLINE)
            length, seed = json.loads(read(connection, 64))
            connection.sendall(hashlib.sha256(read(connection, length)).hexdigest().encode())
            connection.sendall(noise(seed, length))

    listener = socket.create_server((ip, PORT), backlog=64)
    threading.Thread(target=echo, daemon=True).start()
    print("ready", flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def stream(ip, length):
    seed = random.getrandbits(32)
    data = noise(seed + 1, length)
    with socket.create_connection((ip, PORT), timeout=DEADLINE) as connection:
        connection.sendall(json.dumps([length, seed]).encode().ljust(64))
        connection.sendall(data)
        digest = read(connection, 64).decode()
        if digest != hashlib.sha256(data).hexdigest():
            raise ValueError(f"{ip} received other bytes than were sent")
        if read(connection, length) != noise(seed, length):
            raise ValueError(f"other bytes than {ip} sent were received")


def datagrams(ip, length, sizes):
    """Send all, a window at a time; UDP may lose under load, so what is missing is sent again, thrice."""
    wanted = [*sizes, *[1400] * (length // 1400)]
    lost = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        sender.connect((ip, PORT))
        for start in range(0, len(wanted), WINDOW):
            missing = {noise(random.getrandbits(32), size) for size in wanted[start : start + WINDOW]}
            for _ in range(4):
                missing = exchange(sender, missing)
                if not missing:
                    break
                lost += len(missing)
            if missing:
                raise TimeoutError(f"{ip} did not return datagrams of {sorted(map(len, missing))} bytes")
    return lost


def exchange(sender, batch):
    for data in batch:
        sender.send(data)
    missing = set(batch)
    sender.settimeout(1.0)
    while missing:
        try:
            answer = sender.recv(65535)
        except TimeoutError:
            break
        missing.discard(answer)
    return missing


def visit(ips, length, sizes):
    lost = 0
    for ip in ips:
        stream(ip, length)
        lost += datagrams(ip, length, sizes)
    print(json.dumps({"visited": len(ips), "resent": lost}))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=("serve", "visit"))
    parser.add_argument("ips", nargs="+")
    parser.add_argument("--bytes", type=int, default=10_000_000)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    options = parser.parse_args()
    if options.action == "serve":
        serve(options.ips[0])
    try:
        visit(options.ips, options.bytes, options.sizes)
    except (OSError, ValueError) as error:
        sys.exit(f"{options.ips}: {error}")


main()

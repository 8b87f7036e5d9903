"""Runs inside a pod: sends datagrams in aggregates (UDP_SEGMENT) to an echo server, checks what returns."""

import random
import socket
import sys

PORT = 17171
UDP_SEGMENT = 103
SEGMENT = 1000
COUNT = 20
ROUNDS = 5


def main():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, SEGMENT)
        sender.connect((sys.argv[1], PORT))
        sender.settimeout(10.0)
        for number in range(ROUNDS):
            pieces = {random.Random(number * COUNT + piece).randbytes(SEGMENT) for piece in range(COUNT)}
            sender.send(b"".join(pieces))
            missing = set(pieces)
            while missing:
                got = sender.recv(65535)
                if got not in pieces:
                    sys.exit(f"{len(got)} bytes came back that were not sent")
                missing.discard(got)


main()

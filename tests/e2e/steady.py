"""Runs inside a pod: `steady.py IP PORT` sends numbered datagrams to an echo at a steady rate and counts.

Prints how many went out after every hundred. Ends when standard input does: waits for what is under way,
then prints one line of JSON. Standard library only.
"""

import json
import select
import socket
import struct
import sys
import time

INTERVAL = 0.002
PATIENCE = 2.0
NUMBER = struct.Struct("!Q")
BATCH = 100


def main():
    stream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stream.connect((sys.argv[1], int(sys.argv[2])))
    stream.setblocking(False)
    sent, missing, refused = 0, {}, 0
    twice = 0
    began = time.monotonic()
    deadline = None
    while deadline is None or (missing and time.monotonic() < deadline):
        due = began + sent * INTERVAL if deadline is None else deadline
        wait = max(0.0, due - time.monotonic())
        watched = [stream] if deadline else [stream, sys.stdin]
        readable = select.select(watched, [], [], wait)[0]
        if stream in readable:
            try:
                number = NUMBER.unpack(stream.recv(64))[0]
            except OSError:
                refused += 1  # an ICMP error
                continue
            twice += missing.pop(number, None) is None
        if sys.stdin in readable:
            deadline = time.monotonic() + PATIENCE
        if deadline is None and time.monotonic() >= due:
            missing[sent] = time.monotonic()
            try:
                stream.send(NUMBER.pack(sent))
            except OSError:
                refused += 1
            sent += 1
            if sent % BATCH == 0:
                print(sent, flush=True)
    lost = sorted(missing)
    print(json.dumps({"sent": sent, "lost": lost, "twice": twice, "refused": refused}))


main()

"""What scripts/demo.py sends between pods, and how it runs commands."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from xdpflannel.host.namespace import call_inside

BIN = Path(sys.executable).parent
TRANSFER = 10 * 1000 * 1000
"""Bytes of one TCP transfer, each way."""
MEASURE = 1
"""Seconds of one sample."""

Pod = dict[str, Any]
"""As ``lab up -o json`` describes it: ``netns`` and ``ip``."""

console = Console(highlight=False, emoji=False)


class DemoError(Exception):
    """The story cannot go on."""


def shell(words: list[str], *, netns: str | None = None, show: bool = False, seconds: float = 60) -> str:
    """Run a command, in a network namespace if named, and return its stdout; DemoError with its stderr."""
    if show:
        console.print(f"\n[dim]$ {shlex.join(words)}{f'   # on {netns}' if netns else ''}[/dim]")
    # Not `ip netns exec`: it hides the bpf file system.
    inside = ["nsenter", f"--net=/run/netns/{netns}", "--"] if netns else []
    program = [str(BIN / words[0]) if words[0] == "xdpflannel" else words[0], *words[1:]]
    # In a session of its own: Ctrl-C is for us, who clean up in order.
    with subprocess.Popen(
        [*inside, *program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        except BaseException:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            raise
    if process.returncode:
        raise DemoError(
            f"`{shlex.join(words)}` ended with {process.returncode}\n{err.strip() or out.strip()}"
        )
    if show:
        console.print(out.rstrip(), markup=False, soft_wrap=True)
    return out


def ping(source: Pod, target: Pod) -> str:
    """Return the average round trip in milliseconds; DemoError if a packet is lost."""
    out = shell(["ping", "-c", "5", "-i", "0.05", "-W", "2", target["ip"]], netns=source["netns"])
    if " 0% packet loss" not in out:
        raise DemoError(f"ping to {target['ip']} lost packets:\n{out}")
    found = re.search(r"= [\d.]+/([\d.]+)/", out)
    return f"{found[1]} ms" if found else "?"


def send_all(connection: socket.socket, payload: bytes) -> None:
    """Send and say that this was all."""
    connection.sendall(payload)
    connection.shutdown(socket.SHUT_WR)


def transfer(source: Pod, target: Pod) -> str:
    """Send random bytes over TCP both ways at once, compare checksums; return the rate in words."""
    data = [os.urandom(TRANSFER), os.urandom(TRANSFER)]
    server = call_inside(target["netns"], lambda: socket.create_server((target["ip"], 0)))
    got: dict[str, str] = {}

    def exchange(name: str, connection: socket.socket, payload: bytes) -> None:
        with connection:
            connection.settimeout(20)
            sender = threading.Thread(target=send_all, args=(connection, payload))
            sender.start()
            digest = hashlib.sha256()
            while piece := connection.recv(1 << 18):
                digest.update(piece)
            sender.join()
            got[name] = digest.hexdigest()

    def serve() -> None:
        with server:
            server.settimeout(20)
            exchange("server", server.accept()[0], data[1])

    began = time.monotonic()
    thread = threading.Thread(target=serve)
    thread.start()
    where = server.getsockname()
    client = call_inside(source["netns"], lambda: socket.create_connection(where, timeout=20))
    exchange("client", client, data[0])
    thread.join()
    seconds = time.monotonic() - began
    expected = {"server": hashlib.sha256(data[0]).hexdigest(), "client": hashlib.sha256(data[1]).hexdigest()}
    if got != expected:
        raise DemoError(f"what arrived at {target['ip']} is not what was sent")
    return f"2x {TRANSFER / 1e6:.0f} MB, checksums right, {2 * TRANSFER * 8 / seconds / 1e9:.1f} Gbit/s"


@contextmanager
def server_in(netns: str, words: list[str]) -> Iterator[None]:
    """A server that is ended with the block."""
    inside = ["nsenter", f"--net=/run/netns/{netns}", "--"]
    with subprocess.Popen(
        [*inside, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            yield
        finally:
            process.terminate()


def wait_for_port(netns: str, ip: str, port: int) -> None:
    """Return once somebody listens there."""
    deadline = time.monotonic() + 5
    while True:
        try:
            call_inside(netns, lambda: socket.create_connection((ip, port), timeout=1)).close()
        except OSError:
            if time.monotonic() > deadline:
                raise DemoError(f"nobody listens on {ip}:{port}") from None
            time.sleep(0.02)
        else:
            return


def iperf(source: Pod, target: Pod, *options: str) -> dict[str, Any]:
    """Run iperf3 between two pods and return the end of its report."""
    with server_in(target["netns"], ["iperf3", "-s", "-B", target["ip"]]):
        wait_for_port(target["netns"], target["ip"], 5201)
        command = ["iperf3", "-J", "-c", target["ip"], "-t", str(MEASURE), "-O", "0.3", *options]
        for _ in range(3):
            document = json.loads(shell(command, netns=source["netns"]))
            if "error" not in document:
                return dict(document["end"])
            time.sleep(0.1)  # the probe above is still being let go
        raise DemoError(f"iperf3 to {target['ip']}: {document['error']}")


def tcp_stream(source: Pod, target: Pod) -> float:
    """Gbit/s of one TCP stream."""
    return float(iperf(source, target)["sum_received"]["bits_per_second"]) / 1e9


def udp_small(source: Pod, target: Pod) -> float:
    """Thousand 64-byte datagrams a second that arrived."""
    end = iperf(source, target, "-u", "-b", "0", "-l", "64")["sum"]
    return float((end["packets"] - end["lost_packets"]) / end["seconds"] / 1e3)


def round_trip(source: Pod, target: Pod) -> float:
    """Median round trip of a small UDP message, in µs."""
    where = ["-i", target["ip"], "-p", "11111"]
    with server_in(target["netns"], ["sockperf", "server", *where]):
        time.sleep(0.3)  # UDP: nothing to connect to
        options = ["--full-rtt", "-t", str(MEASURE), "-m", "64"]
        out = shell(["sockperf", "ping-pong", *where, *options], netns=source["netns"])
    found = re.search(r"percentile 50\.0+ =\s*([\d.]+)", out)
    if found is None:
        raise DemoError(f"sockperf said no median:\n{out}")
    return float(found[1])

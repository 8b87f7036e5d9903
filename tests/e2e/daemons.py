"""xdpflanneld started by hand in a node's namespace, and what it says."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import struct
import subprocess
from pathlib import Path

from attrs import frozen
from e2e.clusters import until

from xdpflannel.dataplane import probe
from xdpflannel.host.namespace import call_inside
from xdpflannel.lab import nodes, state

TOP = Path(__file__).resolve().parents[2]


@frozen
class Ended:
    """How a program ended and what it wrote."""

    status: int
    out: str
    said: str

    @property
    def message(self):
        """The lines for people: what follows the log."""
        return "\n".join(line for line in self.said.splitlines() if not line.startswith("{"))


def environment(**variables):
    """What a shell of root has: no flags by variables, no proxies."""
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "PYTHONPATH": str(TOP)} | variables


def command(cluster, number, *flags, wrap=(), program=None):
    """The recorded command of a node's daemon; `flags` take the place of those of the same name."""
    known = state.load(cluster.name).node(number).command[len(nodes.default_daemon()) :]
    named = {flag.partition("=")[0] for flag in flags}
    known = [flag for flag in known if flag.partition("=")[0] not in named]
    netns = f"--net=/run/netns/{cluster.node(number).netns}"
    program = program or nodes.default_daemon()
    return ["nsenter", netns, "--", *wrap, *program, *known, "--log-format=json", *flags]


def ends(cluster, number, *flags, wrap=(), program=None, seconds=30.0, **variables):
    """Run a node's daemon, which has to end by itself; never by a traceback."""
    done = subprocess.run(
        command(cluster, number, *flags, wrap=wrap, program=program),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        env=environment(**variables),
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Ended(done.returncode, done.stdout, done.stderr)


def xdpflannel(netns, *arguments):
    """Run `xdpflannel` in a node's namespace."""
    program = str(Path(nodes.default_daemon()[0]).with_name("xdpflannel"))
    done = subprocess.run(
        ["nsenter", f"--net=/run/netns/{netns}", "--", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment(),
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Ended(done.returncode, done.stdout, done.stderr)


class Daemon:
    """A daemon that runs."""

    def __init__(self, process, log):
        self.process = process
        self.log = log

    def events(self, name):
        """Log events of that name so far."""
        lines = [line for line in self.log.read_text().splitlines() if line.startswith("{")]
        # The last line may be half written.
        found = [json.loads(line) for line in lines if line.endswith("}")]
        return [event for event in found if event["event"] == name]

    def says(self, name, *, count=1, seconds=20.0):
        """Wait for an event."""
        return until(
            lambda: (found := self.events(name))[count - 1 :] and found,
            f"{name} in\n{self.log.read_text()}",
            seconds=seconds,
        )

    def end(self, number=signal.SIGTERM):
        """Signal it and return its exit status."""
        self.process.send_signal(number)
        return self.process.wait(15)


@contextlib.contextmanager
def daemon(cluster, number, log, *flags, wrap=(), program=None, **variables):
    """A node's daemon, running; killed at the end if it is still there."""
    with Path(log).open("w") as out:
        process = subprocess.Popen(
            command(cluster, number, *flags, wrap=wrap, program=program),
            stdout=out,
            stderr=out,
            env=environment(**variables),
        )
    try:
        yield Daemon(process, Path(log))
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in Path(log).read_text()


def put_config(cluster, prefix, text):
    """Store a network configuration under a prefix."""
    etcdctl(cluster, "put", f"{prefix}/config", text)


def etcdctl(cluster, *arguments):
    """Run etcdctl on the lab's etcd."""
    done = subprocess.run(
        ["etcdctl", "--endpoints", cluster.etcd, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"], "ETCDCTL_API": "3"},
    )
    return done.stdout


def continuing():
    """A tc program of nobody's: `return TCX_NEXT` (TC_ACT_UNSPEC)."""
    return probe._load(struct.pack("=BBhi", 0xB7, 0, 0, -1) + probe._EXIT)


class _Query(ctypes.Structure):
    """`struct bpf_prog_query_opts` of libbpf."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("query_flags", ctypes.c_uint32),
        ("attach_flags", ctypes.c_uint32),
        ("prog_ids", ctypes.c_void_p),
        ("prog_cnt", ctypes.c_uint32),
        ("prog_attach_flags", ctypes.c_void_p),
    )


def _tcx(ifindex, hook):
    ids = (ctypes.c_uint32 * 64)()
    query = _Query(sz=ctypes.sizeof(_Query), prog_ids=ctypes.addressof(ids), prog_cnt=len(ids))
    result = ctypes.CDLL("libbpf.so.1").bpf_prog_query_opts(ifindex, hook, ctypes.byref(query))
    assert result == 0, os.strerror(-result)
    return list(ids[: query.prog_cnt])


def programs(netns):
    """Programs attached in a namespace, as (hook, interface index, program id).

    bpftool tells of XDP and clsact; those of Debian 12 and Ubuntu 22.04 know nothing of tcx.
    """
    done = subprocess.run(
        ["nsenter", f"--net=/run/netns/{netns}", "bpftool", "-j", "net"],
        capture_output=True,
        text=True,
        check=True,
    )
    (told,) = json.loads(done.stdout)
    found = [("xdp", it["ifindex"], it["id"]) for it in told["xdp"]]
    found += [(it["kind"], it["ifindex"], it.get("id", it.get("prog_id"))) for it in told["tc"]]
    found = [it for it in found if not it[0].startswith("tcx")]

    def ask():
        for ifindex, _ in socket.if_nameindex():
            for name, hook in (("tcx/ingress", 46), ("tcx/egress", 47)):
                yield from ((name, ifindex, number) for number in _tcx(ifindex, hook))

    return sorted(found + call_inside(netns, lambda: list(ask())))

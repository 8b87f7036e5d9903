"""What end-to-end tests do with a lab: run things in pods, count, poll."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path

from xdpflannel import lab
from xdpflannel.dataplane import pins
from xdpflannel.dataplane.maps import Tables
from xdpflannel.dataplane.objects import Link, Map, Program
from xdpflannel.model.entries import Counter
from xdpflannel.model.verdict import VerdictClass

TRAFFIC = Path(__file__).with_name("traffic.py")
STEADY = Path(__file__).with_name("steady.py")
DEADLINE = 20.0


def until(condition, what, *, seconds=DEADLINE):
    """Poll until ``condition()`` is true and return it; an assertion says what never came."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.002)
    return found


def run_in(netns, *command, timeout=120.0):
    """Run in a namespace; an assertion shows what it said if it fails."""
    done = subprocess.run(
        ["nsenter", f"--net=/run/netns/{netns}", *map(str, command)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"{netns}: {' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


def pods(cluster):
    return [pod for node in cluster.nodes for pod in node.pods]


@contextlib.contextmanager
def serving(cluster):
    """Every pod answers TCP and UDP."""
    servers = [
        subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{pod.netns}", sys.executable, TRAFFIC, "serve", str(pod.ip)],
            stdout=subprocess.PIPE,
        )
        for pod in pods(cluster)
    ]
    try:
        for server in servers:
            assert server.stdout.readline() == b"ready\n"
        yield
    finally:
        for server in servers:
            server.kill()
            server.wait()
            server.stdout.close()


def visit(pod, targets, *, size=10_000_000, sizes=None):
    """One pod talks to others; returns how many datagrams had to be sent again."""
    command = [sys.executable, TRAFFIC, "visit", *(str(target.ip) for target in targets), "--bytes", size]
    if sizes is not None:
        command += ["--sizes", *sizes]
    return json.loads(run_in(pod.netns, *command))["resent"]


def ping(pod, target, *, count=1, size=56, options=()):
    run_in(pod.netns, "ping", "-n", "-q", "-c", count, "-i", 0.002, "-W", 2, "-s", size, *options, target)


def counters(cluster):
    """Packets by (node number, program label, verdict), of nodes with a fast path."""
    found = {}
    for node in cluster.nodes:
        if node.kind is lab.NodeKind.KERNEL:
            continue
        with Tables.open(pins.find(node.netns)) as tables:
            for (program, verdict), counter in tables.counters().items():
                found[node.number, program.label, verdict] = counter
    return found


def growth(before, after):
    zero = Counter(0, 0)
    return {
        key: after[key].packets - before.get(key, zero).packets
        for key in after
        if after[key].packets != before.get(key, zero).packets
    }


def by_class(grown):
    totals = dict.fromkeys(VerdictClass, 0)
    for (_, _, verdict), packets in grown.items():
        totals[verdict.kind] += packets
    return totals


def share(grown):
    totals = by_class(grown)
    return totals[VerdictClass.FAST] / max(1, totals[VerdictClass.FAST] + totals[VerdictClass.SLOW])


def device_packets(node):
    """Packets that went through flannel.1: received, sent."""
    links = json.loads(run_in(node.netns, "ip", "-j", "-s", "link", "show", "flannel.1"))
    stats = links[0]["stats64"]
    return stats["rx"]["packets"], stats["tx"]["packets"]


def warm(cluster):
    """Let every pod be learned and every next hop be resolved: all pairs talk once, until none is slow."""
    everyone = pods(cluster)
    expected = {node.number: len(node.pods) for node in cluster.nodes}
    fast = [node for node in cluster.nodes if node.kind is not lab.NodeKind.KERNEL]

    def settled():
        for node in fast:
            with Tables.open(pins.find(node.netns)) as tables:
                routes = tables.routes()
                resolved = all(route.next_hop_mac for route in routes.values())
                if len(tables.pods()) < expected[node.number] or len(routes) < len(cluster.nodes) - 1:
                    return False
                if not resolved:
                    return False
        return True

    for pod in everyone:
        for target in everyone:
            if pod is not target:
                ping(pod, target.ip)
    until(settled, "every pod learned and every next hop resolved")


class Steady:
    """Datagrams that go to and fro at 500 a second."""

    def __init__(self, process):
        self._process = process
        self._sent = 0

    def go_on(self, packets=300):
        """Return once so many more have gone out."""
        goal = self._sent + packets
        while self._sent < goal:
            line = self._process.stdout.readline()
            assert line, "the sender ended"
            self._sent = int(line)

    def end(self):
        """What became of all: {"sent", "lost": numbers, "twice", "refused"}."""
        return json.loads(self._process.communicate()[0].splitlines()[-1])


@contextlib.contextmanager
def steady(pod, target):
    """Traffic from one pod to another that serves."""
    command = ["nsenter", f"--net=/run/netns/{pod.netns}"]
    process = subprocess.Popen(
        [*command, sys.executable, STEADY, str(target.ip), "17171"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Steady(process)
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def unharmed(cluster, *, share_of_fast=0.95):
    """Traffic between the nodes' first pods, of which nothing may be lost, and nearly all be fast."""
    first, second = (node.pods[0] for node in cluster.nodes)
    with serving(cluster):
        before = counters(cluster)
        with steady(first, second) as traffic:
            traffic.go_on(100)
            yield traffic
            traffic.go_on(100)
            result = traffic.end()
        grown = growth(before, counters(cluster))
    assert result["lost"] == [], f"{len(result['lost'])} of {result['sent']} lost: {result['lost'][:10]}"
    assert result["twice"] == result["refused"] == 0, result
    assert share(grown) >= share_of_fast, grown
    assert by_class(grown)[VerdictClass.DROP] == 0, grown


def facts(netns):
    """Kernel ids of everything pinned, by kind and name; "runs": of the program behind each link."""
    where = pins.Pins(pins.find(netns))
    found = {"maps": {}, "programs": {}, "links": {}, "runs": {}}
    for path in where.maps.iterdir():
        with Map.from_pin(path) as opened:
            found["maps"][path.name] = opened.facts.id
    for path in where.programs.iterdir():
        with Program.from_pin(path) as opened:
            found["programs"][path.name] = opened.facts.id
    for path in where.links.iterdir():
        with Link.from_pin(path) as opened:
            found["links"][path.name] = opened.facts.id
            found["runs"][path.name] = opened.facts.program_id
    return found


def ready(cluster, number):
    return until(
        lambda: (found := lab.node_state(cluster, number)) and found.ready and found, f"node {number} ready"
    )

"""Kernels before 6.6 have no tcx: filters on the clsact qdisc do the same.

The real agent runs in a lab; all that differs is what its probe says about this kernel.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys

import pytest
from e2e.clusters import counters, growth, pods, ready, run_in, serving, share, unharmed, until, visit, warm
from e2e.daemons import continuing, programs, xdpflannel

from xdpflannel import lab
from xdpflannel.dataplane import pins
from xdpflannel.dataplane.maps import Tables
from xdpflannel.errors import LabError

DAEMON = """
from attrs import evolve
from xdpflannel.agent import daemon
from xdpflannel.cli.daemon import main
probe = daemon.features
daemon.features = lambda: evolve(probe(), tcx=False)
main()
"""
_numbers = itertools.count(1)


@pytest.fixture
def cluster():
    """Two nodes on a kernel without tcx."""
    name = f"c{os.getpid() % 10000}-{next(_numbers)}"
    try:
        built = lab.up(lab.LabSpec(name=name, nodes=2, pods=2), daemon=(sys.executable, "-c", DAEMON))
        warm(built)
        yield built
    finally:
        with contextlib.suppress(LabError):
            lab.down(name)


@pytest.fixture
def foreign_program(cluster):
    """Somebody else's pinned tc program, which leaves every packet to the next."""
    path = pins.BPFFS / f"{cluster.name}-foreign"
    with continuing() as program:
        program.pin(path)
    yield path
    path.unlink()


def hooks(netns):
    return sorted((hook, ifindex) for hook, ifindex, _ in programs(netns))


def qdiscs(netns):
    """Interfaces with a clsact qdisc."""
    lines = run_in(netns, "tc", "qdisc", "show").splitlines()
    return sorted(line.split()[4] for line in lines if line.startswith("qdisc clsact"))


def test_pods_talk_through_it(cluster):
    everyone = pods(cluster)
    for node in cluster.nodes:
        assert [hook for hook, _ in hooks(node.netns)] == ["clsact/ingress"] * 3
        assert qdiscs(node.netns) == ["eth0", "veth1", "veth2"]
        assert {it.hook for it in lab.node_state(cluster, node.number).attachments} == {"clsact"}
    before = counters(cluster)
    with serving(cluster):
        for pod in everyone:
            visit(pod, [it for it in everyone if it is not pod], size=3_000_000)
    assert share(growth(before, counters(cluster))) > 0.95


@pytest.mark.parametrize("kill", [False, True], ids=["SIGTERM", "SIGKILL"])
def test_a_restart_replaces_the_programs(cluster, kill):
    """In place: nothing is lost, and nothing is attached twice."""
    netns = cluster.node(1).netns
    before = programs(netns)
    with unharmed(cluster) as traffic:
        lab.stop_node(cluster, 1, kill=kill)
        traffic.go_on(300)
        assert programs(netns) == before
        lab.start_node(cluster, 1)
        traffic.go_on(300)
    after = programs(netns)
    assert [it[:2] for it in after] == [it[:2] for it in before]
    assert not {it[2] for it in after} & {it[2] for it in before}


def test_pods_come_and_go(cluster):
    netns = cluster.node(1).netns
    pod = lab.add_pod(cluster, 1)
    with Tables.open(pins.find(netns)) as tables:
        until(lambda: pod.ip in tables.pods(), "the pod in the map")
        until(lambda: qdiscs(netns) == ["eth0", "veth1", "veth2", "veth3"], "its filter")
        lab.remove_pod(cluster, pod.netns)
        until(lambda: pod.ip not in tables.pods(), "the pod out of the map")
    until(lambda: len(lab.node_state(cluster, 1).attachments) == 3, "its attachment forgotten")


def test_a_filter_that_somebody_removes_comes_back(cluster):
    netns = cluster.node(1).netns
    before = hooks(netns)
    # Without traffic: while a clsact qdisc comes or goes the kernel drops what the interface sends.
    run_in(netns, "tc", "qdisc", "del", "dev", "eth0", "clsact")
    assert hooks(netns) != before
    until(lambda: hooks(netns) == before, "the filter", seconds=45)
    assert ready(cluster, 1)
    with unharmed(cluster):
        pass


def test_uninstall(cluster, foreign_program):
    """Filters belong to interfaces, not to pins: they are taken off one by one, foreign ones stay."""
    node = cluster.node(1)
    foreign = ("prio", "7", "handle", "0x7", "bpf", "da", "pinned", foreign_program)
    run_in(node.netns, "tc", "filter", "add", "dev", "eth0", "ingress", *foreign)
    lab.stop_node(cluster, 1)
    planned = xdpflannel(node.netns, "uninstall", "--instance", node.netns, "--dry-run").out
    assert planned.count("clsact filter xf_") == 3
    assert len(hooks(node.netns)) == 4
    assert xdpflannel(node.netns, "uninstall", "--instance", node.netns).out == planned
    assert len(hooks(node.netns)) == 1
    assert qdiscs(node.netns) == ["eth0"]
    assert "pref 7 " in run_in(node.netns, "tc", "filter", "show", "dev", "eth0", "ingress")
    lab.start_node(cluster, 1)
    assert len(hooks(node.netns)) == 4

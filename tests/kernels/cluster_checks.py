"""Two nodes end to end, in a machine of `scripts/test-kernels` (not collected elsewhere: see its file name).

Small amounts of data: the machine is emulated, and 20 times slower than the one around it.
"""

import itertools
import sys
from functools import partial
from pathlib import Path

import pytest
from attrs import evolve
from e2e.clusters import (
    by_class,
    counters,
    growth,
    ping,
    pods,
    run_in,
    serving,
    share,
    until,
    visit,
    warm,
)
from kernels.facts import virtio_cards

from xdpflannel import lab
from xdpflannel.dataplane import pins, probe
from xdpflannel.dataplane.maps import Tables
from xdpflannel.host.features import FeatureReader
from xdpflannel.lab import underlay
from xdpflannel.lab.shell import ip
from xdpflannel.model.verdict import VerdictClass

SEGMENTS = Path(__file__).with_name("segments.py")
FITTING = (1, 63, 1421, 1422)
TOO_LONG = (1423, 2900, 9000)
READY_SECONDS = 180.0
CARDS = 2

_numbers = itertools.count(1)

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def new_lab():
    """Build labs that are taken down afterwards."""
    built = []

    def build(**options):
        name = f"kz{next(_numbers)}"
        spec = lab.LabSpec(name=name, nodes=2, pods=1, **options)
        built.append(name)
        return lab.up(spec, ready_seconds=READY_SECONDS)

    yield build
    for name in built:
        lab.down(name)


@pytest.fixture
def virtio_underlay(monkeypatch):
    """Labs of two nodes get the machine's network cards as their uplinks, instead of a veth pair."""
    cards = until(lambda: len(found := virtio_cards()) == CARDS and found, "two network cards")

    def move(spec):
        for card, number in zip(cards, spec.numbers, strict=True):
            yield f"link set {card} netns {spec.node_netns(number)} name eth0 mtu {spec.mtu}"

    monkeypatch.setattr(underlay, "_direct", lambda _: ())
    build = underlay.build

    def build_with_cards(spec):
        ip(move(spec))
        build(spec)

    monkeypatch.setattr(underlay, "build", build_with_cards)
    yield
    # A network card goes back to the first namespace when its own is gone.
    until(lambda: len(virtio_cards()) == CARDS, "the network cards are back")


def attachments(cluster):
    """(program, hook, mode) of the uplink and of the pod's port, on node 1."""
    return {(it.program, str(it.hook), it.mode) for it in lab.node_state(cluster.name, 1).attachments}


def talk(cluster):
    """All to all, every byte compared; returns how counters grew."""
    warm(cluster)
    before = counters(cluster)
    one, two = pods(cluster)
    with serving(cluster):
        for pod, target in ((one, two), (two, one)):
            ping(pod, target.ip, count=3)
            ping(pod, target.ip, size=1422, options=("-M", "do"))
            visit(pod, [target], size=300_000, sizes=FITTING)
        grown = growth(before, counters(cluster))
        visit(one, [two], size=1400, sizes=TOO_LONG)
    assert by_class(grown)[VerdictClass.DROP] == 0
    return grown


def programs(grown):
    return {program for _, program, verdict in grown if verdict.kind is VerdictClass.FAST}


def let_xdp_deliver(cluster):
    """Give the pods NAPI (GRO on, 5.13) and let the maps say so.

    The agent knows it from the kernel's netdev family. A kernel without it (before 6.3) leaves the agent
    careful: nothing is delivered by XDP; so the entries are changed by hand, to see the program at work.
    """
    warm(cluster)
    for pod in pods(cluster):
        lab.set_offloads(pod.netns, "eth0", gro=True)
    for node in cluster.nodes:
        with Tables.open(pins.find(node.netns)) as tables:
            if told_of_xdp(cluster):
                until(partial(all_napi, tables), "NAPI is known", seconds=60)
                continue
            for ip, pod in tables.pods().items():
                tables.put_pod(ip, evolve(pod, napi=True))


def all_napi(tables):
    return all(pod.napi for pod in tables.pods().values())


def told_of_xdp(cluster):
    """Whether this kernel tells what a device can do with XDP."""
    reader = FeatureReader(cluster.node(1).netns)
    told = bool(reader.every())
    reader.close()
    return told


def test_two_nodes_by_tc(new_lab):
    cluster = new_lab(datapath="auto")
    grown = talk(cluster)
    assert share(grown) >= 0.98, grown
    assert programs(grown) == {"pod_egress", "uplink_ingress"}
    hook = "tcx" if probe.features().tcx else "clsact"
    assert {(program, kind) for program, kind, _ in attachments(cluster)} == {
        ("pod_egress", hook),
        ("uplink_ingress", hook),
    }


def test_udp_segmentation_offload_of_a_pod(new_lab):
    """UDP_SEGMENT: the pod hands over many datagrams as one; each must arrive as it is."""
    cluster = new_lab(datapath="tc")
    warm(cluster)
    one, two = pods(cluster)
    with serving(cluster):
        run_in(one.netns, sys.executable, SEGMENTS, two.ip)


@pytest.mark.usefixtures("virtio_underlay")
def test_virtio_uplink_in_native_xdp(new_lab):
    """A real driver with native XDP: VXLAN frames come in by its rings and reach the pod."""
    cluster = new_lab(datapath="xdp")
    assert ("xdp_uplink", "xdp", "native") in attachments(cluster)
    let_xdp_deliver(cluster)
    grown = talk(cluster)
    assert "xdp_uplink" in programs(grown), grown
    if told_of_xdp(cluster):
        assert share(grown) >= 0.98, grown


@pytest.mark.usefixtures("virtio_underlay")
def test_virtio_uplink_in_auto(new_lab):
    """XDP beside tc where the kernel says that the driver has it (netdev family, 6.3), else tc alone."""
    cluster = new_lab(datapath="auto")
    told = told_of_xdp(cluster)
    assert (("xdp_uplink", "xdp", "native") in attachments(cluster)) is told
    if told:
        let_xdp_deliver(cluster)
    grown = talk(cluster)
    wanted = {"pod_egress", "uplink_ingress"} | ({"xdp_uplink"} if told else set())
    assert programs(grown) == wanted, grown

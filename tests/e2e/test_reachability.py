"""Every pod reaches every pod, by every data path, with every byte right and by the fast path."""

import pytest
from e2e.clusters import (
    by_class,
    counters,
    device_packets,
    growth,
    ping,
    pods,
    run_in,
    serving,
    share,
    visit,
    warm,
)

from xdpflannel import lab
from xdpflannel.model.verdict import VerdictClass

MEGABYTES = 10_000_000
FITTING = (1, 2, 63, 512, 1400, 1421, 1422)
"""UDP payloads that need no fragment: 1422 + 8 + 20 is the pods' MTU."""


def all_to_all(cluster, *, size, sizes):
    everyone = pods(cluster)
    resent = 0
    for number, pod in enumerate(everyone):
        others = everyone[number + 1 :] + everyone[:number]
        for target in others:
            ping(pod, target.ip, count=3)
            ping(pod, target.ip, size=1422, options=("-M", "do"))
        resent += visit(pod, others, size=size, sizes=sizes)
    return resent


@pytest.mark.parametrize("loader", ["libbpf", "bcc"])
@pytest.mark.parametrize("datapath", ["auto", "tc", "xdp"])
def test_two_nodes(new_lab, datapath, loader):
    cluster = new_lab(nodes=2, pods=2, datapath=datapath, loader=loader)
    warm(cluster)
    before, devices = counters(cluster), [device_packets(node) for node in cluster.nodes]
    with serving(cluster):
        all_to_all(cluster, size=MEGABYTES, sizes=FITTING)
    grown = growth(before, counters(cluster))
    assert share(grown) >= 0.99, grown
    assert by_class(grown)[VerdictClass.DROP] == 0
    if datapath != "xdp":
        assert [device_packets(node) for node in cluster.nodes] == devices, "flannel.1 was used"
    kind = {"auto": {"pod_egress", "uplink_ingress"}, "tc": {"pod_egress", "uplink_ingress"}}
    assert {program for _, program, _ in grown} == kind.get(datapath, {"xdp_pod", "xdp_uplink"})


@pytest.mark.parametrize("datapath", ["auto", "xdp"])
def test_three_nodes_share_an_underlay(new_lab, datapath):
    cluster = new_lab(nodes=3, pods=1, datapath=datapath)
    warm(cluster)
    before = counters(cluster)
    with serving(cluster):
        all_to_all(cluster, size=MEGABYTES, sizes=FITTING)
    assert share(growth(before, counters(cluster))) >= 0.99


def test_eight_nodes(new_lab):
    cluster = new_lab(nodes=8, pods=1)
    warm(cluster)
    before, devices = counters(cluster), [device_packets(node) for node in cluster.nodes]
    with serving(cluster):
        all_to_all(cluster, size=1_000_000, sizes=FITTING)
    assert share(growth(before, counters(cluster))) >= 0.99
    assert [device_packets(node) for node in cluster.nodes] == devices, "flannel.1 was used"


@pytest.mark.parametrize("datapath", ["auto", "xdp"])
def test_larger_than_the_path_is_the_kernels_and_arrives(new_lab, datapath):
    cluster = new_lab(nodes=2, pods=1, datapath=datapath)
    warm(cluster)
    devices = [device_packets(node) for node in cluster.nodes]
    with serving(cluster):
        for pod, target in ((pods(cluster)), reversed(pods(cluster))):
            visit(pod, [target], size=1400, sizes=(1423, 1472, 1473, 2900, 9000, 60000))
    assert [device_packets(node) for node in cluster.nodes] != devices


@pytest.mark.parametrize("datapath", ["auto", "xdp"])
def test_mixed_with_kernel_nodes(new_lab, datapath):
    """Kernel-VXLAN nodes and ours on one etcd: all pairs, both directions, all sizes, GSO streams too."""
    cluster = new_lab(nodes=4, pods=1, datapath=datapath, kernel_nodes={2, 4})
    warm(cluster)
    before = counters(cluster)
    with serving(cluster):
        all_to_all(cluster, size=MEGABYTES, sizes=FITTING)
        all_to_all(cluster, size=1400, sizes=(1423, 2900, 9000, 60000))
    grown = growth(before, counters(cluster))
    for number in (1, 3):
        programs = {program for node, program, verdict in grown if node == number and verdict <= 1}
        assert len(programs) == 2, "both directions have a fast path"
    assert cluster.node(2).kind is lab.NodeKind.KERNEL


SEGMENTS, SEGMENT = 23, 701
SEND_IN_AGGREGATES = f"""
import socket, sys
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.setsockopt(17, 103, {SEGMENT})  # SOL_UDP, UDP_SEGMENT
sender.settimeout(5)
sender.connect((sys.argv[1], 17171))
wanted = [bytes([number]) * {SEGMENT} for number in range({SEGMENTS})]
sender.send(b"".join(wanted))
assert sorted(sender.recv(2000) for _ in wanted) == wanted
"""


@pytest.mark.parametrize("datapath", ["auto", "xdp"])
def test_udp_in_aggregates_arrives_whole(new_lab, datapath):
    cluster = new_lab(nodes=2, pods=1, datapath=datapath)
    warm(cluster)
    first, second = pods(cluster)
    with serving(cluster):
        for pod, target in ((first, second), (second, first)):
            run_in(pod.netns, "python3", "-c", SEND_IN_AGGREGATES, target.ip)

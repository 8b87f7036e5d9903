"""Pods come and go; the data plane follows netlink."""

import pytest
from e2e.clusters import counters, growth, ping, pods, serving, until, visit, warm

from xdpflannel import lab
from xdpflannel.dataplane import pins
from xdpflannel.dataplane.maps import Tables
from xdpflannel.model.verdict import Verdict


@pytest.mark.parametrize("datapath", ["auto", "xdp"])
def test_a_new_pod_is_fast_and_a_removed_one_is_gone(new_lab, datapath):
    cluster = new_lab(nodes=2, pods=1, datapath=datapath)
    warm(cluster)
    peer = cluster.node(2).pods[0]
    pod = lab.add_pod(cluster, 1)
    with Tables.open(pins.find(cluster.node(1).netns)) as tables:
        until(lambda: pod.ip in tables.pods(), "the new pod in the map", seconds=2)
        before = counters(cluster)
        ping(pod, peer.ip, count=7)
        grown = growth(before, counters(cluster))
        sent = [packets for (node, _, verdict), packets in grown.items() if node == 1 and verdict == 0]
        assert sent == [7]
        lab.remove_pod(cluster, pod.netns)
        until(lambda: pod.ip not in tables.pods(), "the removed pod out of the map", seconds=2)
        links = list((pins.find(cluster.node(1).netns) / "links").iterdir())
        assert len(links) == 2, "the removed pod's program is unpinned, the other pod's and the uplink's stay"


def test_pods_of_one_node_talk_directly(new_lab):
    cluster = new_lab(nodes=1, pods=3)
    warm(cluster)
    first, second, third = pods(cluster)
    before = counters(cluster)
    ping(first, second.ip, count=11)
    ping(second, third.ip, count=11)
    grown = growth(before, counters(cluster))
    assert grown[1, "pod_egress", Verdict.SWITCHED] == 44
    with serving(cluster):
        visit(first, [second, third], size=1_000_000)


def test_a_pod_without_napi_loses_nothing_to_xdp(new_lab):
    """XDP cannot redirect into it, so the kernel delivers: what is missing costs speed, not packets."""
    cluster = new_lab(nodes=2, pods=1, datapath="xdp")
    warm(cluster)
    pod, peer = pods(cluster)
    lab.set_offloads(peer.netns, "eth0", gro=False)
    with Tables.open(pins.find(cluster.node(2).netns)) as tables:
        until(lambda: not tables.pods()[peer.ip].napi, "the pod known to have no NAPI", seconds=40)
    before = counters(cluster)
    ping(pod, peer.ip, count=5)
    assert growth(before, counters(cluster))[2, "xdp_uplink", Verdict.NO_NAPI] == 5

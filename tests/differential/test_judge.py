"""The judge itself: it sees what is wrong, and what it judges is the fast path."""

from contextlib import contextmanager

import pytest
from attrs import evolve
from differential.judge import Sent
from differential.node import MTU, PLANES, POD, SIBLING, WIRE
from differential.rows_pod import to
from packets import world
from packets.build import inbound, tcp, tunnelled, udp
from packets.netns import Offloaded

from xdpflannel.dataplane.abi import Program
from xdpflannel.model.net import Mac
from xdpflannel.model.verdict import Verdict, VerdictClass

REMOTE = next(network for network in world.WORLD.routes if world.REMOTE_IP in network)
WRONG_MAC = Mac.parse("02:00:00:00:00:01")
FROM_POD = Sent(POD, Offloaded(to("remote")))
TO_SIBLING = Sent(POD, Offloaded(to("sibling")))
FROM_WIRE = Sent(WIRE, Offloaded(tunnelled()))

WRONG_ROUTES = {
    "vtep-mac": ({"vtep_mac": WRONG_MAC}, FROM_POD),
    "vtep": ({"vtep_ip": world.FAR_PEER_IP}, FROM_POD),
    "source": ({"local_ip": world.FAR_PEER_IP}, FROM_POD),
    "device-mac": ({"local_mac": WRONG_MAC}, FROM_POD),
    "uplink-mac": ({"source_mac": WRONG_MAC}, FROM_POD),
    "next-hop": ({"next_hop_mac": WRONG_MAC}, FROM_POD),
    "vni": ({"vni": 2}, FROM_POD),
    "port": ({"port": 4789}, FROM_POD),
    "mtu": ({"mtu": MTU}, Sent(POD, Offloaded(to("remote", udp(world.MTU + 1))))),
}
WRONG_PODS = {
    "mac": ({"mac": WRONG_MAC}, FROM_WIRE),
    "gateway": ({"gateway_mac": WRONG_MAC}, FROM_WIRE),
    "mtu": ({"mtu": 9000}, Sent(WIRE, Offloaded(tunnelled(inbound(udp(MTU + 1)))))),
}


@contextmanager
def entry_of(nodes, put, key, right, wrong):
    for node in nodes:
        put(node.tables, key, evolve(right(node), **wrong))
    try:
        yield
    finally:
        for node in nodes:
            put(node.tables, key, right(node))


def test_the_nodes_are_alike_without_a_fast_path(judge):
    for node in judge.ours.values():
        node.tables.clear_config()
    try:
        assert [judge.differences(sent) for sent in (FROM_POD, TO_SIBLING, FROM_WIRE)] == [[], [], []]
    finally:
        for node in judge.ours.values():
            node.tables.set_config(node.state.config)


@pytest.mark.parametrize("what", WRONG_ROUTES)
def test_a_wrong_route_is_seen(judge, what):
    wrong, sent = WRONG_ROUTES[what]
    nodes = judge.ours.values()
    with entry_of(
        nodes, lambda t, *a: t.put_route(*a), REMOTE, lambda node: node.state.routes[REMOTE], wrong
    ):
        found = judge.differences(sent)
    assert {line.split(":")[0] for line in found} == set(PLANES)
    assert judge.differences(sent) == []


@pytest.mark.parametrize("what", WRONG_PODS)
def test_a_wrong_pod_is_seen(judge, what):
    wrong, sent = WRONG_PODS[what]
    nodes = judge.ours.values()
    pod = world.POD_IP
    with entry_of(nodes, lambda t, *a: t.put_pod(*a), pod, lambda node: node.state.pods[pod], wrong):
        found = judge.differences(sent)
    assert {line.split(":")[0] for line in found} == set(PLANES)
    assert judge.differences(sent) == []


def test_a_frame_in_a_wrong_pod_is_seen(judge):
    pod, sibling = world.POD_IP, world.SIBLING_IP
    nodes = judge.ours.values()
    ports = {node.state.pods[sibling].ifindex for node in nodes}
    assert len(ports) == 1, "built alike, the nodes number their interfaces alike"
    wrong = {"ifindex": ports.pop()}
    with entry_of(nodes, lambda t, *a: t.put_pod(*a), pod, lambda node: node.state.pods[pod], wrong):
        found = judge.differences(FROM_WIRE)
    for label in PLANES:
        assert any(line.startswith(f"{label}: at {SIBLING}: kernel nothing") for line in found)
        assert any(line.startswith(f"{label}: at {POD}:") and line.endswith("ours nothing") for line in found)


def taken(node, sent):
    """By which programs a frame is taken."""
    before = node.tables.counters()
    node.exchange(sent.port, sent.frame)
    return {
        (program, verdict)
        for (program, verdict), now in node.tables.counters().items()
        if now != before[program, verdict] and verdict.kind is VerdictClass.FAST
    }


@pytest.mark.parametrize(
    ("sent", "verdict", "programs"),
    [
        (FROM_POD, Verdict.ENCAPSULATED, (Program.POD_EGRESS, Program.XDP_POD, Program.POD_EGRESS)),
        (TO_SIBLING, Verdict.SWITCHED, (Program.POD_EGRESS, Program.XDP_POD, Program.POD_EGRESS)),
        (FROM_WIRE, Verdict.DECAPSULATED, (Program.UPLINK_INGRESS, Program.XDP_UPLINK, Program.XDP_UPLINK)),
        (
            Sent(WIRE, Offloaded(tunnelled(inbound(tcp())))),
            Verdict.DECAPSULATED,
            (Program.UPLINK_INGRESS, Program.XDP_UPLINK, Program.UPLINK_INGRESS),
        ),
    ],
    ids=["remote", "sibling", "wire-udp", "wire-tcp"],
)
def test_the_fast_path_is_what_is_judged(judge, sent, verdict, programs):
    for node, program in zip(judge.ours.values(), programs, strict=True):
        assert taken(node, sent) == {(program, verdict)}

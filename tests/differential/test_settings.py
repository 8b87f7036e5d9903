"""Nodes set up otherwise: strangers dropped, reverse path filter on, neighbours that are asked for."""

from contextlib import contextmanager

import pytest
from attrs import evolve
from differential import rows_pod, rows_wire
from differential.intended import comparable
from differential.judge import Sent
from differential.node import OLD_SIBLING, POD, SIBLING, WIRE
from packets import world
from packets.build import framed, inbound, ip, outbound, tunnelled
from packets.netns import Offloaded

from xdpflannel.model.verdict import Verdict

ARP_QUESTION = slice(12, 22)
ASKED = b"\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01"


@contextmanager
def everywhere(judge, on, off):
    """A kernel setting on all nodes, put back afterwards."""
    nodes = (judge.kernel, judge.segmenting, *judge.ours.values())
    for node in nodes:
        node.sysctl(*on)
    try:
        yield
    finally:
        for node in nodes:
            node.sysctl(*off)


@pytest.mark.parametrize("mode", [1, 2], ids=["strict", "loose"])
@pytest.mark.parametrize(
    "group",
    [rows_pod.addresses, rows_wire.addresses, rows_wire.outer],
    ids=["pod-addresses", "wire-addresses", "wire-outer"],
)
def test_reverse_path_filter(judge, group, mode):
    setting = "net.ipv4.conf.all.rp_filter"
    with everywhere(judge, [f"{setting}={mode}"], [f"{setting}=0"]):
        differing = {name: found for name, sent in group() if (found := judge.differences(sent))}
    assert differing == {}


UNKNOWN = {
    "by-gateway": Sent(POD, Offloaded(framed(outbound(target=world.NEW_POD_IP)))),
    "from-the-wire": Sent(WIRE, Offloaded(tunnelled(inbound(target=world.NEW_POD_IP)))),
    "next-hop": Sent(POD, Offloaded(framed(outbound(target=world.DOWN_IP)))),
}
"""Here nothing comes out in the table: the kernel has to ask for a neighbour first, and may not there."""
SETTINGS = ["net/ipv4/neigh/cni0/mcast_solicit", "net/ipv4/neigh/up0/mcast_solicit"]


@pytest.mark.parametrize("what", UNKNOWN)
def test_unknown_neighbours_are_asked_for(judge, what):
    sent = UNKNOWN[what]
    target, device = (world.DOWN_PEER_IP, "up0") if what == "next-hop" else (world.NEW_POD_IP, "cni0")
    nodes = (judge.kernel, *judge.ours.values())
    given_up = []
    with everywhere(judge, [f"{it}=1" for it in SETTINGS], [f"{it}=0" for it in SETTINGS]):
        for node in nodes:
            answer = node.exchange(sent.port, sent.frame)
            # Gone, it is reported as if it had not answered: nothing has to wait for the kernel's patience.
            node.forget(target, device)
            given_up.append({port: list(map(comparable, found)) for port, found in node.settled().items()})
            asked = {
                port for port, found in answer.items() if [it for it in found if is_question(it, target)]
            }
            assert asked == ({WIRE} if device == "up0" else {POD, SIBLING, OLD_SIBLING})
            assert sum(map(len, answer.values())) == len(asked)
    assert given_up == given_up[:1] * len(nodes)
    # Of a next hop that is missing only the node itself gets to know: the packet to it was its own.
    told = [] if what == "next-hop" else [sent.port]
    assert [port for port, found in given_up[0].items() if found] == told


def is_question(seen, target):
    return seen.frame[ARP_QUESTION] == ASKED and seen.frame[38:42] == target.packed


STRANGERS = {
    "forged-ip": (POD, framed(ip(world.SIBLING_IP, world.REMOTE_IP)), Verdict.FORGED_SOURCE_DROPPED),
    "forged-mac": (POD, framed(outbound(), source=world.OTHER_MAC), Verdict.FORGED_SOURCE_DROPPED),
    "remote-ip": (POD, framed(ip(world.FAR_IP, world.REMOTE_IP)), Verdict.FORGED_SOURCE_DROPPED),
    "unleased": (WIRE, tunnelled(outer={"src": str(world.STRANGER_IP)}), Verdict.STRANGER_VTEP_DROPPED),
    "not-its-own": (WIRE, tunnelled(inbound(source=world.FAR_IP)), Verdict.STRANGER_SOURCE_DROPPED),
    "local-pod": (WIRE, tunnelled(inbound(source=world.SIBLING_IP)), Verdict.STRANGER_SOURCE_DROPPED),
}


@contextmanager
def strict(judge):
    for node in judge.ours.values():
        node.tables.set_config(evolve(node.state.config, strict=True))
    try:
        yield
    finally:
        for node in judge.ours.values():
            node.tables.set_config(node.state.config)


@pytest.mark.parametrize("what", STRANGERS)
def test_strict_drops_and_counts_strangers(judge, what):
    """Which the kernel, and the fast path without the flag, let through."""
    port, frame, verdict = STRANGERS[what]
    assert judge.differences(Sent(port, Offloaded(frame))) == []
    assert any(judge.kernel.exchange(port, Offloaded(frame)).values())
    with strict(judge):
        for node in judge.ours.values():
            before = dropped(node, verdict)
            assert not any(node.exchange(port, Offloaded(frame)).values())
            assert dropped(node, verdict) == before + 1


def dropped(node, verdict):
    return sum(now.packets for (_, found), now in node.tables.counters().items() if found is verdict)


@pytest.mark.parametrize("group", [rows_pod.sizes, rows_wire.sizes, rows_wire.congestion])
def test_strict_changes_nothing_for_those_who_are_known(judge, group):
    with strict(judge):
        differing = {name: found for name, sent in group() if (found := judge.differences(sent))}
    assert differing == {}

"""Taken frames leave by the interface that the maps name; a test run cannot tell."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from attrs import evolve, frozen
from packets import world
from packets.answer import answer, comparable
from packets.build import XDP_EGRESS, XDP_INGRESS, Case, framed, inbound, outbound, tcp, tunnelled, udp
from packets.netns import Namespace, Offloaded, Tap

from xdpflannel.dataplane.objects import Link
from xdpflannel.model.verdict import Verdict
from xdpflannel.table.reference import State

MODES = {"native": Link.XDP_NATIVE, "generic": Link.XDP_GENERIC}


@frozen
class Node:
    """Two pods and an uplink, each a TAP interface."""

    namespace: Namespace
    taps: dict[int, Tap]
    pod: Tap
    uplink: Tap
    state: State


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with ExitStack() as stack:
        namespace = Namespace(f"rz-xdp-{os.getpid()}")
        stack.callback(namespace.close)
        pod, sibling, uplink = (Tap(namespace, name) for name in ("pod0", "pod1", "up0"))
        for tap in (pod, sibling, uplink):
            stack.callback(tap.close)
        routes = {
            network: evolve(route, ifindex=uplink.ifindex) for network, route in world.WORLD.routes.items()
        }
        pods = {
            world.POD_IP: evolve(world.POD, ifindex=pod.ifindex),
            world.SIBLING_IP: evolve(world.SIBLING, ifindex=sibling.ifindex),
        }
        taps = {tap.ifindex: tap for tap in (pod, sibling, uplink)}
        yield Node(namespace, taps, pod, uplink, evolve(world.WORLD, routes=routes, pods=pods))


@contextmanager
def attached(plane, node, program, tap, mode):
    plane.become(node.state)
    loaded = plane.programs[program]
    link = node.namespace.inside(lambda: Link.create(loaded, tap.ifindex, Link.XDP, MODES[mode]))
    with link:
        yield


def check(plane, node, program, tap, mode, frame, verdict):
    case = Case("made", program, frame, verdict, state=node.state, ifindex=tap.ifindex)
    wanted = answer(case)
    assert wanted.verdict is verdict
    target = node.taps[wanted.redirect_ifindex]
    with attached(plane, node, program, tap, mode):
        tap.send(Offloaded(frame))
        (got,) = target.receive(1, lambda _: True)
    assert comparable(verdict, got.frame) == comparable(verdict, wanted.frame)
    assert [other.name for other in node.taps.values() if other.pending()] == []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("payload", [udp(28), udp(1450), tcp(1450)], ids=["udp-28", "udp-1450", "tcp-1450"])
def test_encapsulated_by_the_uplink(plane, node, payload, mode):
    check(plane, node, XDP_EGRESS, node.pod, mode, framed(outbound(payload)), Verdict.ENCAPSULATED)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("target", [world.POD_IP, world.SIBLING_IP], ids=["pod", "sibling"])
def test_decapsulated_to_the_pod(plane, node, target, mode):
    frame = tunnelled(inbound(udp(1000), target=target))
    check(plane, node, XDP_INGRESS, node.uplink, mode, frame, Verdict.DECAPSULATED)


@pytest.mark.parametrize("mode", MODES)
def test_switched_to_the_sibling(plane, node, mode):
    frame = framed(outbound(udp(1300), world.SIBLING_IP), target=world.SIBLING.mac)
    check(plane, node, XDP_EGRESS, node.pod, mode, frame, Verdict.SWITCHED)

"""The programs against the packet cases and, on frames that hypothesis makes, against the reference model."""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packets import egress, ingress, strategies, world
from packets.answer import answer, comparable, runnable
from packets.build import Case, framed, outbound
from scapy.layers.inet import TCP, UDP

from xdpflannel.model.verdict import Verdict
from xdpflannel.table.reference import varying_faults

CASES = [case for case in (*egress.CASES, *ingress.CASES) if runnable(case.program, case.frame)]
EXAMPLES = int(os.environ.get("XDPFLANNEL_EXAMPLES", "600"))
"""Frames per program; fewer where everything is slow."""
CHANGING = (Verdict.ENCAPSULATED, Verdict.DECAPSULATED)


def judge(plane, case, verdict, frame):
    """Run the case; ``verdict`` and ``frame`` are what has to come out."""
    if case.gso_size and verdict in CHANGING:
        # A test run gives an skb a segment size but no GSO type, and bpf_skb_adjust_room() takes none
        # without. So this is where its refusal is seen to leave the frame alone.
        verdict, frame = Verdict.HELPER_REFUSED, case.frame
    seen = plane.run(case.program, case.state, case.frame, ifindex=case.ifindex, gso_size=case.gso_size)
    assert seen.verdict is verdict
    assert comparable(verdict, seen.frame) == comparable(verdict, frame)
    assert seen.action == plane.action_of(case.program, verdict)
    if verdict is Verdict.ENCAPSULATED:
        assert varying_faults(seen.frame, case.state.config) == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_case(plane, case):
    judge(plane, case, case.verdict, case.frame if case.out is None else case.out)


@pytest.mark.parametrize("program", strategies.PROGRAMS)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_program_answers_as_the_model(planes, program, data):
    frame = data.draw(strategies.frames(program).filter(lambda frame: runnable(program, frame)), "frame")
    case = Case(
        "made",
        program,
        frame,
        Verdict.BROKEN,
        state=data.draw(strategies.states, "state"),
        gso_size=data.draw(strategies.gso_sizes(program), "gso size"),
    )
    wanted = answer(case)
    for plane in planes.values():
        judge(plane, case, wanted.verdict, wanted.frame)


def flow(port):
    return framed(outbound(UDP(sport=port, dport=53)))


def test_source_port_is_one_per_flow_and_spreads(plane):
    """All packets of a flow take one path through the underlay; flows spread over many."""
    for program in ("pod_egress", "xdp_pod"):
        by_flow = [
            {plane.run(program, world.WORLD, flow(port)).frame[34:36] for _ in range(3)} for port in range(64)
        ]
        assert all(len(ports) == 1 for ports in by_flow)
        assert len(set.union(*by_flow)) > 48


def outer_id(plane, program, inner_id):
    segment = outbound(TCP(sport=1, dport=2, flags="A"))
    segment.id = inner_id
    return int.from_bytes(plane.run(program, world.WORLD, framed(segment)).frame[18:20], "big")


@pytest.mark.parametrize("program", ["pod_egress", "xdp_pod"])
def test_outer_ids_of_a_tcp_flow_are_in_sequence(plane, program):
    """Or GRO would merge nothing at the receiver: DF is clear, so it wants ids that count up by one."""
    first = outer_id(plane, program, 65000)
    assert [outer_id(plane, program, 65000 + step) for step in (1, 2, 45)] == [
        (first + step) & 0xFFFF for step in (1, 2, 45)
    ]


@pytest.mark.parametrize("program", ["pod_egress", "xdp_pod"])
def test_outer_ids_without_an_inner_sequence_are_random(plane, program):
    """A fixed id under a clear DF bit would mix fragments, should the underlay ever make any."""
    assert len({outer_id(plane, program, 0) for _ in range(20)}) > 10

"""The reference model against every packet case, and the cases against the list of verdicts."""

from collections import Counter

import pytest
from packets import egress, ingress
from packets.answer import answer, comparable

from xdpflannel.model.verdict import Verdict
from xdpflannel.table import reference

CASES = [*egress.CASES, *ingress.CASES]

UNREACHABLE = {
    Verdict.HELPER_REFUSED: "the kernel's helpers refuse nothing that passed the checks",
    Verdict.BROKEN: "never expected",
    Verdict.UNPROVEN: "flow proof is not there yet",
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_model_answers_as_the_case_says(case):
    outcome = answer(case)
    expected = case.frame if case.out is None else case.out
    assert outcome.verdict is case.verdict
    assert outcome.redirect_ifindex == case.redirect
    assert comparable(case.verdict, outcome.frame) == comparable(case.verdict, expected)
    if case.verdict is Verdict.ENCAPSULATED:
        assert reference.varying_faults(outcome.frame, case.state.config) == []


def test_case_names_are_unique():
    counted = Counter(case.id for case in CASES)
    assert [name for name, times in counted.items() if times > 1] == []


def test_every_verdict_has_a_case():
    assert set(Verdict) - {case.verdict for case in CASES} == set(UNREACHABLE)

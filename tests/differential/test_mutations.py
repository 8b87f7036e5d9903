"""Frames that hypothesis makes, into every node. A found difference becomes a row of the table."""

import os

import pytest
from differential import mutations
from hypothesis import HealthCheck, given, settings

EXAMPLES = int(os.environ.get("DIFFERENTIAL_EXAMPLES", "3000"))
_SLOWEST_S = 0.02
"""One example on a busy machine; a minute on top for the nodes and for shrinking."""


@pytest.mark.timeout(60 + EXAMPLES * _SLOWEST_S)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(sent=mutations.sent)
def test_mutation(judge, sent):
    found = judge.differences(sent)
    assert not found, f"{sent.port} {sent.frame}\n" + "\n".join(found)

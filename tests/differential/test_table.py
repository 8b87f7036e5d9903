"""The fixed table: every row into every node."""

import pytest
from differential import rows_pod, rows_wire

GROUPS = {f"pod-{group.__name__}": group for group in rows_pod.GROUPS}
GROUPS |= {f"wire-{group.__name__}": group for group in rows_wire.GROUPS}


@pytest.mark.parametrize("group", GROUPS)
def test_rows(judge, group):
    differing = {}
    for name, sent in GROUPS[group]():
        found = judge.differences(sent)
        if found:
            differing[name] = found
    assert not differing, "\n".join(f"{name}: {line}" for name, lines in differing.items() for line in lines)

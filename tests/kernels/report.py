"""What a kernel's run came to, and the tables of docs/kernels.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from attrs import field, frozen

BEGIN = "<!-- written by scripts/test-kernels --write -->"
END = "<!-- end of what is written -->"

EXPECTED_SKIPS = ("this kernel's TAP takes no UDP aggregate",)
"""A test may be skipped for these reasons and no other, or it would be missing and nobody would know."""

PROGRAMS = ("pod_egress", "uplink_ingress", "xdp_uplink", "xdp_pod")


@frozen
class Outcome:
    """One kernel's run."""

    series: str
    release: str
    facts: dict[str, Any]
    passed: int = 0
    failed: tuple[str, ...] = ()
    skipped: dict[str, str] = field(factory=dict)
    """Reason by test."""
    known: int = 0
    """Tests that fail as expected (xfail)."""
    problem: str = ""
    seconds: float = 0.0

    def problems(self) -> list[str]:
        """Everything that makes the run bad."""
        found = [self.problem] if self.problem else []
        found += [f"{name} failed" for name in self.failed]
        found += [
            f"{name} was skipped: {reason}"
            for name, reason in self.skipped.items()
            if not reason.startswith(EXPECTED_SKIPS)
        ]
        return found


def outcome(
    series: str, release: str, facts: dict[str, Any], junit: Path, problem: str, seconds: float
) -> Outcome:
    """Read pytest's report; without one there are no tests."""
    passed, known, failed, skipped = 0, 0, [], {}
    cases = ET.parse(junit).iter("testcase") if junit.exists() else ()  # noqa: S314  pytest wrote it
    for case in cases:
        name = f"{case.get('classname')}::{case.get('name')}"
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(name)
        elif skip is None:
            passed += 1
        elif skip.get("type") == "pytest.xfail":
            known += 1
        else:
            skipped[name] = skip.get("message", "")
    return Outcome(series, release, facts, passed, tuple(failed), skipped, known, problem, seconds)


def tables(outcomes: list[Outcome]) -> str:
    """Markdown: what ran, what each kernel has, what its verifier says."""
    return "\n\n".join([_tests(outcomes), _features(outcomes), _instructions(outcomes)])


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join([_row(head), _row(["---"] * len(head)), *map(_row, rows)])


def _tests(outcomes: list[Outcome]) -> str:
    head = ["kernel", "passed", "failed", "known to fail", "skipped"]
    rows = []
    for it in outcomes:
        counts = [it.passed, len(it.failed), it.known, len(it.skipped)]
        rows.append([it.release, *map(str, counts)])
    return _table(head, rows)


def _features(outcomes: list[Outcome]) -> str:
    columns = {
        "tcx": lambda facts: _yes(facts["probed"].get("tcx")),
        "`DECAP_L4_UDP`": lambda facts: _yes(facts["probed"].get("decap_l4")),
        "XDP features by netlink": lambda facts: _yes(facts["netdev_family"]),
        "native XDP on veth": lambda facts: facts["native_xdp"].get("veth", "?"),
        "on virtio_net": lambda facts: facts["native_xdp"].get("virtio_net", "?"),
    }
    rows = [[it.release, *(column(it.facts) for column in columns.values())] for it in outcomes if it.facts]
    return _table(["kernel", *columns], rows)


def _yes(value: object) -> str:
    return {True: "yes", False: "no"}.get(value, "?") if isinstance(value, bool) else "?"


def _instructions(outcomes: list[Outcome]) -> str:
    """Verified instructions, and bytes of machine code, by loader and program."""
    rows = []
    for it in outcomes:
        for by, programs in it.facts.get("programs", {}).items():
            rows.append([it.release, by, *(_program(programs.get(name)) for name in PROGRAMS)])
    return _table(["kernel", "loader", *(f"`{name}`" for name in PROGRAMS)], rows)


def _program(facts: dict[str, Any] | None) -> str:
    if facts is None:
        return "?"
    if "error" in facts:
        return "refused"
    insns = facts["verified_insns"] or "not told"
    return f"{insns} / {facts['jited_bytes']}"


def write(document: Path, text: str) -> None:
    """Put the tables between their marks; the rest of the document stays."""
    before, _, rest = document.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    document.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")

"""What makes a run bad, and what the document says."""

from kernels import report

FACTS = {
    "probed": {"tcx": False, "decap_l4": False},
    "netdev_family": True,
    "native_xdp": {"veth": "yes", "virtio_net": "no such driver"},
    "programs": {
        "bcc": {
            "pod_egress": {"verified_insns": 12, "jited_bytes": 34},
            "uplink_ingress": {"verified_insns": 0, "jited_bytes": 34},
            "xdp_uplink": {"error": "too large"},
        }
    },
}
SUITE = """<testsuites><testsuite>
<testcase classname="t.a" name="ok"/>
<testcase classname="t.a" name="bad"><failure message="no"/></testcase>
<testcase classname="t.a" name="old"><skipped type="pytest.skip" message="{old}, so"/></testcase>
<testcase classname="t.a" name="odd"><skipped type="pytest.skip" message="not today"/></testcase>
<testcase classname="t.a" name="known"><skipped type="pytest.xfail" message="a fault"/></testcase>
</testsuite></testsuites>"""


def outcome(tmp_path, problem=""):
    junit = tmp_path / "junit.xml"
    junit.write_text(SUITE.format(old=report.EXPECTED_SKIPS[0]))
    return report.outcome("6.1", "6.1.0-9-amd64", FACTS, junit, problem, 1.0)


def test_failures_and_unexpected_skips_are_problems(tmp_path):
    found = outcome(tmp_path)
    assert (found.passed, found.known, len(found.failed), len(found.skipped)) == (1, 1, 1, 2)
    assert found.problems() == ["t.a::bad failed", "t.a::odd was skipped: not today"]
    assert outcome(tmp_path, "it died").problems()[0] == "it died"


def test_a_run_without_a_report_has_no_tests(tmp_path):
    found = report.outcome("6.1", "6.1.0-9-amd64", {}, tmp_path / "none", "it died", 1.0)
    assert (found.passed, found.problems()) == (0, ["it died"])


def test_tables(tmp_path):
    text = report.tables([outcome(tmp_path)])
    assert "| 6.1.0-9-amd64 | 1 | 1 | 1 | 2 |" in text
    assert "| 6.1.0-9-amd64 | no | no | yes | yes | no such driver |" in text
    assert "| 6.1.0-9-amd64 | bcc | 12 / 34 | not told / 34 | refused | ? |" in text


def test_only_the_marked_part_of_the_document_is_written(tmp_path):
    document = tmp_path / "kernels.md"
    document.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.write(document, "new")
    assert document.read_text() == f"before\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n"

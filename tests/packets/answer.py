"""Ask the reference model about a case, and compare frames with the program's."""

from packets.build import TC_EGRESS, TC_INGRESS, XDP_EGRESS, XDP_INGRESS, Case

from xdpflannel.model.verdict import Verdict
from xdpflannel.table import reference

_ETH = 14
_IPV4 = b"\x08\x00"
_IPV6 = b"\x86\xdd"
_LARGEST_RUN = 3500
"""One page less headroom and tailroom: what a test run takes as linear data, for skb and XDP alike."""


def answer(case: Case) -> reference.Outcome:
    """What the model says."""
    if case.program == TC_EGRESS:
        return reference.pod_egress(case.state, case.frame, case.ifindex, case.gso_size)
    if case.program == XDP_EGRESS:
        return reference.xdp_pod(case.state, case.frame, case.ifindex)
    if case.program == TC_INGRESS:
        return reference.uplink_ingress(case.state, case.frame, case.gso_size)
    assert case.program == XDP_INGRESS
    return reference.xdp_uplink(case.state, case.frame)


def comparable(verdict: Verdict, frame: bytes) -> bytes:
    """The frame without what differs from packet to packet."""
    return reference.normalise(frame) if verdict is Verdict.ENCAPSULATED else frame


def runnable(program: str, frame: bytes) -> bool:
    """Tell whether BPF_PROG_TEST_RUN takes the frame.

    It refuses frames shorter than Ethernet, empty skbs, and IP skbs that end in their own header
    (bpf_prog_test_run_skb() in net/bpf/test_run.c).
    """
    if program in (XDP_EGRESS, XDP_INGRESS):
        return _ETH <= len(frame) <= _LARGEST_RUN
    least = {_IPV4: _ETH + 20, _IPV6: _ETH + 40}.get(frame[12:14], _ETH + 1)
    return least <= len(frame) <= _LARGEST_RUN

"""A source of metrics without a kernel."""

from __future__ import annotations

import pytest

from xdpflannel.model.entries import Counter
from xdpflannel.model.state import AgentState, AttachmentState, Check, Counts, OwnLeaseState, StoreState
from xdpflannel.model.verdict import Verdict


def make_state(**changes) -> AgentState:
    values = {
        "instance": "default",
        "version": "1.2.3",
        "pid": 7,
        "started_at": 1000.0,
        "role": "full",
        "datapath_wanted": "auto",
        "datapath": ["pod_egress", "uplink_ingress"],
        "bypass": "stateless",
        "strict": False,
        "loader": "libbpf",
        "abi": "abc123",
        "pin_dir": "/sys/fs/bpf/xdpflannel/default/abc123",
        "lease": OwnLeaseState(subnet="10.1.2.0/24", expires_at=2000.5),
        "attachments": [
            AttachmentState(program="uplink_ingress", hook="tcx", interface="eth0", ifindex=2),
            AttachmentState(program="xdp_uplink", hook="xdp", mode="native", interface="eth0", ifindex=2),
        ],
        "store": StoreState(kind="etcd", up=True, last_event_at=1500.0),
        "counts": Counts(leases=3, routes=2, pods=4, skipped=1),
        "checks": [Check(name="lease", ok=True), Check(name="programs", ok=True)],
        "ready": True,
    }
    return AgentState(**(values | changes))


class FakeSource:
    def __init__(self) -> None:
        self.now = make_state()
        self.counted = {
            ("uplink_ingress", Verdict.DECAPSULATED): Counter(packets=101, bytes=10103),
            ("pod_egress", Verdict.FRAGMENT): Counter(packets=7, bytes=997),
        }

    def state(self) -> AgentState:
        return self.now

    def counters(self):
        return self.counted


@pytest.fixture
def source() -> FakeSource:
    return FakeSource()

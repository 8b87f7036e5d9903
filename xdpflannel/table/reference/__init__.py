"""What the four programs must do with a frame, in plain Python: the oracle for the eBPF programs.

Slow and plain on purpose. Checksums are computed anew where the programs update them, addresses are looked up
by walking the table, and every check stands in the order that decides which verdict a frame gets.

Not modelled: whether the kernel's helpers succeed, whether headers are in the linear part of an skb, and the
fields that differ from packet to packet (see `normalise`).
"""

from xdpflannel.table.reference.egress import pod_egress, xdp_pod
from xdpflannel.table.reference.ingress import uplink_ingress, xdp_uplink
from xdpflannel.table.reference.state import Outcome, State, normalise, varying_faults

__all__ = [
    "Outcome",
    "State",
    "normalise",
    "pod_egress",
    "uplink_ingress",
    "varying_faults",
    "xdp_pod",
    "xdp_uplink",
]

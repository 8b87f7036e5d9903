"""How much of the overlay's traffic the fast path takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xdpflannel.model.entries import Counter
from xdpflannel.model.verdict import Verdict, VerdictClass


def fast_path_share(counters: Mapping[tuple[Any, Verdict], Counter]) -> float | None:
    """Return fast / (fast + slow) packets over all programs; None before the first overlay packet.

    ``left_to_gro`` takes no part: the same packet is counted again, by the tc program that XDP left it to.
    """
    fast = slow = 0
    for (_, verdict), counter in counters.items():
        if verdict.kind is VerdictClass.FAST:
            fast += counter.packets
        elif verdict.kind is VerdictClass.SLOW and verdict is not Verdict.LEFT_TO_GRO:
            slow += counter.packets
    return fast / (fast + slow) if fast + slow else None

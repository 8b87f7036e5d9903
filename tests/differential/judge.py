"""The same frame into every node, and what they answer compared."""

from collections.abc import Mapping

from attrs import frozen
from differential.intended import alternative, comparable, faults
from differential.node import WIRE, Node
from differential.ports import Seen
from packets.netns import GSO_NONE, Offloaded

Answer = Mapping[str, list[Seen]]


@frozen
class Sent:
    """A frame, and the port of the node where it goes in."""

    port: str
    frame: Offloaded


@frozen
class Judge:
    """Nodes without the fast path, and those with one."""

    kernel: Node
    segmenting: Node
    """The kernel's node again, with pods that send no aggregates: see `intended.AGGREGATES`."""
    ours: Mapping[str, Node]

    def differences(self, sent: Sent) -> list[str]:
        """Everything that differs and should not; empty if nothing does."""
        wanted = self.kernel.exchange(sent.port, sent.frame)
        accepted = [_comparable(wanted)]
        as_good = alternative(sent.frame.frame) if sent.port == WIRE else None
        if as_good is not None:
            accepted.append(_comparable(self.kernel.exchange(sent.port, Offloaded(as_good))))
        aggregate = sent.frame.gso_type != GSO_NONE and sent.port != WIRE
        cut = [_comparable(self.segmenting.exchange(sent.port, sent.frame))] if aggregate else []
        known = _faults(wanted)
        found = []
        for label, node in self.ours.items():
            got = node.exchange(sent.port, sent.frame)
            found += [f"{label}: {fault}" for fault in _faults(got) if fault not in known]
            if _comparable(got) not in (accepted + cut if node.segments else accepted):
                found += [f"{label}: {line}" for line in _told(wanted, got)]
        return found


def _comparable(answer: Answer) -> dict[str, list[Seen]]:
    return {port: [comparable(seen) for seen in found] for port, found in answer.items()}


def _faults(answer: Answer) -> list[str]:
    return [f"{port}: {fault}" for port, found in answer.items() for seen in found for fault in faults(seen)]


def _told(wanted: Answer, got: Answer) -> list[str]:
    """The ports whose answers differ, with both answers."""
    lines = []
    for port in wanted.keys() | got.keys():
        theirs, ours = wanted.get(port, []), got.get(port, [])
        if [comparable(seen) for seen in theirs] != [comparable(seen) for seen in ours]:
            lines.append(f"at {port}: kernel {_shown(theirs)}; ours {_shown(ours)}")
    return lines


def _shown(found: list[Seen]) -> str:
    if not found:
        return "nothing"
    return " + ".join(
        f"[{it.kind or 'sent'} gso {it.gso_type}/{it.gso_size} checksum_at {it.checksum_at} tag {it.tag} "
        f"{len(it.frame)} bytes {it.frame[:120].hex()}]"
        for it in found
    )

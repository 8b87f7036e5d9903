"""`flows`: what flow proof knows, read from the pinned map; no agent is needed."""

from __future__ import annotations

import time
from typing import Any

import click

from xdpflannel.cli.client import instance_option
from xdpflannel.cli.render import emit, output_option, table
from xdpflannel.cli.tables import SCHEMA, open_tables
from xdpflannel.errors import EXIT_OK
from xdpflannel.model.entries import FlowEntry, FlowKey

_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp"}


@click.command()
@instance_option
@output_option
@click.option("--state", type=click.Choice(("proven", "expired", "seen", "closing")), help="Only these.")
def flows(instance: str, output: str, state: str | None) -> int:
    """List flows, one line per direction, and whether the fast path takes them.

    \b
    proven   the kernel was seen to forward it unchanged: taken by the fast path
    expired  proven once; its next packet goes through the kernel to prove it again
    seen     came in, but has not come out unchanged: translated, filtered, or just begun
    closing  FIN or RST was seen: the rest is the kernel's

    AGE is the time since it was proven, or else since a packet of it was last left to the kernel. The table
    is empty with --bypass=stateless. A full table forgets the flow that was not used for longest.
    """  # noqa: D301
    with open_tables(instance) as tables:
        found, config = tables.flows(), tables.config()
    refresh = config.proof_refresh_ns / 1e9 if config else 0.0
    # The kernel's coarse monotonic clock, which is at most one tick behind this one.
    now = time.monotonic()
    rows = [_row(key, entry, now, refresh) for key, entry in found.items()]
    rows = [row for row in rows if state in (None, row["state"])]
    rows.sort(key=lambda row: row["age_seconds"])
    emit(
        output,
        {"schema": SCHEMA, "flows": rows},
        lambda: [
            table(
                ("proto", "source", "target", "state", ">age"),
                [
                    (row["protocol"], row["from"], row["to"], row["state"], f"{row['age_seconds']:.1f} s")
                    for row in map(_readable, rows)
                ],
                empty="no flows",
            )
        ],
    )
    return EXIT_OK


def _row(key: FlowKey, entry: FlowEntry, now: float, refresh: float) -> dict[str, Any]:
    age = max(0.0, now - (entry.confirmed_at or entry.seen_at))
    if entry.closing:
        state = "closing"
    elif entry.confirmed_at is None:
        state = "seen"
    else:
        state = "proven" if age < refresh else "expired"
    return {
        "protocol": _PROTOCOLS.get(key.protocol, str(key.protocol)),
        "source": str(key.source),
        "source_port": key.source_port,
        "target": str(key.target),
        "target_port": key.target_port,
        "state": state,
        "age_seconds": round(age, 3),
    }


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    if row["protocol"] == "icmp":
        kind = "echo" if row["target_port"] else "reply"
        return {**row, "from": row["source"], "to": f"{row['target']} {kind} {row['source_port']}"}
    return {
        **row,
        "from": f"{row['source']}:{row['source_port']}",
        "to": f"{row['target']}:{row['target_port']}",
    }

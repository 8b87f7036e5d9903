"""`routes`, `pods` and `counters`: what the kernel's maps hold, read from their pins; no agent is needed."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import click

from xdpflannel.cli.client import instance_option
from xdpflannel.cli.render import emit, grouped, output_option, share, table
from xdpflannel.errors import EXIT_OK
from xdpflannel.model.share import fast_path_share

if TYPE_CHECKING:
    from xdpflannel.dataplane.maps import Tables

SCHEMA = 1


@click.command()
@instance_option
@output_option
def routes(instance: str, output: str) -> int:
    """List the remote subnets the fast path knows, and how it reaches them.

    NEXT HOP is the MAC that frames are sent to; while it is unresolved the kernel forwards.
    """
    with open_tables(instance) as tables:
        found = tables.routes()
    rows: list[dict[str, Any]] = [
        {
            "subnet": str(subnet),
            "vtep": str(entry.vtep_ip),
            "vtep_mac": str(entry.vtep_mac),
            "next_hop_mac": str(entry.next_hop_mac) if entry.next_hop_mac else None,
            "interface": _interface(entry.ifindex),
            "ifindex": entry.ifindex,
            "mtu": entry.mtu,
            "vni": entry.vni,
            "port": entry.port,
        }
        for subnet, entry in sorted(found.items())
    ]
    columns = ("subnet", "vtep", "vtep_mac", "next_hop", "interface", "mtu")
    emit(
        output,
        {"schema": SCHEMA, "routes": rows},
        lambda: [
            table(
                ("subnet", "vtep", "vtep mac", "next hop", "interface", ">mtu"),
                [
                    [{"next_hop": row["next_hop_mac"] or "unresolved", **row}[name] for name in columns]
                    for row in rows
                ],
                empty="no routes: no other node holds a lease yet",
            )
        ],
    )
    return EXIT_OK


@click.command()
@instance_option
@output_option
def pods(instance: str, output: str) -> int:
    """List this node's pods as the fast path knows them.

    XDP says whether the pod's interface can take frames from XDP (it has NAPI on: GRO, or a program).
    """
    with open_tables(instance) as tables:
        found = tables.pods()
    rows: list[dict[str, Any]] = [
        {
            "ip": str(ip),
            "mac": str(entry.mac),
            "gateway_mac": str(entry.gateway_mac),
            "interface": _interface(entry.ifindex),
            "ifindex": entry.ifindex,
            "mtu": entry.mtu,
            "napi": entry.napi,
        }
        for ip, entry in sorted(found.items())
    ]
    columns = ("ip", "mac", "interface", "mtu", "napi")
    emit(
        output,
        {"schema": SCHEMA, "pods": rows},
        lambda: [
            table(
                ("ip", "mac", "interface", ">mtu", "xdp"),
                [[row[name] for name in columns] for row in rows],
                empty="no pods: no port of the CNI bridge has an address in this node's subnet yet",
            )
        ],
    )
    return EXIT_OK


@click.command()
@instance_option
@output_option
@click.option("--all", "every", is_flag=True, help="Show verdicts that no packet has had, too.")
def counters(instance: str, output: str, every: bool) -> int:
    """Show what became of the packets each program saw, and the fast path's share.

    Class fast: taken by the fast path; slow: overlay traffic left to the kernel; other: not overlay traffic;
    drop: dropped. The share is fast / (fast + slow). A GSO aggregate is one packet.

    \b
    xdpflannel counters
    xdpflannel counters -o json | jq .fast_path_share
    """  # noqa: D301
    with open_tables(instance) as tables:
        found = tables.counters()
    rows: list[dict[str, Any]] = [
        {
            "program": program.label,
            "verdict": verdict.label,
            "class": verdict.kind.value,
            "packets": counter.packets,
            "bytes": counter.bytes,
            "help": verdict.help,
        }
        for (program, verdict), counter in sorted(found.items())
        if every or counter.packets
    ]
    taken = fast_path_share(found)
    emit(
        output,
        {"schema": SCHEMA, "counters": rows, "fast_path_share": taken},
        lambda: [
            table(
                ("program", "verdict", "class", ">packets", ">bytes"),
                [
                    (
                        row["program"],
                        row["verdict"],
                        row["class"],
                        grouped(row["packets"]),
                        grouped(row["bytes"]),
                    )
                    for row in rows
                ],
                empty="no packet yet",
            ),
            "",
            f"fast path: {share(taken)}",
        ],
    )
    return EXIT_OK


def open_tables(instance: str) -> Tables:
    """Open the maps of an instance; DataplaneError if it has none."""
    from xdpflannel.dataplane import pins  # noqa: PLC0415
    from xdpflannel.dataplane.maps import Tables  # noqa: PLC0415

    return Tables.open(pins.find(instance))


def _interface(ifindex: int) -> str | None:
    """Return the interface's name, its number where this network namespace has none such, None for 0."""
    if not ifindex:
        return None
    try:
        return socket.if_indextoname(ifindex)
    except OSError:
        return str(ifindex)

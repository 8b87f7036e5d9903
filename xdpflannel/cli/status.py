"""`status` and `leases`: what the running agent says."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from xdpflannel.cli.client import agent_options, ask
from xdpflannel.cli.render import duration, emit, expiry, facts, many, output_option, table
from xdpflannel.errors import EXIT_DEGRADED, EXIT_OK, AgentNotRunning
from xdpflannel.model.state import AgentState, LeasesState, decode_leases, decode_state

if TYPE_CHECKING:
    from rich.console import RenderableType

_POLL = 0.2
"""Seconds between two questions of ``status --wait``."""


@click.command()
@agent_options
@output_option
@click.option("--wait", type=float, metavar="SECONDS", help="Wait so long for the node to become ready.")
def status(instance: str, run_dir: Path | None, output: str, wait: float | None) -> int:
    """Show whether this node is well, what was attached and why.

    Exit status 3 if it is not ready, cannot reach its lease store, or if no agent runs.

    \b
    xdpflannel status
    xdpflannel status --wait 30 && echo ready
    xdpflannel status -o json | jq -r .lease.subnet
    """  # noqa: D301
    state = _wait_for(instance, run_dir, wait) if wait else decode_state(ask(instance, run_dir, "/state"))
    emit(output, msgspec.to_builtins(state), lambda: _status_tables(state, time.time()))
    return EXIT_OK if state.ready and state.store.up else EXIT_DEGRADED


@click.command()
@agent_options
@output_option
def leases(instance: str, run_dir: Path | None, output: str) -> int:
    """List the leases the agent knows: which node owns which subnet.

    \b
    xdpflannel leases
    xdpflannel leases -o json | jq -r '.leases[].public_ip'
    """  # noqa: D301
    document = decode_leases(ask(instance, run_dir, "/leases"))
    emit(output, msgspec.to_builtins(document), lambda: _lease_tables(document, time.time()))
    return EXIT_OK


def _wait_for(instance: str, run_dir: Path | None, seconds: float) -> AgentState:
    """Ask until the node is ready or the time is up; return the last answer."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            state = decode_state(ask(instance, run_dir, "/state"))
            if state.ready or time.monotonic() > deadline:
                return state
        except AgentNotRunning:
            if time.monotonic() > deadline:
                raise
        time.sleep(_POLL)


def _status_tables(state: AgentState, now: float) -> Iterator[RenderableType]:
    yield facts(_facts(state, now))
    if state.attachments:
        yield ""
        yield table(
            ("program", "hook", "mode", "interface"),
            [(it.program, it.hook, it.mode, it.interface) for it in state.attachments],
        )
    failed = [check for check in state.checks if not check.ok]
    if failed:
        yield ""
        yield table(("not ready because", "detail"), [(check.name, check.detail) for check in failed])


def _facts(state: AgentState, now: float) -> Iterable[tuple[str, object]]:
    programs = ", ".join(state.datapath) or "the kernel's own path only"
    yield "ready", state.ready
    yield (
        "agent",
        f"{state.instance}, {state.version}, pid {state.pid}, up {duration(now - state.started_at)}",
    )
    yield "datapath", f"{state.datapath_wanted}: {programs}"
    for reason in state.reasons:
        yield "why", reason
    strangers = "dropped" if state.strict else "left to the kernel"
    yield "mode", f"{state.role}, bypass {state.bypass}, loader {state.loader}, strangers {strangers}"
    if state.uplink is not None:
        it = state.uplink
        public = f", public {it.public_ip}" if it.public_ip != it.address else ""
        yield (
            "uplink",
            f"{it.name} {it.address}{public}, mtu {it.mtu}" + (f", {it.driver}" if it.driver else ""),
        )
    if state.device is not None:
        yield (
            "device",
            f"{state.device.name}, VNI {state.device.vni}, port {state.device.port}, mtu {state.device.mtu}",
        )
    own = state.lease
    ends = expiry(own.expires_at, now) if own else ""
    yield "lease", (own.subnet + (f", ends {ends}" if ends else "")) if own else "none yet"
    counts = state.counts
    held = [many(counts.leases, "lease"), many(counts.routes, "route"), many(counts.pods, "pod")]
    if counts.skipped:
        held.append(f"{counts.skipped} skipped (`xdpflannel leases` says why)")
    yield "holds", ", ".join(held)
    store = state.store
    yield (
        "store",
        f"{store.kind} {'up' if store.up else 'DOWN'}" + (f", {store.detail}" if store.detail else ""),
    )


def _lease_tables(document: LeasesState, now: float) -> Iterator[RenderableType]:
    yield table(
        ("subnet", "node", "vtep mac", "backend", "ends", "own"),
        [
            (
                it.subnet,
                it.public_ip,
                it.vtep_mac,
                it.backend_type,
                expiry(it.expires_at, now),
                it.own or None,
            )
            for it in document.leases
        ],
        empty="no leases yet",
    )
    if document.skipped:
        yield ""
        yield table(("skipped entry", "why"), [(it.key, it.reason) for it in document.skipped])

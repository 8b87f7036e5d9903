"""Logs of the rooms that a command uses: warnings only, on stderr, for stdout carries data."""

from __future__ import annotations


def quiet_logs() -> None:
    """Call before using a room that logs."""
    from xdpflannel.observe.log import configure_logging  # noqa: PLC0415 - commands that do not log do not wait

    configure_logging(json=False, level="warning")

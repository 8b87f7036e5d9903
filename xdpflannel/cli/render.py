"""The one way data reaches stdout: a document as a table, JSON or YAML.

A document is what scripts read: it carries ``schema`` and stays as it is when the table changes.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

FORMATS = ("table", "json", "yaml")

output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="table for people, json or yaml for scripts.",
)

# Wider than any table: what is piped into grep must not be folded.
_ENDLESS = 1000


def emit(output: str, document: dict[str, Any], tables: Callable[[], Iterable[RenderableType]]) -> None:
    """Print ``document`` to stdout as ``output`` says; ``tables`` makes the form for people."""
    if output == "json":
        click.echo(json.dumps(document, indent=2))
    elif output == "yaml":
        import yaml  # noqa: PLC0415 - not needed for the others

        click.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), nl=False)
    else:
        _print(tables())


def table(columns: Iterable[str], rows: Iterable[Iterable[object]], *, empty: str = "") -> RenderableType:
    """Return a plain table; columns named with a leading ``>`` are aligned right, None is a dash."""
    from rich.table import Table  # noqa: PLC0415

    cells = [[_cell(value) for value in row] for row in rows]
    if not cells and empty:
        return empty
    result = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in columns:
        result.add_column(name.lstrip(">").upper(), justify="right" if name.startswith(">") else "left")
    for row in cells:
        result.add_row(*row)
    return result


def facts(rows: Iterable[tuple[str, object]]) -> Table:
    """Return a list of named facts, one a line."""
    from rich.table import Table  # noqa: PLC0415

    result = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    result.add_column(style="bold", no_wrap=True)
    result.add_column(overflow="fold")
    for name, value in rows:
        result.add_row(name, _cell(value))
    return result


def grouped(number: int) -> str:
    """Return a large number with its digits in groups of three."""
    return f"{number:,}".replace(",", " ")


def many(number: int, noun: str) -> str:
    """Return a count with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def duration(seconds: float) -> str:
    """Return seconds in words, coarser the longer: ``45 s``, ``12 min``, ``23 h 59 min``, ``3 d 4 h``."""
    minutes, rest = divmod(int(abs(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{rest} s"


def expiry(expires_at: float | None, now: float) -> str:
    """Return in words when a lease ends; both in seconds since the epoch. Nothing if that is not known."""
    if expires_at is None:
        return ""
    left = duration(expires_at - now)
    return f"in {left}" if expires_at > now else f"{left} ago"


def share(value: float | None) -> str:
    """Return a share in percent, never rounded up to a whole."""
    if value is None:
        return "no overlay packet yet"
    return f"{int(value * 10000) / 100:.2f} %"


def _cell(value: object) -> str:
    from rich.markup import escape  # noqa: PLC0415 - names from outside may hold brackets

    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return escape(str(value))


def _print(parts: Iterable[RenderableType]) -> None:
    from rich.console import Console  # noqa: PLC0415

    console = Console(highlight=False, emoji=False)
    if console.is_terminal:
        for part in parts:
            console.print(part)
        return
    wide = Console(highlight=False, emoji=False, width=_ENDLESS, file=io.StringIO())
    for part in parts:
        with wide.capture() as text:
            wide.print(part)
        click.echo("\n".join(line.rstrip() for line in text.get().splitlines()))

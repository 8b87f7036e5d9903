"""The end of a log, for an error message."""

from __future__ import annotations

from pathlib import Path

_TAIL_BYTES = 16384


def tail(path: Path, lines: int = 20) -> str:
    """The last lines of a file, indented; says so if there are none."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            text = log.read().decode(errors="replace")
    except OSError as error:
        return f"  (no log: {error})"
    last = text.splitlines()[-lines:]
    return "\n".join(f"  {line}" for line in last) or "  (it said nothing)"

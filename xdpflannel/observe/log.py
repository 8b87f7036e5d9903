"""Logs: structured events on stderr, as JSON lines or for a terminal."""

from __future__ import annotations

import logging
import os
import sys
from typing import TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

LEVELS = ("debug", "info", "warning", "error")

_SECRET = ("password", "secret", "token", "credential")


def configure_logging(*, json: bool, level: str, stream: TextIO | None = None) -> None:
    """Send every event of ``level`` and above to ``stream`` (default: stderr).

    Values whose key speaks of a password, secret, token or credential are replaced: no caller can leak one by
    mistake.
    """
    stream = stream or sys.stderr
    last: structlog.typing.Processor
    if json:
        last = structlog.processors.JSONRenderer(sort_keys=False)
    else:
        last = structlog.dev.ConsoleRenderer(
            colors=stream.isatty() and not os.environ.get("NO_COLOR"),
            exception_formatter=structlog.dev.plain_traceback,
        )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            _hide_secrets,
            *([structlog.processors.format_exc_info] if json else []),
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )


def _hide_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    for key in event:
        if any(word in key.lower() for word in _SECRET):
            event[key] = "(hidden)"
    return event

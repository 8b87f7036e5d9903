"""Logs: what reaches the stream."""

from __future__ import annotations

import io
import json

import pytest
import structlog

from xdpflannel.observe.log import configure_logging


@pytest.fixture(autouse=True)
def _defaults_return():
    yield
    structlog.reset_defaults()


def test_json_lines_carry_event_and_keys() -> None:
    stream = io.StringIO()
    configure_logging(json=True, level="info", stream=stream)
    structlog.get_logger().info("lease.added", subnet="10.1.2.0/24")
    line = json.loads(stream.getvalue())
    assert (line["event"], line["subnet"], line["level"]) == ("lease.added", "10.1.2.0/24", "info")
    assert line["time"].endswith("Z")


def test_less_important_events_are_left_out() -> None:
    stream = io.StringIO()
    configure_logging(json=True, level="warning", stream=stream)
    structlog.get_logger().info("lease.added")
    assert stream.getvalue() == ""


def test_exceptions_are_in_the_line() -> None:
    stream = io.StringIO()
    configure_logging(json=True, level="info", stream=stream)
    try:
        int("broken")
    except ValueError:
        structlog.get_logger().exception("plan.failed")
    assert "ValueError: invalid literal" in json.loads(stream.getvalue())["exception"]


@pytest.mark.parametrize("json_wanted", [True, False])
def test_secrets_never_reach_the_log(json_wanted) -> None:
    stream = io.StringIO()
    configure_logging(json=json_wanted, level="info", stream=stream)
    secrets = {"etcd_password": "hunter2", "token": "t0ps"}
    structlog.get_logger().info("store.opened", **secrets, user="root")
    assert "hunter2" not in stream.getvalue()
    assert "t0ps" not in stream.getvalue()
    assert "root" in stream.getvalue()


def test_console_without_a_terminal_has_no_colours() -> None:
    stream = io.StringIO()
    configure_logging(json=False, level="info", stream=stream)
    structlog.get_logger().info("lease.added", subnet="10.1.2.0/24")
    assert "\x1b" not in stream.getvalue()
    assert "lease.added" in stream.getvalue()

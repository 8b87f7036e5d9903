"""Logs of the server that tests start must not land on the stdout that they read."""

from __future__ import annotations

import io

import pytest
import structlog

from xdpflannel.observe.log import configure_logging


@pytest.fixture(autouse=True)
def _quiet():
    configure_logging(json=True, level="error", stream=io.StringIO())
    yield
    structlog.reset_defaults()

"""A thread of the agent that dies takes the whole agent with it, by a failure that systemd sees."""

import threading

import pytest

from xdpflannel.agent.daemon import _thread
from xdpflannel.errors import HostError


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (HostError("no netlink", hint="look"), "no netlink"),
        (ValueError("odd"), "thread host failed: ValueError"),
    ],
)
def test_it_dies(error, said):
    def work():
        raise error

    stop, failures = threading.Event(), []
    _thread("host", work, stop, failures).join()
    assert stop.is_set()
    (failure,) = failures
    assert said in str(failure)
    assert failure.hint


def test_it_ends_as_it_should():
    stop, failures = threading.Event(), []
    _thread("host", lambda: None, stop, failures).join()
    assert not stop.is_set()
    assert failures == []

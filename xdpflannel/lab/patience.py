"""How long to wait: until a deadline, or until somebody gives up for all."""

from __future__ import annotations

import threading
import time


class Patience:
    """Shared by all who wait for the same thing."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._given_up = threading.Event()

    @property
    def over(self) -> bool:
        """Time is up, or it is of no use to wait on."""
        return self._given_up.is_set() or time.monotonic() > self._deadline

    def give_up(self) -> None:
        """Let everybody stop waiting."""
        self._given_up.set()

    def pause(self, seconds: float) -> None:
        """Wait a little before looking again."""
        self._given_up.wait(seconds)

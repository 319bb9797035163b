"""Whether anybody has written: cheap enough to be asked a hundred times a second.

Who has a direct connection is told by the server of what others may be waiting for (runs that are queued, released,
asked or at their end), and looks once a second for anything else. Through a pooler nobody can be told, so one looks
more often.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

# How often the server is asked whether any transaction has ended: with a connection that is told what matters, without.
TOLD_S: Final = 1.0
UNTOLD_S: Final = 0.05


class Pulse:
    """Counts what is heard, and looks when it is time. One for each open store."""

    def __init__(self, ask: Callable[[], str], heard: Callable[[], tuple[bool, int]]) -> None:
        """`heard`: whether we are told by the server, and of how many commits we have been since we last asked."""
        self._ask, self._heard = ask, heard
        self._count = 0
        self._snapshot = ""
        self._due = 0.0

    def wrote(self) -> None:
        """We have written ourselves: look at the next opportunity."""
        self._due = 0.0

    def version(self) -> object:
        told, commits = self._heard()
        self._count += commits
        now = time.monotonic()
        if now >= self._due:
            self._due = now + (TOLD_S if told else UNTOLD_S)
            self._snapshot = self._ask()
        return self._count, self._snapshot

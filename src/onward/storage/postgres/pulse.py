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

    def __init__(self, ask: Callable[[], str], listen: Callable[[], bool]) -> None:
        """`listen`: whether we are told by the server; what we are told it hands to `hear`."""
        self._ask, self._listen = ask, listen
        self._count = 0
        self._snapshot = ""
        self._due = 0.0

    def wrote(self) -> None:
        """We have written ourselves: look at the next opportunity."""
        self._due = 0.0

    def hear(self, commits: int) -> None:
        """Others have written so many times. Called by one thread at a time: none of them may be lost."""
        self._count += commits

    def version(self) -> object:
        told = self._listen()
        now = time.monotonic()
        if now >= self._due:
            self._due = now + (TOLD_S if told else UNTOLD_S)
            self._snapshot = self._ask()
        return self._count, self._snapshot

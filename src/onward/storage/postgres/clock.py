"""The database's clock, without asking it each time.

Its distance to this machine's monotonic clock is measured when a connection is made and whenever leases are renewed. A
measurement is wrong by at most half of the time that its answer took; a new one counts only where it differs by more.
So `now` is off by milliseconds, and a clock that is set on either machine is followed within one renewal.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from onward.storage import host

_CLOCK = host.monotonic_clock()


def monotonic() -> float:
    """Goes on while the machine is suspended."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


class DatabaseClock:
    def __init__(self, monotonic: Callable[[], float] = monotonic) -> None:
        self._monotonic = monotonic
        self._ahead: float | None = None  # of the monotonic clock

    def now(self) -> float:
        """Seconds since the epoch, by the database."""
        assert self._ahead is not None, "the clock is measured when the journal is opened"
        return self._monotonic() + self._ahead

    def measured(self, ask: Callable[[], float]) -> None:
        """Take in what the database says when it is asked now."""
        before = self._monotonic()
        at = ask()
        half = (self._monotonic() - before) / 2
        ahead = at - (before + half)
        if self._ahead is None or abs(ahead - self._ahead) > half:
            self._ahead = ahead

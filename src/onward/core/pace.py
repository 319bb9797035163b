"""How fast units of work may start: `Rate` is what a person writes (`"5/s"`), `Pace` says when the next one may start.

Pure: times come in as arguments, in seconds of any clock that never goes back.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

from onward.core import limits
from onward.core.errors import UsageError

_UNITS: Final = {
    **dict.fromkeys(("s", "sec", "second"), 1.0),
    **dict.fromkeys(("m", "min", "minute"), 60.0),
    **dict.fromkeys(("h", "hour"), 3_600.0),
    **dict.fromkeys(("d", "day"), 86_400.0),
}
_RATE: Final = re.compile(
    rf"\s*(\d+(?:\.\d+)?)\s*/\s*(\d+(?:\.\d+)?)?\s*({'|'.join(_UNITS)})\s*(?:burst\s+(\d+))?\s*", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Rate:
    """So many starts per second on average; `burst` of them may follow each other at once after a quiet time."""

    per_s: float
    burst: int = 1

    @property
    def interval_s(self) -> float:
        """Seconds from one start to the next at an even pace."""
        return 1 / self.per_s

    @classmethod
    def parsed(cls, text: str, option: str = "rate") -> Rate:
        """The rate that `text` describes: `5/s`, `60/min`, `1000/h`, `1/10s`, `60/min burst 10`.

        Raises UsageError, which names the option.
        """
        given: object = text
        found = _RATE.fullmatch(text) if isinstance(given, str) else None
        count = float(found[1]) if found else 0.0
        period_s = (float(found[2]) if found[2] else 1.0) * _UNITS[found[3]] if found else 0.0
        burst = int(found[4][:9]) if found and found[4] else 1
        # Outside of these bounds it is no pace any more: arithmetic would end, or nothing would ever start.
        if not 0 < count <= 1e6 or not 0 < period_s <= 1e8 or not 1 <= burst <= limits.MAP_CONCURRENCY:
            raise UsageError(
                f'{option}={given!r} is not a rate: write how many in which time, as in "5/s", "60/min", "1000/h", '
                f'"1/10s" or "60/min burst 10"; nothing was started'
            )
        return cls(count / period_s, burst)


class Pace:
    """The generic cell rate algorithm: in any window of t seconds at most `burst + t * per_s` starts.

    https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm
    """

    __slots__ = ("_due", "_interval_s", "_lead_s")

    def __init__(self, rate: Rate) -> None:
        self._interval_s = rate.interval_s
        self._lead_s = (rate.burst - 1) * rate.interval_s  # how far starts may be ahead of an even pace
        self._due = -math.inf  # when the next start would come at an even pace

    def wait_s(self, now: float) -> float:
        """Seconds until the next start; 0 if it may be now."""
        return max(0.0, self._due - self._lead_s - now)

    def start(self, now: float) -> float:
        """Book the next start; returns in how many seconds from `now` it is."""
        wait_s = self.wait_s(now)
        self._due = max(self._due, now + wait_s) + self._interval_s
        return wait_s

    def resume(self, last_start: float) -> None:
        """Go on after the latest start of somebody else, who is taken to have used up the whole burst."""
        self._due = max(self._due, last_start + self._lead_s + self._interval_s)

    @property
    def idle_at(self) -> float:
        """From when on what has started so far no longer matters."""
        return self._due

"""What an idle worker waits for: its own hands, a time, or another process that has written to the journal."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from onward.core import limits
from onward.storage.bell import Bell, Pipe, readable

# A commit may ring the store's bell when it begins to write, and is visible when it is durable: after a few
# milliseconds, or later on a slow disk. For so long it is looked for, at first after this time, then twice as long each
# time.
_VISIBLE_S: Final = 0.25
_FIRST_LOOK_S: Final = 0.001
# The least time between two wakings by news. What a look costs is a claim: where others write all the time and there is
# nothing in it for this worker, it doubles with each, and a burst of news after so long a silence begins anew.
_REST_S: Final = 0.005
_REST_MAX_S: Final = 0.02
_SILENCE_S: Final = 0.25


class Ring:
    """Wakes one thread. Anybody may ring, a signal handler too; once rung it wakes at once, or the next time."""

    def __init__(self, bell: Bell | None) -> None:
        """`bell`: that of the store (see `Store.doorbell`); where it tells nothing it is looked every LOOK_S."""
        self._bell = bell
        self._pipe = Pipe()
        self._looks_until = time.monotonic() + _VISIBLE_S  # until then what was written may become visible
        self._pause = _FIRST_LOOK_S  # before the next look
        self._woke_at = float("-inf")  # by news
        self._rest_s = _REST_S

    def ring(self) -> None:
        self._pipe.ring()

    def found(self) -> None:
        """There was something in the latest news."""
        self._rest_s = _REST_S

    def wait(
        self, until: float, is_news: Callable[[], bool], hears: Callable[[], bool] = lambda: True
    ) -> None:
        """Return when it was rung, when `is_news` says so, or at `until`, by the monotonic clock.

        `is_news` looks at the store. It is asked at first, and while somebody may have written to it. `hears`: whether
        it looks at all; what nobody looks at would go on ringing.
        """
        bell = self._bell
        # Not for each of many commits in a row.
        rest_s = min(self._woke_at + self._rest_s, until) - time.monotonic()
        if rest_s > 0 and self._heard(rest_s, ()):
            return
        while True:
            now = time.monotonic()
            ears = () if bell is None or now < self._looks_until or not hears() else bell.descriptors()
            if bell is not None and bell.rang() and ears:
                ears, self._pause = (), _FIRST_LOOK_S
                # Where it rings too early one looks for a while; elsewhere that was no news, and is over at once.
                self._looks_until = now + (_VISIBLE_S if bell.is_early else 0.0)
            if is_news():
                self._wake()
                return
            if now >= until:
                return
            left = until - now
            if self._heard(left if ears else min(self._pause, left), ears):
                return
            self._pause = min(2 * self._pause, limits.LOOK_S)

    def close(self) -> None:
        self._pipe.close()

    def _wake(self) -> None:
        now = time.monotonic()
        is_burst = now - self._woke_at < _SILENCE_S
        self._rest_s = min(2 * self._rest_s, _REST_MAX_S) if is_burst else _REST_S
        self._woke_at = now

    def _heard(self, seconds: float, ears: Sequence[int]) -> bool:
        """Wait for so long, or until somebody is heard; whether it was one of ours."""
        return self._pipe.ear in readable(seconds, (self._pipe.ear, *ears)) and self._pipe.silence()

"""What an idle worker waits for: its own hands, a time, or another process that has written to the journal."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import Final

from onward.core import limits

# A commit rings the store's bell when it begins to write and is visible when it is durable: after a few milliseconds,
# or later on a slow disk. For so long it is looked for, at first after this time, then twice as long each time.
_VISIBLE_S: Final = 0.25
_FIRST_LOOK_S: Final = 0.001


class Ring:
    """Wakes one thread. Anybody may ring, a signal handler too; once rung it wakes at once, or the next time."""

    def __init__(self, doorbell: int | None) -> None:
        """`doorbell`: that of the store (see `Store.doorbell`); without one it is looked every LOOK_S."""
        self._doorbell = doorbell
        self._ends: tuple[int, ...] = ()
        self._ear, self._mouth = self._ends = os.pipe()
        for end in self._ends:
            os.set_blocking(end, False)
        self._looks_until = time.monotonic() + _VISIBLE_S  # until then what was written may become visible
        self._pause = _FIRST_LOOK_S  # before the next look

    def ring(self) -> None:
        try:
            os.write(self._mouth, b"!")
        except BlockingIOError:  # it has not been heard for so long that the pipe is full: it is rung already
            return

    def wait(self, until: float, is_news: Callable[[], bool]) -> None:
        """Return when it was rung, when `is_news` says so, or at `until`, by the monotonic clock.

        `is_news` looks at the store. It is asked at first, and while somebody may have written to it.
        """
        while True:
            now = time.monotonic()
            listens = self._doorbell is not None and now >= self._looks_until
            if self._is_at_the_door() and listens:
                listens, self._pause = False, _FIRST_LOOK_S
                self._looks_until = now + _VISIBLE_S
            if is_news() or now >= until:
                return
            left = until - now
            if self._heard(left if listens else min(self._pause, left), listens=listens):
                return
            self._pause = min(2 * self._pause, limits.LOOK_S)

    def close(self) -> None:
        for end in self._ends:
            os.close(end)
        self._ends = ()

    def __del__(self) -> None:  # a process may have many workers, one after the other
        self.close()

    def _heard(self, seconds: float, *, listens: bool) -> bool:
        """Wait for so long, or until somebody is heard; whether it was one of ours."""
        poll = select.poll()
        poll.register(self._ear, select.POLLIN)
        if listens and self._doorbell is not None:
            poll.register(self._doorbell, select.POLLIN)
        if self._ear not in dict(poll.poll(1_000 * seconds)):
            return False
        while _read(self._ear):
            pass
        return True

    def _is_at_the_door(self) -> bool:
        """Whether the store's bell has rung; it is silent again afterwards."""
        rang = False
        while self._doorbell is not None and _read(self._doorbell):
            rang = True
        return rang


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except BlockingIOError:
        return b""

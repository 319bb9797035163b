"""Hands the items of a map to those who execute them, each when its turn has come: threads wait here, and tasks.

Who waits longest for work gets the next item; only one of them looks at the clock, the others stand behind it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any

from onward.core import limits
from onward.core.lanes import Lanes
from onward.core.lazily import Lazily
from onward.core.retry import retry_after_s
from onward.runtime.session import Session, Unit

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = Lazily("asyncio")

# Whoever waits looks this often whether the run has been asked to stop (seconds).
_LOOK_S = 0.25


class Job:
    """An item that waits for its turn, and the future of its outcome."""

    __slots__ = ("attempts", "future", "item", "key", "unit")

    def __init__(self, unit: Unit, item: Any, key: Hashable) -> None:
        self.unit, self.item, self.key = unit, item, key
        self.future: Future[Any] = Future()
        self.attempts = 0


class Dispatch:
    """The items of one map that wait for their turn. `dry()` is called when nobody has anything to begin."""

    def __init__(
        self, lanes: Lanes[Job], session: Session, now: Callable[[], float], dry: Callable[[], None]
    ) -> None:
        self._lanes, self._session, self._now, self._dry = lanes, session, now, dry
        self._changed = threading.Condition()
        self._first = threading.Lock()
        self._changes = 0
        self._closed = False
        self._waker: tuple[asyncio.AbstractEventLoop, asyncio.Event, asyncio.Lock] | None = None

    def has_work(self, workers: int) -> bool:
        """Whether there is something to begin for that many who look for it."""
        with self._changed:
            return self._lanes.ready >= workers

    def add(self, job: Job) -> None:
        with self._changed:
            self._lanes.add(job, job.key)
            self._wake()

    def leave(self, job: Job) -> None:
        """The item has ended: the next one of its key may begin."""
        with self._changed:
            self._lanes.leave(job.key, self._session.clock())
            self._wake()

    def close(self) -> None:
        """Begin nothing more; everybody who waits is sent home with CancelledError."""
        with self._changed:
            self._closed = True
            self._wake()

    def _wake(self) -> None:
        self._changes += 1
        self._changed.notify_all()
        if self._waker is not None:
            loop, event, _ = self._waker
            loop.call_soon_threadsafe(event.set)

    # -- taking ---------------------------------------------------------------------------------------

    def take(self) -> Job:
        """The next item whose turn has come; waits for it. Raises CancelledError once closed."""
        with self._first:
            while True:
                with self._changed:
                    job, wait_s = self._next()
                    seen = self._changes
                if job is not None:
                    return job
                self._dry()
                with self._changed:
                    if self._changes == seen:
                        self._changed.wait(min(wait_s, _LOOK_S))

    async def take_async(self) -> Job:
        """As `take`, in an event loop."""
        if self._waker is None:
            self._waker = (asyncio.get_running_loop(), asyncio.Event(), asyncio.Lock())
        _, event, first = self._waker
        async with first:
            while True:
                event.clear()
                with self._changed:
                    job, wait_s = self._next()
                if job is not None:
                    return job
                self._dry()
                try:
                    await asyncio.wait_for(event.wait(), min(wait_s, _LOOK_S))
                except TimeoutError:
                    continue

    def _next(self) -> tuple[Job | None, float]:
        if self._closed:
            raise CancelledError
        session = self._session
        if session.asked is not None or session.unwinding is not None:
            # Whoever gets it finds out before the item begins, and stops the run.
            job = self._lanes.take_any(session.clock())
            if job is not None:
                return job, 0.0
        found = self._lanes.take(session.clock())
        return found.item, found.wait_s

    # -- further attempts -----------------------------------------------------------------------------

    def before_attempt(self, job: Job) -> float:
        """Seconds to wait before this attempt of an item in flight; the first one has waited already."""
        job.attempts += 1
        if job.attempts == 1:
            return 0.0
        with self._changed:
            return self._lanes.book(job.key, self._session.clock())

    def heard(self, job: Job, error: Exception) -> None:
        """An attempt has failed. If the server asked for a pause, nothing of this key begins before it is over."""
        asked_s = retry_after_s(error, now=self._now())
        if asked_s is not None:
            with self._changed:
                until = self._session.clock() + min(asked_s, limits.RETRY_AFTER_MAX_S)
                self._lanes.hold(job.key, until)

    def paced(self, fn: Callable[..., Any], job: Job) -> Callable[[Any], Any]:
        """`fn`, whose every attempt waits for its turn and whose errors are heard."""

        def attempt(item: Any) -> Any:
            self._pause(self.before_attempt(job))
            try:
                return fn(item)
            except Exception as error:
                self.heard(job, error)
                raise

        return attempt

    def paced_async(self, fn: Callable[..., Any], job: Job) -> Callable[[Any], Any]:
        """As `paced`, for async functions."""

        async def attempt(item: Any) -> Any:
            wait_s = self.before_attempt(job)
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            try:
                return await fn(item)
            except Exception as error:
                self.heard(job, error)
                raise

        return attempt

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left_s := until - time.monotonic()) > 0 and self._session.unwinding is None:
            time.sleep(min(left_s, _LOOK_S))

"""The hands of a worker: threads that execute plain workflows, and an event loop for async ones.

As many as there are works, up to a limit; but what is short is executed by one hand after the other. Hands that all
want the interpreter only take turns at it, and whoever commits for them then waits a turn for each of its statements.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from onward.core.lazily import Lazily
from onward.core.model import Run
from onward.runtime import observe
from onward.runtime.registry import Job

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = Lazily("asyncio")

# Works that take less than this, on average lately, gain nothing by a second hand: executing one costs half as much.
_SHORT_S: Final = 1e-4
# A work counts as no more than this, so that one among many, such as the one that commits for all of them, changes
# nothing.
_LONG_S: Final = 5e-4
_FOLLOWS: Final = 0.1  # how fast the average follows the latest ones
# After so long in one work a hand keeps the others waiting, and another one goes on with them. Looked at less often
# while hands get on: each look takes the interpreter away from one of them.
_LOOK_S: Final = 5e-3
_LOOK_AT_LEAST_S: Final = 40e-3


class Work(NamedTuple):
    """A run to be executed, and what its execution is given."""

    run: Run
    job: Job
    last_seq: int
    safe_until: float

    @staticmethod
    def made(run: Run, job: Job, last_seq: int, safe_until: float) -> Work:
        """As the constructor, which is written in Python and takes twice as long: one is made for every job."""
        return _new(Work, (run, job, last_seq, safe_until))


_new: Final = tuple.__new__


class _Hand:
    """A thread; `begun` counts what it has begun."""

    __slots__ = ("begun",)

    def __init__(self) -> None:
        self.begun = 0


class Hands:
    """Execute at most `count` works at once, in their order; plain ones in threads, started when they are needed.

    Threads and loop end with the process. In a process forked by what is executed here they execute nothing.
    """

    def __init__(
        self,
        count: int,
        call: Callable[[Work], Coroutine[Any, Any, None] | None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`call` executes a work, or gives the coroutine that does; it raises nothing."""
        self._count, self._call, self._clock, self._process = count, call, clock, os.getpid()
        self._lock = threading.Lock()
        self._waiting: deque[Work] = deque()
        self._busy = 0
        self._plain = 0  # of those, how many are threads
        self._handed: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._idle = 0  # threads that wait for what is handed to them
        self._threads = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._mean_s = _LONG_S  # of works in threads, lately
        self._at_work: set[_Hand] = set()
        self._stuck: set[_Hand] = set()  # of those, as of the last look
        self._look = threading.Event()
        self._lookout: threading.Thread | None = None

    def begin(self, *works: Work) -> None:
        """Execute them at once, or when there are hands for them."""
        with self._lock:
            free = max(0, self._count - self._busy)
            if self._mean_s < _SHORT_S and not any(work.job.is_async for work in works):
                free = min(free, 0 if self._plain > len(self._stuck) else 1)
            begun = works[:free]
            self._waiting.extend(works[free:])
            self._count_in(begun)
        for work in begun:
            self._start(work)
        self._see_to_it()

    def _count_in(self, works: Sequence[Work]) -> None:
        self._busy += len(works)
        self._plain += sum(not work.job.is_async for work in works)

    @property
    def waiting(self) -> int:
        """How much has not begun, because all hands are full."""
        return len(self._waiting)

    def take_back(self) -> list[Work]:
        """What has not begun, and now never does here."""
        with self._lock:
            taken = []
            while self._waiting:
                with suppress(IndexError):  # a hand was faster
                    taken.append(self._waiting.popleft())
        return taken

    def close(self) -> None:
        """Let the threads end that have nothing to do."""
        for _ in range(self._threads):
            self._handed.put(None)
        self._closed = True
        self._look.set()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)

    def _next(self, *, plain: bool) -> Work | None:
        """What the hand that has become free does next; `plain`: a thread."""
        try:
            return self._waiting.popleft()
        except IndexError:
            with self._lock:
                if self._waiting:  # whoever puts something there does so under the lock
                    return self._waiting.popleft()
                self._busy -= 1
                self._plain -= plain
                return None

    def _start(self, work: Work) -> None:
        if work.job.is_async:
            loop = self._loop or self._started_loop()
            loop.call_soon_threadsafe(self._spawn, work)
            return
        number = 0
        with self._lock:
            if self._idle == 0:
                self._threads += 1
                number = self._threads
            else:
                self._idle -= 1
        if number:
            threading.Thread(
                target=self._serve, args=(work,), name=f"onward-worker-{number}", daemon=True
            ).start()
        else:
            self._handed.put(work)

    # -- threads --------------------------------------------------------------------------------------------

    def _serve(self, first: Work) -> None:
        hand, work, clock, call = _Hand(), first, self._clock, self._call
        while True:
            self._at_work.add(hand)
            following: Work | None = work
            while following is not None and not following.job.is_async:
                hand.begun += 1
                began = clock()
                call(following)
                if os.getpid() != self._process:
                    return  # a child that user code forked has come out of it: the rest is not its own
                self._stuck.discard(hand)
                following = self._after(clock() - began)
            self._at_work.discard(hand)
            if following is not None:
                self._start(following)
            with self._lock:
                self._plain -= following is not None  # what it was busy with goes on in the loop
                self._idle += 1
            handed = self._handed.get()
            if handed is None:
                return
            work = handed

    def _after(self, seconds: float) -> Work | None:
        """What a hand does next that has executed a work in this time; with it other hands begin, or this one rests."""
        mean = self._mean_s + (min(seconds, _LONG_S) - self._mean_s) * _FOLLOWS
        self._mean_s = mean
        if mean >= _SHORT_S:
            if self._waiting and self._busy < self._count:
                self._begin_one()
        elif self._plain > 1 and self._may_rest():
            self._see_to_it()
            return None
        return self._next(plain=True)

    def _may_rest(self) -> bool:
        """Whether another hand goes on with what waits; then this one is not busy any more."""
        with self._lock:
            if self._plain - 1 <= len(self._stuck):
                return False
            self._busy -= 1
            self._plain -= 1
            return True

    def _begin_one(self) -> None:
        """Another hand executes the next of what waits, if there is one for it."""
        with self._lock:
            if self._busy >= self._count:
                return
            try:
                work = self._waiting.popleft()
            except IndexError:  # a hand was faster
                return
            self._count_in((work,))
        self._start(work)

    # -- a hand that is busy with one work for long ---------------------------------------------------------

    def _see_to_it(self) -> None:
        """Have somebody look after what waits beside hands that do nothing."""
        if self._waiting and self._busy < self._count:
            if self._lookout is None:
                with self._lock:
                    if self._lookout is None:
                        self._lookout = threading.Thread(
                            target=self._look_out, name="onward-lookout", daemon=True
                        )
                        self._lookout.start()
            self._look.set()

    def _look_out(self) -> None:
        while not self._closed:
            self._look.wait()
            self._look.clear()
            known: dict[_Hand, int] = {}
            pause_s = _LOOK_S
            while self._waiting and self._busy < self._count and not self._closed:
                time.sleep(pause_s)
                found = {hand: hand.begun for hand in list(self._at_work)}
                stuck = {hand for hand, begun in found.items() if known.get(hand) == begun == hand.begun}
                self._stuck = stuck
                if len(stuck) == len(found):
                    for _ in range(max(1, len(stuck))):
                        self._begin_one()
                    pause_s = _LOOK_S
                else:
                    pause_s = min(2 * pause_s, _LOOK_AT_LEAST_S)
                known = found
            self._stuck = set()

    # -- the event loop ---------------------------------------------------------------------------------------

    def _spawn(self, work: Work) -> None:
        """In the loop: begin a work as a task of its own."""
        call = self._call(work)
        assert call is not None, "an async work gives a coroutine"
        task = asyncio.ensure_future(call)
        self._tasks.add(task)  # the loop itself would let it be collected
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        following = self._next(plain=False)
        if following is not None:
            self._start(following)
        elif self._closed and not self._tasks:
            task.get_loop().stop()

    def _started_loop(self) -> asyncio.AbstractEventLoop:
        loop = self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._turn, args=(loop,), name="onward-loop", daemon=True).start()
        return loop

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        while not (self._closed and not self._tasks):
            try:
                loop.run_forever()
            except BaseException as error:  # asyncio lets a task's SystemExit end its loop: the others go on
                observe.log.error("a task in the worker's event loop raised %r", error)
            if os.getpid() != self._process:
                return
        loop.close()

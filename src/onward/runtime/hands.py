"""The hands of a worker: threads that execute plain workflows, and an event loop for async ones."""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from onward.core.lazily import Lazily
from onward.core.model import Run
from onward.runtime import observe

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = Lazily("asyncio")


class Work(NamedTuple):
    """A run to be executed: `call` raises nothing."""

    run: Run
    call: Callable[[], Coroutine[Any, Any, None] | None]
    is_async: bool


class Hands:
    """Execute at most `count` works at once, in their order; plain ones in threads, started when they are needed.

    Threads and loop end with the process. In a process forked by what is executed here they execute nothing.
    """

    def __init__(self, count: int) -> None:
        self._count, self._process = count, os.getpid()
        self._lock = threading.Lock()
        self._waiting: deque[Work] = deque()
        self._busy = 0
        self._handed: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._idle = 0  # threads that wait for what is handed to them
        self._threads = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def begin(self, *works: Work) -> None:
        """Execute them at once, or when there are hands for them."""
        with self._lock:
            free = max(0, self._count - self._busy)
            self._waiting.extend(works[free:])
            self._busy += len(works[:free])
        for work in works[:free]:
            self._start(work)

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
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)

    def _next(self) -> Work | None:
        """What the hand that has become free does next."""
        try:
            return self._waiting.popleft()
        except IndexError:
            with self._lock:
                if self._waiting:  # whoever puts something there does so under the lock
                    return self._waiting.popleft()
                self._busy -= 1
                return None

    def _start(self, work: Work) -> None:
        if work.is_async:
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
        work: Work | None = first
        while work is not None:
            work.call()
            if os.getpid() != self._process:
                return  # a child that user code forked has come out of it: the rest is not its own
            following = self._next()
            if following is not None and following.is_async:
                self._start(following)
                following = None
            if following is None:
                with self._lock:
                    self._idle += 1
                following = self._handed.get()
            work = following

    # -- the event loop ---------------------------------------------------------------------------------------

    def _spawn(self, work: Work) -> None:
        """In the loop: begin a work as a task of its own."""
        call = work.call()
        assert call is not None, "an async work gives a coroutine"
        task = asyncio.ensure_future(call)
        self._tasks.add(task)  # the loop itself would let it be collected
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        following = self._next()
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

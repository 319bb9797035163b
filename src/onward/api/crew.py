"""Who executes the items of a map: threads, or tasks of an event loop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

from onward.core.lazily import Lazily

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = Lazily("asyncio")

Work = Callable[[], Any]
AsyncWork = Callable[[], Coroutine[Any, Any, Any]]


class Crew(Protocol):
    """Runs work concurrently, up to a bound."""

    def start(self, work: Any) -> Future[Any]: ...

    def cancel(self) -> None:
        """Cancel what can be cancelled; waits for nothing."""
        ...

    def stop(self, *, at_once: bool) -> None:
        """Begin nothing more. What has begun comes to rest; `at_once` cancels it where that is possible."""
        ...

    async def rest(self) -> None:
        """Begin nothing more; return when what has begun has come to rest. The event loop is not blocked."""
        ...


class Threads:
    """For sync functions."""

    def __init__(self, concurrency: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix=f"onward-{name[-20:]}")

    def start(self, work: Work) -> Future[Any]:
        return self._pool.submit(work)

    def cancel(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def stop(self, *, at_once: bool) -> None:
        # A thread cannot be cancelled: what it executes is waited for in any case.
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def rest(self) -> None:
        self.cancel()
        await asyncio.to_thread(self.stop, at_once=False)


class Tasks:
    """For async functions called from async code: tasks of the running loop."""

    def __init__(self, concurrency: int) -> None:
        self._slots = asyncio.Semaphore(concurrency)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._begun: set[asyncio.Task[Any]] = set()

    def start(self, work: AsyncWork) -> Future[Any]:
        future: Future[Any] = Future()
        task = asyncio.get_running_loop().create_task(self._in_turn(work))
        self._tasks.add(task)

        def ended(task: asyncio.Task[Any]) -> None:
            self._tasks.discard(task)
            self._begun.discard(task)
            if task.cancelled():
                future.cancel()
                future.set_running_or_notify_cancel()
                return
            error = task.exception()
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(task.result())

        task.add_done_callback(ended)
        return future

    async def _in_turn(self, work: AsyncWork) -> Any:
        async with self._slots:
            task = asyncio.current_task()
            assert task is not None, "work runs in a task of its own"
            self._begun.add(task)
            return await work()

    def cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    def stop(self, *, at_once: bool) -> None:
        # Nobody can wait here without blocking the loop: what is to come to rest has done so in `rest`.
        self.cancel()

    async def rest(self) -> None:
        for task in self._tasks - self._begun:
            task.cancel()
        while self._tasks:
            await asyncio.wait(list(self._tasks))


class LoopThread:
    """For async functions called from sync code: an event loop in a thread of its own."""

    def __init__(self, concurrency: int, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._tasks = Tasks(concurrency)
        self._thread = threading.Thread(
            target=self._loop.run_forever, name=f"onward-{name[-20:]}", daemon=True
        )
        self._thread.start()

    def start(self, work: AsyncWork) -> Future[Any]:
        future: Future[Any] = Future()

        def begin() -> None:
            self._tasks.start(work).add_done_callback(lambda ended: _pass_on(ended, future))

        self._loop.call_soon_threadsafe(begin)
        return future

    def cancel(self) -> None:
        self._loop.call_soon_threadsafe(self._tasks.cancel)

    def stop(self, *, at_once: bool) -> None:
        asyncio.run_coroutine_threadsafe(self._rest(at_once=at_once), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def rest(self) -> None:
        await asyncio.to_thread(self.stop, at_once=False)

    async def _rest(self, *, at_once: bool) -> None:
        if at_once:
            self._tasks.cancel()
        await self._tasks.rest()


def _pass_on(ended: Future[Any], future: Future[Any]) -> None:
    if ended.cancelled():
        future.cancel()
        future.set_running_or_notify_cancel()
    elif (error := ended.exception()) is not None:
        future.set_exception(error)
    else:
        future.set_result(ended.result())

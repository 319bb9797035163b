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


class Crew(Protocol):
    """Runs work concurrently; `settled(ticket)` is called, from any thread, when one has ended."""

    def start(self, work: Work) -> Future[Any]: ...

    def stop(self) -> None:
        """Begin nothing more; return when all that was begun has come to rest."""
        ...


class Threads:
    """For sync functions."""

    def __init__(self, concurrency: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix=f"onward-{name[-20:]}")

    def start(self, work: Work) -> Future[Any]:
        return self._pool.submit(work)

    def stop(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


class LoopThread:
    """For async functions called from sync code: an event loop in a thread of its own."""

    def __init__(self, concurrency: int, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._slots = asyncio.Semaphore(concurrency)
        self._futures: set[Future[Any]] = set()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name=f"onward-{name[-20:]}", daemon=True
        )
        self._thread.start()

    def start(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Future[Any]:
        future = asyncio.run_coroutine_threadsafe(self._in_turn(work), self._loop)
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        return future

    async def _in_turn(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        async with self._slots:
            return await work()

    def stop(self) -> None:
        for future in list(self._futures):
            future.cancel()
        asyncio.run_coroutine_threadsafe(_rest(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Tasks:
    """For async functions called from async code: tasks of the running loop."""

    def __init__(self, concurrency: int) -> None:
        self._slots = asyncio.Semaphore(concurrency)
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Future[Any]:
        future: Future[Any] = Future()
        task = asyncio.get_running_loop().create_task(self._in_turn(work))
        self._tasks.add(task)

        def ended(task: asyncio.Task[Any]) -> None:
            self._tasks.discard(task)
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

    async def _in_turn(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        async with self._slots:
            return await work()

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def rest(self) -> None:
        """Return when every task has come to rest."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))


async def _rest() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    await asyncio.gather(*others, return_exceptions=True)

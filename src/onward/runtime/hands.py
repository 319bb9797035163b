"""The hands of a worker: threads that execute plain workflows, and an event loop for async ones."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from onward.core.lazily import Lazily

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = Lazily("asyncio")


class Hands:
    """At most `count` threads, started when they are needed, and one event loop. All of them end with the process."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def execute(self, work: Callable[[], None]) -> None:
        """Call `work`, which raises nothing, in a thread: at once, or when one is free."""
        self._work.put(work)
        with self._lock:
            if self._idle >= self._work.qsize() or len(self._threads) >= self._count:
                return
            name = f"onward-worker-{len(self._threads) + 1}"
            thread = threading.Thread(target=self._serve, name=name, daemon=True)
            self._threads.append(thread)
        thread.start()

    @property
    def waiting(self) -> int:
        """How much work no thread has begun yet."""
        return self._work.qsize()

    def _serve(self) -> None:
        while True:
            self._idle += 1  # a hint: how many threads are started, no more
            work = self._work.get()
            self._idle -= 1
            if work is None:
                return
            work()

    def submit(self, work: Coroutine[Any, Any, None]) -> None:
        """Execute `work`, which raises nothing, in the event loop."""
        if self._loop is None:
            ready = threading.Event()
            threading.Thread(target=self._run_loop, args=(ready,), name="onward-loop", daemon=True).start()
            ready.wait()
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(work, self._loop)

    def _run_loop(self, ready: threading.Event) -> None:
        async def forever() -> None:
            self._loop = asyncio.get_running_loop()
            ready.set()
            await asyncio.Event().wait()

        asyncio.run(forever())

    def close(self) -> None:
        """Let the threads end that have nothing to do."""
        for _ in self._threads:
            self._work.put(None)

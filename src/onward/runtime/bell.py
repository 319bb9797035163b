"""Wakes whoever waits for a session, in a thread or in an event loop."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from onward.core.lazily import Lazily

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = Lazily("asyncio")


class Bell(threading.Event):
    """An event that tasks can wait for too, without a thread each. Once it has rung it stays so."""

    def __init__(self) -> None:
        super().__init__()
        self._tasks: dict[asyncio.Future[None], asyncio.AbstractEventLoop] = {}

    def set(self) -> None:
        super().set()
        for future, loop in list(self._tasks.items()):
            try:
                loop.call_soon_threadsafe(_wake, future)
            except RuntimeError:  # that loop is closed: nobody waits in it any more
                continue

    async def wait_async(self, seconds: float) -> bool:
        """As `wait`, for a task of any event loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._tasks[future] = loop
        try:
            # Listed first, looked at second: whoever rings in between finds the future or is seen here.
            if not self.is_set():
                await asyncio.wait((future,), timeout=seconds)
        finally:
            self._tasks.pop(future, None)
        return self.is_set()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)

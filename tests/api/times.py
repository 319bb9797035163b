"""Time that also passes when a test says so: hours in a moment, for event loops and for the journal alike.

So what must come in time can have an hour for it on the busiest machine, and nothing has to be waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from onward.api import connect

T = TypeVar("T")


class Times:
    """The clocks of the open journal and of the loops that are run here."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ahead_s = 0.0
        store = connect.engine().store
        now = store.now
        monkeypatch.setattr(store, "now", lambda: now() + self._ahead_s)

    def leap(self, seconds: float) -> None:
        """So much time has passed, and a moment more."""
        self._ahead_s += seconds + 0.001

    def run(self, job: Coroutine[Any, Any, T]) -> T:
        """As asyncio.run."""
        with asyncio.Runner(loop_factory=self._loop) as runner:
            return runner.run(job)

    def _loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        time = loop.time
        loop.time = lambda: time() + self._ahead_s  # type: ignore[method-assign]
        return loop

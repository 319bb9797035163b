"""A started run, as its caller sees it: wait for its result, or act on it."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from onward.api import connect
from onward.api.ended import result_of
from onward.core import limits
from onward.core.errors import RunNotFound, UsageError
from onward.core.lazily import Lazily
from onward.core.model import ENDED, Run, RunState
from onward.runtime import current
from onward.runtime.drive import drive, drive_async
from onward.runtime.engine import Engine
from onward.runtime.waiting import await_run

if TYPE_CHECKING:
    import asyncio

    from onward.api import journal
    from onward.api.overview import Acted
else:
    asyncio, journal = Lazily("asyncio"), Lazily("onward.api.journal")

R = TypeVar("R")
# Ended, or waiting for a person: nobody gets a result by waiting on.
_AT_REST = (*ENDED, "stuck")


class Handle(Generic[R]):
    """A run that was started, wherever it is executed. What `workflow.start` returns.

        run = checkout.start(order)
        print(run.id, run.state)
        receipt = run.result(timeout=60)

    It names the run and holds nothing: another process makes the same from the id, `onward.Handle("order-17")`.
    """

    def __init__(self, run_id: str) -> None:
        self.id = run_id

    def __repr__(self) -> str:
        return f"<onward run {self.id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Handle) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    # -- looking ------------------------------------------------------------------------------------

    @property
    def state(self) -> RunState:
        """What it does now. Raises RunNotFound if it was removed."""
        return _stored(connect.engine(), self.id).state

    def result(self, timeout: float | None = None) -> R:
        """Wait for its end and return what it returned; raises what it raised.

            receipt = run.result(timeout=60)

        `timeout` in seconds; after it TimeoutError, and the run goes on. In a workflow that a worker executes waiting
        costs a row, not a thread, and what came is recorded. Raises RunCancelled, RunStuck, RunNotFound.
        """
        place = current.here()
        if place is not None and not place.inside_step:
            key = place.scope.next("result")
            engine = connect.engine()
            flow = await_run(place.session, key, self.id, timeout, place=engine.store.place)
            return cast("R", drive(flow, engine, place.session))
        return cast("R", result_of(self._at_rest(connect.engine(), timeout)))

    async def result_async(self, timeout: float | None = None) -> R:  # noqa: ASYNC109  (as `result`)
        """As `result`, without blocking the event loop."""
        place = current.here()
        if place is not None and not place.inside_step:
            key = place.scope.next("result")
            engine = connect.engine()
            flow = await_run(place.session, key, self.id, timeout, place=engine.store.place)
            return cast("R", await drive_async(flow, engine, place.session))
        return cast("R", result_of(await self._at_rest_async(connect.engine(), timeout)))

    # These return before its error is raised, which would carry their StopIteration into the caller's traceback.

    def _at_rest(self, engine: Engine, timeout: float | None) -> Run:
        looks = self._looks(engine, timeout)
        try:
            while True:
                engine.store.linger(next(looks))
        except StopIteration as got:
            return cast("Run", got.value)

    async def _at_rest_async(self, engine: Engine, timeout: float | None) -> Run:  # noqa: ASYNC109  (as `result`)
        looks = self._looks(engine, timeout)
        try:
            while True:
                await asyncio.sleep(next(looks))
        except StopIteration as got:
            return cast("Run", got.value)

    def _looks(self, engine: Engine, timeout: float | None) -> Generator[float, None, Run]:
        """How long to sleep before the next look; returns the run when it has come to rest."""
        if timeout is not None and not timeout >= 0:
            raise UsageError(f"timeout= takes a number of seconds from 0 on, not {timeout!r}")
        end = None if timeout is None else time.monotonic() + timeout
        version: object = None
        while True:
            seen = engine.store.version()
            if version is None or seen != version:
                run = _stored(engine, self.id)
                if run.state in _AT_REST:
                    return run
                version = seen
            if end is not None and time.monotonic() >= end:
                raise TimeoutError(f"run {self.id} has not ended within {timeout:g} s; it goes on")
            yield limits.LOOK_S if end is None else min(limits.LOOK_S, max(0.0, end - time.monotonic()))

    # -- acting -------------------------------------------------------------------------------------

    def pause(self) -> Acted:
        """Stop it at its next step; `resume` lets it go on."""
        return self._journal().pause(self.id)

    def resume(self) -> Acted:
        """Let a paused run go on."""
        return self._journal().resume(self.id)

    def cancel(self) -> Acted:
        """End it for good, at its next step if it is being executed."""
        return self._journal().cancel(self.id)

    def retry(self) -> Acted:
        """Let a failed or stuck run be executed again: what failed, and nothing else."""
        return self._journal().retry(self.id)

    def _journal(self) -> journal.Journal:
        return journal.Journal()


def _stored(engine: Engine, run_id: str) -> Run:
    run = engine.store.run(run_id)
    if run is None:
        raise RunNotFound(run_id, engine.store.place)
    return run

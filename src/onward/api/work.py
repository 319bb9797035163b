"""What happens with one item of a map: it waits for its turn, is executed here or elsewhere, and its end is heard."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any

from onward.api.crew import Crew, LoopThread, Tasks, Threads
from onward.api.elsewhere import Unusable, WorkerDied
from onward.api.settings import Settings
from onward.core.errors import ExecutorBroken, StepCrashed, UsageError
from onward.core.lanes import Lanes
from onward.core.lazily import Lazily
from onward.core.pace import Pace
from onward.core.streak import Reason, Streak
from onward.runtime import current
from onward.runtime.drive import drive, drive_async
from onward.runtime.effects import Flow
from onward.runtime.engine import Engine
from onward.runtime.items import Items
from onward.runtime.losing import lost_before
from onward.runtime.session import Session, Unit

if TYPE_CHECKING:
    from onward.api import dispatch
    from onward.api.pool import Pool
else:
    dispatch = Lazily("onward.api.dispatch")  # for maps with a pace only: the others begin sooner

# Latest entries of a run among which its last start is looked for; what follows the start of an item that is still in
# flight are the ends of others and their steps.
_LATEST = 2_000
# Latest entries among which the items are found that are tried again: a pass reopens what had failed when it begins.
_REOPENED = 20_000


class Work:
    """Executes the items of one map. `notify()` wakes the consumer: there is nothing to begin, or no sense in it."""

    def __init__(
        self,
        engine: Engine,
        session: Session,
        items: Items,
        fn: Callable[..., Any],
        settings: Settings,
        notify: Callable[[], None],
        *,
        nested: bool,
        pool: Pool | None = None,
    ) -> None:
        self._engine, self._session, self._items, self._settings = engine, session, items, settings
        self._fn, self._nested = fn, nested
        self._notify = notify
        self._lock = threading.Lock()
        self._succeeded = False
        self._as_tasks = self._is_async = inspect.iscoroutinefunction(fn)
        self._stopped = False
        self._pool = pool
        if pool is not None:
            pool.open(session.run, engine.store.now)
        self._dispatch = None if not settings.is_paced else self._paced()
        self._streak: Streak | None = None

    @property
    def reason(self) -> Reason | None:
        """Why the map has to stop early, once it has."""
        return None if self._streak is None else self._streak.reason

    @property
    def cause(self) -> BaseException | None:
        """One of the errors that made it stop."""
        return None if self._streak is None else self._streak.cause

    def looks_ahead(self) -> bool:
        """Whether more items are wanted because those at hand wait for their keys."""
        settings = self._settings
        if self._dispatch is None or settings.per_key is None:
            return False
        return not self._dispatch.has_work(settings.concurrency)

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopped = True
        if self._dispatch is not None:
            self._dispatch.close()

    def close(self) -> None:
        """Everything has come to rest."""
        if self._pool is not None:
            self._pool.close()

    # -- beginning ------------------------------------------------------------------------------------

    def crew(self, name: str, *, in_loop: bool) -> Crew:
        """Who executes the items; `in_loop` when the results are consumed in an event loop."""
        concurrency = self._settings.concurrency
        self._as_tasks = self._is_async or (in_loop and self._pool is not None)
        if not self._as_tasks:
            return Threads(concurrency, name)
        return Tasks(concurrency) if in_loop else LoopThread(concurrency, name)

    def begin(self, crew: Crew, key: str, item: Any, *, certain_start: bool) -> Future[Any]:
        """Let an item be executed by the crew as soon as its turn has come; the future of its outcome."""
        # With a pace, starts are durable: a restart must know of them.
        certain_start = certain_start or self._settings.rate is not None
        unit = Unit(key, "item", self._items.name, self._settings.policy, certain_start=certain_start)
        self._session.given[key] = item
        if self._dispatch is None:
            work = self._execute_async if self._as_tasks else self._execute
            return crew.start(lambda: work(unit, item))
        job = dispatch.Job(unit, item, self._lane(item))
        self._dispatch.add(job)
        crew.start(self._in_turn_async if self._as_tasks else self._in_turn)
        return job.future

    def _execute(self, unit: Unit, item: Any, job: dispatch.Job | None = None) -> Any:
        while True:
            fn = self._callee(unit)
            if job is not None:
                fn = self._queue.paced(fn, job)
            try:
                value = drive(self._session.perform(unit, fn, (item,), {}), self._engine, self._session)
            except WorkerDied as died:
                drive(self._died(unit, died), self._engine, self._session)
                self._go_on()
            except Unusable as why:
                raise self._no_executor(why) from why.__cause__
            except Exception as error:
                self._failed(unit.key, error)
                raise
            else:
                return self._ended(unit.key, value)

    async def _execute_async(self, unit: Unit, item: Any, job: dispatch.Job | None = None) -> Any:
        while True:
            fn = self._callee(unit)
            if job is not None:
                fn = self._queue.paced_async(fn, job)
            try:
                flow = self._session.perform(unit, fn, (item,), {})
                value = await drive_async(flow, self._engine, self._session)
            except WorkerDied as died:
                await drive_async(self._died(unit, died), self._engine, self._session)
                self._go_on()
            except Unusable as why:
                raise self._no_executor(why) from why.__cause__
            except Exception as error:
                self._failed(unit.key, error)
                raise
            else:
                return self._ended(unit.key, value)

    def _callee(self, unit: Unit) -> Callable[[Any], Any]:
        """The function, or what calls it in the executor."""
        if self._stopped or self.reason is not None:
            raise CancelledError  # it was handed over, but has not begun
        if self._pool is None:
            return self._fn
        call = self._pool.call_async if self._as_tasks else self._pool.call
        past = self._session.begun.get(unit.key)
        alone = past is not None and (past.suspect or past.crashes > 0)

        def elsewhere(item: Any) -> Any:
            here = current.peek()
            return call(unit, 1 if here is None else here.attempt, item, alone=alone)

        return elsewhere

    # -- ends -----------------------------------------------------------------------------------------

    def _ended(self, key: str, value: Any) -> Any:
        self._items.ended(key)
        self._session.given.pop(key, None)
        self._succeeded = True
        if self._streak is not None:
            with self._lock:
                self._streak.succeeded()
        return value

    def _failed(self, key: str, error: Exception) -> None:
        self._session.given.pop(key, None)
        settings = self._settings
        if self._nested or settings.on_error == "raise" or settings.stop_after is None:
            return
        with self._lock:
            if self._streak is None:
                done = self._succeeded or self._session.done > 0
                self._streak = Streak(
                    settings.stop_after, anything_done=done, failed_before=self._failed_before()
                )
            self._streak.failed(key, error)
            if isinstance(error, StepCrashed):  # each in another life of this program: see losing.py
                why = lost_before(self._engine, self._session, key).too_many(settings.stop_after)
                if why is not None:
                    self._streak.stop(why, error)
        if self.reason is not None:
            self._notify()

    def _failed_before(self) -> list[str]:
        """Items that an earlier pass had tried in vain and that this one tries again."""
        run, store = self._session.run, self._engine.store
        if run.fence == 1:
            return []
        latest = store.entries(run.no, after=max(-1, store.last_seq(run.no) - _REOPENED))
        return [entry.key for entry in latest if entry.state == "reopened"]

    def _died(self, unit: Unit, died: WorkerDied) -> Flow[None]:
        return self._items.died(unit, died.error, alone=died.alone, begun_at=died.begun_at)

    def _go_on(self) -> None:
        assert self._pool is not None, "it was a worker of its executor that died"
        try:
            self._pool.ready()
        except Unusable as why:
            raise self._no_executor(why) from why.__cause__

    def _no_executor(self, why: Unusable) -> ExecutorBroken:
        assert self._pool is not None, "it says that it cannot be used"
        return self._pool.unusable(str(why))

    # -- turns ----------------------------------------------------------------------------------------

    def _lane(self, item: Any) -> Hashable:
        per_key = self._settings.per_key
        if per_key is None:
            return None
        key = per_key(item)
        try:
            hash(key)
        except TypeError:
            raise UsageError(
                f"per_key= gave a {type(key).__qualname__}, which cannot be compared by content; let it give a str"
            ) from None
        return key

    def _paced(self) -> dispatch.Dispatch:
        settings, session = self._settings, self._session
        pace = None if settings.rate is None else Pace(settings.rate)
        if pace is not None and session.run.fence > 1:
            self._resume(pace)
        lanes: Lanes[dispatch.Job] = Lanes(
            width=settings.per_key_concurrency, pace=pace, key_rate=settings.per_key_rate
        )
        return dispatch.Dispatch(lanes, session, self._engine.store.now, self._notify)

    def _resume(self, pace: Pace) -> None:
        """Go on after the latest start of the leases before this one, so that a restart is no burst."""
        run, store = self._session.run, self._engine.store
        latest = store.entries(run.no, after=max(-1, store.last_seq(run.no) - _LATEST))
        began = [entry.begun_at for entry in latest if entry.begun_at is not None and entry.fence < run.fence]
        began += [one.begun_at for one in self._session.begun.values() if one.begun_at]
        if began:
            ago_s = max(0.0, store.now() - max(began))
            pace.resume(self._session.clock() - ago_s)

    @property
    def _queue(self) -> dispatch.Dispatch:
        assert self._dispatch is not None, "only paced items have a turn"
        return self._dispatch

    def _in_turn(self) -> None:
        job = self._queue.take()
        try:
            value = self._execute(job.unit, job.item, job)
        except BaseException as error:
            self._queue.leave(job)
            job.future.set_exception(error)
        else:
            self._queue.leave(job)
            job.future.set_result(value)

    async def _in_turn_async(self) -> None:
        job = await self._queue.take_async()
        try:
            value = await self._execute_async(job.unit, job.item, job)
        except BaseException as error:
            self._queue.leave(job)
            job.future.set_exception(error)
        else:
            self._queue.leave(job)
            job.future.set_result(value)

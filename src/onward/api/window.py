"""The window of a map: the items between its source and its consumer."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from onward.api.endings import Graceful
from onward.api.opening import outward
from onward.api.settings import Settings
from onward.api.work import Work
from onward.core import limits
from onward.core.errors import ExecutorBroken, RunFailed, StepCrashed, TooManyFailures, Unwind
from onward.core.lazily import Lazily
from onward.runtime import observe
from onward.runtime.drive import drive
from onward.runtime.effects import Outcome
from onward.runtime.engine import Engine
from onward.runtime.items import Items
from onward.runtime.losing import stopped_early
from onward.runtime.outcomes import recorded_error
from onward.runtime.remake import holds_files
from onward.runtime.session import Session

if TYPE_CHECKING:
    import asyncio

    from onward.api.crew import Crew
    from onward.api.pool import Pool
    from onward.api.source import Source
    from onward.runtime import progress
else:
    progress = Lazily("onward.runtime.progress")
    asyncio = Lazily("asyncio")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Failure(Generic[T]):
    """What a map yields for an item that failed for good, with `on_error="continue"`: the item, its key, its error."""

    item: T
    key: str
    error: BaseException


class _Slot:
    """One position of the results: an item, and the future of its outcome."""

    __slots__ = ("future", "item", "key")

    def __init__(self, item: Any, key: str, future: Future[Any]) -> None:
        self.item, self.key, self.future = item, key, future


class Window:
    """The items between the source and the consumer: begun ones, and results not yet taken."""

    def __init__(
        self,
        engine: Engine,
        session: Session,
        items: Items,
        fn: Callable[..., Any],
        settings: Settings,
        *,
        nested: bool,
        pool: Pool | None = None,
    ) -> None:
        self.engine, self.session, self.items, self.settings = engine, session, items, settings
        self.nested = nested
        self.complete = self.closed = False
        self.failed = 0
        self._slots: deque[_Slot] = deque()
        self._shared: dict[str, Future[Any]] = {}
        self._ended = threading.Condition(threading.RLock())
        self._open_count = 0
        self._completed: deque[_Slot] = deque()
        self._ahead: deque[Any] = deque()
        self._known = nested or session.done == 0
        self._waker: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._crew: Crew | None = None
        self._graceful = Graceful()
        self._progress = (
            None
            if nested
            else progress.Progress(
                session.run.name, kept=session.done, total=session.total, command=session.run.command
            )
        )
        # After a death with several in flight, or one that left no trace, the first ones run alone: only a crash of a
        # unit that was alone convicts it.
        self._alone = 0 if nested else self._suspects()
        if nested:
            session.take_turns()
        self.work = Work(engine, session, items, fn, settings, self._notify, nested=nested, pool=pool)

    def _suspects(self) -> int:
        suspicious = any(b.suspect or b.crashes for b in self.session.begun.values())
        return self.settings.concurrency if suspicious or self.session.run_stalls else 0

    # -- life -----------------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """The results were dropped: what is not begun yet stays undone, and the run is given back."""
        if self._crew is not None:
            self.__exit__(GeneratorExit, GeneratorExit(), None)

    async def rest(self, *, at_once: bool) -> None:
        """Begin nothing more; return when what has begun has come to rest, cancelled if `at_once`."""
        if self._crew is not None and not self.closed:
            self.work.stop()
            if at_once:
                self._crew.cancel()
            await self._crew.rest()

    def open(self, crew: Crew) -> Window:
        self._crew = crew
        return self

    def __enter__(self) -> None:
        if not self.nested:
            self._graceful.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: object) -> None:
        if self.closed:
            return
        self.closed = True
        assert self._crew is not None, "opened before it is entered"
        # An item that fails, or a consumer that has enough, lets those in flight come to rest: they are not done twice.
        self.work.stop()
        at_once = not (error is None or isinstance(error, (Exception, GeneratorExit)))
        try:
            self._crew.stop(at_once=at_once)
        except BaseException:
            # Interrupted once more. What is in flight cannot be hurried and must not be begun again beside itself: the
            # run is given back when it has come to rest, which nobody waits for here.
            if not self.nested:
                self._graceful.__exit__(None, None, None)
            rest = partial(self._end_late, self._crew, error, at_once=at_once)
            threading.Thread(target=rest, name="onward-rest", daemon=True).start()
            raise
        self._end_all(error)
        if isinstance(error, Unwind) and (not self.nested or self.session.run.state != "running"):
            raise outward(error, self.session) from error.__cause__

    def _end_late(self, crew: Crew, error: BaseException | None, *, at_once: bool) -> None:
        crew.stop(at_once=at_once)
        self._end_all(error)

    def _end_all(self, error: BaseException | None) -> None:
        """Everything has come to rest: the run is given back, if it is this map's own."""
        self.work.close()
        if self.nested:
            self.session.joined()
            return
        try:
            if not self.complete and self.session.unwinding is None:
                self._give_back(error)
        finally:
            self.engine.let_go(self.session)
            self._graceful.__exit__(None, None, None)
            if self._progress is not None:
                self._progress.finish(
                    done=self.session.done,
                    failed=self.failed,
                    complete=self.complete,
                    asked=self.session.asked,
                )

    def _give_back(self, error: BaseException | None) -> None:
        try:
            if isinstance(error, Exception):
                flow = self.session.finish(Outcome(None, error, 0.0, 0.0))
                drive(flow, self.engine, self.session)
            else:
                drive(self.session.release(), self.engine, self.session)
        except Unwind:
            return  # the journal or the lease is gone: the next pass continues from what is recorded
        except Exception as same:
            if same is not error:
                raise

    def verdict_flow(self) -> Any:
        out = self.session.output
        if out is not None and (not self.nested or self.session.run.kind == "workflow"):
            out.settle(final=True)
        return self._verdict() if not self.nested else _nothing()

    def _verdict(self) -> Any:
        run = self.session.run
        outcome = Outcome(None, None, 0.0, 0.0)
        if self.failed:
            what = "1 item" if self.failed == 1 else f"{self.failed:,} items"
            outcome = Outcome(
                None, RunFailed(run.id, f"{what} failed; `onward show {run.id}` says which"), 0.0, 0.0
            )
        try:
            yield from self.session.finish(outcome)
        except RunFailed:
            observe.say(f"{run.name}: {self.failed:,} failed; the same call again retries only those")

    # -- taking items in ------------------------------------------------------------------------------------------

    def has_room(self) -> bool:
        """Whether more items should be begun: the crew has work for a while, and results do not pile up."""
        concurrency = self.settings.concurrency
        if self._alone:
            return self._open_count == 0
        if self.work.reason is not None or len(self._slots) >= 2 * concurrency + limits.MAP_BUFFER:
            return False
        # Items that wait for their keys hold up no others: look ahead, as far as results may pile up.
        return self._open_count < 2 * concurrency or (self.work.looks_ahead() and not self.ready())

    def admit(self, raw: Any) -> None:
        """Take the next item of the source; it waits until it is clear that this is the list of the run."""
        if self._known:
            self._take(raw)
            return
        self._ahead.append(raw)
        if self.items.is_known(raw):
            self._known = True
            while self._ahead:
                self._take(self._ahead.popleft())
        elif len(self._ahead) >= limits.STRANGERS:
            raise self.items.another_list(len(self._ahead))

    async def admit_next(self, source: Source[Any]) -> bool:
        """As `admit`, from an asynchronous source; False if it has no more items."""
        try:
            raw = await source.next()
        except StopAsyncIteration:
            self.no_more()
            return False
        self.admit(raw)
        return True

    def no_more(self) -> None:
        if self._ahead:
            raise self.items.another_list(len(self._ahead))

    def _take(self, item: Any) -> None:
        key, standing = self.items.take(item)
        future = self._shared.get(key)
        if future is None:
            if standing == "done" or (standing == "failed" and self._keeps_failures()):
                future = self._recorded(item, key)
            else:
                future = self._begin(item, key)
        slot = _Slot(item, key, future)
        self._slots.append(slot)
        if self.settings.as_completed:
            future.add_done_callback(lambda _: self._completed.append(slot))

    def _keeps_failures(self) -> bool:
        return self.nested or self.settings.on_error == "continue"

    def _recorded(self, item: Any, key: str) -> Future[Any]:
        session = self.session
        entry = session.recorded.get(key) or self.engine.store.outcome(session.run.no, key)
        assert entry is not None, "it was just recognised"
        if holds_files(entry) and session.unwinding is None:
            self.items.look_again(
                entry
            )  # the crew does, and executes the item again if its files are not there
            return self._begin(item, key)
        future: Future[Any] = Future()
        if entry.state == "done":
            # Declared as done by a person (`onward skip`), it was not executed: there is no result.
            future.set_result(session.replay(entry) if entry.attempt > 0 else None)
        else:
            future.set_exception(recorded_error(entry))
        return future

    def _begin(self, item: Any, key: str) -> Future[Any]:
        self.items.recall(key)
        alone = self._alone > 0
        self._alone = max(0, self._alone - 1)
        with self._ended:
            self._open_count += 1
        assert self._crew is not None, "opened before items are admitted"
        future = self.work.begin(self._crew, key, item, certain_start=alone)
        self._shared[key] = future
        future.add_done_callback(lambda _: self._end(key))
        return future

    def _end(self, key: str) -> None:
        with self._ended:
            self._open_count -= 1
            self._shared.pop(key, None)
            self._notify()

    def _notify(self) -> None:
        """Wake the consumer: something has ended, or there is nothing to begin."""
        with self._ended:
            self._ended.notify_all()
            if self._waker is not None:
                loop, event = self._waker
                loop.call_soon_threadsafe(event.set)

    # -- giving results out ---------------------------------------------------------------------------------------

    def empty(self) -> bool:
        return not self._slots

    def ready(self) -> bool:
        if self.work.reason is not None:
            return True
        if self.settings.as_completed:
            return bool(self._completed)
        return bool(self._slots) and self._slots[0].future.done()

    def wait(self) -> None:
        with self._ended:
            if not self.ready():
                # Bounded: a completed slot may be noted a moment after its future has ended.
                self._ended.wait(0.05)

    async def wait_async(self) -> None:
        if self._waker is None:
            self._waker = (asyncio.get_running_loop(), asyncio.Event())
        event = self._waker[1]
        event.clear()
        if not self.ready():
            try:
                await asyncio.wait_for(event.wait(), 0.05)
            except TimeoutError:
                return

    def pop(self) -> Any:
        if self.work.reason is not None:
            raise self._stopped_early()
        if self.settings.as_completed:
            slot = self._completed.popleft()
            self._slots.remove(slot)
        else:
            slot = self._slots.popleft()
        error = slot.future.exception()
        if self._progress is not None:
            self._progress.update(done=self.session.done, failed=self.failed + (error is not None))
        if error is None:
            return slot.future.result()
        if not isinstance(error, Exception) or self.settings.on_error == "raise":
            raise error
        if isinstance(error, ExecutorBroken):
            raise error
        self.failed += 1
        if isinstance(error, StepCrashed):
            observe.say(f"item {slot.key} parked after repeated crashes; the pass goes on")
        return Failure(slot.item, slot.key.partition("/")[2], error)

    def _stopped_early(self) -> TooManyFailures:
        session, why = self.session, self.work.reason
        assert why is not None, "asked for by the caller"
        error = stopped_early(session, why)
        error.__cause__ = self.work.cause
        return error


def _nothing() -> Any:
    return
    yield

"""What `map` returns: the results of its items, to be iterated over once, with `for` or with `async for`."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
)
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from onward.api import connect, sinks
from onward.api.opening import obtain, obtain_async, wanted
from onward.api.settings import Settings
from onward.api.source import Source
from onward.api.wait import refuse_in_loop
from onward.api.window import Window
from onward.core.errors import RunCancelled, UsageError
from onward.core.lazily import Lazily
from onward.core.model import Run
from onward.runtime import current, observe
from onward.runtime.drive import drive, drive_async
from onward.runtime.engine import Engine
from onward.runtime.items import Items, length
from onward.runtime.session import Session

if TYPE_CHECKING:
    import asyncio

    from onward.api import pool, rehearsal, rounds
else:
    asyncio, rehearsal = Lazily("asyncio"), Lazily("onward.api.rehearsal")
    pool, rounds = Lazily("onward.api.pool"), Lazily("onward.api.rounds")

R = TypeVar("R")


class Map(Generic[R]):
    """What `map` returns: iterate over it once. Nothing is done before that."""

    def __init__(
        self,
        fn: Callable[..., Any],
        fn_name: str,
        items: Iterable[Any] | AsyncIterable[Any],
        name: str,
        key: Callable[[Any], str] | None,
        total: int | None,
        settings: Settings,
        *,
        numbered: bool = False,
    ) -> None:
        self._numbered = numbered  # the name stands for a place in the code, see `rounds`
        self._fn, self._fn_name, self._items, self._name, self._key = fn, fn_name, items, name, key
        self._total = length(items, total)
        self._settings = settings
        self._used = False

    def __iter__(self) -> Iterator[R]:
        if hasattr(self._items, "__aiter__") and not hasattr(self._items, "__iter__"):
            raise UsageError("these items are asynchronous; use `async for result in onward.map(...)`")
        refuse_in_loop("iterating over onward.map(...) with `for`", "async for result in onward.map(...)")
        self._use()
        return self._sync()

    def __aiter__(self) -> AsyncIterator[R]:
        self._use()
        return AsyncResults(self._begin_async, self._async)

    async def _begin_async(self) -> Window | rehearsal.Rehearsal:
        self._source: Source[Any] = Source(self._items)
        with self._hired() as hired:
            place = current.here(begins_run=True)
            got = None if place is not None else await self._obtain_async(self._source)
            return self._rehearsed(hired, got) or self._window(hired, got)

    def __del__(self) -> None:
        if not self.__dict__.get("_used", True):
            observe.say(
                "an onward.map(...) was never iterated over, so nothing was done; use `for result in onward.map(...)`"
            )

    def _use(self) -> None:
        if self._used:
            raise UsageError("an onward.map(...) is iterated once; call onward.map again for another pass")
        self._used = True

    def _want(self) -> Run:
        first = f"map:{self._name}"
        identity = rounds.identity(connect.engine(), first) if self._numbered else first
        return wanted("map", self._name, identity, total=self._total)

    def _finished(self, window: Window) -> None:
        window.complete = True
        if self._numbered and not window.nested and not window.failed:
            rounds.finished(window.engine, f"map:{self._name}")

    def _obtain(self, want: Run) -> Session | Run:
        settings = self._settings
        return obtain(
            connect.engine(),
            want,
            if_running=settings.if_running,
            max_age_s=settings.max_age_s,
            fresh=settings.fresh,
        )

    async def _obtain_async(self, source: Source[Any]) -> Session | Run:
        settings, want = self._settings, self._want()
        if self._numbered:
            engine, fresh = connect.engine(), settings.fresh
            want = await rounds.chosen_async(engine, want, self._keyed, source, fresh=fresh)
        return await obtain_async(
            connect.engine(),
            want,
            if_running=settings.if_running,
            max_age_s=settings.max_age_s,
            fresh=settings.fresh,
        )

    @contextmanager
    def _hired(self) -> Iterator[pool.Pool | None]:
        """The executor's pool, closed again if the map cannot begin."""
        executor = self._settings.executor
        hired = None if executor is None else pool.Pool(executor, self._fn)
        try:
            yield hired
        except BaseException:
            if hired is not None:
                hired.close()
            raise

    def _rehearsed(
        self, hired: pool.Pool | None, session: Session | Run | None
    ) -> rehearsal.Rehearsal | None:
        """The pass over a run that is only replayed; None for one that is to be done."""
        if not isinstance(session, Session) or not session.rehearses:
            return None
        if hired is not None:
            hired.close()
        return rehearsal.of_map(self._keyed(connect.engine(), session), self._settings.on_error)

    def _window(self, hired: pool.Pool | None, session: Session | Run | None) -> Window:
        """The window on a run of its own; without a session on the run around it."""
        engine, settings = connect.engine(), self._settings
        place = current.here(begins_run=True)
        if session is None:
            assert place is not None, "a map that is no run of its own has one around it"
            if settings.stop_after not in ("auto", None):
                raise UsageError(
                    "stop_after= is for a map that is a run of its own: inside of another run, that one decides. "
                    "Leave it out; nothing was started"
                )
            prefix = place.scope.next(f"map:{self._name}" if self._name else "map") + "/"
            items = self._keyed(engine, place.session, prefix, nested=True)
            sinks.complete(engine, place.session)
            return Window(engine, place.session, items, self._fn, settings, nested=True, pool=hired)
        ended = isinstance(session, Run)
        if isinstance(session, Run):
            if session.state == "cancelled":
                raise RunCancelled(session.id)
            session = engine.ended(session)  # another process has done it meanwhile: its results are given
        else:
            sinks.complete_or_leave(engine, session)
        session.total = self._total
        items = self._keyed(engine, session)
        return Window(engine, session, items, self._fn, settings, nested=ended, pool=hired)

    def _keyed(
        self, engine: Engine, session: Session, prefix: str = "map/", *, nested: bool = False
    ) -> Items:
        name, policy = self._fn_name, self._settings.policy
        return Items(engine, session, prefix=prefix, name=name, policy=policy, key=self._key, nested=nested)

    def _sync(self) -> Iterator[R]:
        # Not before the first result is asked for: an iterator that is dropped unused (`zip([], results)`) is never
        # told so, and would keep the run.
        with self._hired() as hired:
            source: Iterator[Any] = iter(self._items)  # type: ignore[arg-type]
            session: Session | Run | None = None
            if current.here(begins_run=True) is None:
                want = self._want()
                if self._numbered:
                    engine, fresh = connect.engine(), self._settings.fresh
                    want, source = rounds.chosen(engine, want, self._keyed, source, fresh=fresh)
                session = self._obtain(want)
            rehearsed = self._rehearsed(hired, session)
            if rehearsed is not None:
                yield from rehearsed.over(source)
                return
            window = self._window(hired, session)
        crew = window.work.crew(self._name, in_loop=False)
        more = True
        with window.open(crew):
            while more or not window.empty():
                while more and window.has_room():
                    try:
                        raw = next(source)
                    except StopIteration:
                        more = False
                        window.no_more()
                    else:
                        window.admit(raw)
                if window.ready():
                    yield window.pop()
                elif not window.empty():
                    window.wait()
            drive(window.verdict_flow(), window.engine, window.session)
            self._finished(window)

    async def _async(self, window: Window | rehearsal.Rehearsal) -> AsyncGenerator[R, None]:
        if not isinstance(window, Window):
            async for result in window.over_async(self._source):
                yield result
            return
        crew = window.work.crew(self._name, in_loop=True)
        source, more = self._source, True
        with window.open(crew):
            try:
                while more or not window.empty():
                    while more and window.has_room():
                        more = await window.admit_next(source)
                    if window.ready():
                        yield window.pop()
                    elif not window.empty():
                        await window.wait_async()
                await drive_async(window.verdict_flow(), window.engine, window.session)
                self._finished(window)
            except asyncio.CancelledError:
                await window.rest(at_once=True)
                raise
            except Exception:
                await window.rest(at_once=False)
                raise


class AsyncResults(Generic[R]):
    """The results for `async for`. Dropped by a `break`, it gives the run back at once; a generator would linger.

    Then what is in flight is cancelled, as nobody can wait for it; `contextlib.aclosing` waits until it is at rest.
    """

    def __init__(
        self,
        begin: Callable[[], Awaitable[Window | rehearsal.Rehearsal]],
        results: Callable[[Window | rehearsal.Rehearsal], AsyncGenerator[R, None]],
    ) -> None:
        self._begin, self._give = begin, results
        self._window: Window | rehearsal.Rehearsal | None = None
        self._results: AsyncGenerator[R, None] | None = None

    def __aiter__(self) -> AsyncResults[R]:
        return self

    async def __anext__(self) -> R:
        if self._results is None:
            self._window = await self._begin()
            self._results = self._give(self._window)
        return await anext(self._results)

    async def aclose(self) -> None:
        """Begin nothing more, wait for what is in flight, give the run back."""
        if isinstance(self._window, Window) and self._results is not None:
            await self._window.rest(at_once=False)
            self._window.leave()
            await self._results.aclose()

    def __del__(self) -> None:
        if isinstance(self._window, Window):
            self._window.leave()

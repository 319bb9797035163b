"""`map`: a function over many items, concurrently, each of them recorded once."""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any, Generic, Literal, TypeVar, Unpack, overload

from onward.api import connect
from onward.api.crew import Crew, LoopThread, Tasks, Threads
from onward.api.identity import checked_name, checked_options, loop_name
from onward.api.opening import IfRunning, obtain, wanted
from onward.api.source import Source
from onward.api.step import RetryOptions, Step, function_name, policy_of
from onward.api.wait import refuse_in_loop
from onward.api.window import Failure, OnError, Settings, Window
from onward.core.errors import RunCancelled, UsageError
from onward.core.model import Run
from onward.runtime import current, observe
from onward.runtime.drive import drive, drive_async
from onward.runtime.items import Items, length

T = TypeVar("T")
R = TypeVar("R")


@overload
def map(
    fn: Callable[[T], Awaitable[R]],
    items: Iterable[T] | AsyncIterable[T],
    /,
    *,
    name: str | None = None,
    key: Callable[[T], str] | None = None,
    concurrency: int = 10,
    on_error: Literal["raise"] = "raise",
    as_completed: bool = False,
    total: int | None = None,
    max_age: float | None = None,
    if_running: IfRunning = "raise",
    fresh: bool = False,
    **options: Unpack[RetryOptions],
) -> Map[R]: ...
@overload
def map(
    fn: Callable[[T], Awaitable[R]],
    items: Iterable[T] | AsyncIterable[T],
    /,
    *,
    name: str | None = None,
    key: Callable[[T], str] | None = None,
    concurrency: int = 10,
    on_error: Literal["continue"],
    as_completed: bool = False,
    total: int | None = None,
    max_age: float | None = None,
    if_running: IfRunning = "raise",
    fresh: bool = False,
    **options: Unpack[RetryOptions],
) -> Map[R | Failure[T]]: ...
@overload
def map(
    fn: Callable[[T], R],
    items: Iterable[T] | AsyncIterable[T],
    /,
    *,
    name: str | None = None,
    key: Callable[[T], str] | None = None,
    concurrency: int = 10,
    on_error: Literal["raise"] = "raise",
    as_completed: bool = False,
    total: int | None = None,
    max_age: float | None = None,
    if_running: IfRunning = "raise",
    fresh: bool = False,
    **options: Unpack[RetryOptions],
) -> Map[R]: ...
@overload
def map(
    fn: Callable[[T], R],
    items: Iterable[T] | AsyncIterable[T],
    /,
    *,
    name: str | None = None,
    key: Callable[[T], str] | None = None,
    concurrency: int = 10,
    on_error: Literal["continue"],
    as_completed: bool = False,
    total: int | None = None,
    max_age: float | None = None,
    if_running: IfRunning = "raise",
    fresh: bool = False,
    **options: Unpack[RetryOptions],
) -> Map[R | Failure[T]]: ...
def map(
    fn: Callable[..., Any],
    items: Iterable[Any] | AsyncIterable[Any],
    /,
    *,
    name: str | None = None,
    key: Callable[[Any], str] | None = None,
    concurrency: int = 10,
    on_error: OnError = "raise",
    as_completed: bool = False,
    total: int | None = None,
    max_age: float | None = None,
    if_running: IfRunning = "raise",
    fresh: bool = False,
    **options: Unpack[RetryOptions],
) -> Map[Any]:
    """Call `fn` on every item, up to `concurrency` at a time; iterate over the results, in input order.

        for page in onward.map(scrape, venues, concurrency=20, max_attempts=3, on_error="continue"):
            ...

    Each result is on disk before it is yielded; an interrupted pass yields what is recorded and does only the
    rest. `fn` is
    a sync function (run in threads) or an async one (run in an event loop); iterate with `for` or `async for`. Retries
    follow the options of `onward.step`. The first item that fails for good raises its error once those in flight have
    come to rest; with `on_error="continue"` a Failure is yielded in its place. Called again, the failed ones
    are retried.
    """
    policy = policy_of(options, fn.policy if isinstance(fn, Step) else None)
    checked_options(key, total, max_age=max_age)
    settings = Settings(concurrency, on_error, as_completed, policy, if_running, max_age, fresh)
    if not hasattr(items, "__iter__") and not hasattr(items, "__aiter__"):
        raise UsageError(f"onward.map needs something to iterate over, not a {type(items).__qualname__}")
    nested = current.peek() is not None
    run_name = loop_name(name, sys._getframe(1), "map") if not nested else checked_name(name) if name else ""
    plain = fn.fn if isinstance(fn, Step) and fn._key is None else fn
    return Map(plain, function_name(plain, None, "map"), items, run_name, key, total, settings)


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
    ) -> None:
        self._fn, self._fn_name, self._items, self._name, self._key = fn, fn_name, items, name, key
        self._total = length(items, total)
        self._settings = settings
        self._used = False

    def __iter__(self) -> Iterator[R]:
        if hasattr(self._items, "__aiter__"):
            raise UsageError("these items are asynchronous; use `async for result in onward.map(...)`")
        refuse_in_loop("iterating over onward.map(...) with `for`", "async for result in onward.map(...)")
        return self._sync(self._begin())

    def __aiter__(self) -> AsyncIterator[R]:
        window = self._begin()
        return AsyncResults(window, self._async(window))

    def __del__(self) -> None:
        if not self.__dict__.get("_used", True):
            observe.say(
                "an onward.map(...) was never iterated over, so nothing was done; use `for result in onward.map(...)`"
            )

    def _begin(self) -> Window | None:
        if self._used:
            raise UsageError("an onward.map(...) is iterated once; call onward.map again for another pass")
        self._used = True
        engine, settings = connect.engine(), self._settings
        place = current.here(begins_run=True)
        if place is not None:
            prefix = place.scope.next(f"map:{self._name}" if self._name else "map") + "/"
            items = Items(
                engine,
                place.session,
                prefix=prefix,
                name=self._fn_name,
                policy=settings.policy,
                key=self._key,
                nested=True,
            )
            return Window(engine, place.session, items, self._fn, settings, nested=True)
        want = wanted("map", self._name, f"map:{self._name}", total=self._total)
        session = obtain(
            engine, want, if_running=settings.if_running, max_age_s=settings.max_age_s, fresh=settings.fresh
        )
        ended = isinstance(session, Run)
        if isinstance(session, Run):
            if session.state == "cancelled":
                raise RunCancelled(session.id)
            session = engine.ended(session)  # another process has done it meanwhile: its results are given
        session.total = self._total
        items = Items(
            engine,
            session,
            prefix="map/",
            name=self._fn_name,
            policy=settings.policy,
            key=self._key,
            nested=False,
        )
        return Window(engine, session, items, self._fn, settings, nested=ended)

    def _sync(self, window: Window | None) -> Iterator[R]:
        if window is None:
            return
        is_async = inspect.iscoroutinefunction(self._fn)
        crew: Crew = (LoopThread if is_async else Threads)(self._settings.concurrency, self._name)
        source = iter(self._items)  # type: ignore[arg-type]
        with window.open(crew):
            more = True
            while True:
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
                elif window.empty() and not more:
                    break
                else:
                    window.wait()
            drive(window.verdict_flow(), window.engine, window.session)
            window.complete = True

    async def _async(self, window: Window | None) -> AsyncIterator[R]:
        if window is None:
            return
        is_async = inspect.iscoroutinefunction(self._fn)
        crew: Any = (
            Tasks(self._settings.concurrency) if is_async else Threads(self._settings.concurrency, self._name)
        )
        source: Source[Any] = Source(self._items)
        with window.open(crew):
            more = True
            while True:
                while more and window.has_room():
                    try:
                        raw = await source.next()
                    except StopAsyncIteration:
                        more = False
                        window.no_more()
                    else:
                        window.admit(raw)
                if window.ready():
                    yield window.pop()
                elif window.empty() and not more:
                    break
                else:
                    await window.wait_async()
            await drive_async(window.verdict_flow(), window.engine, window.session)
            window.complete = True


class AsyncResults(Generic[R]):
    """The results for `async for`. Dropped by a `break`, it gives the run back at once; a generator would linger."""

    def __init__(self, window: Window | None, results: AsyncIterator[R]) -> None:
        self._window, self._results = window, results

    def __aiter__(self) -> AsyncResults[R]:
        return self

    async def __anext__(self) -> R:
        return await anext(self._results)

    def __del__(self) -> None:
        if self._window is not None:
            self._window.leave()

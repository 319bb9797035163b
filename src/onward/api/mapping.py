"""`map`: a function over many items, concurrently, each of them recorded once."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import Any, Literal, TypeVar, Unpack, overload

from onward.api.identity import checked_name, checked_options, loop_name
from onward.api.opening import IfRunning
from onward.api.results import Map
from onward.api.settings import OWN, MapOptions, OnError, settings_of
from onward.api.source import checked_source, own_key
from onward.api.step import Step, function_name, policy_of
from onward.api.window import Failure
from onward.runtime import current

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
    per_key: Callable[[T], object] | None = None,
    on_error: Literal["raise"] = "raise",
    as_completed: bool = False,
    total: int | None = None,
    max_age: float | None = None,
    if_running: IfRunning = "raise",
    fresh: bool = False,
    **options: Unpack[MapOptions],
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
    per_key: Callable[[T], object] | None = None,
    on_error: Literal["continue"],
    as_completed: bool = False,
    total: int | None = None,
    max_age: float | None = None,
    if_running: IfRunning = "raise",
    fresh: bool = False,
    **options: Unpack[MapOptions],
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
    per_key: Callable[[T], object] | None = None,
    on_error: Literal["raise"] = "raise",
    as_completed: bool = False,
    total: int | None = None,
    max_age: float | None = None,
    if_running: IfRunning = "raise",
    fresh: bool = False,
    **options: Unpack[MapOptions],
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
    per_key: Callable[[T], object] | None = None,
    on_error: Literal["continue"],
    as_completed: bool = False,
    total: int | None = None,
    max_age: float | None = None,
    if_running: IfRunning = "raise",
    fresh: bool = False,
    **options: Unpack[MapOptions],
) -> Map[R | Failure[T]]: ...
def map(
    fn: Callable[..., Any],
    items: Iterable[Any] | AsyncIterable[Any],
    /,
    *,
    name: str | None = None,
    key: Callable[[Any], str] | None = None,
    concurrency: int = 10,
    per_key: Callable[[Any], object] | None = None,
    on_error: OnError = "raise",
    as_completed: bool = False,
    total: int | None = None,
    max_age: float | None = None,
    if_running: IfRunning = "raise",
    fresh: bool = False,
    **options: Unpack[MapOptions],
) -> Map[Any]:
    """Call `fn` on every item, up to `concurrency` at a time; iterate over the results, in input order.

        for page in onward.map(scrape, venues, concurrency=20, max_attempts=3, on_error="continue"):
            ...

    Each result is on disk before it is yielded; an interrupted pass yields what is recorded and does only the
    rest. `fn` is a sync function (run in threads) or an async one (run in an event loop); iterate with `for` or
    `async for`. Retries follow the options of `onward.step`. The first item that fails for good raises its error once
    those in flight have come to rest; with `on_error="continue"` a Failure is yielded in its place. Called again, the
    failed ones are retried.

    - `executor=ProcessPoolExecutor(4)`: `fn` runs there, for work that needs more than one core; its outcome is
      recorded here. Any `concurrent.futures.Executor`, or a function that makes one: then a broken one is replaced.
    - `rate="5/s"` (`"60/min burst 10"`): no more attempts begin than that, also across restarts.
    - `per_key=host`: of the items for which it gives the same value (None: of no key), one at a time is in flight, or
      `per_key_concurrency=2`; `per_key_rate="1/s"`. A slow key holds up no other one. A `Retry-After` that an error
      carries holds back its whole key.
    - With `on_error="continue"`, a map in which everything fails stops early with TooManyFailures and keeps its place:
      after 20 failures in a row if nothing has ever succeeded, else after 100; or `stop_after=5`, or None for never.
    """
    retries: Any = {name: value for name, value in options.items() if name not in OWN}
    policy = policy_of(retries, fn.policy if isinstance(fn, Step) and fn.manner is None else None)
    checked_options(key, total, max_age=max_age)
    settings = settings_of(
        fn.fn if isinstance(fn, Step) else fn,
        {**options},
        policy,
        concurrency=concurrency,
        on_error=on_error,
        as_completed=as_completed,
        if_running=if_running,
        max_age_s=max_age,
        fresh=fresh,
        per_key=per_key,
    )
    checked_source(items, "map")
    nested = current.peek() is not None
    run_name = loop_name(name, sys._getframe(1), "map") if not nested else checked_name(name) if name else ""
    plain = fn.for_items() if isinstance(fn, Step) and fn._key is None else fn
    return Map(
        plain,
        function_name(plain, None, "map"),
        items,
        run_name,
        own_key(items, key),
        total,
        settings,
        numbered=name is None and not nested,
    )

"""`each`: a loop that continues where it stopped. The whole change to a script is one line."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from types import FrameType
from typing import Generic, TypeVar

from onward.api import connect, sinks
from onward.api.consumers import refuse_eager
from onward.api.identity import checked_name, checked_options, loop_name
from onward.api.opening import IfRunning, obtain, outward, wanted
from onward.api.source import Source
from onward.api.walk import Walk
from onward.api.workflow import result_of
from onward.core import limits
from onward.core.errors import RunFailed, Unwind, UsageError
from onward.core.model import Run
from onward.core.retry import Policy
from onward.runtime import current
from onward.runtime.current import Here
from onward.runtime.drive import drive_async
from onward.runtime.engine import Engine
from onward.runtime.items import Items, length
from onward.runtime.session import Session

T = TypeVar("T")


def each(
    items: Iterable[T] | AsyncIterable[T],
    *,
    name: str | None = None,
    key: Callable[[T], str] | None = None,
    max_crashes: int = limits.MAX_CRASHES,
    total: int | None = None,
    flush_ms: float = 0,
    max_age: float | None = None,
    if_running: IfRunning = "raise",
    fresh: bool = False,
) -> Each[T]:
    """Iterate over `items`, each of them done once, however often the process is killed on the way.

        for venue in onward.each(venues):
            scrape(venue)

    An item is done when the loop asks for the next one; that is on disk before the next one is handed out. A pass that
    was interrupted continues at its first unfinished item; one that finished starts afresh. Items are recognised by
    their content, or by what `key(item)` returns. `break`, Ctrl-C and a clean exit leave the item unfinished.
    An item in
    which the process died `max_crashes` times is parked, and the pass goes on. Works with `for` and with `async for`.

    `flush_ms` groups the commits of tiny items: up to that much work is repeated after a crash. `max_age` (seconds)
    refuses to continue an older pass; `fresh=True` sets it aside. `if_running="wait"` waits for another process that
    runs this loop instead of raising AlreadyRunning.
    """
    policy = Policy(max_crashes=max_crashes)
    checked_options(key, total, flush_ms=flush_ms, max_age=max_age)
    frame = sys._getframe(1)
    return Each(
        items, name, key, policy, total, flush_ms / 1000, max_age, if_running, fresh=fresh, frame=frame
    )


class Each(Generic[T]):
    """What `each` returns: iterate over it once, directly."""

    def __init__(
        self,
        items: Iterable[T] | AsyncIterable[T],
        name: str | None,
        key: Callable[[T], str] | None,
        policy: Policy,
        total: int | None,
        flush_s: float,
        max_age_s: float | None,
        if_running: IfRunning,
        *,
        fresh: bool,
        frame: FrameType,
    ) -> None:
        if not hasattr(items, "__iter__") and not hasattr(items, "__aiter__"):
            raise UsageError(f"onward.each needs something to iterate over, not a {type(items).__qualname__}")
        self._items, self._key, self._policy = items, key, policy
        self._total = length(items, total)
        self._flush_s, self._max_age_s, self._fresh = flush_s, max_age_s, fresh
        self._if_running: IfRunning = if_running
        self._nested = current.peek() is not None
        self._name = (
            loop_name(name, frame, "each") if not self._nested else checked_name(name) if name else ""
        )
        self._used = False

    def __length_hint__(self) -> int:
        return self._total or 0

    def __iter__(self) -> Iterator[T]:
        if hasattr(self._items, "__aiter__"):
            raise UsageError("these items are asynchronous; use `async for item in onward.each(...)`")
        frame = sys._getframe(1)
        refuse_eager(frame)
        return self._walk_sync(self._begin(frame))

    def __aiter__(self) -> AsyncIterator[T]:
        return _AsyncWalk(self._begin(sys._getframe(1)), self._items)

    def _begin(self, frame: FrameType) -> Walk[T]:
        if self._used:
            raise UsageError("an onward.each(...) is iterated once; call onward.each again for another pass")
        self._used = True
        engine = connect.engine()
        place = current.here(begins_run=True)
        if place is not None:
            return self._begin_nested(engine, place)
        want = wanted("loop", self._name, f"loop:{self._name}", total=self._total)
        session = obtain(
            engine, want, if_running=self._if_running, max_age_s=self._max_age_s, fresh=self._fresh
        )
        if isinstance(session, Run):
            result_of(session)  # raises what the other process's pass came to, if that is an error
            return Walk(engine, None, None, None, frame)
        session.total = self._total
        items = Items(
            engine,
            session,
            prefix="each/",
            name="each",
            policy=self._policy,
            key=self._key,
            nested=False,
            flush_s=self._flush_s,
        )
        walk: Walk[T] = Walk(engine, session, items, None, frame)
        try:
            sinks.complete(engine, session)
        except BaseException:
            walk.leave()
            raise
        return walk

    def _begin_nested(self, engine: Engine, place: Here) -> Walk[T]:
        unit = place.scope.next(f"each:{self._name}" if self._name else "each")
        items = Items(
            engine,
            place.session,
            prefix=f"{unit}/",
            name="each",
            policy=self._policy,
            key=self._key,
            nested=True,
        )
        return Walk(engine, place.session, items, place, frame=None)

    def _walk_sync(self, walk: Walk[T]) -> Iterator[T]:
        try:
            assert isinstance(self._items, Iterable)
            for raw in self._items if walk.items is not None else ():
                for item in walk.admit(raw):
                    if walk.hand_out(item):
                        yield item
                        walk.take_back()
            walk.finish()
        finally:
            walk.leave()


class _AsyncWalk(Generic[T]):
    """`async for`. An object, not an async generator: a `break` drops it at once, while a generator would linger."""

    def __init__(self, walk: Walk[T], items: Iterable[T] | AsyncIterable[T]) -> None:
        self._walk = walk
        self._source = Source(items)
        self._ready: deque[T] = deque()

    def __aiter__(self) -> _AsyncWalk[T]:
        return self

    async def __anext__(self) -> T:
        walk = self._walk
        items, session, engine = walk.items, walk.session, walk.engine
        if items is None or session is None:
            raise StopAsyncIteration
        try:
            if walk.key is not None:
                key = walk.returned()
                if not walk.replaying:
                    await drive_async(items.end(key, walk.begun_at, walk.collect()), engine, session)
                    walk.show()
            while True:
                while self._ready:
                    item = self._ready.popleft()
                    key_or_none = walk.decide(item)
                    if key_or_none is None:
                        continue
                    flow = items.revisit(key_or_none) if walk.replaying else items.begin(key_or_none)
                    place = await drive_async(flow, engine, session)
                    if walk.given(key_or_none, place):
                        return item
                self._ready.extend(walk.admit(await self._source.next()))
        except StopAsyncIteration:
            await self._finish(items, session)
            walk.leave()
            raise
        except Unwind as signal:
            walk.leave()
            raise (
                walk._outward(signal) if walk.session is not None else outward(signal, session)
            ) from signal.__cause__
        except BaseException:
            walk.leave()
            raise

    async def _finish(self, items: Items, session: Session) -> None:
        walk = self._walk
        if walk._ahead:
            raise items.another_list(len(walk._ahead))
        await drive_async(items.settle(), walk.engine, session)
        walk.settle_sinks()
        if walk.outer is None:
            try:
                await drive_async(session.finish(walk.verdict()), walk.engine, session)
            except RunFailed:
                pass  # parked items: said when the loop is left, and in the state of the run
        walk.over = True

    def __del__(self) -> None:
        self._walk.leave()

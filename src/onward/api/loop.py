"""`each`: a loop that continues where it stopped. The whole change to a script is one line."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from types import FrameType
from typing import Any, Generic, TypeVar

from onward.api import connect, endings
from onward.api.identity import loop_name
from onward.api.opening import IfRunning, obtain, outward, wanted
from onward.core import codec, limits
from onward.core.errors import RunFailed, Unwind, UsageError
from onward.core.model import Run
from onward.core.retry import Policy
from onward.runtime import current, observe
from onward.runtime.current import Here
from onward.runtime.drive import drive, drive_async
from onward.runtime.effects import Outcome
from onward.runtime.engine import Engine
from onward.runtime.items import Items, length
from onward.runtime.progress import Progress
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
    their content, or by what `key(item)` returns. `break`, Ctrl-C and a clean exit leave the item unfinished. An item in
    which the process died `max_crashes` times is parked, and the pass goes on. Works with `for` and with `async for`.

    `flush_ms` groups the commits of tiny items: up to that much work is repeated after a crash. `max_age` (seconds)
    refuses to continue an older pass; `fresh=True` sets it aside. `if_running="wait"` waits for another process that runs
    this loop instead of raising AlreadyRunning.
    """
    policy = Policy(max_crashes=max_crashes)
    return Each(items, name, key, policy, total, flush_ms / 1000, max_age, if_running, fresh, sys._getframe(1))


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
        fresh: bool,
        frame: FrameType,
    ) -> None:
        if not hasattr(items, "__iter__") and not hasattr(items, "__aiter__"):
            raise UsageError(f"onward.each needs something to iterate over, not a {type(items).__qualname__}")
        self._items, self._key, self._policy = items, key, policy
        self._total = length(items, total)
        self._flush_s, self._max_age_s, self._if_running, self._fresh = flush_s, max_age_s, if_running, fresh
        self._nested = current.peek() is not None
        self._name = name or "" if self._nested else loop_name(name, frame, "each")
        self._used = False

    def __length_hint__(self) -> int:
        return self._total or 0

    def __iter__(self) -> Iterator[T]:
        if hasattr(self._items, "__aiter__"):
            raise UsageError("these items are asynchronous; use `async for item in onward.each(...)`")
        return self._walk_sync(self._begin(sys._getframe(1)))

    def __aiter__(self) -> AsyncIterator[T]:
        return _AsyncWalk(self._begin(sys._getframe(1)), self._items)

    def _begin(self, frame: FrameType) -> _Walk[T]:
        if self._used:
            raise UsageError("an onward.each(...) is iterated once; call onward.each again for another pass")
        self._used = True
        engine = connect.engine()
        place = current.here()
        if place is not None:
            return self._begin_nested(engine, place)
        want = wanted("loop", self._name, f"loop:{self._name}", total=self._total)
        session = obtain(engine, want, if_running=self._if_running, max_age_s=self._max_age_s, fresh=self._fresh)
        if isinstance(session, Run):
            return _Walk(engine, None, None, None, frame)
        session.total = self._total
        items = Items(
            engine, session, prefix="each/", name="each", policy=self._policy, key=self._key, nested=False,
            flush_s=self._flush_s,
        )
        return _Walk(engine, session, items, None, frame)

    def _begin_nested(self, engine: Engine, place: Here) -> _Walk[T]:
        unit = place.scope.next(f"each:{self._name}" if self._name else "each")
        items = Items(
            engine, place.session, prefix=f"{unit}/", name="each", policy=self._policy, key=self._key, nested=True
        )
        return _Walk(engine, place.session, items, place, frame=None)

    def _walk_sync(self, walk: _Walk[T]) -> Iterator[T]:
        try:
            assert not hasattr(self._items, "__aiter__")
            for raw in self._items if walk.items is not None else ():
                for item in walk.admit(raw):
                    if walk.hand_out(item):
                        yield item
                        walk.take_back()
            walk.finish()
        finally:
            walk.leave()


class _Walk(Generic[T]):
    """One pass of one loop: what is shared by `for` and `async for`."""

    def __init__(
        self, engine: Engine, session: Session | None, items: Items | None, outer: Here | None, frame: FrameType | None
    ) -> None:
        self.engine, self.session, self.items, self.outer, self.frame = engine, session, items, outer, frame
        self.before = current.peek()
        self.key: str | None = None
        self.begun_at = 0.0
        self.replaying = False  # the item in hand is done already, its body is run for what it computes
        self.over = items is None
        self._ahead: deque[T] = deque()
        self._known = session is None or session.done == 0 or outer is not None
        self._graceful = endings.Graceful()
        self._progress: Progress | None = None
        if session is not None and outer is None:
            self._graceful.__enter__()
            self._progress = Progress(session.run.name, kept=session.done, total=session.total)

    # -- recognising ---------------------------------------------------------------------------------------

    def admit(self, raw: T) -> Iterable[T]:
        """The items that may be looked at now: none until it is clear that this is the list of the run."""
        if self._known:
            return (raw,)
        assert self.items is not None
        self._ahead.append(raw)
        if self.items.is_known(raw):
            self._known = True
            ahead, self._ahead = self._ahead, deque()
            return ahead
        if len(self._ahead) >= limits.STRANGERS:
            raise self.items.another_list(len(self._ahead))
        return ()

    def decide(self, item: T) -> str | None:
        """The key of the item if it is to be done, None if it is done or parked already."""
        assert self.items is not None
        key, standing = self.items.take(item)
        if standing == "failed":
            self.items.parked += 1
        self.replaying = standing == "done" and self.items.replays(key)
        return key if standing == "new" or self.replaying else None

    # -- the sync way ------------------------------------------------------------------------------------------

    def hand_out(self, item: T) -> bool:
        assert self.items is not None
        assert self.session is not None
        key = self.decide(item)
        if key is None:
            return False
        try:
            flow = self.items.revisit(key) if self.replaying else self.items.begin(key)
            place = drive(flow, self.engine, self.session)
        except Unwind as signal:
            raise self._outward(signal) from signal.__cause__
        return self.given(key, place)

    def given(self, key: str, place: Here | None) -> bool:
        """Set the scene for the item's body; False if the item was parked instead."""
        if place is None:
            self._say_parked(key)
            return False
        self.key, self.begun_at = key, self.engine.store.now()
        place.own()
        current.set_here(place)
        return True

    def take_back(self) -> None:
        """The body has run through."""
        assert self.items is not None
        assert self.session is not None
        key = self.returned()
        if self.replaying:
            return
        try:
            drive(self.items.end(key, self.begun_at), self.engine, self.session)
        except Unwind as signal:
            raise self._outward(signal) from signal.__cause__
        self.show()

    def returned(self) -> str:
        key, self.key = self.key, None
        current.set_here(self.before)
        assert key is not None, "a body ends after it began"
        return key

    def finish(self) -> None:
        if self.over:
            return
        assert self.items is not None
        assert self.session is not None
        if self._ahead:
            raise self.items.another_list(len(self._ahead))
        try:
            drive(self.items.settle(), self.engine, self.session)
            if self.outer is None:
                drive(self.session.finish(self.verdict()), self.engine, self.session)
        except Unwind as signal:
            raise self._outward(signal) from signal.__cause__
        except RunFailed:
            pass  # parked items: said in `leave`, and in the state of the run
        self.over = True

    def verdict(self) -> Outcome:
        """How the pass ended: done, or failed because items are parked."""
        assert self.items is not None
        assert self.session is not None
        run, parked = self.session.run, self.items.parked
        if not parked:
            return Outcome(None, None, 0.0, 0.0)
        what = "1 item is" if parked == 1 else f"{parked:,} items are"
        return Outcome(None, RunFailed(run.id, f"{what} parked; `onward show {run.id}` says which"), 0.0, 0.0)

    # -- leaving -------------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """However the loop is left, its scope ends with it, and an unfinished run is given back."""
        session = self.session
        if session is None or self.items is None:
            return
        if self.key is not None:
            current.set_here(self.before)
        if self.outer is not None:
            return
        try:
            if not self.over and session.unwinding is None:
                self._give_back(session)
        finally:
            self.close(session)

    def _give_back(self, session: Session) -> None:
        assert self.items is not None
        in_flight = tuple(b for b in session.in_flight() if b.key == self.key)
        try:
            drive(self.items.settle(), self.engine, session)
            drive(session.release(), self.engine, session)
        except Unwind:
            return  # the journal or the lease is gone: the next pass continues from what is recorded
        if self.frame is not None and in_flight:
            endings.left_open(self.engine, session.run, in_flight, self.frame.f_code)

    def close(self, session: Session) -> None:
        self.engine.let_go(session)
        self._graceful.__exit__(None, None, None)
        self.session = None
        if self._progress is not None and self.items is not None:
            self._progress.finish(done=session.done, failed=self.items.parked, complete=self.over)
        self.frame = None

    def show(self) -> None:
        if self._progress is not None and self.session is not None and self.items is not None:
            self._progress.update(done=self.session.done + 1, failed=self.items.parked)

    def _say_parked(self, key: str) -> None:
        assert self.session is not None
        run = self.session.run
        item = key.partition("/")[2]
        observe.say(f"item {item} parked after repeated crashes; the pass goes on. Later: onward retry {run.id}")

    def _outward(self, signal: Unwind) -> BaseException:
        assert self.session is not None
        return signal if self.outer is not None else outward(signal, self.session)


class _AsyncWalk(Generic[T]):
    """`async for`. An object, not an async generator: a `break` drops it at once, while a generator would linger."""

    def __init__(self, walk: _Walk[T], items: Iterable[T] | AsyncIterable[T]) -> None:
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
                    await drive_async(items.end(key, walk.begun_at), engine, session)
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
            raise walk._outward(signal) if walk.session is not None else outward(signal, session) from signal.__cause__
        except BaseException:
            walk.leave()
            raise

    async def _finish(self, items: Items, session: Session) -> None:
        walk = self._walk
        if walk._ahead:
            raise items.another_list(len(walk._ahead))
        await drive_async(items.settle(), walk.engine, session)
        if walk.outer is None:
            try:
                await drive_async(session.finish(walk.verdict()), walk.engine, session)
            except RunFailed:
                pass  # parked items: said when the loop is left, and in the state of the run
        walk.over = True

    def __del__(self) -> None:
        self._walk.leave()


class Source(Generic[T]):
    """Items from a sync or an async iterable, awaited either way."""

    def __init__(self, items: Iterable[T] | AsyncIterable[T]) -> None:
        self._async: AsyncIterator[T] | None = None
        self._sync: Iterator[T] | None = None
        if hasattr(items, "__aiter__"):
            self._async = items.__aiter__()
        else:
            self._sync = iter(items)

    async def next(self) -> T:
        if self._async is not None:
            return await self._async.__anext__()
        assert self._sync is not None
        for item in self._sync:
            return item
        raise StopAsyncIteration


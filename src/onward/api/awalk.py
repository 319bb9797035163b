"""`async for` over an `each`: the same walk, and the event loop is never blocked."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from types import FrameType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from onward.api.ever import find_first_new
from onward.api.source import Source
from onward.api.walk import Walk
from onward.core.errors import Unwind
from onward.runtime import current
from onward.runtime.bodies import Handed
from onward.runtime.drive import drive_async
from onward.runtime.session import Session

if TYPE_CHECKING:
    from onward.api.loop import Each

T = TypeVar("T")


class AsyncWalk(Generic[T]):
    """`async for`. An object, not an async generator: a `break` drops it at once, while a generator would linger."""

    def __init__(self, each: Each[T], items: Any, frame: FrameType | None) -> None:
        self._each, self._frame = each, frame
        self._source: Source[Any] = Source(items)
        self._walk: Walk[T] | None = None
        self._raw: deque[Any] = deque()
        self._handed: deque[Handed] = deque()
        self._drained = False  # the source has come to its end
        self._over = False
        self._rehearsed: AsyncIterator[T] | None = None  # what a replay gives

    def __aiter__(self) -> AsyncWalk[T]:
        return self

    async def __anext__(self) -> T:
        if self._over:
            raise StopAsyncIteration
        if self._walk is None and self._rehearsed is None:
            await self._begin()
        if self._rehearsed is not None:
            return await anext(self._rehearsed)
        walk = self._walk
        if walk is None or walk.items is None or walk.session is None:
            self._over = True
            raise StopAsyncIteration
        try:
            return await self._next(walk, walk.session)
        except Unwind as signal:
            shown = walk.outward(signal)
            walk.leave()
            raise shown from signal.__cause__
        except BaseException:
            walk.leave()
            raise

    async def _begin(self) -> None:
        """Begin the walk, if there is anything new."""
        each, place = self._each, current.here(begins_run=True)
        known = each.ledger() if each.once else None
        if known is not None and not await find_first_new(known, self._source):
            return
        if place is not None:
            self._walk = each.nested(place)
        else:
            got = await each.obtain_async(self._source)
            if isinstance(got, Session) and got.rehearses:
                self._rehearsed = each.rehearsed(got).over_async(self._source)
                return
            self._walk = each.entered(got, self._frame)

    async def _next(self, walk: Walk[T], session: Session) -> T:
        if walk.handed is not None:
            await drive_async(walk.take_back(), walk.engine, session)
        while True:
            while self._handed:
                handed = self._handed.popleft()
                if await drive_async(walk.hand_out(handed), walk.engine, session):
                    return handed.value  # type: ignore[no-any-return]
            if self._raw:
                self._handed.extend(walk.pick(self._raw.popleft()))
            elif self._drained:
                await drive_async(walk.finish(), walk.engine, session)
                self._each.finished(walk)
                self._over = True
                walk.leave()
                raise StopAsyncIteration
            else:
                await self._ask(walk)

    async def _ask(self, walk: Walk[T]) -> None:
        try:
            self._raw.extend(walk.admit(await self._source.next()))
        except StopAsyncIteration:
            self._drained = True
            self._handed.extend(walk.rest())

    def __del__(self) -> None:
        if self._walk is not None:
            self._walk.leave()

"""`timeout`: a deadline for a stretch of async code, which a replay keeps as it was.

The deadline is recorded when the block is entered, and when it is left whether it was over then. So a replay tells
apart what the clock cannot: a block that ended in time is never ended later, one that was ended ends at the same place.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn

from onward.api import connect
from onward.api.wait import seconds_of
from onward.core import codec
from onward.core.decide import Taken, decide
from onward.core.errors import UsageError
from onward.core.keys import Scope
from onward.core.lazily import Lazily
from onward.runtime import current
from onward.runtime.current import Here
from onward.runtime.drive import drive, drive_async
from onward.runtime.effects import Flow, Later, Now
from onward.runtime.outcomes import decoded
from onward.runtime.session import Session

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = Lazily("asyncio")

# How often a block that is replayed looks whether all that was recorded in it has come (seconds) ...
_LOOK_S: Final = 0.005
# ... and when it stops expecting it, because nothing has come for so long: the code has changed.
_PATIENCE_S: Final = 2.0


def timeout(seconds: float = 0, *, days: float = 0, hours: float = 0, minutes: float = 0) -> Timeout:
    """End the block with TimeoutError when its time is over; steps inside that were cut off have no outcome.

        async with onward.timeout(minutes=10):
            await fetch(url)
            await onward.aio.sleep(60)

    Use it in place of `asyncio.timeout` around durable calls. Inside a run the deadline is recorded: a process that was
    killed meanwhile has only the rest of the time, and a replay ends the block where it ended before, or not at all
    if it ended in time. Steps recorded before the deadline keep their outcomes. One that does not answer to
    cancellation is not ended. Outside of any run as `asyncio.timeout`. For sync steps there is `timeout=` with
    `isolate=True`.
    """
    return Timeout(seconds_of(seconds, days, hours, minutes))


class Timeout:
    """What `timeout` returns: an async context manager, entered once."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._place: Here | None = None
        self._ended: bool | None = None  # what is recorded of its end: whether the deadline was over
        self._fenced = False  # whether a call was refused because the deadline was over
        self._pending: set[str] = set()  # what is recorded in the block and was not asked for yet
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> NoReturn:
        raise UsageError(
            "onward.timeout is for async code: `async with onward.timeout(...)`. A sync step is ended by its own "
            "process: @onward.step(isolate=True, timeout=...)."
        )

    def __exit__(self, *_: object) -> None: ...

    async def __aenter__(self) -> Timeout:
        place = self._place = current.here()
        if place is None:
            self._limit = asyncio.timeout(self._seconds)
            await self._limit.__aenter__()
            return self
        session = place.session
        self._outer, self._scope = _timeout_around(place), place.scope
        self._key = place.scope.next("timeout")
        begun = session.recorded.get(self._key)
        flow = session.take(self._key, "value", "timeout", lambda now: now + self._seconds)
        self._deadline: float = await drive_async(flow, connect.engine(), session)
        end = session.recorded.get(self._end_key)
        if end is not None:
            self._ended = bool(decoded(end))
        if begun is not None:
            upto = float("inf") if end is None else end.seq
            self._pending = _recorded(session, place.scope.prefix, begun.seq, upto)
        self._limit = asyncio.timeout(None)
        await self._limit.__aenter__()
        if self._ended is not False:
            session.deadlines.append(self._deadline)
        place.scope = _Fenced(self, place.scope)
        self._seen_at = asyncio.get_running_loop().time()
        self._look()
        return self

    @property
    def _end_key(self) -> str:
        return f"{self._key}/end"

    # -- while the block is executed ----------------------------------------------------------------------

    def _look(self) -> None:
        """Set the alarm, as soon as all that is recorded in the block has been given back."""
        if self._ended is False:
            return
        loop = asyncio.get_running_loop()
        if self._is_replaying(loop.time()):
            self._timer = loop.call_later(_LOOK_S, self._look)
            return
        self._timer = None
        left = 0.0 if self._ended else max(0.0, self._deadline - connect.engine().store.now())
        self._limit.reschedule(loop.time() + left)

    def _is_replaying(self, now: float) -> bool:
        assert self._place is not None
        visited = self._place.session.visited
        came = self._pending & visited if visited is not None else set[str]()
        if came:
            self._pending -= came
            self._seen_at = now
        return bool(self._pending) and now - self._seen_at < _PATIENCE_S

    def _asked(self, key: str) -> str:
        """A durable call is made in the block: refused, like an await that is cancelled, once the deadline is over."""
        assert self._place is not None
        session, now = self._place.session, asyncio.get_running_loop().time()
        if key in self._pending:
            self._pending.discard(key)
            self._seen_at = now
        if (
            self._ended is False
            or key in session.recorded
            or key in session.peopled
            or self._is_replaying(now)
        ):
            return key
        if self._ended or connect.engine().store.now() >= self._deadline:
            self._fenced = True
            raise asyncio.CancelledError
        return key

    # -- its end ------------------------------------------------------------------------------------------

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._place is None:
            await self._limit.__aexit__(kind, error, tb)
            return
        self._place.scope = self._scope
        if self._deadline in self._place.session.deadlines:
            self._place.session.deadlines.remove(self._deadline)
        if self._timer is not None:
            self._timer.cancel()
        over = await self._is_over(kind, error, tb)
        if self._ended is None:
            self._record(over, error)
        else:
            self._place.session.met(self._end_key)
            over = self._ended
        if over and self._place.session.unwinding is None:
            raise TimeoutError(f"the block took longer than its timeout of {self._seconds:g} s") from error

    async def _is_over(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> bool:
        """Whether the block was ended because its deadline was over."""
        mine = self._fenced and isinstance(error, asyncio.CancelledError)
        try:
            await self._limit.__aexit__(*((None, None, None) if mine else (kind, error, tb)))
        except TimeoutError:
            return True
        return mine

    def _record(self, over: bool, error: BaseException | None) -> None:  # noqa: FBT001
        """Record how the block ended; unless it was cancelled from outside, which says nothing of its deadline."""
        assert self._place is not None
        session = self._place.session
        if session.unwinding is not None:
            return
        if not over and error is not None and not isinstance(error, Exception) and not self._outer_is_over():
            return
        drive(_ending(session, self._end_key, over=over), connect.engine(), session)

    def _outer_is_over(self) -> bool:
        outer = self._outer
        while outer is not None:
            if outer._fenced or outer._limit.expired():
                return True
            outer = outer._outer
        return False


class _Fenced(Scope):
    """The scope of a block with a deadline: it names calls as the one around it, and says that they are made."""

    __slots__ = ("_inner", "timeout")

    def __init__(self, owner: Timeout, inner: Scope) -> None:
        super().__init__(inner.prefix, inner.depth)
        self.timeout, self._inner = owner, inner

    def next(self, name: str) -> str:
        return self.timeout._asked(self._inner.next(name))

    def named(self, name: str, key: str) -> str:
        return self.timeout._asked(self._inner.named(name, key))


def _timeout_around(place: Here) -> Timeout | None:
    return place.scope.timeout if isinstance(place.scope, _Fenced) else None


def _recorded(session: Session, prefix: str, after: int, upto: float) -> set[str]:
    """What is recorded in a scope between two entries, by an earlier lease."""
    visited: Any = session.visited or ()
    return {
        key
        for key, entry in session.recorded.items()
        if after < entry.seq < upto
        and key.startswith(prefix)
        and key not in visited
        and (session.visited is not None or " > " not in key[len(prefix) :])
    }


def _ending(session: Session, key: str, *, over: bool) -> Flow[None]:
    # Not waited for: what is recorded after it is never durable before it.
    now: float = yield Now()
    yield Later(decide(session.run, Taken(key, "value", "timeout", codec.encode(over)), now=now))

"""`cursor`: a durable progress marker with a name: the last id, the next page, the time of the last success.

A cursor is a run of its own that never ends. One process at a time holds it; its value stands in its row, so that a
cursor that moves a million times takes as much room as one that moved once.
"""

from __future__ import annotations

import datetime as dt
from types import TracebackType
from typing import Any, Generic, TypeVar

from onward.api import connect
from onward.api.held import Held, Moves, hold, outward_of, release
from onward.api.identity import checked_name
from onward.api.walk import body_at
from onward.core import codec
from onward.core.decide import Released, Taken, decide
from onward.core.errors import Diverged, RunConflict, Stopped, Unwind, UsageError
from onward.core.model import Refused
from onward.core.retry import Policy
from onward.runtime import current
from onward.runtime.current import Here
from onward.runtime.drive import drive, drive_async
from onward.runtime.effects import Flow, Keep, Now
from onward.runtime.outcomes import decoded
from onward.runtime.session import Unit

T = TypeVar("T")


def cursor(name: str, *, start: T, forward_only: bool = False) -> Cursor[T]:
    """The durable progress marker of this name; it stands at `start` until it is moved for the first time.

        last = onward.cursor("orders", start=0)
        while orders := fetch_orders(after=last.value):
            save(orders)
            last.advance(orders[-1].id)

    `advance` is durable before it returns, so that neither a kill nor Ctrl-C takes it back: at most what was done since
    is repeated. In the body of an `onward.each` it becomes durable together with the item, or not at all, so that a
    page and the place behind it are one: however the program ends, it goes on with the first page that is not done.

        def pages():
            while page := fetch_orders(after=last.value):
                yield page

        for page in onward.each(pages(), name="orders", key=lambda page: str(page[0].id)):
            save(page)
            last.advance(page[-1].id)

    In a workflow it is recorded: a replay sees the values that the first execution saw. `forward_only` refuses a
    smaller value.

    One process at a time holds a cursor: until the object is dropped or closed, or the process ends. Another one gets
    AlreadyRunning. `--fresh` does not set it back; `onward cancel` of its run does. Raises NotRecordable for a `start`
    that cannot be recorded.
    """
    checked_name(name)
    codec.encode(start, where=f"the start of cursor `{name}`")
    return Cursor(name, start, forward_only=forward_only)


class Cursor(Generic[T]):
    """What `cursor` returns."""

    def __init__(self, name: str, start: T, *, forward_only: bool) -> None:
        self.name, self._start, self._forward_only = name, start, forward_only
        self._held: Held | None = None
        self._seen: Any = None  # in a workflow: where the cursor stood when the run last looked
        place = current.here(begins_run=True)
        self._recorded = place is not None and place.session.run.kind == "workflow" and not place.inside_step
        if place is not None and self._recorded:
            key = place.scope.next(f"cursor:{name}")
            flow = place.session.take(key, "value", f"cursor:{name}", lambda now: self._hold().value)
            self._seen = drive(flow, connect.engine(), place.session)
        else:
            self._hold()

    @property
    def value(self) -> T:
        """Where the cursor stands."""
        if self._recorded:
            return self._seen  # type: ignore[no-any-return]
        return self._hold().value  # type: ignore[no-any-return]

    @property
    def at(self) -> dt.datetime | None:
        """When it was last moved, in UTC by the journal's clock; None if it never was.

        Moving it to where it stands counts: so `at` is the time of the last success.
        """
        at = self._hold().at
        return None if at is None else dt.datetime.fromtimestamp(at, dt.UTC)

    def advance(self, value: T) -> None:
        """Move to `value`: durable before it returns, in a loop's body together with the item.

        Raises UsageError inside steps and maps, whose attempts may be repeated, and with `forward_only` for a smaller
        value; NotRecordable for a value that cannot be recorded. In async code, outside of a loop's body, rather
        `await onward.aio.advance(cursor, value)`: then the event loop goes on during the commit.
        """
        if self._with_item(value):
            return
        flow, session = self.moving(value)
        try:
            drive(flow, connect.engine(), session)
        except Unwind as signal:
            raise self.outward(signal) from signal.__cause__

    async def advance_async(self, value: T) -> None:
        """As `advance`, with what that raises; see `onward.aio.advance`."""
        if self._with_item(value):
            return
        flow, session = self.moving(value)
        try:
            await drive_async(flow, connect.engine(), session)
        except Unwind as signal:
            raise self.outward(signal) from signal.__cause__

    def close(self) -> None:
        """Let another process have it. Used again, it is held again."""
        held, self._held = self._held, None
        if held is not None:
            release(held)

    def __enter__(self) -> Cursor[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if self.__dict__.get("_held") is not None:
            self.close()

    def __repr__(self) -> str:
        return f"<onward cursor {self.name}>"

    # -- moving: also called by `onward.aio.advance` -----------------------------------------------------------

    def _with_item(self, value: T) -> bool:
        """Whether this is the body of a loop's item, with which the move is recorded."""
        place = current.here(begins_run=True)
        if place is None or self._recorded:
            return False
        body = None if place.inside_step else body_at(place)
        if body is None:
            raise UsageError(
                f"cursor `{self.name}`: advance() belongs into a script, a workflow or the body of an `onward.each`; "
                "inside steps, maps and branches it could be repeated or lost with its attempt; nothing was moved"
            )
        held = self._hold()
        self._check(held.value, value)
        if body.moves is None:
            body.moves = Moves()
        body.moves.add(held, value)
        return True

    def moving(self, value: T) -> tuple[Flow[None], Any]:
        """The flow that moves the cursor outside of a loop's body, and the session that drives it.

        Raises UsageError for a cursor of a workflow outside of that workflow's body.
        """
        place = current.here(begins_run=True)
        if self._recorded:
            if place is None or place.inside_step or place.session.run.kind != "workflow":
                raise UsageError(
                    f"cursor `{self.name}` was made in a workflow and is advanced outside of its body; nothing was "
                    "moved. Make a cursor where you advance it."
                )
            return self._move_recorded(place, value), place.session
        held = self._hold()
        self._check(held.value, value)
        return held.move(value), held.session

    def outward(self, signal: Unwind) -> BaseException:
        """What the caller sees of a signal: one that unwinds the run around it goes on as it is."""
        if self._held is not None and signal in (self._held.session.unwinding, self._held.session.halting):
            return outward_of(signal, self._held)
        return signal

    def _move_recorded(self, place: Here, value: T) -> Flow[None]:
        session, name = place.session, f"cursor:{self.name}"
        key = place.scope.next(f"advance:{self.name}")
        entry = session.recorded.get(key)
        if entry is not None:
            yield from session.agree(entry, Unit(key, "value", name, Policy()))
            if decoded(entry) != value:
                diverged = Diverged(session.run.id, key, f"a move to {decoded(entry)!r}", f"one to {value!r}")
                fact = Released("diverged", codec.encode_error(diverged))
                yield Keep((decide(session.run, fact, now=(yield Now())),))
                raise session.unwind(Stopped(str(diverged)), cause=diverged)
            self._seen = value
            return
        held = self._hold()
        if held.value != self._seen:
            raise RunConflict(
                session.run.id,
                f"cursor `{self.name}` stands at {held.value!r}, not at {self._seen!r} as this run knows it: another "
                f"run has moved it meanwhile. Nothing was moved. Start afresh with `onward cancel {session.run.id}`.",
            )
        self._check(held.value, value)
        session.goes_on(key)
        yield from session.check()
        now: float = yield Now()
        text = codec.encode(value, where=f"the value of cursor `{self.name}`")
        change = decide(session.run, Taken(key, "value", name, text), now=now)
        # What the run says of the move and the move itself: both or neither, also if one of the leases is lost now.
        answers = yield Keep((change._replace(beside=(held.change(value, now),)),))
        if isinstance(answers[0], Refused) and answers[0].run_no:
            raise held.session.refused(answers[0])
        session.applied(answers)
        session.remember(change.entries[0])
        held.moved(value, now)
        self._seen = value

    def _check(self, old: Any, new: Any) -> None:
        codec.encode(new, where=f"the value of cursor `{self.name}`")
        if not self._forward_only:
            return
        try:
            backward = bool(new < old)
        except TypeError:
            return  # from a start such as None to the first value
        if backward:
            raise UsageError(
                f"cursor `{self.name}` stands at {old!r} and only moves forward: {new!r} lies before it; nothing was "
                "moved"
            )

    def _hold(self) -> Held:
        if self._held is None or self._held.released:
            self._held = hold(self.name, self._start)
        return self._held

"""One pass of one loop: recognise, hand out, take back, leave. What `for` and `async for` have in common."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from types import FrameType
from typing import TYPE_CHECKING, Generic, TypeVar

from onward.api import endings, sinks
from onward.api.opening import outward
from onward.core import limits
from onward.core.errors import RunFailed, Unwind
from onward.core.lazily import Lazily
from onward.runtime import current, observe
from onward.runtime.current import Here
from onward.runtime.drive import drive
from onward.runtime.effects import Outcome
from onward.runtime.engine import Engine
from onward.runtime.items import Items
from onward.runtime.session import Session

if TYPE_CHECKING:
    from onward.runtime import progress
else:
    progress = Lazily("onward.runtime.progress")

T = TypeVar("T")


class Walk(Generic[T]):
    """One pass of one loop: what is shared by `for` and `async for`."""

    def __init__(
        self,
        engine: Engine,
        session: Session | None,
        items: Items | None,
        outer: Here | None,
        frame: FrameType | None,
    ) -> None:
        self.engine, self.session, self.items, self.outer, self.frame = engine, session, items, outer, frame
        self.before = current.peek()
        self.key: str | None = None
        self.place: Here | None = None
        self.rows: list[sinks.Rows] = []  # recorded with the item that ended last, not in their files yet
        self._sinks: set[sinks.Jsonl] = set()
        self.begun_at = 0.0
        self.replaying = False  # the item in hand is done already, its body is run for what it computes
        self.over = items is None
        self._ahead: deque[T] = deque()
        self._known = session is None or session.done == 0 or outer is not None
        self._graceful = endings.Graceful()
        self._progress: progress.Progress | None = None
        if session is not None and outer is None:
            self._graceful.__enter__()
            self._progress = progress.Progress(session.run.name, kept=session.done, total=session.total)

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
        self.write_rows()
        place.own()
        self.place = place
        current.set_here(place)
        return True

    def write_rows(self) -> None:
        """Put the rows of the item that ended last into their files, now that they are durable in the journal."""
        for rows in self.rows:
            rows.sink.append(rows)
            self._sinks.add(rows.sink)
        self.rows.clear()

    def collect(self) -> str | None:
        """What the item that ends now says in its entry: the rows that its body has written."""
        place, self.place = self.place, None
        if place is None or not place.rows:
            return None
        self.rows = [sink.collect(lines) for sink, lines in place.rows.items()]
        return sinks.payload(self.rows)

    def take_back(self) -> None:
        """The body has run through."""
        assert self.items is not None
        assert self.session is not None
        key = self.returned()
        if self.replaying:
            return
        try:
            drive(self.items.end(key, self.begun_at, self.collect()), self.engine, self.session)
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
            self.settle_sinks()
            if self.outer is None:
                drive(self.session.finish(self.verdict()), self.engine, self.session)
        except Unwind as signal:
            raise self._outward(signal) from signal.__cause__
        except RunFailed:
            pass  # parked items: said in `leave`, and in the state of the run
        self.over = True

    def settle_sinks(self) -> None:
        self.write_rows()
        for sink in self._sinks:
            sink.settle()

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
            self.settle_sinks()
            drive(session.release(), self.engine, session)
        except Unwind:
            return  # the journal or the lease is gone: the next pass continues from what is recorded
        if self.frame is not None and in_flight:
            endings.left_open(self.engine, session.run, in_flight, self.frame.f_code, self.frame.f_lineno)

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
        observe.say(
            f"item {item} parked after repeated crashes; the pass goes on. Later: onward retry {run.id}"
        )

    def _outward(self, signal: Unwind) -> BaseException:
        assert self.session is not None
        return signal if self.outer is not None else outward(signal, self.session)

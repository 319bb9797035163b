"""One pass of one loop: recognise, hand out, take back, leave. What `for` and `async for` have in common."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable
from types import FrameType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from onward.api import endings, sinks
from onward.api.batch import Pack
from onward.api.opening import outward
from onward.core import limits
from onward.core.errors import RunFailed, StepCrashed, Unwind
from onward.core.lazily import Lazily
from onward.runtime import current, observe
from onward.runtime.bodies import Bodies, Handed
from onward.runtime.current import Here
from onward.runtime.drive import drive
from onward.runtime.effects import Flow, Outcome
from onward.runtime.engine import Engine
from onward.runtime.items import Items
from onward.runtime.outcomes import blame
from onward.runtime.session import Session

if TYPE_CHECKING:
    from onward.api import held
    from onward.api.held import Moves
    from onward.runtime import progress
else:
    held, progress = Lazily("onward.api.held"), Lazily("onward.runtime.progress")

T = TypeVar("T")

# The walks whose bodies are being run, by the place of the body.
_running: dict[Here, Walk[Any]] = {}


class Walk(Generic[T]):
    """One pass of one loop: what is shared by `for` and `async for`."""

    def __init__(
        self,
        engine: Engine,
        session: Session | None,
        items: Items | None,
        outer: Here | None,
        frame: FrameType | None,
        *,
        batch: int | None = None,
        once: bool = False,
    ) -> None:
        self.engine, self.session, self.items, self.outer, self.frame = engine, session, items, outer, frame
        self.before = current.peek()
        self.handed: Handed | None = None
        self.place: Here | None = None
        self.rows: list[sinks.Part] = []  # recorded with the items that ended last, not in their files yet
        self.moves: Moves | None = None  # of cursors in this body, which become durable with it
        self.begun_at = 0.0
        self.over = items is None
        self._once = once
        self._ahead: deque[T] = deque()
        # A list that begins where a cursor stands need not bring anything that is done.
        self._known = session is None or session.done == 0 or outer is not None or once or held.some_moved()
        self._graceful = endings.Graceful()
        self._progress: progress.Progress | None = None
        self._parked: list[str] = []  # what failed in this pass of a nested loop, and within its items
        self._parked_inside: list[str] = []  # the same of the loops in the present body
        if items is not None:
            self._bodies = Bodies(items)
            self._pack: Pack[T] | None = None if batch is None else Pack(batch, items, self._bodies)
        if session is not None and outer is None:
            self._graceful.__enter__()
            self._progress = progress.Progress(
                session.run.name, kept=session.done, total=session.total, command=session.run.command
            )
            self._kept = session.done

    def expect_promptly(self, prompt: bool) -> None:  # noqa: FBT001
        """Whether the source gives its items without any wait."""
        if self.items is not None:
            self.items.prompt = prompt

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

    def pick(self, item: T) -> Iterable[Handed]:
        """What is to be handed out now that `item` has come: nothing if it is done or parked, or a batch not full."""
        assert self.items is not None
        key, standing = self.items.take(item)
        if standing == "failed":
            self.items.parked += 1
            self._note_parked(key)
        if self._pack is not None:
            return self._pack.add(item, key, standing)
        replaying = standing == "done" and self.items.replays(key)
        if standing == "new" or replaying:
            return (Handed(item, (key,), key, replaying),)
        self.engine.committer.watch()  # the item before may wait for the start of one that is far away
        return ()

    def rest(self) -> Iterable[Handed]:
        """What is to be handed out when the source has come to its end."""
        if self._ahead:
            assert self.items is not None
            raise self.items.another_list(len(self._ahead))
        return () if self.over or self._pack is None else self._pack.rest()

    # -- handing out and taking back -----------------------------------------------------------------------------

    def perform(self, flow: Flow[bool] | Flow[None]) -> bool | None:
        """Drive one of the flows below in the calling thread."""
        assert self.session is not None
        try:
            return drive(flow, self.engine, self.session)
        except Unwind as signal:
            raise self.outward(signal) from signal.__cause__

    def hand_out(self, handed: Handed) -> Flow[bool]:
        """Begin the body and set the scene for it; False if the item was parked instead."""
        place = yield from self._bodies.begin(handed)
        if place is None:
            for key in handed.keys:
                self._say_parked(key)
                self._note_parked(key)
            return False
        self.handed, self.begun_at = handed, self.engine.store.now()
        self.write_rows()
        place.own()
        self.place = place
        _running[place] = self
        current.set_here(place)
        return True

    def take_back(self) -> Flow[None]:
        """The body has run through."""
        assert self.items is not None
        place = self.place
        handed = self._returned()
        if handed.replaying:
            return
        if self._parked_inside:
            yield from self._fail(handed)
        elif self.moves is None:
            yield from self._bodies.end(handed, self.begun_at, self.collect(place))
        else:
            moves, self.moves = self.moves, None
            yield from moves.made(
                lambda beside: self._bodies.end(handed, self.begun_at, self.collect(place), beside)
            )
        self._show()

    def _fail(self, handed: Handed) -> Flow[None]:
        self._drop_moves()
        inside, self._parked_inside = self._parked_inside, []
        what = "1 item" if len(inside) == 1 else f"{len(inside):,} items"
        yield from self._bodies.fail(handed, self.begun_at, f"{what} of a loop in it is parked: {inside[0]}")
        self._parked += [*handed.keys, *inside]

    def write_rows(self) -> None:
        """Put the rows of the items that ended last into their files, once they are durable in the journal."""
        if not self.rows or self.items is None or self.items.grouping:
            return
        rows, self.rows = self.rows, []
        for part in rows:
            part.writer.append(part)

    def collect(self, place: Here | None) -> str | None:
        """What the item that ends now says in its entry: the rows that its body has written."""
        if place is None or not place.rows:
            return None
        rows = sinks.output(place.session).place(place.rows)
        self.rows += rows
        return sinks.payload(rows)

    def _returned(self) -> Handed:
        """The body has been left: its scope ends."""
        handed, self.handed = self.handed, None
        place, self.place = self.place, None
        current.go_back(self.before)
        assert handed is not None, "a body ends after it began"
        assert place is not None, "a body has a place"
        _running.pop(place, None)
        return handed

    # -- the end of the pass -------------------------------------------------------------------------------------

    def finish(self) -> Flow[None]:
        """The source has come to its end, and so have all bodies."""
        if self.over:
            return
        assert self.items is not None
        assert self.session is not None
        yield from self.items.settle()
        self.settle_sinks(final=self.outer is None or self.outer.rows is None)
        if self.outer is not None:
            self.over = True
            self._pass_on_parked(self.outer)
            return
        try:
            if self._once and not self.items.parked:
                yield from self.session.rest()
            else:
                yield from self.session.finish(self._verdict())
        except RunFailed:
            pass  # parked items: said in `leave`, and in the state of the run
        self.over = True

    def settle_sinks(self, *, final: bool) -> None:
        """Bring all rows to the disk; `final` unless more may come of the item around, or of the next pass."""
        self.write_rows()
        out = None if self.session is None else self.session.output
        if out is not None and (final or self.outer is None):
            out.settle(final=final)

    def _verdict(self) -> Outcome:
        """How the pass ended: done, or failed because items are parked."""
        assert self.items is not None
        assert self.session is not None
        run, parked = self.session.run, self.items.parked
        if not parked:
            return Outcome(None, None, 0.0, 0.0)
        what = "1 item is" if parked == 1 else f"{parked:,} items are"
        return Outcome(None, RunFailed(run.id, f"{what} parked; `onward show {run.id}` says which"), 0.0, 0.0)

    def _pass_on_parked(self, outer: Here) -> None:
        """A nested loop with parked items is unfinished, and so is what is around it."""
        if not self._parked:
            return
        around = _running.get(outer)
        if around is not None:
            # The item of another loop: it is done again when its loop is, and that goes on now.
            around._parked_inside += self._parked
            return
        what = "1 item is" if len(self._parked) == 1 else f"{len(self._parked):,} items are"
        error = StepCrashed(
            f"{what} parked after repeated crashes: {self._parked[0]}; all others are done. "
            f"Running it again retries what is parked"
        )
        for key in self._parked:
            blame(error, key)
        raise error

    def _note_parked(self, key: str) -> None:
        if self.outer is not None:
            self._parked += [key, *self._bodies.parked_within(key)]

    # -- leaving -------------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """However the loop is left, its scope ends with it, and an unfinished run is given back."""
        session = self.session
        if session is None or self.items is None:
            return
        self._drop_moves()
        # Who lets go of this loop now: behind a progress bar it is not the code that asks for items.
        self._let_go_by = endings.lines_of(sys._getframe(1))
        if self.handed is not None:
            current.go_back(self.before)
        if self.place is not None:
            _running.pop(self.place, None)
        if self.outer is not None:
            return
        try:
            if not self.over and session.unwinding is None:
                self._give_back(session)
        finally:
            self._close(session)

    def _drop_moves(self) -> None:
        moves, self.moves = self.moves, None
        if moves is not None:
            moves.dropped()

    def _give_back(self, session: Session) -> None:
        assert self.items is not None
        keys = self.handed.keys if self.handed is not None else ()
        in_flight = tuple(b for b in session.in_flight() if b.key in keys)
        try:
            drive(self.items.settle(), self.engine, session)
            self.settle_sinks(final=False)
            drive(session.release(), self.engine, session)
        except Unwind:
            return  # the journal or the lease is gone: the next pass continues from what is recorded
        if self.frame is not None and in_flight:
            lines = endings.lines_of(self.frame) | self._let_go_by
            endings.left_open(self.engine, session.run, in_flight, lines)

    def _close(self, session: Session) -> None:
        self.engine.let_go(session)
        self._graceful.__exit__(None, None, None)
        self.session = None
        if self._progress is not None and self.items is not None:
            done, failed = session.done, self.items.parked
            # What is done once, over all passes, is often looked at in vain: that is not worth a line.
            if not self._once or done > self._kept or failed or not self.over:
                self._progress.finish(done=done, failed=failed, complete=self.over, asked=session.asked)
        self.frame = None

    def _show(self) -> None:
        if self._progress is not None and self.session is not None and self.items is not None:
            waiting = 1 if self._pack is None else 0  # ended, not counted yet: see `Items.join`
            self._progress.update(done=self.session.done + waiting, failed=self.items.parked)

    def _say_parked(self, key: str) -> None:
        assert self.session is not None
        assert self.items is not None
        raised = self.items.raised.pop(key, None)
        why = "crashes" if raised is None else f"failures, the last one {raised.line}"
        item = key.partition("/")[2]
        observe.say(
            f"item {item} parked after repeated {why}; the pass goes on. Later: onward retry {self.session.run.id}"
        )

    def outward(self, signal: Unwind) -> BaseException:
        """What the caller of this loop sees of a signal that ended its run."""
        assert self.session is not None
        return signal if self.outer is not None else outward(signal, self.session)


def body_at(place: Here) -> Walk[Any] | None:
    """The loop whose body runs at this place; None elsewhere."""
    return _running.get(place)

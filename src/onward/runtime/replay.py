"""A recorded run, run again for looks: its function, loop or map meets what is recorded and nothing else.

The record is copied into a journal in memory, so whatever is written on the way is written there. A unit without an
outcome is not executed: the replay ends in front of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

from onward.core import codec, keys, limits
from onward.core.errors import Diverged, Stopped
from onward.core.model import CLOSED, Applied, Begun, Entry, Run
from onward.runtime.current import Here
from onward.runtime.effects import Call, Flow, Outcome
from onward.runtime.engine import Engine
from onward.runtime.items import Items
from onward.runtime.session import Session, Unit
from onward.storage.memory import MemoryStore

# returned, raised: the function came to its end. unrecorded: it asks for something that was never done. reached: it
# is at the place where it should stop. diverged: it asks for something else than is recorded.
Kind = Literal["returned", "raised", "unrecorded", "reached", "diverged"]


class End(NamedTuple):
    """How a replay ended."""

    kind: Kind
    key: str = ""  # of the unit in front of which it ended
    value: Any = None
    error: BaseException | None = None
    item: Any = None  # of a loop or map: the one in front of which it ended


class Over(BaseException):
    """The replay has ended: nothing of the program that called it goes on."""

    def __init__(self, end: End) -> None:
        self.end = end
        super().__init__(end.kind)


class Foreign(BaseException):
    """The program begins another run than the one that is replayed."""

    def __init__(self, run: Run) -> None:
        self.run = run
        super().__init__(run.name)


class Recorded(NamedTuple):
    """A run with all that is recorded of it."""

    run: Run
    entries: Iterable[Entry]
    begun: Sequence[Begun]


class Replay(Session):
    """A session that executes nothing. `arrived` is told of the place where it should stop, and of where it must."""

    rehearses = True

    def __init__(
        self, run: Run, *, last_seq: int, stop_at: str | None, arrived: Callable[[str, Kind], bool]
    ) -> None:
        super().__init__(run, last_seq=last_seq, safe_until=math.inf, clock=lambda: 0.0)
        self._stop_at, self._arrived = stop_at, arrived
        self._end: End | None = None

    # -- what is recorded -----------------------------------------------------------------------------

    def recalls(self, row: tuple[Any, ...], name: str, fingerprint: bytes) -> bool:
        recalls = super().recalls(row, name, fingerprint)
        if recalls:
            self.met(row[0])  # which the short way leaves out
        return recalls

    def met(self, key: str) -> None:
        super().met(key)
        if key == self._stop_at:
            self._stop_at = None  # once: with a debugger it goes on from there
            if self._arrived(key, "reached"):
                raise self._ended(End("reached", key))

    def perform(
        self, unit: Unit, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Flow[Any]:
        entry = self.recorded.get(unit.key)
        if entry is not None:
            yield from self.agree(entry, unit)
            return self.replay(entry)
        self.goes_on(unit.key)
        # A child: code between steps, as its parent's is.
        outcome: Outcome = yield Call(fn, args, kwargs, self.place(unit.key, 1, unit.inside_step))
        if self.unwinding is not None:
            raise self.unwinding
        if outcome.error is not None:
            raise outcome.error
        return outcome.value

    def begins_straight(self, unit: Unit) -> bool:
        return False

    def until(self, at: float, key: str) -> Flow[None]:
        """Time that was waited for once is not waited for again."""
        yield from ()

    # -- the items of a loop or map -------------------------------------------------------------------

    def comes_to(self, key: str, item: Any) -> None:
        """The pass has come to this item; raises Over if it should stop there."""
        if key == self._stop_at:
            self._stop_at = None
            if self._arrived(key, "reached"):
                raise Over(End("reached", key, item=item))

    def looks_into(self, key: str) -> bool:
        """Whether the place where it should stop lies in the body of this item."""
        return self._stop_at is not None and self._stop_at.startswith(key + keys.SEPARATOR)

    def ends_at(
        self, key: str, item: Any, kind: Kind = "unrecorded", error: BaseException | None = None
    ) -> Over:
        """The end of the pass in front of an item."""
        self._arrived(key, kind)
        return Over(End(kind, key, error=error, item=item))

    def left(self, key: str) -> None:
        """The program has left a body that it was let into: from now on every durable call ends the replay."""
        if self.unwinding is None:
            self._ended(End("unrecorded", key))

    @property
    def end(self) -> End | None:
        """How it has ended, if a durable call has ended it."""
        return None if self.unwinding is None else self._end or self._came_to(Outcome(None, None, 0.0, 0.0))

    # -- what is not ----------------------------------------------------------------------------------

    def goes_on(self, key: str) -> None:
        """Only bodies that had begun are gone into: what is recorded in them lies inside."""
        begun = self.begun.get(key)
        if key not in self.peopled and (begun is None or begun.kind not in ("item", "child")):
            raise self.stop(key)
        super().goes_on(key)

    def place(self, key: str = "", attempt: int = 1, inside_step: bool = False) -> Here:  # noqa: FBT001, FBT002
        if inside_step:  # the body of a step: not code between steps, but the work itself
            raise self.stop(key)
        return super().place(key, attempt, inside_step)

    def stop(self, key: str) -> Stopped:
        """The end in front of a unit that was never done."""
        if self._end is None:
            self._arrived(key, "unrecorded")
        return self._ended(End("unrecorded", key))

    def _ended(self, end: End) -> Stopped:
        if self._end is None:
            self._end = end
        signal = self.unwind(Stopped(f"the replay ended at `{end.key}`"))
        assert isinstance(signal, Stopped), "nothing else ends a replay"
        return signal

    def finish(self, outcome: Outcome) -> Flow[Any]:
        yield from ()  # a flow, like what it stands for
        raise Over(self._end or self._came_to(outcome))

    def _came_to(self, outcome: Outcome) -> End:
        cause = None if self.unwinding is None else self.unwinding.__cause__
        if isinstance(cause, Diverged):
            return End("diverged", cause.key, error=cause)
        if outcome.error is not None:
            return End("raised", error=outcome.error)
        return End("returned", value=outcome.value)


class ReplayEngine(Engine):
    """An engine that knows one run and begins no other. `beside` finds the latest one like a given one in the journal.

    A script may come to other runs before a loop or map that is replayed: other loops are passed over, other maps and
    workflows give what is recorded of them, and cursors stand where they stand.
    """

    def __init__(
        self,
        run: Run,
        entries: Iterable[Entry],
        begun: Sequence[Begun],
        *,
        stop_at: str | None = None,
        arrived: Callable[[str, Kind], bool] = lambda key, kind: True,
        beside: Callable[[Run], Recorded | None] = lambda run: None,
        renamed: bool = False,
    ) -> None:
        super().__init__(MemoryStore(), keeper=False)
        self._beside, self._renamed = beside, renamed
        self.enters = False  # whether it goes into the body of the item that it would stop at
        self.rehearsed: Items | None = None  # who recognises the items of the loop or map
        self.passes = 0  # so often the script has come to the place of the loop or map
        self.original, self._stop_at, self._arrived = run, stop_at, arrived
        # Under a name that nobody asks for: the program's own call must find it as a run that is still to begin.
        held = run._replace(
            id="replay", identity="replay", state="running", fence=run.fence + 1, request=None
        )
        held = held._replace(owner=self.owner, lease_until=math.inf, direct=False)
        answer = self.store.add_run(held, entries, begun)
        assert isinstance(answer, Applied), "the only run of its journal"
        self._held = held._replace(id=run.id, no=answer.run_no)

    def open(self, run: Run) -> Session | None:
        # Without the folder: it is replayed wherever its code lies now.
        if self.original.kind != "workflow":
            return self._open_pass(run)
        if keys.grounded(run.identity, "") != keys.grounded(self.original.identity, ""):
            raise Foreign(run)
        return self.session()

    def _open_pass(self, run: Run) -> Session | None:
        original = self.original
        same = place_of(run) == place_of(original)
        if run.kind == original.kind and (same or (self._renamed and _function(run) == _function(original))):
            self.passes += 1
            return self.sessions.get(self._held.no) or self.session()
        if run.identity.startswith("cursor:"):
            found = self._beside(run)
            if found is None:
                return super().open(run)
            self._lay_beside(found._replace(run=found.run._replace(identity=run.identity, state="waiting")))
            return None  # to be claimed, in this journal
        found = Recorded(run._replace(state="done"), (), ()) if run.kind == "loop" else self._beside(run)
        if found is None or found.run.state not in CLOSED:
            raise Foreign(run)
        self._lay_beside(found._replace(run=found.run._replace(id=run.id, identity=f"beside:{run.id}")))
        return None  # it has ended

    def _lay_beside(self, found: Recorded) -> None:
        run = found.run._replace(owner=None, lease_until=None, request=None, no=0)
        assert isinstance(self.store.add_run(run, found.entries, found.begun), Applied), "it is not there yet"

    @property
    def number(self) -> int:
        """Which pass at its place in the code the run is."""
        number = keys.grounded(self.original.identity, "").partition(keys.SEPARATOR)[2]
        return int(number) if number.isdecimal() else 1

    def session(self) -> Replay:
        """The run, ready to be replayed."""
        no = self._held.no
        session = Replay(
            self._held, last_seq=self.store.last_seq(no), stop_at=self._stop_at, arrived=self._arrived
        )
        session.begun.update((one.key, one) for one in self.store.begun(no))
        if self._held.kind == "workflow":
            session.learn(self.store.recorded(no))
            session.expect()
        else:
            session.done = self.original.done + self.store.count_items(no, self.original.counted_seq)
        self.hold(session)
        return session

    def outcomes(self, session: Replay) -> tuple[list[str], list[str]]:
        """The keys of what is recorded; and of that, what was not asked for."""
        if self._held.kind == "workflow":
            return [*session.recorded], self._unused(session)
        return self._items()

    def _items(self) -> tuple[list[str], list[str]]:
        prefix = "map/" if self._held.kind == "map" else "each/"
        keys_, unused, after = list[str](), list[str](), -1
        while rows := self.store.done_items(self._held.no, prefix, after=after, limit=limits.PAGE_ROWS):
            after = rows[-1][0]
            keys_ += [key for _, key in rows]
            unused += [
                key for seq, key in rows if self.rehearsed is None or not self.rehearsed.walk.has_met(seq)
            ]
        keys_ += [entry.key for entry in self.store.failed_items(self._held.no)]
        return keys_, unused

    def _unused(self, session: Replay) -> list[str]:
        visited = session.visited or set()
        return [key for key, entry in session.recorded.items() if key not in visited and entry.kind != "mark"]


def place_of(run: Run) -> str:
    """The place in the code that a loop or map belongs to, whatever the number of its pass and wherever it lies."""
    return keys.grounded(run.identity, "").partition(keys.SEPARATOR)[0]


def _function(run: Run) -> str | None:
    """The function of a loop that is named after the script it stands in."""
    _, dot, function = run.name.rpartition(".py")
    return function if dot else None


def same_outcome(run: Run, end: End) -> bool:
    """Whether the function came to what is recorded of the run: its value, or its error by class and message.

    A loop or map comes to what is recorded if it asks for nothing more than that.
    """
    if run.kind != "workflow":
        return end.kind != "diverged" and (end.kind == "returned" or run.state != "done")
    if end.kind == "returned":
        return run.state == "done" and codec.encode(end.value) == (run.result or codec.encode(None))
    if end.kind == "raised" and run.error is not None:
        recorded = codec.decode_error(run.error)
        return type(recorded) is type(end.error) and str(recorded) == str(end.error)
    return end.kind == "unrecorded" and run.state not in ("done", "cancelled")

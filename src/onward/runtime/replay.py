"""A recorded run, run again for looks: its function meets what is recorded and nothing else.

The record is copied into a journal in memory, so whatever is written on the way is written there. A unit without an
outcome is not executed: the replay ends in front of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

from onward.core import codec, keys
from onward.core.errors import Diverged, Stopped
from onward.core.model import Applied, Begun, Entry, Run
from onward.runtime.current import Here
from onward.runtime.effects import Call, Flow, Outcome
from onward.runtime.engine import Engine
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


class Replay(Session):
    """A session that executes nothing. `arrived` is told of the place where it should stop, and of where it must."""

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
    """An engine that knows one run and begins no other."""

    def __init__(
        self,
        run: Run,
        entries: Iterable[Entry],
        begun: Sequence[Begun],
        *,
        stop_at: str | None = None,
        arrived: Callable[[str, Kind], bool] = lambda key, kind: True,
    ) -> None:
        super().__init__(MemoryStore(), keeper=False)
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
        if keys.grounded(run.identity, "") != keys.grounded(self.original.identity, ""):
            raise Foreign(run)
        return self.session()

    def session(self) -> Replay:
        """The run, ready to be replayed."""
        no = self._held.no
        session = Replay(
            self._held, last_seq=self.store.last_seq(no), stop_at=self._stop_at, arrived=self._arrived
        )
        session.begun.update((one.key, one) for one in self.store.begun(no))
        session.learn(self.store.recorded(no))
        session.expect()
        self.hold(session)
        return session

    def unused(self, session: Replay) -> list[str]:
        """What is recorded and was not asked for."""
        visited = session.visited or set()
        return [key for key, entry in session.recorded.items() if key not in visited and entry.kind != "mark"]


def same_outcome(run: Run, end: End) -> bool:
    """Whether the function came to what is recorded of the run: its value, or its error by class and message."""
    if end.kind == "returned":
        return run.state == "done" and codec.encode(end.value) == (run.result or codec.encode(None))
    if end.kind == "raised" and run.error is not None:
        recorded = codec.decode_error(run.error)
        return type(recorded) is type(end.error) and str(recorded) == str(end.error)
    return end.kind == "unrecorded" and run.state not in ("done", "cancelled")

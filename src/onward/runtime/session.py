"""The flows behind every durable call of a leased run. No I/O: flows yield effects, see drive.py.

Memory follows the disk: what a session knows of its run changes only after the commit has returned.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from onward.core import codec, keys, limits
from onward.core.blake import blake2b
from onward.core.decide import (
    Ended,
    Fact,
    Raised,
    Released,
    Retried,
    Returned,
    Started,
    Taken,
    decide,
    succeeded,
)
from onward.core.errors import Diverged, NotRecordable, StepFailed, Stopped, Unwind
from onward.core.keys import WHOLE
from onward.core.model import Answer, Applied, Begun, Change, Entry, EntryKind, Progress
from onward.core.retry import Policy, delay_s
from onward.runtime.current import Here
from onward.runtime.effects import Call, Flow, Keep, Now, Outcome, Wait
from onward.runtime.ledger import Ledger
from onward.runtime.outcomes import blame, crash_error, culprits, decoded, payload, recorded_error
from onward.runtime.remake import holds_files, present
from onward.runtime.suspects import Suspects

T = TypeVar("T")

# A unit that waits for its turn asks again this often (seconds).
_TURN_S: Final = 0.02


class Unit(NamedTuple):
    """A unit of work that is to be recorded once: what, under which key, with which policy."""

    key: str
    kind: EntryKind
    name: str
    policy: Policy
    fingerprint: bytes | None = None
    certain_start: bool = False  # whether its start marker is durable before it begins
    inside_step: bool = True  # whether its body counts as a step's (in which workflows cannot be called)

    def first(self) -> Begun:
        """Its first attempt."""
        return Begun(self.key, self.kind, self.name)


class Fork:
    """The branches of one gather, as their session counts them."""

    def ended(self) -> None:
        """One of them has come to rest."""

    def join(self) -> None:
        """All of them have, and what waits for them goes on; raises if the run is to be given back instead."""


class Session(Ledger):
    """What this process knows of a run that it leases, and what it does in it."""

    __slots__ = ()

    def place(self, key: str = "", attempt: int = 1, inside_step: bool = False) -> Here:  # noqa: FBT001, FBT002
        if self.visited is not None:
            self.met(key)
        return Here(self, key, attempt, inside_step)

    # -- units of work ------------------------------------------------------------------------------------

    def perform(
        self, unit: Unit, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Flow[Any]:
        """The outcome of a unit: the recorded one, or that of running `fn` now, recorded before it is returned."""
        entry = self.recorded.get(unit.key)
        if entry is not None:
            yield from self.agree(entry, unit)
            if holds_files(entry):
                return (yield from present(self, unit, entry, fn, args, kwargs))
            return self.replay(entry)
        self.goes_on(unit.key)
        past = self.begun.get(unit.key)
        if past is None:
            past = Begun(unit.key, unit.kind, unit.name)
        elif past.crashes >= unit.policy.max_crashes:
            return (yield from self._give_up(unit, past))
        elif past.due_at is not None:
            yield from self.until(past.due_at, unit.key)
        flow = self.attempts(unit, past, fn, args, kwargs)
        return (yield from flow if self.suspects is None else self.in_turn(unit.key, flow))

    def take_turns(self) -> None:
        """Items are about to begin side by side: those that a former lease died in take turns from now on."""
        with self.lock:
            self.side_by_side += 1
        self._find_suspects()

    def fork(self, branches: int) -> Fork:
        """So many branches are about to begin, while what calls this waits for them; suspects among them take turns."""
        self._find_suspects()
        return Fork()

    def _find_suspects(self) -> None:
        keys = [b.key for b in list(self.begun.values()) if b.suspect or b.crashes]
        if keys and self.suspects is None:
            self.suspects = Suspects(keys)

    def joined(self) -> None:
        """The items of one `take_turns` have come to rest."""
        with self.lock:
            self.side_by_side -= 1

    def in_turn(self, key: str, flow: Flow[T]) -> Flow[T]:
        """Go through `flow`, which executes a unit, when its turn has come."""
        suspects = self.suspects
        assert suspects is not None, "asked for by the caller"
        try:
            while not suspects.enter(key):
                yield from self.check()
                yield Wait(_TURN_S)
            return (yield from flow)
        finally:
            suspects.leave(key)

    def attempts(
        self,
        unit: Unit,
        past: Begun,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        outcome: Outcome | None = None,
    ) -> Flow[Any]:
        """Attempt a unit until it has an outcome, and record that; `outcome` is that of an attempt just made."""
        while True:
            if outcome is None:
                yield from self._begin(unit, past)
                here = self.place(unit.key, past.attempt, unit.inside_step)
                made: Outcome = yield Call(fn, args, kwargs, here)
            else:
                made, outcome = outcome, None
            if self.unwinding is not None:
                raise self.unwinding
            error = made.error
            if error is None:
                try:
                    text = payload(made.value, f"{unit.kind} `{unit.name}`")
                except NotRecordable as refused:
                    error = refused
                else:
                    yield from self.record(unit, text, past, made, ok=True)
                    return made.value
            assert isinstance(error, Exception), "only `everything` calls catch more"
            delay = delay_s(
                unit.policy, attempt=past.attempt, error=error, now=made.ended_at, random=random.random()
            )
            if delay is None:
                return (yield from self._fail(unit, error, past, made))
            past = yield from self._again(past, error, delay, made)

    def _begin(self, unit: Unit, past: Begun) -> Flow[None]:
        """What precedes an attempt."""
        at = self.clock()
        if at >= self.safe_until or self.asked is not None or self.unwinding is not None:
            yield from self.check()
        if unit.certain_start or self.careful(past):
            yield from self.start_certainly(past)
        else:
            self.start(past, at)

    # -- the straight way: a unit that is new, with nothing in the way, needs no flow (see drive.py) -----------

    def begins_straight(self, unit: Unit) -> bool:
        """Begin a unit's first attempt; False, and nothing has begun, if anything at all is to be looked at first."""
        key = unit[0]  # by number: taking a named tuple apart costs as much as all of the questions
        if (
            key in self.recorded.rows
            or key in self.begun
            or self.run_stalls
            or unit[5]  # certain_start
            or self.suspects is not None
            or self.asked is not None
            or self.unwinding is not None
        ):
            return False
        at = self.clock()
        if at >= self.safe_until:
            return False
        if self.visited is not None:
            self.goes_on(key)
        self._markers[key] = (unit, at)
        return True

    def ended_straight(self, unit: Unit, value: Any, begun_at: float, ended_at: float) -> Change | None:
        """The change that records what a first attempt returned; None if it must not, or cannot, be recorded."""
        if self.unwinding is not None:
            return None
        text = None
        if value is not None:
            try:
                text = codec.encode(value)
            except NotRecordable:
                return None
            if len(text) > limits.PAYLOAD_BYTES:
                return None
        key, kind, name, _, fingerprint, _, _ = unit
        # As settle_marker.
        marked = (
            key in self.begun if self._markers.pop(key, None) is not None else not self.settle_marker(key)
        )
        change = succeeded(
            self.run, key, kind, name, text, fingerprint, begun_at, now=ended_at, marked=marked
        )
        return change if self.output is None else self.output.with_rows(self.run, change)

    def start_certainly(self, past: Begun) -> Flow[None]:
        now: float = yield Now()
        begun = past._replace(fence=self.run.fence, begun_at=now)
        self.applied((yield Keep((decide(self.run, Started(begun), now=now),))))
        self.begun[past.key] = begun
        yield from self.check()  # the commit may have taken longer than what was left of the lease

    def replay(self, entry: Entry) -> Any:
        """What was recorded: the value, or the error raised again."""
        if entry.state == "done":
            return decoded(entry)
        error = recorded_error(entry)
        blame(error, entry.key)
        raise error

    def agree(self, entry: Entry, unit: Unit) -> Flow[None]:
        """Stop the run if the entry was recorded for another call than this one."""
        found = keys.divergence(entry, unit.kind, unit.name, unit.fingerprint)
        if found is None:
            self.met(entry.key)
            return
        if self.unwinding is not None:
            raise self.unwinding
        diverged = Diverged(self.run.id, entry.key, *found)
        stuck = Released("diverged", codec.encode_error(diverged))
        self.applied((yield Keep((decide(self.run, stuck, now=(yield Now())),))))
        self.given_back = True
        raise self.unwind(Stopped(str(diverged)), cause=diverged)

    def record(self, unit: Unit, text: str | None, past: Begun, outcome: Outcome, *, ok: bool) -> Flow[None]:
        if self.unwinding is not None:
            raise self.unwinding
        change = self.outcome(unit, text, past, outcome, ok=ok)
        self.kept((yield Keep((change,))), change)

    def outcome(self, unit: Unit, text: str | None, past: Begun, outcome: Outcome, *, ok: bool) -> Change:
        """The change that records a unit's outcome."""
        key, kind, name, _, fingerprint, _, _ = unit
        marked = not self.settle_marker(key)
        fact = Ended(key, kind, name, ok, text, fingerprint, past.attempt, outcome.begun_at, marked)
        change = decide(self.run, fact, now=outcome.ended_at)
        return change if self.output is None else self.output.with_rows(self.run, change)

    def kept(self, answers: Sequence[Answer], change: Change) -> None:
        """Take in that an outcome is durable, or was refused."""
        answer = answers[0]
        if type(answer) is Applied and answer[2] is None and len(answers) == 1:  # as `applied`
            if answer[1] > self.last_seq:
                self.last_seq = answer[1]
        else:
            self.applied(answers)
        entry = change[2][0]
        key = entry[0]
        if self.begun:
            self.begun.pop(key, None)
        self.run_stalls = 0
        if self.run[1] == "workflow" and keys.SEPARATOR not in key:
            # As a plain tuple, which the garbage collector need not look at again and again.
            self.recorded.rows[key] = entry[:]
        else:
            self.remember(entry)
        if self.output is not None:
            self.output.deliver(change)

    def _fail(self, unit: Unit, error: Exception, past: Begun, outcome: Outcome) -> Flow[Any]:
        text = codec.encode_error(error, *self.given_of(unit.key))
        yield from self.record(unit, text, past, outcome, ok=False)
        if codec.error_is_faithful(error):
            blame(error, unit.key)
            raise error
        failure = StepFailed(f"{type(error).__module__}:{type(error).__qualname__}", str(error))
        blame(failure, unit.key)
        raise failure from error

    def _again(self, past: Begun, error: Exception, delay: float, outcome: Outcome) -> Flow[Begun]:
        # Of no lease, until it begins: a process that dies while this unit waits does not die in it.
        again = past._replace(attempt=past.attempt + 1, due_at=outcome.ended_at + delay, fence=0)
        fact = Retried(again, codec.encode_error(error), outcome.begun_at)
        self.settle_marker(past.key)
        answers = yield Keep((decide(self.run, fact, now=outcome.ended_at),))
        self.applied(answers)
        self.begun[past.key] = again
        yield from self.until(outcome.ended_at + delay, past.key)
        return again

    def _give_up(self, unit: Unit, past: Begun) -> Flow[Any]:
        now: float = yield Now()
        crashed = crash_error(past)
        text = codec.encode_error(crashed, *self.given_of(unit.key))
        yield from self.record(unit, text, past, Outcome(None, None, now, now), ok=False)
        blame(crashed, unit.key)
        raise crashed

    # -- values and time ----------------------------------------------------------------------------------

    def take(self, key: str, kind: EntryKind, name: str, draw: Callable[[float], Any]) -> Flow[Any]:
        """A value drawn once: `draw(now)` the first time, what it gave then ever after."""
        entry = self.recorded.get(key)
        if entry is None:
            self.goes_on(key)
            yield from self.check()
            now: float = yield Now()
            value = draw(now)
            change = decide(self.run, Taken(key, kind, name, codec.encode(value)), now=now)
            self.applied((yield Keep((change,))))
            self.remember(change.entries[0])
            return value
        yield from self.agree(entry, Unit(key, kind, name, Policy()))
        return decoded(entry)

    def sleep(self, key: str, wake: Callable[[float], float]) -> Flow[None]:
        """Wait until the time `wake(now)` gave when the call was first made."""
        until: float = yield from self.take(key, "sleep", "sleep", wake)
        yield from self.until(until, key)

    def seed(self, key: str) -> bytes:
        """16 bytes that belong to this place of this run: the same in every replay."""
        return blake2b(f"{self.run.id}\0{key}".encode(), digest_size=16).digest()

    def uuid4(self, key: str) -> uuid.UUID:
        return uuid.UUID(bytes=self.seed(key), version=4)

    def until(self, at: float, key: str) -> Flow[None]:
        """Wait for that time, for the sake of the unit or call `key`."""
        while True:
            yield from self.check()
            now: float = yield Now()
            if now >= at:
                return
            yield Wait(at - now)

    # -- the end of the run -------------------------------------------------------------------------------

    def whole(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Flow[Any]:
        """Run a workflow's function to its end and record how it ended."""
        outcome: Outcome = yield Call(fn, args, kwargs, self.place(), everything=True)
        return (yield from self.finish(outcome))

    def finish(self, outcome: Outcome) -> Flow[Any]:
        """Record how the run ended; return its value or raise its error."""
        error = outcome.error
        if self.unwinding is not None:  # whatever user code made of it
            raise self.unwinding
        if self.halting is not None:
            yield from self.grant()
        if error is None:
            try:
                text = payload(outcome.value, None)
            except NotRecordable as refused:
                yield from self.close(Raised(codec.encode_error(refused)))
                raise
            yield from self.close(Returned(text))
            return outcome.value
        if self.is_failure(error):
            yield from self.close(error)
        elif not isinstance(error, Unwind):
            yield from self.release()
        raise error

    def is_failure(self, error: BaseException) -> bool:
        """Whether an exception that leaves the run's function is its outcome; else somebody ends the program."""
        return isinstance(error, Exception)

    def failure(self, error: BaseException, now: float) -> Raised:
        """What an exception that leaves the run's function means for the run."""
        return Raised(codec.encode_error(error), culprits(error))

    def release(self, error: str | None = None) -> Flow[None]:
        """Give the run back unfinished: the next matching call continues it."""
        if self.halting is not None and self.unwinding is None:
            yield from self.grant()
        if self.unwinding is None:
            yield from self.close(Released("released", error))

    def rest(self) -> Flow[None]:
        """Give the run back with nothing left to do for now: it waits for the next matching call."""
        if self.halting is not None and self.unwinding is None:
            yield from self.grant()
        if self.unwinding is None:
            yield from self.close(Released("suspended"))

    def close(self, end: Fact | BaseException) -> Flow[None]:
        """Record how this lease ends; an exception means what `failure` says."""
        now: float = yield Now()
        fact = self.failure(end, now) if isinstance(end, BaseException) else end
        change = self.closing(fact, now)
        self.applied((yield Keep((change,))))
        self.given_back = True

    def closing(self, fact: Fact, now: float) -> Change:
        """The change that records how this lease ends."""
        run = self.run
        change = decide(run, fact, now=now)
        if run.kind != "workflow" or self.done != run.done or self.total != run.total:
            change = change._replace(progress=Progress(self.done, self.total, self.last_seq))
        return change._replace(ended=(WHOLE,)) if WHOLE in self.begun else change

"""One lease of one run: the flows behind every durable call. No I/O: flows yield effects, see drive.py.

Memory follows the disk: what a session knows of its run changes only after the commit has returned.
"""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from onward.core import codec, keys, limits
from onward.core.decide import (
    Ended,
    Fact,
    Raised,
    Released,
    Retried,
    Returned,
    Started,
    Taken,
    counted,
    decide,
)
from onward.core.errors import (
    Diverged,
    LeaseLost,
    NotRecordable,
    RunConflict,
    StepFailed,
    Stopped,
    Unwind,
)
from onward.core.keys import Scope
from onward.core.lazily import Lazily
from onward.core.model import (
    Answer,
    Applied,
    Begun,
    Change,
    Entry,
    EntryKind,
    Progress,
    Refused,
    Request,
    Run,
)
from onward.core.retry import Policy, delay_s
from onward.runtime.current import Here
from onward.runtime.effects import Call, Flow, Keep, Now, Outcome, Reconfirm, Wait
from onward.runtime.outcomes import blame, crash_error, culprits, decoded, payload, recorded_error

if TYPE_CHECKING:
    import hashlib
else:
    hashlib = Lazily("hashlib")


class Unit(NamedTuple):
    """A unit of work that is to be recorded once: what, under which key, with which policy."""

    key: str
    kind: EntryKind
    name: str
    policy: Policy
    fingerprint: bytes | None = None
    certain_start: bool = False  # whether its start marker is durable before it begins
    inside_step: bool = True  # whether its body counts as a step's (in which workflows cannot be called)


class Session:
    """What this process knows of a run that it leases."""

    def __init__(
        self,
        run: Run,
        *,
        last_seq: int,
        entries: Iterable[Entry] = (),
        begun: Iterable[Begun] = (),
        safe_until: float,
        clock: Callable[[], float],
    ) -> None:
        self.run, self.last_seq = run, last_seq
        self.recorded: dict[str, Entry] = {}
        self.begun: dict[str, Begun] = {b.key: b for b in begun}
        self.visited: set[str] | None = None  # keys of recorded outcomes that this lease has come to
        self.ahead: dict[str, set[str]] = {}  # by scope: recorded units that a replay has not come to yet
        self.done = run.done  # loops and maps: items done over all leases of this run
        self.total: int | None = run.total
        self._counted, self._counted_at = run.done, clock()
        # Leases in a row that ended uncleanly without recording anything; 0 again once this one has recorded.
        self.run_stalls = 0
        self.safe_until = safe_until  # by `clock`; after it nothing new starts before the lease is confirmed
        self.asked: Request | None = None
        self.unwinding: Unwind | None = None
        self.woken = threading.Event()
        self.thread = threading.get_ident()
        self.lock = threading.Lock()
        self._clock = clock
        self._markers: dict[str, tuple[Begun, float]] = {}
        self._scopes: dict[str, list[str]] = {}
        self.peopled: set[str] = set()  # workflows: units in whose scope something is recorded
        self.learn(entries)

    def learn(self, entries: Iterable[Entry]) -> None:
        """Take in what is recorded; later entries of a key stand for earlier ones."""
        recorded = self.recorded
        for entry in entries:
            if entry.state == "done":
                self.remember(entry)
            elif entry.state == "failed":
                if entry.key not in recorded:
                    self.remember(entry)
            elif (
                entry.state == "reopened" and entry.key in recorded and recorded[entry.key].state == "failed"
            ):
                del recorded[entry.key]

    def forget_scope(self, key: str) -> None:
        """Drop what was recorded inside an item that has ended, so that a long loop stays small."""
        for inner in self._scopes.pop(key, ()):
            self.recorded.pop(inner, None)

    def remember(self, entry: Entry) -> None:
        """A new outcome, once it is durable."""
        if self.run.kind != "workflow":
            item, inside, _ = entry.key.partition(keys.SEPARATOR)
            if not inside and entry.kind == "item":
                return  # an item of the loop itself: looked up in the journal, so that a long loop stays small
            if inside:
                self._scopes.setdefault(item, []).append(entry.key)
        elif keys.SEPARATOR in entry.key:
            outer = entry.key
            while keys.SEPARATOR in outer:
                outer = outer.rpartition(keys.SEPARATOR)[0]
                self.peopled.add(outer)
        self.recorded[entry.key] = entry

    def expect(self) -> None:
        """What is recorded now lies ahead: this lease replays it."""
        self.visited = set()
        for key in [*self.recorded, *self.peopled]:
            self.ahead.setdefault(key.rpartition(keys.SEPARATOR)[0], set()).add(key)

    def met(self, key: str) -> None:
        """A replay has come to this unit."""
        if self.visited is not None:
            self.visited.add(key)
            self.ahead.get(key.rpartition(keys.SEPARATOR)[0], set()).discard(key)

    def place(self, key: str = "", *, attempt: int = 1, inside_step: bool = False) -> Here:
        self.met(key)
        scope = Scope() if not key else Scope(key + keys.SEPARATOR, key.count(keys.SEPARATOR) + 1)
        return Here(self, scope, key, attempt=attempt, inside_step=inside_step)

    # -- units of work ------------------------------------------------------------------------------------

    def perform(
        self, unit: Unit, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Flow[Any]:
        """The outcome of a unit: the recorded one, or that of running `fn` now, recorded before it is returned."""
        entry = self.recorded.get(unit.key)
        if entry is not None:
            yield from self.agree(entry, unit)
            return self.replay(entry)
        self.goes_on(unit.key)
        past = self.begun.get(unit.key) or Begun(unit.key, unit.kind, unit.name)
        if past.crashes >= unit.policy.max_crashes:
            return (yield from self._give_up(unit, past))
        if past.due_at is not None:
            yield from self._until(past.due_at)
        while True:
            if self.hindered():
                yield from self.check()
            if unit.certain_start or self.careful(past):
                yield from self._start_certainly(past)
            else:
                self.start(past)
            here = self.place(unit.key, attempt=past.attempt, inside_step=unit.inside_step)
            outcome: Outcome = yield Call(fn, args, kwargs, here)
            if self.unwinding is not None:
                raise self.unwinding
            error = outcome.error
            if error is None:
                try:
                    text = payload(outcome.value, f"{unit.kind} `{unit.name}`")
                except NotRecordable as refused:
                    error = refused
                else:
                    yield from self.record(unit, text, past, outcome, ok=True)
                    return outcome.value
            assert isinstance(error, Exception), "only `everything` calls catch more"
            delay = delay_s(
                unit.policy, attempt=past.attempt, error=error, now=outcome.ended_at, random=random.random()
            )
            if delay is None:
                return (yield from self._fail(unit, error, past, outcome))
            past = yield from self._again(past, error, delay, outcome)

    def careful(self, past: Begun) -> bool:
        """Whether a unit must not begin before its start marker is durable: if the process dies in it, that counts.

        So it is for what an earlier lease died in, and for what is new after one that died without leaving a trace.
        """
        return self.run_stalls > 0 or past.crashes > 0 or past.suspect

    def _start_certainly(self, past: Begun) -> Flow[None]:
        now: float = yield Now()
        begun = past._replace(fence=self.run.fence, begun_at=now)
        self.applied((yield Keep((decide(self.run, Started(begun), now=now),))))
        self.begun[past.key] = begun
        yield from self.check()  # the commit may have taken longer than what was left of the lease

    def recalled(self, key: str, kind: EntryKind, name: str, fingerprint: bytes) -> Entry | None:
        """What is recorded for this very call; None if nothing is, or something that `perform` must look at.

        Most of a replay are such calls: asked here first, each costs half of what a flow for it would.
        """
        entry = self.recorded.get(key)
        if entry is None or entry.state != "done":
            return None
        if keys.divergence(entry, kind, name, fingerprint) is not None:
            return None
        self.met(key)
        return entry

    def replay(self, entry: Entry) -> Any:
        """What was recorded: the value, or the error raised again."""
        if entry.state == "done":
            return None if entry.value is None else decoded(entry)
        error = recorded_error(entry)
        blame(error, entry.key)
        raise error

    def agree(self, entry: Entry, unit: Unit) -> Flow[None]:
        """Stop the run if the entry was recorded for another call than this one."""
        found = keys.divergence(entry, unit.kind, unit.name, unit.fingerprint)
        if found is None:
            self.met(entry.key)
            return
        diverged = Diverged(self.run.id, entry.key, *found)
        yield Keep((decide(self.run, Released("diverged", codec.encode_error(diverged)), now=(yield Now())),))
        raise self.unwind(Stopped(str(diverged)), cause=diverged)

    def record(self, unit: Unit, text: str | None, past: Begun, outcome: Outcome, *, ok: bool) -> Flow[None]:
        key, kind, name, _, fingerprint, _, _ = unit
        marked = not self.settle_marker(key)
        fact = Ended(key, kind, name, ok, text, fingerprint, past.attempt, outcome.begun_at, marked)
        change = decide(self.run, fact, now=outcome.ended_at)
        self.applied((yield Keep((change,))))
        self.begun.pop(key, None)
        self.run_stalls = 0
        self.remember(change.entries[0])

    def _fail(self, unit: Unit, error: Exception, past: Begun, outcome: Outcome) -> Flow[Any]:
        yield from self.record(unit, codec.encode_error(error), past, outcome, ok=False)
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
        yield from self._until(outcome.ended_at + delay)
        return again

    def _give_up(self, unit: Unit, past: Begun) -> Flow[Any]:
        now: float = yield Now()
        crashed = crash_error(past)
        yield from self.record(
            unit, codec.encode_error(crashed), past, Outcome(None, None, now, now), ok=False
        )
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
        yield from self._until(until)

    def seed(self, key: str) -> bytes:
        """16 bytes that belong to this place of this run: the same in every replay."""
        return hashlib.blake2b(f"{self.run.id}\0{key}".encode(), digest_size=16).digest()

    def uuid4(self, key: str) -> uuid.UUID:
        return uuid.UUID(bytes=self.seed(key), version=4)

    def _until(self, at: float) -> Flow[None]:
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
        if error is None:
            try:
                text = payload(outcome.value, None)
            except NotRecordable as refused:
                yield from self._close(Raised(codec.encode_error(refused)))
                raise
            yield from self._close(Returned(text))
            return outcome.value
        if isinstance(error, Exception):
            yield from self._close(Raised(codec.encode_error(error), culprits(error)))
        elif not isinstance(error, Unwind):
            yield from self.release()
        raise error

    def release(self, error: str | None = None) -> Flow[None]:
        """Give the run back unfinished: the next matching call continues it."""
        if self.unwinding is None:
            yield from self._close(Released("released", error))

    def _close(self, fact: Fact) -> Flow[None]:
        now: float = yield Now()
        change = decide(self.run, fact, now=now)
        change = change._replace(progress=Progress(self.done, self.total, self.last_seq))
        self.applied((yield Keep((change,))))

    def progress_change(self, progress: Progress) -> Change:
        """The change that writes `progress` to the run's row."""
        return counted(self.run, done=progress.done, total=progress.total, seq=progress.seq)

    def is_replaying(self, scope: str) -> bool:
        """Whether units are recorded in the scope that this lease has not come to yet, and it has begun no new one."""
        return bool(self.ahead.get(scope))

    def goes_on(self, key: str) -> None:
        """A new unit begins: in its scope the replay is over."""
        if self.ahead:
            self.ahead.pop(key.rpartition(keys.SEPARATOR)[0], None)

    def due_progress(self, at: float) -> Change | None:
        """The change that writes a loop's counts to its row, if it is time for one."""
        if (
            self.run.kind != "loop"  # the items of a map end in any order: its count is taken when it ends
            or at - self._counted_at < limits.PROGRESS_S
            or self.done == self._counted
        ):
            return None
        self._counted_at, self._counted = at, self.done
        with self.lock:
            done, seq = self.done, self.last_seq
        return counted(self.run, done=done, total=self.total, seq=seq)

    # -- lease, requests, unwinding -----------------------------------------------------------------------

    def hindered(self) -> bool:
        """Whether `check` has anything to do or to say; asked first where a flow of its own would cost too much."""
        return self.unwinding is not None or self.asked is not None or self._clock() >= self.safe_until

    def check(self) -> Flow[None]:
        """What precedes anything new: the lease is confirmed, nobody asked the run to stop."""
        if self.unwinding is not None:
            raise self.unwinding
        if self.asked is not None:
            yield from self._grant(self.asked)
        while self._clock() >= self.safe_until:  # again, if the answer came so late that it is over already
            if not (yield Reconfirm()):
                raise self.unwind(LeaseLost(self.run.id, self.run.fence))

    def _grant(self, request: Request) -> Flow[None]:
        event: Literal["cancelled", "paused"] = "cancelled" if request == "cancel" else "paused"
        self.applied((yield Keep((decide(self.run, Released(event), now=(yield Now())),))))
        raise self.unwind(Stopped(f"run {self.run.id} was {event}"))

    def applied(self, answers: Sequence[Answer]) -> None:
        """Take in what a commit answered; raises LeaseLost if it was refused."""
        for answer in answers:
            if type(answer) is Applied:
                if answer.seq > self.last_seq:
                    self.last_seq = answer.seq
                if answer.request is not None:
                    self.asked = answer.request
            else:
                assert isinstance(answer, Refused)
                raise self.refused(answer)

    def count(self, answers: Sequence[Answer], items: int) -> None:
        """Take in the answers to a commit that made `items` items done."""
        with self.lock:
            self.applied(answers)
            self.done += items

    def refused(self, answer: Refused) -> Unwind:
        if answer.reason == "fence":
            return self.unwind(LeaseLost(self.run.id, self.run.fence))
        clash = RunConflict(
            self.run.id,
            f"run {self.run.id} could not record an outcome ({answer.reason} {answer.detail}): it is recorded "
            "already. Nothing "
            f"was overwritten; two units of work share that key, give one of them its own key=.",
        )
        return self.unwind(Stopped(str(clash)), cause=clash)

    def unwind(self, signal: Unwind, cause: BaseException | None = None) -> Unwind:
        """From now on every durable call of this session raises `signal`; nothing more is recorded."""
        if self.unwinding is None:
            signal.__cause__ = cause
            self.unwinding = signal
            self.woken.set()
        return self.unwinding

    # -- start markers ------------------------------------------------------------------------------------

    def start(self, begun: Begun) -> None:
        with self.lock:
            at = self._clock()
            self._markers[begun.key] = (begun, at)

    def settle_marker(self, key: str) -> bool:
        """Forget a unit's start marker; True if neither it nor an earlier one was ever written."""
        with self.lock:
            pending = self._markers.pop(key, None)
            return pending is not None and key not in self.begun

    def overdue_markers(
        self, hand_over: Callable[[Sequence[Begun]], None], *, now: float, wall: float
    ) -> None:
        """Pass the markers of units that have run for long to `hand_over`, which must queue them at once."""
        with self.lock:
            late = [b for b, at in self._markers.values() if now - at >= limits.MARKER_S]
            if not late:
                return
            for begun in late:
                _, at = self._markers.pop(begun.key)
                self.begun[begun.key] = begun._replace(fence=self.run.fence, begun_at=wall - (now - at))
            hand_over([self.begun[b.key] for b in late])

    def in_flight(self) -> list[Begun]:
        with self.lock:
            written = [b for b in self.begun.values() if b.fence == self.run.fence]
            return written + [b._replace(fence=self.run.fence) for b, _ in self._markers.values()]

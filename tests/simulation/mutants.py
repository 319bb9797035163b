"""Bugs, put into production code on purpose: the oracle must find every one of them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

from onward.api.sinks import recorded
from onward.api.sinks.jsonl import JsonLines
from onward.core import claiming, codec
from onward.core.decide import Ended, decide
from onward.core.model import Answered, Begun, Change, Order, Refused, Run
from onward.runtime.effects import Call, Flow, Keep, Later, Now, Outcome
from onward.runtime.engine import Engine
from onward.runtime.session import Session, Unit
from onward.storage import Store, guards

if TYPE_CHECKING:
    from simulation.processes import Process
    from simulation.world import World

Patch = tuple[Any, str, Any]


class Mutant:
    """Production code with some of its functions replaced. Without any it is the product as it is."""

    def __init__(self, name: str = "", *patches: Patch) -> None:
        self.name, self._patches = name, patches

    @contextmanager
    def alive(self) -> Iterator[None]:
        patches = [mock.patch.object(where, name, new) for where, name, new in self._patches]
        for patch in patches:
            patch.start()
        try:
            yield
        finally:
            for patch in patches:
                patch.stop()

    def apply(
        self, world: World, process: Process, journal: Store, changes: Sequence[Order]
    ) -> list[Answered]:
        return journal.commit(changes)


class _CheckThenAct(Mutant):
    """The fence is compared first; then, after a moment, the change is written whatever the fence is by then."""

    def apply(
        self, world: World, process: Process, journal: Store, changes: Sequence[Order]
    ) -> list[Answered]:
        fences = {run.no: run.fence for run in journal.runs(limit=-1)}
        known = [c for c in changes if isinstance(c, Change) and not c.create]
        stale = [c for c in known if fences.get(c.run_no) != c.fence]
        world.meanwhile(process)
        answers = iter(journal.commit([c for c in changes if c not in stale]))
        return [Refused("fence", "simulated") if c in stale else next(answers) for c in changes]


def _no_refusal(change: Change, guard: guards.Guard | None) -> Refused | None:
    return None if guard is not None else Refused("missing", "simulated")


def _remember_first(
    self: Session, unit: Unit, text: str | None, past: Begun, outcome: Outcome, *, ok: bool
) -> Flow[None]:
    fact = Ended(unit.key, unit.kind, unit.name, ok, text, unit.fingerprint, past.attempt, outcome.begun_at)
    change = decide(self.run, fact, now=outcome.ended_at)
    if self.settle_marker(unit.key):
        change = change._replace(ended=())
    self.begun.pop(unit.key, None)
    self.remember(change.entries[0])
    yield Later(change)


_perform = Session.perform


def _record_first(
    self: Session, unit: Unit, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Flow[Any]:
    if unit.kind != "step" or unit.key in self.recorded or unit.key in self.begun:
        return (yield from _perform(self, unit, fn, args, kwargs))
    now: float = yield Now()
    fact = Ended(unit.key, unit.kind, unit.name, True, codec.encode(0), unit.fingerprint, 1, now)
    self.applied((yield Keep((decide(self.run, fact, now=now),))))
    outcome: Outcome = yield Call(fn, args, kwargs, self.place(unit.key))
    if outcome.error is not None:
        raise outcome.error
    return outcome.value


def _without_counting(run: Run, past: Any, *, owner: str, now: float, lease_s: float) -> Change:
    change = claiming.claimed(run, past, owner=owner, now=now, lease_s=lease_s)
    before = {b.key: b for b in past.begun}
    return change._replace(begun=tuple(b._replace(crashes=before[b.key].crashes) for b in change.begun))


_look_after = Engine.look_after


def _only_tend(self: Engine, sessions: Sequence[Session], renewed: float) -> float:
    return _look_after(self, sessions, self.clock())


def _forgetful(run: Run, past: Any, *, owner: str, now: float, lease_s: float) -> Change:
    change = claiming.claimed(run, past, owner=owner, now=now, lease_s=lease_s)
    assert change.after is not None
    return change._replace(after=change.after._replace(request=None))


def _start_silently(self: Session, past: Begun) -> Flow[None]:
    self.begun[past.key] = past._replace(fence=self.run.fence, begun_at=(yield Now()))
    yield from self.check()


def _trusting(self: JsonLines) -> None:
    last = recorded.latest(self.engine, self.session, self.name)
    if last is None:
        self._begin()
    else:
        self.stands_at(last.end, zlib.crc32(last.data, last.crc))


def mutants() -> list[Mutant]:
    """Those that the oracle must catch."""
    from onward.runtime import engine

    no_check: Patch = (guards, "refusal", _no_refusal)
    return [
        Mutant("no fence check", no_check),
        _CheckThenAct("fence check, then act", no_check),
        Mutant("memory before disk", (Session, "record", _remember_first)),
        Mutant("record before doing", (Session, "perform", _record_first)),
        Mutant("crash count lost", (engine, "claimed", _without_counting)),
        Mutant("no independent renewal", (Engine, "look_after", _only_tend)),
        Mutant("wish forgotten", (engine, "claimed", _forgetful)),
        Mutant("certain start not recorded", (Session, "start_certainly", _start_silently)),
        Mutant("file not completed", (JsonLines, "open", _trusting)),
    ]

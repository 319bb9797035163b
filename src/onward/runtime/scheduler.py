"""The part of every worker that starts what is scheduled. No service of its own: whichever worker comes first does it.

A worker follows the schedules that its code defines. What each of them does next is decided in `core.nominal` and
written in one transaction, on top of what was read: of workers that decide the same, one is heard.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from typing import Final

from onward.core import limits
from onward.core.nominal import advanced
from onward.core.schedules import Move, Schedule, declared, workflow_of
from onward.core.texts import plain, quoted
from onward.runtime import observe
from onward.runtime.engine import Engine
from onward.runtime.registry import Plan

# Of its time, a worker of a busy journal spends at most one part in so many on looking at schedules without need.
_SHARE: Final = 30


class Scheduler:
    """Follows `plans` in the journal of `engine`, whenever `look` is called. Used by one thread."""

    def __init__(
        self,
        engine: Engine,
        plans: Iterable[Plan],
        names: Collection[str] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
        say: Callable[[str], None] = observe.say,
    ) -> None:
        self._store, self._owner, self._clock, self._say = engine.store, engine.owner, clock, say
        self._plans = {plan.name: (plan, plan.spec.text) for plan in plans}
        self._names = names  # of the workflows that are known here
        self._began_at: float | None = None  # by the store's clock; None before the first look
        self._version: object = None
        self._looked_at = float("-inf")
        self._took_s = 0.0  # the last look
        self._is_behind = False  # whether somebody has written since the last look
        self._watches = False  # whether a definition in force is another worker's
        self._dead: dict[str, tuple[float, bool]] = {}
        # When something is to be done that no change of the journal will tell of; by the store's clock.
        self.next_at: float | None = None

    def look(self, version: object) -> None:
        """Do what is due. `version` is that of the journal, read before.

        Raises what the store raises; then nothing is lost by looking again.
        """
        if not self._plans or not self._is_time(version):
            return
        self._looked_at, self._is_behind = self._clock(), False
        self._look(version)
        self._took_s = self._clock() - self._looked_at

    def _look(self, version: object) -> None:
        now = self._store.now()
        stored = {schedule.name: schedule for schedule in self._store.schedules()}
        begins = self._began_at is None
        moves = self._declarations(stored, now) if begins else self._moves(stored, now)
        applied = self._store.move_schedules(moves) if moves else []
        self._began_at = now if self._began_at is None else self._began_at
        self._tell(move for move, is_applied in zip(moves, applied, strict=True) if is_applied)
        if moves and not any(applied) and self._store.moved_to() is not None:
            self._say(f"the journal was moved to {self._store.moved_to()}: its schedules are followed there")
            self._plans, self.next_at = {}, None
            return
        if begins:
            self._tell_of_others(stored.values())
        self._version = version
        ours = [one for one in stored.values() if one.name in self._plans]
        self._watches = any(one.declarer != self._owner for one in ours)
        # A move may lead to another one, and one that was refused is decided anew.
        self.next_at = now if moves or begins else self._next(ours, now)

    @property
    def is_due(self) -> bool:
        """Whether there is something to do at once, or may be as soon as it looks again."""
        return self._is_behind or (self.next_at is not None and self.next_at <= self._store.now())

    def _is_time(self, version: object) -> bool:
        now, at = self._store.now(), self._clock()
        if self.next_at is not None and self.next_at <= now:
            return True
        since_s = at - self._looked_at
        if version == self._version and not (self._watches and since_s >= limits.DECLARER_S):
            return False
        wait_s = max(limits.SCHEDULES_S, _SHARE * self._took_s)
        if since_s < wait_s:  # others write all the time
            soon = now + wait_s - since_s
            self.next_at = soon if self.next_at is None else min(self.next_at, soon)
            self._is_behind = True
            return False
        return True

    def _next(self, ours: Iterable[Schedule], now: float) -> float | None:
        # What is overdue waits for the end of a run, or is left to another worker: the journal's version tells.
        due = (one.due_at for one in ours if not one.paused)
        return min((at for at in due if at is not None and at > now), default=None)

    # -- its times --------------------------------------------------------------------------------------------

    def _moves(self, stored: dict[str, Schedule], now: float) -> list[Move]:
        known = [(stored[name], plan, text) for name, (plan, text) in self._plans.items() if name in stored]
        open_ = [run_id for schedule, _, _ in known for run_id in schedule.going]
        unfinished = frozenset(self._store.unfinished(open_)) if open_ else frozenset()
        moves = (self._move(schedule, plan, text, now, unfinished) for schedule, plan, text in known)
        return [move for move in moves if move is not None]

    def _move(
        self, schedule: Schedule, plan: Plan, text: str, now: float, unfinished: Collection[str]
    ) -> Move | None:
        is_ours = schedule.declarer == self._owner
        if schedule.spec != text:
            # Of workers with different versions of the code the one that began last is right, as long as it lives.
            if not (self._is_later(schedule) or self._is_gone(schedule)):
                return None
            return self._declared(schedule, plan, now)
        if not is_ours and self._is_gone(schedule):
            return self._declared(schedule, plan, now)
        return advanced(schedule, plan.spec, now=now, unfinished=unfinished)

    # -- definitions --------------------------------------------------------------------------------------------

    def _declarations(self, stored: dict[str, Schedule], now: float) -> list[Move]:
        return [
            self._declared(stored.get(name), plan, now)
            for name, (plan, text) in self._plans.items()
            if name not in stored or stored[name].spec != text
        ]

    def _declared(self, schedule: Schedule | None, plan: Plan, now: float) -> Move:
        began_at = now if self._began_at is None else self._began_at
        return declared(schedule, plan.name, plan.spec, declarer=self._owner, began_at=began_at, now=now)

    def _is_later(self, schedule: Schedule) -> bool:
        assert self._began_at is not None, "it has declared its own definitions before"
        return (self._began_at, self._owner) > (schedule.declared_at, schedule.declarer or "")

    def _is_gone(self, schedule: Schedule) -> bool:
        """Whether the worker whose definition is in force has ended."""
        owner = schedule.declarer
        if owner is None:
            return True
        at, dead = self._dead.get(owner, (float("-inf"), False))
        if self._clock() - at >= limits.DECLARER_S:
            dead = (
                self._store.owner(owner) is None or self._store.owner_is_dead(owner) or self._is_silent(owner)
            )
            self._dead[owner] = self._clock(), dead
        return dead

    def _is_silent(self, owner: str) -> bool:
        """Whether it has missed so many announcements that it counts as dead, where nothing proves it."""
        now = self._store.now()
        return any(
            one.owner == owner and now - one.seen_at > limits.SILENT_S for one in self._store.workers()
        )

    # -- what is told -------------------------------------------------------------------------------------------

    def _tell(self, applied: Iterable[Move]) -> None:
        for move in applied:
            before, after = move.before, move.after
            assert after is not None, "a worker removes no schedule"
            if before is not None and before.spec != after.spec:
                self._say(
                    f"schedule {plain(after.name)} is followed as it is defined here, no longer as before"
                )
            for start in move.starts:
                observe.log.info("schedule %s started %s", after.name, start.after.id if start.after else "")
            if before is not None and (before.skipped, before.missed) != (after.skipped, after.missed):
                observe.log.warning("schedule %s: %s", after.name, after.note)

    def _tell_of_others(self, stored: Iterable[Schedule]) -> None:
        """Schedules of workflows that are known here, which the code here does not define: perhaps any more."""
        for schedule in stored:
            workflow = workflow_of(schedule)
            if schedule.name not in self._plans and workflow in self._names:
                self._say(
                    f"schedule {plain(schedule.name)} of {plain(workflow)} is in the journal and not in this code, so "
                    f"this worker does not follow it. If it is gone for good: onward schedule remove "
                    f"{quoted(schedule.name)}"
                )

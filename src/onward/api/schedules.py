"""The schedules of a journal, for those who look after them: see what comes, pause, resume, trigger, backfill, remove.

Everything here works on what is stored, with or without a worker, and without the code that defines the schedule.
"""

from __future__ import annotations

import datetime as dt
import difflib
import uuid
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final, Literal, NamedTuple

from onward.core import limits, when
from onward.core.errors import JournalBusy, PayloadError, ScheduleNotFound, UsageError
from onward.core.model import Run, RunState
from onward.core.nominal import InTheWay, backfilled, triggered
from onward.core.schedules import (
    Move,
    Schedule,
    Spec,
    paused,
    resumed,
    run_id,
    spec_of,
    tail_of,
)
from onward.core.texts import plain, quoted
from onward.runtime.engine import Engine, was_moved
from onward.runtime.observe import span

# active: a worker follows it. orphaned: no living worker defines it, so nothing starts. over: no further time comes.
# ahead: its last time lies in the future, because the clock was wrong. damaged: what is stored of it cannot be read.
ScheduleState = Literal["active", "paused", "orphaned", "over", "ahead", "damaged"]

_UPCOMING: Final = 5
_LATEST: Final = 5
# Workers move a schedule on while we look: look again, this often.
_TRIES: Final = 50


class Upcoming(NamedTuple):
    """A time that comes: when the run is to start, and what is to be known of it if clocks change then."""

    at: dt.datetime  # in the schedule's zone
    due_at: dt.datetime
    remark: str | None


class ScheduleView(NamedTuple):
    """A schedule as it stands."""

    schedule: Schedule
    spec: Spec | None  # None if it cannot be read
    state: ScheduleState
    upcoming: tuple[Upcoming, ...]
    runs: tuple[Run, ...]  # the latest ones that it has started
    unfinished: tuple[str, ...] = ()  # ids of those that go on and are in the way of the next
    problem: str | None = None  # why nothing can be told of its times

    @property
    def name(self) -> str:
        return self.schedule.name


class Triggered(NamedTuple):
    """The run of a trigger; it `waits`, and is not there yet, if there are others that it comes `behind`.

    `held`: the schedule is paused, so that what waits begins only once it is resumed.
    """

    run_id: str
    waits: bool
    behind: int = 0
    held: bool = False


class Filling(NamedTuple):
    """One time of a backfill: its run, and how that stands if it was there before."""

    at: dt.datetime
    run_id: str
    known: RunState | Literal["waits"] | None


class Schedules:
    """What `Journal.schedules` gives."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._store = engine, engine.store

    # -- looking ------------------------------------------------------------------------------------

    def get(self, name: str, *, latest: int = _LATEST) -> ScheduleView:
        """One schedule, with its latest runs. Raises ScheduleNotFound, which names the nearest one."""
        return self._view(self._find(name), latest)

    def sentences(self) -> Iterator[str]:
        """What a person should know of times that have come and that nobody starts."""
        now = self._store.now()
        for schedule in self._store.schedules():
            late_s = now - schedule.due_at if schedule.due_at is not None else 0.0
            if schedule.paused or schedule.going or late_s <= limits.MISSED_S or self.is_defined(schedule):
                continue
            yield (
                f"schedule {plain(schedule.name)} is due since {span(late_s)}, and no living worker defines it; "
                f"start one with: onward worker TARGET"
            )

    def _view(self, schedule: Schedule, latest: int) -> ScheduleView:
        runs = tuple(self._store.runs_of_schedule(schedule.name, limit=latest))
        unfinished = tuple(self._store.unfinished(schedule.going))
        view = ScheduleView(schedule, None, "damaged", (), runs, unfinished)
        try:
            spec = spec_of(schedule.spec)
        except PayloadError as problem:
            return view._replace(problem=str(problem))
        view = view._replace(spec=spec, state=self._state(schedule))
        try:
            return view._replace(upcoming=tuple(self._upcoming(schedule, spec)))
        except UsageError as problem:  # a zone that this machine does not know
            return view._replace(problem=str(problem))

    def _state(self, schedule: Schedule) -> ScheduleState:
        if schedule.paused:
            return "paused"
        if schedule.next_at is None:
            return "over"
        if schedule.last > self._store.now() + limits.MISSED_S:
            return "ahead"
        return "active" if self.is_defined(schedule) else "orphaned"

    def is_defined(self, schedule: Schedule) -> bool:
        """Whether a living worker defines it."""
        owner, store = schedule.declarer, self._store
        if owner is None or store.owner(owner) is None or store.owner_is_dead(owner):
            return False
        seen = [one.seen_at for one in store.workers() if one.owner == owner]
        return not seen or store.now() - seen[0] <= limits.SILENT_S

    def _upcoming(self, schedule: Schedule, spec: Spec) -> Iterator[Upcoming]:
        after = max(schedule.last, self._store.now())
        for at in islice(when.times(spec.timing, schedule.since, after=after), _UPCOMING):
            due_at = when.due_at(schedule.name, spec.timing, at)
            yield Upcoming(
                when.local(spec.timing, at), when.local(spec.timing, due_at), when.remark(spec.timing, at)
            )

    # -- acting -------------------------------------------------------------------------------------

    def pause(self, name: str) -> ScheduleView:
        """Start nothing more by it until it is resumed; what it has started goes on."""
        for schedule in self._tries(name):
            if schedule.paused:
                raise UsageError(f"schedule {plain(name)} is paused already; nothing was changed")
            if self._moved(paused(schedule)):
                return self.get(name)
        raise self._busy(name)

    def resume(self, name: str) -> ScheduleView:
        """Go on with the first time from now on. `backfill` starts what the pause has left out."""
        for schedule in self._tries(name):
            if not schedule.paused and self._state(schedule) != "ahead":
                raise UsageError(f"schedule {plain(name)} is not paused; nothing was changed")
            if self._moved(resumed(schedule, self._spec(schedule), now=self._store.now())):
                return self.get(name)
        raise self._busy(name)

    def trigger(self, name: str) -> Triggered:
        """Start a run for this moment, as its overlap policy lets it; also of a paused or orphaned schedule.

        Raises UsageError if an earlier run goes on, or waits to be started, and the policy is to skip.
        """
        mark = uuid.uuid4().hex[:6]
        for schedule in self._tries(name):
            asked = triggered(
                schedule,
                self._spec(schedule),
                now=self._store.now(),
                mark=mark,
                unfinished=self._store.unfinished(schedule.going),
            )
            if isinstance(asked, InTheWay):
                raise UsageError(_in_the_way(schedule, asked))
            if self._moved(asked.move):
                return Triggered(asked.run_id, asked.behind > 0, asked.behind, schedule.paused)
        raise self._busy(name)

    def backfill(
        self, name: str, since: dt.datetime, until: dt.datetime, *, dry_run: bool = False
    ) -> list[Filling]:
        """Start a run for each of its times from `since` to `until`, both included, that has none; all of those times.

        One after the other behind what goes on, or all at once where runs may overlap. With `dry_run` nothing is
        started. Raises UsageError for a range without times, in the future, or with too many.
        """
        for schedule in self._tries(name):
            spec = self._spec(schedule)
            fillings = [self._filling(schedule, spec, at) for at in self._past(schedule, spec, since, until)]
            missing = [when.stamp(one.at) for one in fillings if one.known is None]
            if dry_run or not missing:
                return fillings
            self._refuse_crowd(schedule, len(missing))
            now, unfinished = self._store.now(), self._store.unfinished(schedule.going)
            if self._moved(backfilled(schedule, spec, missing, now=now, unfinished=unfinished)):
                return fillings
        raise self._busy(name)

    def remove(self, name: str, *, force: bool = False) -> Schedule:
        """Forget a schedule; the runs that it has started stay. Refused, unless forced, while a worker defines it."""
        for schedule in self._tries(name):
            if not force and self.is_defined(schedule):
                raise UsageError(
                    f"schedule {plain(name)} is defined by a worker that lives, and would come back when the next one "
                    f"starts; nothing was removed. Take it out of the code first, or pause it: onward schedule pause "
                    f"{quoted(name)}"
                )
            if self._moved(Move(schedule, None)):
                return schedule
        raise self._busy(name)

    # -- backfilling ----------------------------------------------------------------------------------

    def _past(
        self, schedule: Schedule, spec: Spec, since: dt.datetime, until: dt.datetime
    ) -> Sequence[float]:
        name, now = plain(schedule.name), self._store.now()
        first, last = when.stamp(since), when.stamp(until)
        if first > last:
            raise UsageError(
                f"{since:%Y-%m-%d %H:%M} lies behind {until:%Y-%m-%d %H:%M}; nothing was started. Exchange the two."
            )
        if first > now:
            raise UsageError(
                f"{since:%Y-%m-%d %H:%M} lies in the future, which schedule {name} starts by itself; nothing was "
                f"started"
            )
        at_most = limits.BACKLOG_TIMES
        found = when.between(
            spec.timing, schedule.since, after=first - 1e-3, until=min(last, now), at_most=at_most + 1
        )
        if not found:
            raise UsageError(
                f"schedule {name} has no time from {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M}; nothing was "
                f"started. `onward schedule show {quoted(schedule.name)}` shows its times."
            )
        if len(found) > at_most:
            reach = when.local(spec.timing, found[-2])
            raise UsageError(
                f"schedule {name} has more than {at_most:,} times from {since:%Y-%m-%d %H:%M} on, the first "
                f"{at_most:,} of them up to {reach:%Y-%m-%d %H:%M}; nothing was started. Take a shorter range."
            )
        return found

    def _filling(self, schedule: Schedule, spec: Spec, at: float) -> Filling:
        tail = tail_of(at)
        own = run_id(schedule.name, tail)
        run = self._store.run(own)
        known = run.state if run is not None else "waits" if tail in schedule.backlog else None
        return Filling(when.local(spec.timing, at), own, known)

    def _refuse_crowd(self, schedule: Schedule, count: int) -> None:
        room = limits.BACKLOG_TIMES - len(schedule.backlog)
        if count > room:
            raise UsageError(
                f"{len(schedule.backlog):,} times of schedule {plain(schedule.name)} wait already, which leaves room "
                f"for {room:,} more, not {count:,}; nothing was started. Wait, or take a shorter range."
            )

    # -- finding ------------------------------------------------------------------------------------

    def _spec(self, schedule: Schedule) -> Spec:
        spec = spec_of(schedule.spec)
        when.refuse(spec.timing)
        return spec

    def _find(self, name: str) -> Schedule:
        stored = {schedule.name: schedule for schedule in self._store.schedules()}
        found = stored.get(name)
        if found is None:
            near = difflib.get_close_matches(name[: limits.NAME_CHARS], stored, 1, 0.5)
            raise ScheduleNotFound(plain(name, 80), self._store.place, plain(near[0]) if near else None)
        return found

    def _tries(self, name: str) -> Iterator[Schedule]:
        for _ in range(_TRIES):
            yield self._find(name)

    def _moved(self, move: Move) -> bool:
        applied = self._store.move_schedules([move])[0]
        if not applied and self._store.moved_to() is not None:
            raise was_moved(self._store)
        return applied

    def _busy(self, name: str) -> JournalBusy:
        return JournalBusy(
            f"schedule {plain(name)} changes all the time; nothing was changed. Repeat the command."
        )

    # Last in the class: after it, `list` in an annotation would mean this method.
    def list(self, *, latest: int = _LATEST) -> list[ScheduleView]:
        """All schedules, by name, each with its latest runs."""
        return [self._view(schedule, latest) for schedule in self._store.schedules()]


def _in_the_way(schedule: Schedule, asked: InTheWay) -> str:
    skips = f"schedule {plain(schedule.name)} skips what comes while a run goes on, and"
    going, waiting = asked
    if going is not None and not waiting:
        return (
            f"{skips} {plain(going)} has not ended; nothing was started. Wait for it, or end it with: "
            f"onward cancel {quoted(going)}"
        )
    times = "1 time waits" if waiting == 1 else f"{waiting:,} times wait"
    what = (
        f"{times} to be started" if going is None else f"{plain(going)} has not ended and {times} behind it"
    )
    return (
        f"{skips} {what}; nothing was started. Wait until workers have done all that, or hold what waits with: "
        f"onward schedule pause {quoted(schedule.name)}"
    )

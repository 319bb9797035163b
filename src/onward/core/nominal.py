"""Nominal times: which of them a schedule starts now, lets wait or passes over. Pure: what comes out is a Move.

By the clock they come in order, and none is passed over but by the policies for overlaps and for catching up; then it
is counted. A person may ask for one more (a trigger) and for past ones (a backfill). Of those that wait, its backlog, a
schedule starts one at a time, unless its runs may overlap.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

from onward.core import limits, when
from onward.core.claiming import submitted
from onward.core.model import Change, Run
from onward.core.schedules import Move, Schedule, Spec, aimed, identity_of, run_id, tail_of

# -- its times come -------------------------------------------------------------------------------------


class _Come(NamedTuple):
    """Times that have come: which of them are to be started, how many were missed, up to which they are dealt with."""

    chosen: tuple[float, ...]
    missed: int
    last: float


def advanced(schedule: Schedule, spec: Spec, *, now: float, unfinished: Collection[str]) -> Move | None:
    """What a schedule does now; None if there is nothing to do.

    `unfinished`: those of its `going` runs that have not ended.
    """
    is_due = schedule.due_at is not None and schedule.due_at <= now
    if schedule.paused or not (is_due or schedule.backlog):
        return None
    after = schedule._replace(going=tuple(one for one in schedule.going if one in unfinished))
    come = _come(after, spec, now)
    cancels: tuple[str, ...] = ()
    if come is not None:
        if come.missed:
            note = f"{_times(come.missed)} up to {tail_of(come.last)} passed while no worker was there"
            after = after._replace(missed=after.missed + come.missed, note=note)
        after, cancels = _taken_in(after._replace(last=come.last), spec, come.chosen)
    after, starts = _begun(after, spec, now)
    if come is None and not starts:
        return None
    return Move(schedule, aimed(after, spec), starts, cancels)


def _come(schedule: Schedule, spec: Spec, now: float) -> _Come | None:
    if schedule.due_at is None or schedule.next_at is None or schedule.due_at > now:
        return None
    is_full = len(schedule.backlog) >= limits.BACKLOG_TIMES
    if spec.overlap == "latest" and (schedule.going or schedule.backlog):
        return None  # all that has come meanwhile is looked at when that has ended
    if is_full and spec.catch_up in ("all", "window"):
        return None  # it is caught up later
    found = [schedule.next_at]
    for at in when.times(spec.timing, schedule.since, after=schedule.next_at):
        # In order: one whose jitter has put it behind the next one keeps that waiting.
        if when.due_at(schedule.name, spec.timing, at) > now or len(found) >= limits.CATCH_UP_TIMES:
            break
        found.append(at)
    return _caught_up(schedule, spec, found, now)


def _caught_up(schedule: Schedule, spec: Spec, found: list[float], now: float) -> _Come:
    if spec.catch_up in ("all", "window"):
        room = limits.BACKLOG_TIMES - len(schedule.backlog)
        found = found[:room]
        late_s = math.inf if spec.catch_up == "all" else max(spec.window_s, limits.MISSED_S)
        chosen = tuple(at for at in found if now - when.due_at(schedule.name, spec.timing, at) <= late_s)
        return _Come(chosen, len(found) - len(chosen), found[-1])
    last = found[-1] if len(found) < limits.CATCH_UP_TIMES else _last_due(schedule, spec, found[-1], now)
    is_on_time = now - when.due_at(schedule.name, spec.timing, last) <= limits.MISSED_S
    if spec.overlap == "latest" and len(found) > 1:
        # They came while a run went on, or while nobody was there: only the latest of them was ever to start.
        return _Come((last,), 0, last)
    chosen = (last,) if is_on_time or spec.catch_up == "latest" else ()
    return _Come(chosen, len(found) - len(chosen), last)


def _last_due(schedule: Schedule, spec: Spec, first: float, now: float) -> float:
    """The latest time that is due, after so many that they are not all looked at."""
    until = now
    while True:
        at = when.latest(spec.timing, schedule.since, after=first, until=until)
        if at is None:
            return first
        if when.due_at(schedule.name, spec.timing, at) <= now:
            return at
        until = at - 1


def _taken_in(schedule: Schedule, spec: Spec, chosen: tuple[float, ...]) -> tuple[Schedule, tuple[str, ...]]:
    """Put what is to be started into the backlog, as the overlap policy says; and which runs to cancel."""
    cancels: tuple[str, ...] = ()
    for at in chosen:
        tail = tail_of(at)
        busy = _busy_with(schedule)
        if busy is not None and spec.overlap == "skip":
            note = f"{tail} was skipped, because {busy} had not ended"
            schedule = schedule._replace(skipped=schedule.skipped + 1, note=note)
            continue
        if spec.overlap == "queue" and len(schedule.backlog) >= limits.BACKLOG_TIMES:
            note = f"{tail} was skipped, because {limits.BACKLOG_TIMES:,} times wait already"
            schedule = schedule._replace(skipped=schedule.skipped + 1, note=note)
            continue
        schedule, cancelled = asked(schedule, spec, tail)
        cancels += cancelled
    return schedule, cancels


def asked(schedule: Schedule, spec: Spec, tail: str) -> tuple[Schedule, tuple[str, ...]]:
    """A time is to be started, after what its overlap policy lets go before; and the run that is cancelled for it."""
    backlog = (*schedule.backlog, tail)
    cancels: tuple[str, ...] = ()
    busy = _busy_with(schedule)
    if spec.overlap == "cancel_old" and busy is not None:
        if busy in schedule.going:
            backlog = (tail, *schedule.backlog)
            cancels = (busy,)
        else:
            note = f"{busy} was skipped, because {tail} came before it could begin"
            schedule = schedule._replace(skipped=schedule.skipped + 1, note=note)
            backlog = tuple(tail if run_id(schedule.name, one) == busy else one for one in schedule.backlog)
    return schedule._replace(backlog=backlog, latest=run_id(schedule.name, tail)), cancels


def _busy_with(schedule: Schedule) -> str | None:
    """The latest run that was asked for, if it has not ended or waits still. Backfilled ones are in nobody's way."""
    latest = schedule.latest
    waits = {run_id(schedule.name, tail) for tail in schedule.backlog}
    return latest if latest is not None and (latest in schedule.going or latest in waits) else None


def _begun(schedule: Schedule, spec: Spec, now: float) -> tuple[Schedule, tuple[Change, ...]]:
    """Start what may be started of the backlog: one at a time, or all at once where runs may overlap."""
    if not schedule.backlog or (schedule.going and spec.overlap != "allow"):
        return schedule, ()
    first = schedule.backlog if spec.overlap == "allow" else schedule.backlog[:1]
    runs = [_run(schedule.name, spec, tail) for tail in first]
    after = schedule._replace(
        backlog=schedule.backlog[len(first) :],
        going=() if spec.overlap == "allow" else tuple(run.id for run in runs),
        started=schedule.started + len(runs),
    )
    return after, tuple(submitted(run, now=now) for run in runs)


def _run(name: str, spec: Spec, tail: str) -> Run:
    own = run_id(name, tail)
    return Run(
        own, "workflow", spec.workflow, identity_of(own), args=spec.args, direct=False, queue=spec.queue,
        priority=spec.priority, lane=spec.lane, tags=spec.tags,
    )  # fmt: skip


def _times(count: int) -> str:
    return "1 time" if count == 1 else f"{count:,} times"


# -- a person asks for them ---------------------------------------------------------------------------


class Trigger(NamedTuple):
    """What a trigger does: its run starts with the move, or waits behind as many others."""

    move: Move
    run_id: str
    behind: int


class InTheWay(NamedTuple):
    """Why a trigger is refused: a run that goes on, and how many times wait to be started."""

    going: str | None
    waiting: int


def triggered(
    schedule: Schedule, spec: Spec, *, now: float, mark: str, unfinished: Collection[str]
) -> Trigger | InTheWay:
    """Start a run for this moment, as if its time had come; or what is in its way, if the policy is to skip.

    Backfilled ones are in its way too: a person can wait for them or hold them; a time of the clock would be lost.
    """
    after = schedule._replace(going=tuple(one for one in schedule.going if one in unfinished))
    held = after.paused  # what waits is not started by itself then, and so in nobody's way
    waiting = 0 if held else len(after.backlog)
    if spec.overlap == "skip" and (after.going or waiting):
        latest = _busy_with(after)
        return InTheWay(latest if latest in after.going else next(iter(after.going), None), waiting)
    tail = tail_of(math.floor(now), mark)
    after, cancels = asked(after, spec, tail)
    rest = tuple(one for one in after.backlog if held and one != tail)
    begun, starts = _begun(after._replace(backlog=(tail,)) if held else after, spec, now)
    if starts:
        after = begun._replace(backlog=begun.backlog + rest)
    behind = len(after.going) + after.backlog.index(tail) if tail in after.backlog else 0
    return Trigger(Move(schedule, aimed(after, spec), starts, cancels), run_id(schedule.name, tail), behind)


def backfilled(
    schedule: Schedule, spec: Spec, nominal: Sequence[float], *, now: float, unfinished: Collection[str]
) -> Move:
    """Start runs for past times: one after the other behind what goes on, or all at once where runs may overlap."""
    tails = tuple(tail_of(at) for at in nominal)
    open_ = tuple(one for one in schedule.going if one in unfinished)
    after = schedule._replace(backlog=schedule.backlog + tails, going=open_)
    starts: tuple[Change, ...] = ()
    if not after.paused:
        after, starts = _begun(after, spec, now)
    return Move(schedule, aimed(after, spec), starts)

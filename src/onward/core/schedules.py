"""Schedules: what is stored of one, and every step it makes. Pure: a schedule and the time go in, a Move comes out.

Any number of workers may propose the same Move: a store writes it only if the schedule is still as it was read, and
starts no run whose id it has. That id is made of the schedule's name and the nominal time.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, get_args

from onward.core import limits, when
from onward.core.claiming import submitted
from onward.core.errors import PayloadError
from onward.core.lazily import Lazily
from onward.core.model import Change, Run
from onward.core.when import Timing

if TYPE_CHECKING:
    import json
else:
    json = Lazily("json")

# What becomes of a time that comes while an earlier run of the schedule has not ended.
Overlap = Literal["skip", "latest", "queue", "cancel_old", "allow"]
# What becomes of times that came while no worker was there.
CatchUp = Literal["none", "latest", "all", "window"]
OVERLAPS: Final[tuple[Overlap, ...]] = get_args(Overlap)
CATCH_UPS: Final[tuple[CatchUp, ...]] = get_args(CatchUp)

_PREFIX: Final = "schedule:"
_AT: Final = "@"  # stands in no schedule's name
_STAMP: Final = "%Y-%m-%dT%H:%M:%SZ"
_STAMP_CHARS: Final = len("2025-03-30T01:00:00Z")


class Spec(NamedTuple):
    """A schedule as code defines it: which run to start, when, and what if it cannot be started then."""

    workflow: str
    args: str | None
    timing: Timing
    overlap: Overlap = "skip"
    catch_up: CatchUp = "latest"
    window_s: float = 0.0
    queue: str = "default"
    priority: int = 0
    lane: str | None = None
    tags: str | None = None

    @property
    def text(self) -> str:
        """As it is stored; two definitions are the same if this is."""
        return json.dumps({**self._asdict(), "timing": self.timing._asdict()}, ensure_ascii=False)


def spec_of(text: str) -> Spec:
    """A definition as it was stored, perhaps by a later version, of which only what is known here is read."""
    try:
        fields = json.loads(text)
        timing = Timing(**_known(fields.pop("timing"), Timing._fields))
        return Spec(timing=timing, **_known(fields, Spec._fields))
    except (ValueError, TypeError, KeyError, AttributeError) as problem:
        raise PayloadError(f"the definition of a schedule ({problem})") from problem


def _known(fields: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name in names}


class Schedule(NamedTuple):
    """What is stored of a schedule."""

    name: str
    spec: str
    revision: int  # counts what was written; a move on top of another one than was read is refused
    since: float  # from when the times of an interval are counted
    last: float  # times up to this one are dealt with
    next_at: float | None = None  # the nominal time that comes next
    due_at: float | None = None  # when it is to be started
    paused: bool = False
    declarer: str | None = None  # the owner whose definition it is
    declared_at: float = 0.0  # when that owner began
    going: tuple[str, ...] = ()  # ids of runs that were started and perhaps have not ended
    backlog: tuple[str, ...] = ()  # what is started when those have ended: see `tail_of`
    latest: str | None = None  # the id of the latest run that its time, or a person, has asked for
    started: int = 0
    skipped: int = 0
    missed: int = 0
    note: str | None = None  # what became of the last time that was not started


class Move(NamedTuple):
    """A step of one schedule: applied as a whole if it is still as in `before`, or not at all.

    `before` is None for a schedule that is not there yet, `after` for one that is removed. A run in `starts` whose
    id is taken is passed over; the runs of the ids `cancels` are cancelled, or their holders asked to.
    """

    before: Schedule | None
    after: Schedule | None
    starts: tuple[Change, ...] = ()
    cancels: tuple[str, ...] = ()


def workflow_of(schedule: Schedule) -> str:
    """The workflow that a schedule starts; empty if its definition cannot be read."""
    try:
        return spec_of(schedule.spec).workflow
    except PayloadError:
        return ""


# -- names ------------------------------------------------------------------------------------------


def tail_of(nominal: float, mark: str = "") -> str:
    """What stands behind the schedule's name in a run's id: its nominal time, and a mark if a person started it."""
    stamp = dt.datetime.fromtimestamp(nominal, dt.UTC).strftime(_STAMP)
    return f"{stamp}+{mark}" if mark else stamp


def run_id(name: str, tail: str) -> str:
    return f"{name}{_AT}{tail}"


def nominal_of(tail: str) -> float:
    return dt.datetime.fromisoformat(tail[:_STAMP_CHARS]).timestamp()


def origin(identity: str) -> tuple[str, float] | None:
    """The schedule that started the run of this identity, and the nominal time; None for any other run."""
    if not identity.startswith(_PREFIX):
        return None
    name, _, tail = identity.removeprefix(_PREFIX).rpartition(_AT)
    try:
        return name, nominal_of(tail)
    except ValueError:  # a damaged row
        return None


def id_range(name: str) -> tuple[str, str]:
    """Between which two texts the ids of a schedule's runs lie; their order is that of the nominal times."""
    return f"{name}{_AT}", f"{name}{chr(ord(_AT) + 1)}"


# -- definitions --------------------------------------------------------------------------------------


def declared(
    stored: Schedule | None, name: str, spec: Spec, *, declarer: str, began_at: float, now: float
) -> Move:
    """The schedule as the worker `declarer`, which began at `began_at`, defines it.

    Where its times change it is followed from now on: what the new definition would have started before was not missed.
    """
    if stored is None:
        since = float(math.floor(now))
        # The first time of an interval is now; one of cron that is this very second has come already.
        last = since - 1.0 if spec.timing.every_s is not None else since
        fresh = Schedule(name, spec.text, 0, since, last, declarer=declarer, declared_at=began_at)
        return Move(None, _aimed(fresh, spec))
    after = stored._replace(spec=spec.text, declarer=declarer, declared_at=began_at)
    old = _timing_of(stored)
    if old is None or old._replace(jitter_s=0.0) != spec.timing._replace(jitter_s=0.0):
        if spec.timing.every_s is not None and old is not None and old.every_s is not None:
            since = max(stored.last, stored.since)  # its first time is still to come
            after = after._replace(since=since)
        elif spec.timing.every_s is not None:
            after = after._replace(since=float(math.floor(now)), last=max(stored.last, math.floor(now) - 1.0))
        else:
            after = after._replace(last=max(stored.last, float(math.floor(now))))
    return Move(stored, _aimed(after, spec))


def _timing_of(schedule: Schedule) -> Timing | None:
    try:
        return spec_of(schedule.spec).timing
    except PayloadError:  # what cannot be read is replaced
        return None


def _aimed(schedule: Schedule, spec: Spec) -> Schedule:
    """The schedule with its next time, as a new revision."""
    at = when.next_time(spec.timing, schedule.since, after=schedule.last)
    due_at = None if at is None else when.due_at(schedule.name, spec.timing, at)
    return schedule._replace(next_at=at, due_at=due_at, revision=schedule.revision + 1)


def carried(schedule: Schedule, there: Schedule | None) -> Move:
    """The schedule goes on in another journal, with what stands `there` of it already; may be repeated.

    What one of the two has dealt with is dealt with; the definition there stays.
    """
    if there is None:
        return Move(None, schedule._replace(declarer=None, declared_at=0.0))
    both = there._replace(
        last=max(schedule.last, there.last),
        paused=schedule.paused or there.paused,
        going=tuple(dict.fromkeys(schedule.going + there.going)),
        backlog=tuple(dict.fromkeys(schedule.backlog + there.backlog)),
        latest=max(schedule.latest or "", there.latest or "") or None,
        started=max(schedule.started, there.started),
        skipped=max(schedule.skipped, there.skipped),
        missed=max(schedule.missed, there.missed),
    )
    try:
        return Move(there, _aimed(both, spec_of(there.spec)))
    except PayloadError:  # its next worker defines it anew
        return Move(there, both._replace(revision=there.revision + 1))


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
    return Move(schedule, _aimed(after, spec), starts, cancels)


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
        own, "workflow", spec.workflow, f"{_PREFIX}{own}", args=spec.args, direct=False, queue=spec.queue,
        priority=spec.priority, lane=spec.lane, tags=spec.tags,
    )  # fmt: skip


def _times(count: int) -> str:
    return "1 time" if count == 1 else f"{count:,} times"


# -- what a person does ---------------------------------------------------------------------------------


def paused(schedule: Schedule) -> Move:
    """Nothing is started until it is resumed, of its backlog neither. Runs that have been started go on."""
    return Move(schedule, schedule._replace(paused=True, revision=schedule.revision + 1))


def resumed(schedule: Schedule, spec: Spec, *, now: float) -> Move:
    """It goes on with the first time from now on: those of the pause were not missed.

    Also where its last time lies in the future, because the clock was wrong once: times that were started then are
    not started again.
    """
    last = schedule.last if schedule.last <= now and not schedule.paused else now
    since = min(schedule.since, float(math.floor(now)))
    return Move(schedule, _aimed(schedule._replace(paused=False, since=since, last=last), spec))


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
    return Trigger(Move(schedule, _aimed(after, spec), starts, cancels), run_id(schedule.name, tail), behind)


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
    return Move(schedule, _aimed(after, spec), starts)

"""Schedules: what is stored of one, and how it is defined, carried over, paused and resumed.

Pure, as `nominal`, which says which of its times start: a schedule and the time go in, a Move comes out. Any number of
workers may propose the same Move: a store writes it only if the schedule is still as it was read, and starts no run
whose id it has. That id is made of the schedule's name and the nominal time.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, get_args

from onward.core import when
from onward.core.errors import PayloadError
from onward.core.lazily import Lazily
from onward.core.model import Change
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


def identity_of(run_id: str) -> str:
    """What a scheduled run is recognised by."""
    return f"{_PREFIX}{run_id}"


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
        return Move(None, aimed(fresh, spec))
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
    return Move(stored, aimed(after, spec))


def _timing_of(schedule: Schedule) -> Timing | None:
    try:
        return spec_of(schedule.spec).timing
    except PayloadError:  # what cannot be read is replaced
        return None


def aimed(schedule: Schedule, spec: Spec) -> Schedule:
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
        return Move(there, aimed(both, spec_of(there.spec)))
    except PayloadError:  # its next worker defines it anew
        return Move(there, both._replace(revision=there.revision + 1))


# -- what a person does to it ---------------------------------------------------------------------------------


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
    return Move(schedule, aimed(schedule._replace(paused=False, since=since, last=last), spec))

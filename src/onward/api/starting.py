"""Queue runs for workers: what `start` writes into the journal, and which run it gives if there is one already."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Literal

from onward.api import connect
from onward.api.identity import checked_name, fresh_id
from onward.core import codec, limits
from onward.core.decide import acted, submitted, unkeyed
from onward.core.errors import JournalError, RunConflict, Stopped, UsageError
from onward.core.lazily import Lazily
from onward.core.model import Refused, Run
from onward.core.retry import Policy
from onward.runtime import current
from onward.runtime.current import Here
from onward.runtime.drive import drive
from onward.runtime.engine import Engine, was_moved
from onward.runtime.session import Unit

if TYPE_CHECKING:
    import json
else:
    json = Lazily("json")

# While what no second run of a key is added: until it begins, until it has ended, or for so many seconds.
Unique = Literal["queued", "running"] | float
_UNTIL: Final = {"queued": "start", "running": "end"}


@dataclass(frozen=True, slots=True)
class Queuing:
    """How a workflow's runs are queued."""

    queue: str = "default"
    priority: int = 0
    delay_s: float | None = None
    at: float | None = None
    key: str | None = None
    unique: Unique = "running"
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        checked_name(self.queue)

    def changed(
        self,
        *,
        queue: str | None,
        priority: int | None,
        delay: float | dt.timedelta | None,
        at: dt.datetime | None,
        key: str | None,
        unique: Unique | None,
        tags: Sequence[str] | None,
    ) -> Queuing:
        """The same with what is given; raises UsageError for what cannot be."""
        given: dict[str, Any] = {
            "queue": queue,
            "priority": None if priority is None else _whole(priority),
            "delay_s": None if delay is None else _seconds(delay),
            "at": None if at is None else _timestamp(at),
            "key": None if key is None else _key(key),
            "unique": None if unique is None else _unique(unique),
            "tags": None if tags is None else _tags(tags),
        }
        return replace(self, **{name: value for name, value in given.items() if value is not None})

    def run(self, name: str, run_id: str | None, args: str | None, *, now: float) -> Run:
        """The run that would be queued at the time `now`."""
        wake_at = now + self.delay_s if self.delay_s is not None else self.at
        own = run_id or fresh_id(name)
        identity = f"workflow:{name}:id:{run_id}" if run_id else f"queued:{own}"
        single = None
        if self.key is not None:
            until = _UNTIL[self.unique] if isinstance(self.unique, str) else "time"
            single = f"{until}:{name}:{self.key}"
        tags = json.dumps(self.tags, ensure_ascii=False) if self.tags else None
        return Run(
            own, "workflow", name, identity, args=args, direct=False, queue=self.queue, priority=self.priority,
            single=single, tags=tags, wake_at=wake_at,
        )  # fmt: skip


# -- one run ------------------------------------------------------------------------------------------


def started(run: Run, queuing: Queuing, *, has_id: bool, replaces: bool) -> str:
    """Queue a run, once however often this place of a run is replayed; the id of the run that is there then."""
    engine = connect.engine()
    place = current.here()
    if place is None:
        return submit(engine, run, queuing, replaces=replaces).id
    key = place.scope.next(f"start {run.name}")
    if not has_id:  # the same in every attempt: what was queued and not recorded is not queued twice
        own = f"{run.id.rpartition('-')[0]}-{place.session.seed(key).hex()[:12]}"
        run = run._replace(id=own, identity=f"queued:{own}")
    run = run._replace(parent=place.session.run.id)

    def queue() -> str:
        try:
            return submit(engine, run, queuing, replaces=replaces).id
        except (
            JournalError
        ) as error:  # no outcome of this unit: as everywhere, the run ends here and goes on later
            raise place.session.unwind(Stopped(str(error)), cause=error) from error

    return queue() if place.inside_step else _recorded(engine, place, key, run, queue)


def _recorded(engine: Engine, place: Here, key: str, run: Run, queue: Callable[[], str]) -> str:
    unit = Unit(key, "child", f"start {run.name}", Policy(), digest_of(run), inside_step=True)
    started_id: str = drive(place.session.perform(unit, queue, (), {}), engine, place.session)
    return started_id


def digest_of(run: Run) -> bytes:
    """What a replay recognises the start of a run by: its arguments."""
    return codec.fingerprint(run.args or "")


def submit(engine: Engine, run: Run, queuing: Queuing, *, replaces: bool = False) -> Run:
    """Queue `run`; or the run that has its id or its key already.

    Raises RunConflict if its id belongs to other work, and `replaces` is not said.
    """
    while True:
        now = engine.store.now()
        answer = engine.committer.commit(submitted(run, now=now))[0]
        if not isinstance(answer, Refused):
            return run._replace(no=answer.run_no)
        if answer.reason == "moved":
            raise was_moved(engine.store)
        if answer.reason != "exists":
            raise UsageError(f"`{run.name}` was not started: {answer.detail}")
        same = engine.store.run(run.id)
        if same is not None:
            if _is_same_work(same, run):
                return same
            _make_way(engine, same, replaces=replaces)
            continue
        other = None if run.single is None else engine.store.single_run(run.single)
        if other is not None:
            if not _is_over(queuing, other, now):
                return other
            engine.committer.commit(unkeyed(other, now=now))


def _is_same_work(one: Run, other: Run) -> bool:
    return (one.name, one.args, one.kind) == (other.name, other.args, other.kind)


def _is_over(queuing: Queuing, run: Run, now: float) -> bool:
    """Whether a key that is held for a time is free again."""
    return not isinstance(queuing.unique, str) and now - run.created_at >= queuing.unique


def _make_way(engine: Engine, run: Run, *, replaces: bool) -> None:
    """Remove a run of the wanted id that is other work."""
    if not replaces:
        raise RunConflict(
            run.id,
            f"run {run.id} is `{run.name}` with other arguments; nothing was started. Use another id, or replace=True "
            f"to forget that run.",
        )
    closing = acted(run, "cancelled", by="replace=True", now=engine.store.now())
    held = run.state == "running" and not engine.is_dead(run)
    if held or (closing is not None and isinstance(engine.committer.commit(closing)[0], Refused)):
        raise RunConflict(run.id, f"run {run.id} is running with other arguments; nothing was started")
    engine.store.delete(run.no)


# -- many ---------------------------------------------------------------------------------------------


def started_many(runs: Iterable[tuple[Run, Queuing]]) -> list[str]:
    """Queue runs, so many in one transaction; the ids of those that are there then, in their order."""
    if current.here() is not None:
        raise UsageError(
            "start_many inside of a run would start all of them again in every replay; nothing was started. "
            "Call start for each."
        )
    engine = connect.engine()
    ids: list[str] = []
    for batch in _batches(runs):
        now = engine.store.now()
        answers = engine.committer.commit(*(submitted(run, now=now) for run, _ in batch))
        for (run, queuing), answer in zip(batch, answers, strict=True):
            is_there = isinstance(answer, Refused)
            ids.append(submit(engine, run, queuing).id if is_there else run.id)
    return ids


def _batches(runs: Iterable[tuple[Run, Queuing]]) -> Iterator[list[tuple[Run, Queuing]]]:
    rest = iter(runs)
    while batch := list(islice(rest, limits.START_RUNS)):
        yield batch


# -- what is given --------------------------------------------------------------------------------------


def _whole(priority: object) -> int:
    if type(priority) is not int or abs(priority) > 1_000_000:
        raise UsageError(
            f"priority= takes a whole number up to a million, not {priority!r}; nothing was started"
        )
    return priority


def _seconds(delay: object) -> float:
    if isinstance(delay, dt.timedelta):
        delay = delay.total_seconds()
    if isinstance(delay, bool) or not isinstance(delay, (int, float)) or not 0 <= delay < 1e11:
        raise UsageError(
            f"delay= takes seconds from 0 on, or a timedelta, not {delay!r}; nothing was started"
        )
    return float(delay)


def _timestamp(at: object) -> float:
    if not isinstance(at, dt.datetime) or at.tzinfo is None:
        raise UsageError(f"at= takes a datetime with a time zone, not {at!r}; nothing was started")
    return at.timestamp()


def _key(key: object) -> str:
    if not isinstance(key, str) or not 0 < len(key) <= limits.KEY_CHARS or not key.isprintable():
        raise UsageError(
            f"key= takes a printable str of 1 to {limits.KEY_CHARS} characters, not {str(key)[:60]!r}; nothing was "
            f"started"
        )
    return key


def _unique(unique: object) -> Unique:
    if unique in ("queued", "running"):
        return unique
    if isinstance(unique, bool) or not isinstance(unique, (int, float)) or not unique > 0:
        raise UsageError(
            f'unique= takes "queued", "running" or a number of seconds, not {unique!r}; nothing was started'
        )
    return float(unique)


def _tags(tags: object) -> tuple[str, ...]:
    if isinstance(tags, str) or not isinstance(tags, Sequence) or len(tags) > limits.TAGS:
        raise UsageError(
            f"tags= takes a list of up to {limits.TAGS} names, not {tags!r}; nothing was started"
        )
    return tuple(checked_name(tag) for tag in tags)

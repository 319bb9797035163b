"""Queue runs for workers: what `start` writes into the journal, and which run it gives if there is one already."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from onward.api import connect
from onward.api.identity import queued_id, stem_of
from onward.api.queuing import DEFAULT, Queuing, identity_of
from onward.core import codec, limits
from onward.core.acts import acted, unkeyed
from onward.core.claiming import lot, put_off, queued, submitted
from onward.core.errors import JournalError, RunConflict, Stopped, UsageError
from onward.core.model import Added, Applied, Lot, Refused, Run
from onward.core.retry import Policy
from onward.core.texts import plain
from onward.runtime import current, registry
from onward.runtime.current import Here
from onward.runtime.drive import drive
from onward.runtime.engine import Engine, was_moved
from onward.runtime.session import Unit

T = TypeVar("T")

# -- where it waits -----------------------------------------------------------------------------------


def lane_in(
    engine: Engine, queue: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> str | None:
    """The lane of a run with these arguments; makes the queue's limits known to the journal first."""
    declared = declared_queue(engine, queue)
    return None if declared is None else declared.lane_of(name, args, kwargs)


def declared_queue(engine: Engine, name: str) -> registry.Declared | None:
    """The queue as the code declares it, which the journal knows then; None for one that is a name only.

    Raises UsageError for a name that is nearly that of a declared one: its runs would wait where nobody looks.
    """
    declared = registry.queue(name)
    if declared is not None:
        engine.declare(name, declared.limits_text)
        return declared
    near = difflib.get_close_matches(name, [one.name for one in registry.queues()], 1, 0.8)
    if near and name != DEFAULT:
        raise UsageError(
            f"no queue `{plain(name)}` is declared here; nothing was started. Did you mean `{plain(near[0])}`? If not, "
            f"declare it: onward.Queue({name!r})"
        )
    return None


# -- one run ------------------------------------------------------------------------------------------


def started(run: Run, queuing: Queuing, *, has_id: bool, replaces: bool) -> str:
    """Queue a run, once however often this place of a run is replayed; the id of the run that is there then."""
    engine = connect.engine()
    place = current.here()
    if place is None:
        return submit(engine, run, queuing, has_id=has_id, replaces=replaces).id
    key = place.scope.next(f"start {run.name}")
    if not has_id:  # the same in every attempt: what was queued and not recorded is not queued twice
        own = f"{stem_of(run.name)}-{place.session.seed(key).hex()[:16]}"
        run = run._replace(id=own, identity=identity_of(run.name, own, has_own_id=False))
    run = run._replace(parent=place.session.run.id)

    def queue() -> str:
        try:
            return submit(engine, run, queuing, replaces=replaces).id
        except JournalError as error:
            # No outcome of this unit: as everywhere, the run ends here and goes on later.
            raise place.session.unwind(Stopped(str(error)), cause=error) from error

    return queue() if place.inside_step else _recorded(engine, place, key, run, queue)


def _recorded(engine: Engine, place: Here, key: str, run: Run, queue: Callable[[], str]) -> str:
    unit = Unit(key, "child", f"start {run.name}", Policy(), digest_of(run), inside_step=True)
    started_id: str = drive(place.session.perform(unit, queue, (), {}), engine, place.session)
    return started_id


def digest_of(run: Run) -> bytes:
    """What a replay recognises the start of a run by: its arguments."""
    return codec.fingerprint(run.args or "")


def submit(engine: Engine, run: Run, queuing: Queuing, *, has_id: bool = True, replaces: bool = False) -> Run:
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
        if same is not None and not has_id:
            run = with_id(run, None)  # drawn by chance, and met again by chance
        elif same is not None:
            if _is_same_work(same, run, queuing):
                return same
            _make_way(engine, same, replaces=replaces)
        elif run.single is not None:
            there = _of_its_key(engine, run, queuing, now)
            if there is not None:
                return there


def with_id(run: Run, run_id: str | None) -> Run:
    """The run with another id; a new one if there is none."""
    own = run_id or queued_id(run.name)
    return run._replace(id=own, identity=identity_of(run.name, own, has_own_id=run_id is not None))


def _is_same_work(one: Run, other: Run, queuing: Queuing) -> bool:
    if queuing.debounce_s is not None and one.single == other.single:
        return True  # its arguments may have been replaced since
    return (one.name, one.args, one.kind) == (other.name, other.args, other.kind)


def _of_its_key(engine: Engine, run: Run, queuing: Queuing, now: float) -> Run | None:
    """The run that has the key already, if that is what a start gives; None if the key is free now."""
    assert run.single is not None, "asked for by the caller"
    other = engine.store.single_run(run.single)
    if other is None:
        return None
    if queuing.debounce_s is not None:
        if other.state != "waiting" or other.fence > 0:
            return other  # paused by a person: it begins when they let it
        change = put_off(other, run, now=now, at_most_s=queuing.longest_s)
        return other if isinstance(engine.committer.commit(change)[0], Applied) else None
    if not _is_over(queuing, other, now):
        return other
    engine.committer.commit(unkeyed(other, now=now))
    return None


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


class One(NamedTuple):
    """In what a run differs from the others that are started with it."""

    args: str
    run_id: str | None = None
    lane: str | None = None
    key: str | None = None


def started_many(name: str, queuing: Queuing, ones: Iterable[One], *, replaces: bool = False) -> list[str]:
    """Queue runs, so many in one transaction; the ids of those that are there then, in their order."""
    refuse_in_run()
    engine = connect.engine()
    ids: list[str] = []
    for batch in in_batches(ones):
        now = engine.store.now()
        together = _lot(name, queuing, batch, now)
        answer = engine.committer.add(together)
        numbers = answer.numbers if isinstance(answer, Added) else (0,) * len(batch)
        if all(numbers):
            ids += together.ids
            continue
        has_id = batch[0].run_id is not None
        for at, no in enumerate(numbers):
            run = together.run(at)
            if no == 0:  # it finds out why, and gives the run that is there
                run = submit(engine, run, queuing, has_id=has_id, replaces=replaces)
            ids.append(run.id)
    return ids


def refuse_in_run() -> None:
    if current.here() is not None:
        raise UsageError(
            "start_many inside of a run would start all of them again in every replay; nothing was started. "
            "Call start for each."
        )


def in_batches(ones: Iterable[T]) -> Iterator[list[T]]:
    """So many as go into one transaction, as they come."""
    rest = iter(ones)
    while batch := list(islice(rest, limits.START_RUNS)):
        yield batch


def _lot(name: str, queuing: Queuing, batch: list[One], now: float) -> Lot:
    """The runs as they will be stored."""
    like = queued(queuing.run(name, "", "", now=now), now=now)
    args, given, lanes, keys = zip(*batch, strict=True)
    has_id = given[0] is not None
    singles: Sequence[str | None] = [like.single] * len(batch)
    if any(keys):
        singles = [queuing.single_of(name, key) for key in keys]
    prefix = identity_of(name, "", has_own_id=has_id)
    return lot(like, prefix, given if has_id else _fresh_ids(name, len(batch)), args, lanes, singles, now=now)


def _fresh_ids(name: str, count: int) -> list[str]:
    """Neighbours in the index of ids too, which random ids would be scattered over."""
    common = f"{stem_of(name)}-{queued_id('x')[2:]}"
    return [f"{common}-{number:04}" for number in range(count)]

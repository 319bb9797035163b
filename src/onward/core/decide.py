"""What each fact about a leased run changes. Pure: values in, a Change out.

How runs are opened and claimed is in `claiming`, what others may do to them in `acts`, the table in `transitions`.
"""

from __future__ import annotations

from binascii import crc32
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple, assert_never

from onward.core import codec
from onward.core.keys import SEPARATOR
from onward.core.model import (
    ENDED,
    Begun,
    Change,
    End,
    Entry,
    EntryKind,
    Order,
    Progress,
    Run,
    change_of,
    made,
    run_of,
    starts,
    with_entry,
)
from onward.core.transitions import Event, attempted, freed, mark_of, reopening, transition


class Started(NamedTuple):
    """A unit of work begins."""

    begun: Begun


class Ended(NamedTuple):
    """A unit of work has its outcome."""

    key: str
    kind: EntryKind
    name: str
    ok: bool
    value: str | None
    fingerprint: bytes | None
    attempt: int
    begun_at: float | None
    marked: bool = True  # whether a start marker of it may be stored


class Retried(NamedTuple):
    """An attempt failed and will be repeated; `again` is the next attempt."""

    again: Begun
    error: str
    began_at: float


class Died(NamedTuple):
    """Another process died in a unit that it executed for this run, which goes on; `again` counts it."""

    again: Begun
    error: str
    began_at: float


class Beaten(NamedTuple):
    """A unit in flight says how far it is. `new` when its start marker is not written yet."""

    begun: Begun
    number: int
    details: str
    new: bool = False


class Taken(NamedTuple):
    """A value that the world gave (a time, a random number, a wake-up time), the same for ever after."""

    key: str
    kind: EntryKind
    name: str
    value: str


class Returned(NamedTuple):
    value: str | None


class Raised(NamedTuple):
    """The run ends with an error. `culprits` are the failed entries it came from.

    With `again_at` it is attempted once more at that time: then `reopen`, entries of the culprits, are executed anew.
    """

    error: str
    culprits: tuple[str, ...] = ()
    again_at: float | None = None
    reopen: tuple[Entry, ...] = ()


class Released(NamedTuple):
    """The holder gives the run back unfinished; `error` when an exception made it do so."""

    event: Literal["released", "paused", "cancelled", "diverged", "doubted", "suspended"]
    error: str | None = None
    wake_at: float | None = None
    awaits: tuple[str, ...] = ()  # ids of runs whose end makes it due, too


Fact = Started | Ended | Retried | Died | Beaten | Taken | Returned | Raised | Released


def decide(run: Run, fact: Fact, *, now: float) -> Change:
    """What `fact` changes in a run that is leased under `run.fence`."""
    match fact:
        case Ended():
            return _ended(run, fact, now)
        case Started(begun):
            return starts(run, begun)
        case Taken(key, kind, name, value):
            crc = codec.checksum(value)
            return Change(
                run.no, run.fence, (Entry(key, kind, "done", name, None, value, crc, 1, run.fence, now, now),)
            )
        case Retried(again, error, began_at):
            failed = attempted(again, "retry", error, began_at, now)._replace(fence=run.fence)
            return Change(run.no, run.fence, (failed,), (again,))
        case Died(again, error, began_at):
            crashed = attempted(again, "crashed", error, began_at, now)._replace(fence=run.fence)
            return Change(run.no, run.fence, (crashed,), (again,))
        case Beaten(begun, number, details, new):
            return _beaten(run, begun, number, details, now)._replace(begun=(begun,) if new else ())
        case Returned(value):
            return returned(run, value, now=now)
        case Raised(error, culprits, None):
            return _end(run, "raised", now, codec.encode(list(culprits)), error=error)
        case Raised(error, culprits, again_at, reopen):
            text, attempt = codec.encode(list(culprits)), run.attempt + 1
            change = _end(run, "retried", now, text, error=error, wake_at=again_at, attempt=attempt)
            opened_again = tuple(reopening(entry, run.fence, now) for entry in reopen)
            return change._replace(entries=opened_again + change.entries)
        case Released(event, error, wake_at, awaits):
            change = _end(run, event, now, None, error=error or run.error, wake_at=wake_at)
            return change._replace(awaits=awaits)
        case _:
            assert_never(fact)


def _ended(run: Run, fact: Ended, now: float) -> Change:
    # Once for every item: a pattern with captures would cost three times as much as unpacking.
    key, kind, name, ok, value, fingerprint, attempt, begun_at, marked = fact
    crc = None if value is None else codec.checksum(value)
    entry = made((
        key, kind, "done" if ok else "failed", name, fingerprint, value, crc, attempt, run.fence, begun_at, now, -1,
    ))  # fmt: skip
    return with_entry(run, entry, (key,) if marked else ())


_new: Final = tuple.__new__


def succeeded(
    run: Run,
    key: str,
    kind: EntryKind,
    name: str,
    value: str | None,
    fingerprint: bytes | None,
    begun_at: float,
    *,
    now: float,
    marked: bool,
) -> Change:
    """What `decide` says of a unit that has `Ended` well at its first attempt: the commonest fact by far."""
    # As codec.checksum, made and with_entry: every step comes by, and each call costs as much as what it does.
    crc = None if value is None else crc32(value.encode()) if value.isascii() else codec.checksum(value)
    fence, ended = run.fence, (key,) if marked else ()
    entry = _new(Entry, (key, kind, "done", name, fingerprint, value, crc, 1, fence, begun_at, now, -1))
    return _new(Change, (run.no, fence, (entry,), (), ended, None, None, None, False, (), ()))


def returned(run: Run, value: str | None, *, now: float) -> Change:
    """What `decide` says of a run whose function has Returned, as nearly all do.

    The fields of a Run by number: `_replace` takes ten times as long.
    """
    assert run[6] == "running", f"returned cannot happen to a {run.state} run"
    no, fence, single = run[29], run[7], run[25]
    mark = returned_mark(fence, now)
    # From `state` on; the request is answered by the end, whatever it was.
    after = run_of((
        *run[:6], "done", fence, None, None, run[10], None, 0, run[13], value, None, *run[16:21], now, *run[22:25],
        None if single is None else freed(single, "end"), *run[26:],
    ))  # fmt: skip
    return change_of((no, fence, (mark,), (), (), after, None, None, False, (), ()))


def returned_mark(fence: int, now: float) -> Entry:
    """The entry of a run whose function has returned."""
    return made(("run/returned", "mark", "mark", "returned", None, None, None, 1, fence, None, now, -1))


def end_of(change: Change) -> End | None:
    """The end that the change is, if it says no more than `returned`."""
    no, fence, entries, begun, ended, after, *rest = change
    if after is None or after[6] != "done" or begun or ended or rest != _NOTHING_ELSE:
        return None
    if entries != (returned_mark(fence, after[21]),) or (after[29], after[7]) != (no, fence):
        return None
    return End(after, after[14], after[21])


_NOTHING_ELSE: Final = list(Change(0, 0)[6:])


def at_length(orders: Sequence[Order]) -> Sequence[Order]:
    """The orders with a Change in the place of each End, for whoever writes ends as all other changes."""
    if any(type(order) is End for order in orders):
        return [
            returned(order.run, order.value, now=order.at) if type(order) is End else order
            for order in orders
        ]
    return orders


def counted(run: Run, *, done: int, total: int | None, seq: int) -> Change:
    """A loop's progress, for its row."""
    return Change(run.no, run.fence, progress=Progress(done, total, seq))


def moved(run: Run, value: str, *, now: float) -> Change:
    """A cursor stands at `value` now. It leaves no entry: what it stood at before is of no use to anybody."""
    return Change(run.no, run.fence, after=run._replace(result=value, updated_at=now))


def _beaten(run: Run, begun: Begun, number: int, details: str, now: float) -> Change:
    key, crc = f"{begun.key}{SEPARATOR}beat~{number}", codec.checksum(details)
    beat = Entry(key, "beat", "done", begun.name, None, details, crc, begun.attempt, run.fence, None, now)
    return Change(run.no, run.fence, (beat,))


_GRANTS: Final[dict[Event, str]] = {"paused": "pause", "cancelled": "cancel"}


def _end(run: Run, event: Event, now: float, value: str | None, **fields: Any) -> Change:
    state = transition(run.state, event)
    assert state is not None, f"{event} cannot happen to a {run.state} run"
    mark = mark_of(run, event, now, value)
    # Not `request`: a wish that came meanwhile must not be lost, unless this very event grants it.
    granted = _GRANTS.get(event)
    request = None if state in ("done", "cancelled") or run.request == granted else run.request
    single = run.single if state not in ENDED else freed(run.single, "end")
    after = run._replace(
        state=state,
        owner=None,
        lease_until=None,
        request=request,
        stalls=0,
        single=single,
        updated_at=now,
        **fields,
    )
    return Change(run.no, run.fence, (mark,), (), (), after)

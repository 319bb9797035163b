"""The state machine. Every transition a run can make is in this file, and what each fact changes.

The table comes first; `decide` says what a fact means for a run that is leased, the functions after it how runs are
opened, claimed and acted on by others. All of it is pure: values in, a Change out.
"""

from __future__ import annotations

from binascii import crc32
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple, assert_never

from onward.core import codec, limits
from onward.core.keys import SEPARATOR, WHOLE
from onward.core.model import (
    ENDED,
    Begun,
    Change,
    Entry,
    EntryKind,
    Lot,
    Progress,
    Run,
    RunState,
    change_of,
    made,
    run_of,
    starts,
    with_entry,
)

Event = Literal[
    "claimed",
    "returned",
    "raised",
    "released",
    "suspended",
    "retried",
    "orphaned",
    "paused",
    "diverged",
    "doubted",
    "cancelled",
    "resumed",
    "reset",
]

_OPEN: Final[tuple[RunState, ...]] = ("pending", "running", "waiting", "paused", "stuck", "failed")

TRANSITIONS: Final[dict[Event, tuple[tuple[RunState, ...], RunState]]] = {
    "claimed": (_OPEN, "running"),  # from `running` only when the holder's lease is over or its death proven
    "returned": (("running",), "done"),
    "raised": (("running",), "failed"),
    "released": (("running",), "pending"),
    "suspended": (("running",), "waiting"),
    "retried": (("running",), "waiting"),  # it failed as a whole, and will be attempted again
    "orphaned": (("running",), "waiting"),  # its worker died or lost it: due for any other
    "paused": (("running", "pending", "waiting"), "paused"),
    "diverged": (("running",), "stuck"),
    "doubted": (("running",), "stuck"),  # nobody knows whether an at-most-once step was executed
    "cancelled": (_OPEN, "cancelled"),
    "resumed": (("paused",), "pending"),  # or `waiting`, if its time has not come
    "reset": (("pending", "waiting", "paused", "stuck", "failed"), "pending"),
}


def transition(state: RunState, event: Event) -> RunState | None:
    """The state after `event`, or None if a run in `state` cannot meet it."""
    sources, target = TRANSITIONS[event]
    return target if state in sources else None


# -- facts: what can happen to a leased run ---------------------------------------------------------


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
            failed = _attempt(again, "retry", error, began_at, now)._replace(fence=run.fence)
            return Change(run.no, run.fence, (failed,), (again,))
        case Died(again, error, began_at):
            crashed = _attempt(again, "crashed", error, began_at, now)._replace(fence=run.fence)
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
            opened_again = tuple(_reopened(entry, run.fence, now) for entry in reopen)
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
    mark = made(("run/returned", "mark", "mark", "returned", None, None, None, 1, fence, None, now, -1))
    # From `state` on; the request is answered by the end, whatever it was.
    after = run_of((
        *run[:6], "done", fence, None, None, run[10], None, 0, run[13], value, None, *run[16:21], now, *run[22:25],
        None if single is None else freed(single, "end"), *run[26:],
    ))  # fmt: skip
    return change_of((no, fence, (mark,), (), (), after, None, None, False, (), ()))


def _beaten(run: Run, begun: Begun, number: int, details: str, now: float) -> Change:
    key, crc = f"{begun.key}{SEPARATOR}beat~{number}", codec.checksum(details)
    beat = Entry(key, "beat", "done", begun.name, None, details, crc, begun.attempt, run.fence, None, now)
    return Change(run.no, run.fence, (beat,))


def _attempt(
    begun: Begun, state: Literal["retry", "crashed"], error: str | None, began_at: float, now: float
) -> Entry:
    attempt = begun.attempt - 1 if state == "retry" else begun.attempt
    crc = None if error is None else codec.checksum(error)
    return Entry(
        begun.key, begun.kind, state, begun.name, None, error, crc, attempt, begun.fence, began_at, now
    )


def _mark(run: Run, event: str, now: float, value: str | None = None) -> Entry:
    crc = None if value is None else codec.checksum(value)
    return Entry(f"run/{event}", "mark", "mark", event, None, value, crc, 1, run.fence, None, now)


_GRANTS: Final[dict[Event, str]] = {"paused": "pause", "cancelled": "cancel"}


def _end(run: Run, event: Event, now: float, value: str | None, **fields: Any) -> Change:
    state = transition(run.state, event)
    assert state is not None, f"{event} cannot happen to a {run.state} run"
    mark = _mark(run, event, now, value)
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


_UNTIL_START: Final = ("start:", "batch:")


def freed(single: str | None, at: Literal["start", "end"]) -> str | None:
    """What is left of a run's claim to be the only one of its key, once it has started or ended.

    `start:…` and `batch:…` are given up when the run is first claimed, `end:…` when it ends; any other is kept.
    """
    if single is None:
        return None
    given_up = single.startswith(_UNTIL_START) or (at == "end" and single.startswith("end:"))
    return None if given_up else single


# -- opening and claiming ---------------------------------------------------------------------------


def opened(run: Run, *, owner: str, now: float, lease_s: float) -> Change:
    """A new run, leased at once by the process that begins it."""
    leased = run._replace(
        state="running",
        fence=1,
        owner=owner,
        lease_until=now + lease_s,
        leased_seq=1,
        created_at=now,
        updated_at=now,
    )
    marks = (_mark(run, "submitted", now, run.args), _mark(leased, "claimed", now, codec.encode(owner)))
    return Change(0, 0, marks, after=leased, create=True)


def submitted(run: Run, *, now: float) -> Change:
    """A new run that any worker may claim: at once, or from `run.wake_at` on."""
    return added(queued(run, now=now), now=now)


def queued(run: Run, *, now: float) -> Run:
    """A run as it stands when it has been added at the time `now`."""
    waits = run.wake_at is not None and run.wake_at > now
    return run._replace(
        state="waiting" if waits else "pending",
        direct=False,
        wake_at=run.wake_at if waits else None,
        created_at=now,
        updated_at=now,
    )


def added(run: Run, *, now: float) -> Change:
    """The change that adds a run which `queued` has made."""
    args = run.args
    crc = None if args is None else codec.checksum(args)
    mark = _submitted(run, now)._replace(value=args, checksum=crc)
    return Change(0, 0, (mark,), (), (), run, None, None, True)


def lot(
    like: Run,
    prefix: str,
    ids: Sequence[str],
    args: Sequence[str],
    lanes: Sequence[str | None],
    singles: Sequence[str | None],
    *,
    now: float,
) -> Lot:
    """As `added` for many runs at once, which differ from `like`, that `queued` has made, in these columns."""
    checksums = list(map(codec.checksum, args))
    return Lot(like, _submitted(like, now), prefix, ids, args, checksums, lanes, singles)


def _submitted(run: Run, now: float) -> Entry:
    return Entry("run/submitted", "mark", "mark", "submitted", None, None, None, 1, run.fence, None, now)


def put_off(run: Run, again: Run, *, now: float, at_most_s: float) -> Change:
    """A run that waits for a pause in the starts of its key: `again`, the latest of them, takes its place.

    It waits as long as that one would, but no longer than `at_most_s` after the first one.
    """
    assert again.wake_at is not None, "what is put off has a time"
    wake_at = max(now, min(again.wake_at, run.created_at + at_most_s))
    after = run._replace(
        args=again.args, wake_at=wake_at, priority=again.priority, tags=again.tags, updated_at=now
    )
    return Change(run.no, run.fence, after=after, before=run)


def filled(run: Run, *, now: float) -> Change:
    """A run that takes many items has enough of them: it is due, and the next item opens another one."""
    return Change(run.no, run.fence, after=run._replace(single=None, wake_at=now, updated_at=now), before=run)


def may_claim(run: Run, *, now: float, owner_is_dead: bool) -> bool:
    """Whether a run can be leased now: nobody holds it, or the holder's lease is over or its death is proven."""
    if run.state != "running":
        return transition(run.state, "claimed") is not None
    return owner_is_dead or run.lease_until is None or run.lease_until <= now


class Past(NamedTuple):
    """What a claimant reads of a run before it claims it."""

    last_seq: int
    progressed: bool  # the previous lease recorded an outcome
    begun: tuple[Begun, ...] = ()
    reopen: tuple[Entry, ...] = ()  # failed outcomes that are to be executed again
    ended_alive: bool = False  # the previous holder lived on and could not record its end
    in_turn: bool = False  # of a queued run: no other suspect was executed beside it


def claimed(run: Run, past: Past, *, owner: str, now: float, lease_s: float) -> Change:
    """The next lease of `run`. Counts the death of the previous holder as `blamed_for` says."""
    assert may_claim(run, now=now, owner_is_dead=True), f"a {run.state} run is not to be had"
    blame = blamed_for(run, past)
    marks = len(blame.in_flight) + len(past.reopen) + 1
    # Calling a run again is how a paused one goes on; who asked to cancel it was told that this will happen. A worker
    # that claims a run is nobody's wish that it goes on.
    request = run.request if run.request == "cancel" or not run.direct else None
    after = run._replace(
        state="running",
        fence=run.fence + 1,
        leased_seq=past.last_seq + marks,
        owner=owner,
        lease_until=now + lease_s,
        wake_at=None,
        single=freed(run.single, "start"),
        request=request,
        error=None,
        stalls=blame.stalls,
        updated_at=now,
    )
    text, crc = _text_of(owner)
    entries: tuple[Entry, ...] = (
        Entry("run/claimed", "mark", "mark", "claimed", None, text, crc, 1, after.fence, None, now),
    )
    if marks > 1:  # of a run that is claimed for the first time there is nothing else to say
        crashed = [_crashed(b, run, now) for b in blame.in_flight]
        entries = (*crashed, *(_reopened(e, after.fence, now) for e in past.reopen), *entries)
    return Change(run.no, run.fence, entries, blame.begun, (), after, run)


def first_claimed(
    taken: Sequence[tuple[Run, int]], *, owner: str, now: float, lease_s: float
) -> list[Change] | None:
    """What `claimed` says of each of these runs with the number of its last entry; None if one of them is not plain.

    Plain is what has never been leased: nearly all that workers claim. A claim of 500 runs costs a tenth of what it
    would one by one.
    """
    text, crc = _text_of(owner)
    marks = (made(("run/claimed", "mark", "mark", "claimed", None, text, crc, 1, 1, None, now, -1)),)
    until = now + lease_s
    changes = []
    for run, last_seq in taken:
        # By number: state, fence, stalls, request, single, args.
        if run[6] != "pending" or run[7] or run[12] or run[11] or run[25] is not None or run[4] is None:
            return None
        after = run_of((
            *run[:6], "running", 1, owner, until, None, None, 0, last_seq + 1, run[14], None, *run[16:21],
            now, *run[22:],
        ))  # fmt: skip
        changes.append(change_of((run[29], 0, marks, (), (), after, run, None, False, (), ())))
    return changes


@lru_cache(maxsize=8)
def _text_of(owner: str) -> tuple[str, int]:
    """The same for every run that a process claims."""
    text = codec.encode(owner)
    return text, codec.checksum(text)


class Blame(NamedTuple):
    """What the end of a lease that nobody gave back says of what was in flight."""

    in_flight: tuple[Begun, ...]
    begun: tuple[Begun, ...]  # the same, convicted (one more crash) or suspected
    stalls: int


def blamed_for(run: Run, past: Past) -> Blame:
    """Who is to blame for the death of a run's holder: only a crash alone convicts.

    Of several units in flight each becomes a suspect, to be rerun alone. What did not kill the holder, because that
    lived on, is neither. A worker executes many runs, any of which may have killed it: a queued run's unit is
    convicted only if the run was executed in its turn, see `runtime.worker`.
    """
    died = run.state == "running" and not past.ended_alive
    if not died:  # as nearly all that is claimed
        return Blame((), (), 0 if past.progressed else run.stalls)
    in_flight = tuple(b for b in past.begun if b.fence == run.fence)
    if past.progressed:  # it died in something later than the beginning of the run
        in_flight = tuple(b for b in in_flight if b.key != WHOLE)
    alone = len(in_flight) == 1 and (run.direct or past.in_turn)
    begun = tuple(b._replace(crashes=b.crashes + 1) if alone else b._replace(suspect=True) for b in in_flight)
    # A lease that ended alive and recorded nothing tells nothing about the deaths before it.
    before = 0 if past.progressed else run.stalls
    if run.direct:
        stalls = 0 if in_flight else before + (not past.progressed)
    elif in_flight:
        stalls = before + 1
    else:
        # A run whose worker has died begins only after that is durable: without a trace of it, it had not begun again.
        stalls = max(before, 1)
    return Blame(in_flight, begun, stalls)


def _crashed(begun: Begun, run: Run, now: float) -> Entry:
    return _attempt(begun, "crashed", None, begun.begun_at, now)._replace(fence=run.fence)


def orphaned(run: Run, past: Past, *, now: float) -> Change:
    """A queued run whose worker has died, or has let its lease run out: any worker may claim it.

    At once, but after its second death in a row a moment later, so that others get on between the deaths. Raises the
    fence, so that a worker that was thought dead records nothing more.
    """
    assert run.state == "running", "only what is leased can lose its worker"
    blame = blamed_for(run, past)
    after = run._replace(
        state="waiting",
        fence=run.fence + 1,
        owner=None,
        lease_until=None,
        wake_at=now + crash_pause_s(blame.stalls),
        stalls=blame.stalls,
        updated_at=now,
    )
    entries = [*(_crashed(b, run, now) for b in blame.in_flight), _mark(after, "orphaned", now)]
    after = after._replace(leased_seq=past.last_seq + len(entries))
    return Change(run.no, run.fence, tuple(entries), blame.begun, after=after, before=run)


def crash_pause_s(deaths: int) -> float:
    """How long a queued run waits after so many deaths in a row of the workers that executed it."""
    return 0.0 if deaths < 2 else float(min(limits.BACKOFF_MAX_S, 2 ** (deaths - 2)))


def _reopened(entry: Entry, fence: int, now: float) -> Entry:
    return Entry(
        entry.key, entry.kind, "reopened", entry.name, None, None, None, entry.attempt, fence, None, now
    )


# -- what others may do to a run --------------------------------------------------------------------


def acted(
    run: Run, event: Literal["cancelled", "paused", "resumed", "reset"], *, by: str, now: float
) -> Change | None:
    """A person's act on a run that nobody holds (a holder is asked by a request instead); None if it cannot be.

    Raises the fence, so that a holder that was thought dead records nothing more. Where nobody ever held the run it
    stays 0: its first claim is still ahead, and counts as such.
    """
    state = transition(run.state, event)
    if state is None:
        return None
    if event == "resumed" and run.wake_at is not None and run.wake_at > now:
        state = "waiting"  # its time has not come: it was paused before it, or asleep
    after = run._replace(
        state=state,
        fence=run.fence + (run.fence > 0),
        wake_at=run.wake_at if state in ("paused", "waiting") else None,
        owner=None,
        lease_until=None,
        request=None,
        stalls=0,
        attempt=0 if event == "reset" else run.attempt,
        single=run.single if state not in ENDED else freed(run.single, "end"),
        updated_at=now,
    )
    return Change(run.no, run.fence, (_mark(after, event, now, codec.encode(by)),), after=after, before=run)


def carried(run: Run, *, by: str, now: float) -> Change | None:
    """An unfinished run goes on in another journal: it is closed here, with a mark that remembers how it stood."""
    change = acted(run, "cancelled", by=by, now=now)
    if change is None:
        return None
    value = codec.encode({"carried_by": by, "from": run.state, "single": run.single})
    mark = change.entries[0]._replace(value=value, checksum=codec.checksum(value))
    return change._replace(entries=(mark,))


def blamed(run: Run, begun: Sequence[Begun], error: str, *, now: float) -> Change:
    """An exception has ended the body of these items, of a run that was then given back: it counts like a crash.

    Of the items of a batch each becomes a suspect, as after the death of the process.
    `run` is as it was leased; guarded by its fence alone, so that it is refused once somebody else has claimed the run.
    """
    entries = tuple(_attempt(b, "crashed", error, b.begun_at, now) for b in begun)
    alone = len(begun) == 1
    again = tuple(b._replace(crashes=b.crashes + 1) if alone else b._replace(suspect=True) for b in begun)
    after = run._replace(
        state="failed", owner=None, lease_until=None, request=None, error=error, stalls=0, updated_at=now
    )
    return Change(run.no, run.fence, entries, again, after=after)


def skipped(run: Run, entry: Entry, *, by: str, now: float) -> Change:
    """A person declares a failed item as done: it will not be tried again."""
    value = codec.encode({"skipped_by": by})
    done = Entry(
        entry.key, entry.kind, "done", entry.name, None, value, codec.checksum(value), 0, run.fence, None, now
    )
    return Change(run.no, run.fence, (done,), (), (entry.key,), before=run)


def reopened(run: Run, entries: Sequence[Entry], *, now: float) -> Change:
    """Failed units that are to be executed again when the run is continued."""
    return Change(
        run.no,
        run.fence,
        tuple(_reopened(e, run.fence, now) for e in entries),
        (),
        tuple(e.key for e in entries),
        before=run,
    )


def forgotten(run: Run, *, by: str, now: float) -> Change:
    """A person says of a run that is cancelled already that its id is free for a new one."""
    return Change(run.no, run.fence, (_mark(run, "cancelled", now, codec.encode(by)),), before=run)


def unkeyed(run: Run, *, now: float) -> Change:
    """The time is over in which a run was to be the only one of its key."""
    return Change(run.no, run.fence, after=run._replace(single=None, updated_at=now), before=run)


def counted(run: Run, *, done: int, total: int | None, seq: int) -> Change:
    """A loop's progress, for its row."""
    return Change(run.no, run.fence, progress=Progress(done, total, seq))


def moved(run: Run, value: str, *, now: float) -> Change:
    """A cursor stands at `value` now. It leaves no entry: what it stood at before is of no use to anybody."""
    return Change(run.no, run.fence, after=run._replace(result=value, updated_at=now))

"""How runs are opened, queued and claimed, and what a claim says of the lease before it. Pure, as `decide`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from onward.core import codec, limits
from onward.core.keys import WHOLE
from onward.core.model import Begun, Change, Entry, Leasing, Lot, Run, made, run_of
from onward.core.transitions import attempted, freed, mark_of, reopening, transition


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
    marks = (mark_of(run, "submitted", now, run.args), mark_of(leased, "claimed", now, codec.encode(owner)))
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
    entries: tuple[Entry, ...] = (claimed_mark(owner, after.fence, now),)
    if marks > 1:  # of a run that is claimed for the first time there is nothing else to say
        crashed = [_crashed(b, run, now) for b in blame.in_flight]
        entries = (*crashed, *(reopening(e, after.fence, now) for e in past.reopen), *entries)
    return Change(run.no, run.fence, entries, blame.begun, (), after, run)


def first_claimed(
    taken: Sequence[tuple[Run, int]], *, owner: str, now: float, lease_s: float
) -> Leasing | None:
    """What `claimed` says of all these runs with the numbers of their last entries; None if one of them is not plain.

    Plain is what has never been leased: nearly all that workers claim. A claim of 500 runs costs a tenth of what it
    would one by one.
    """
    until = now + lease_s
    runs = []
    for run, last_seq in taken:
        # By number: state, fence, stalls, request, single, args.
        if run[6] != "pending" or run[7] or run[12] or run[11] or run[25] is not None or run[4] is None:
            return None
        runs.append(run_of((
            *run[:6], "running", 1, owner, until, None, None, 0, last_seq + 1, run[14], None, *run[16:21],
            now, *run[22:],
        )))  # fmt: skip
    return Leasing(taken, runs, claimed_mark(owner, 1, now))


def claimed_mark(owner: str, fence: int, now: float) -> Entry:
    """The entry of a run that was leased at `now`, under this fence."""
    text, crc = _text_of(owner)
    return made(("run/claimed", "mark", "mark", "claimed", None, text, crc, 1, fence, None, now, -1))


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
    return attempted(begun, "crashed", None, begun.begun_at, now)._replace(fence=run.fence)


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
    entries = [*(_crashed(b, run, now) for b in blame.in_flight), mark_of(after, "orphaned", now)]
    after = after._replace(leased_seq=past.last_seq + len(entries))
    return Change(run.no, run.fence, tuple(entries), blame.begun, after=after, before=run)


def crash_pause_s(deaths: int) -> float:
    """How long a queued run waits after so many deaths in a row of the workers that executed it."""
    return 0.0 if deaths < 2 else float(min(limits.BACKOFF_MAX_S, 2 ** (deaths - 2)))

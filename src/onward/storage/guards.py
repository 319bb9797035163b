"""What every store checks before it writes a change, and what it keeps of the row that it writes.

Pure, and the same for all stores, so that none of them is stricter or laxer than another.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from onward.core.model import CLOSED, Change, Refused, Request, Run, RunState


class Guard(NamedTuple):
    """What is stored of a run that decides whether a change may be written.

    `seq` is the number of its last entry; the last `untold` ones are told by its row alone, see `storage.untold`.
    """

    fence: int
    request: Request | None
    owner: str | None
    lease_until: float | None
    state: RunState
    seq: int
    untold: int = 0


def refusal(change: Change, guard: Guard | None) -> Refused | None:
    """Why `change` may not be written on top of what is stored, or None if it may."""
    if guard is None:
        return Refused("missing", f"there is no run number {change.run_no}; nothing was written")
    if guard.fence != change.fence:
        return Refused(
            "fence", f"fence {change.fence} is not the run's fence {guard.fence}; nothing was written"
        )
    before = change.before
    if before is None:
        return None
    as_read = before.owner == guard.owner and before.lease_until == guard.lease_until
    as_read = as_read and before.state == guard.state
    after = change.after
    if after is not None and after.leased_seq != before.leased_seq:
        # A holder whose lease is over may still record until it is taken: what the claimant has read is old then.
        as_read = as_read and after.leased_seq == guard.seq + len(change.entries)
    if as_read:
        return None
    return Refused(
        "lease", f"the run is now {guard.state}, held by {guard.owner or 'nobody'}; nothing was written"
    )


def kept(change: Change, after: Run, guard: Guard) -> Run:
    """`after` as it is stored: what others wrote since the change was decided is not undone by it."""
    lease_until = after.lease_until
    if after.owner is not None and (after.owner, after.fence) == (guard.owner, guard.fence):
        # Renewals do not pass through the holder's memory, so it may know an older end of its lease.
        lease_until = max(guard.lease_until or 0.0, lease_until or 0.0)
    request = _request(change, after, guard)
    if lease_until == after.lease_until and request == after.request:
        return after
    return after._replace(lease_until=lease_until, request=request)


def _request(change: Change, after: Run, guard: Guard) -> Request | None:
    """The wish that stays: one that the writer has not seen is cleared only if this very change grants it."""
    if change.before is not None and change.before.request == guard.request:
        return after.request
    if after.state in CLOSED or (after.state == "paused" and guard.request == "pause"):
        return None
    return guard.request


_new: Final = tuple.__new__  # a NamedTuple's own constructor is written in Python


def written(after: Run, seq: int, untold: int = 0) -> Guard:
    """The guard of a run that has just been written as `after`."""
    return _new(Guard, (after[7], after[11], after[8], after[9], after[6], seq, untold))


def exists(run: Run) -> Refused:
    return Refused(
        "exists", f"there is a run `{run.id}`, or an unfinished one of `{run.identity}`; nothing was written"
    )


def moved() -> Refused:
    return Refused("moved", "this journal was moved elsewhere; nothing was written")


def recorded(key: str) -> Refused:
    return Refused("key", f"`{key}` is done already; nothing was written")


def unwritable(problem: Exception) -> Refused:
    """A change whose values no store can hold, such as text with half a surrogate pair."""
    return Refused("key", f"a value cannot be stored ({problem}); nothing was written")

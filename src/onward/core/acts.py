"""What others than its holder may do to a run: people, loops that were left, other journals. Pure, as `decide`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from onward.core import codec
from onward.core.model import ENDED, Begun, Change, Entry, Run
from onward.core.transitions import attempted, freed, mark_of, reopening, transition


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
    return Change(run.no, run.fence, (mark_of(after, event, now, codec.encode(by)),), after=after, before=run)


def carried(run: Run, *, by: str, to: str, now: float) -> Change | None:
    """An unfinished run goes on elsewhere: it is closed here, with a mark that remembers how it stood, and whither."""
    change = acted(run, "cancelled", by=by, now=now)
    if change is None:
        return None
    stood = {"from": run.state, "single": run.single, "wake_at": run.wake_at}
    value = codec.encode({"carried_by": by, "to": to, **stood})
    mark = change.entries[0]._replace(value=value, checksum=codec.checksum(value))
    return change._replace(entries=(mark,))


def blamed(run: Run, begun: Sequence[Begun], error: str, *, now: float) -> Change:
    """An exception has ended the body of these items, of a run that was then given back: it counts like a crash.

    Of the items of a batch each becomes a suspect, as after the death of the process.
    `run` is as it was leased; guarded by its fence alone, so that it is refused once somebody else has claimed the run.
    """
    entries = tuple(attempted(b, "crashed", error, b.begun_at, now) for b in begun)
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
        tuple(reopening(e, run.fence, now) for e in entries),
        (),
        tuple(e.key for e in entries),
        before=run,
    )


def forgotten(run: Run, *, by: str, now: float) -> Change:
    """A person says of a run that is cancelled already that its id is free for a new one."""
    return Change(run.no, run.fence, (mark_of(run, "cancelled", now, codec.encode(by)),), before=run)


def unkeyed(run: Run, *, now: float) -> Change:
    """The time is over in which a run was to be the only one of its key."""
    return Change(run.no, run.fence, after=run._replace(single=None, updated_at=now), before=run)

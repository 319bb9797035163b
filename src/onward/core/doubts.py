"""What a person may say of a step that is in doubt or has failed: what it returned, or that it was not executed."""

from __future__ import annotations

from onward.core import codec
from onward.core.acts import acted
from onward.core.model import Begun, Change, Entry, Run


def settled(run: Run, unit: Entry | Begun, value: str, *, by: str, now: float) -> Change:
    """A person says what a step that failed or is in doubt returned: that is its outcome."""
    done = Entry(
        unit.key, unit.kind, "done", unit.name, None, value, codec.checksum(value), 0, run.fence, None, now
    )
    return _ready(run, (done,), (), (unit.key,), by=by, now=now)


def freed(run: Run, begun: Begun, *, by: str, now: float) -> Change:
    """A person says that the attempt of a step in doubt was not executed: the step may be begun again."""
    value = codec.encode({"freed_by": by})
    entry = Entry(
        begun.key,
        begun.kind,
        "reopened",
        begun.name,
        None,
        value,
        codec.checksum(value),
        begun.attempt,
        run.fence,
        None,
        now,
    )
    again = begun._replace(fence=0, crashes=0, suspect=False, due_at=None)
    return _ready(run, (entry,), (again,), (), by=by, now=now)


def _ready(
    run: Run,
    entries: tuple[Entry, ...],
    begun: tuple[Begun, ...],
    ended: tuple[str, ...],
    *,
    by: str,
    now: float,
) -> Change:
    """What a person says of a unit, and that its run may go on."""
    ready = acted(run, "reset", by=by, now=now)
    if ready is None:  # interrupted: its own call claims it as it is
        return Change(run.no, run.fence, entries, begun, ended, before=run)
    return ready._replace(entries=entries + ready.entries, begun=begun, ended=ended)

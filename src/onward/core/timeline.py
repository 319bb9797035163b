"""What a person sees of a run: its leases and what happened in each, its units and their attempts, how far it is.

Pure: a run, its entries and what has begun go in, a Timeline comes out; the command line and the web only lay it out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple, cast

from onward.core import codec
from onward.core.errors import PayloadError
from onward.core.keys import SEPARATOR
from onward.core.model import Begun, Entry, EntryKind, EntryState, Run, RunState
from onward.core.texts import Failure, failure_of

# `interrupted`: the row says `running`, but its holder is proven dead. Nothing is lost; somebody has to continue it.
ShownState = Literal[RunState, "interrupted"]
UnitState = Literal["done", "failed", "running", "interrupted", "again", "skipped"]
LeaseEnd = Literal[
    "open",
    "died",
    "returned",
    "raised",
    "released",
    "suspended",
    "retried",
    "paused",
    "diverged",
    "doubted",
    "cancelled",
]


class Attempt(NamedTuple):
    """One execution of a unit."""

    no: int
    state: EntryState
    begun_at: float | None
    ended_at: float
    fence: int
    failure: Failure | None


class Beat(NamedTuple):
    """A heartbeat of a unit: what it said, as JSON text, and in which attempt."""

    key: str  # of the unit
    number: int
    attempt: int
    at: float
    details: str


@dataclass(frozen=True, slots=True)
class UnitLine:
    """One step or item: its state now, and the attempts that led there."""

    key: str
    kind: EntryKind
    name: str
    state: UnitState
    attempts: tuple[Attempt, ...]
    crashes: int = 0
    due_at: float | None = None
    begun_at: float | None = None
    seq: int = -1  # of its latest entry
    beats: tuple[Beat, ...] = ()  # its heartbeats, among the entries that were looked at

    @property
    def failure(self) -> Failure | None:
        """Why it failed last, if it is not done."""
        found = [a.failure for a in self.attempts if a.failure is not None]
        return found[-1] if found and self.state not in ("done", "skipped") else None

    @property
    def tries(self) -> int:
        """How often it was executed: what parked or skipped it was no execution."""
        return sum(1 for a in self.attempts if a.no > 0 and not (a.failure and _is_parking(a)))

    @property
    def took_s(self) -> float | None:
        """The length of the attempt that succeeded."""
        done = [a for a in self.attempts if a.state == "done" and a.begun_at is not None]
        return max(0.0, done[-1].ended_at - (done[-1].begun_at or 0.0)) if done else None


def _is_parking(attempt: Attempt) -> bool:
    return (
        attempt.state == "failed"
        and attempt.failure is not None
        and attempt.failure.class_name == "onward.core.errors:StepCrashed"
    )


class Lease(NamedTuple):
    """A stretch of time in which one process executed the run."""

    fence: int
    owner: str
    begun_at: float
    last_sign_at: float  # when it last recorded something, or ended
    end: LeaseEnd
    units_done: int
    units_failed: int
    whole: bool  # otherwise it did more than is counted here: only its latest entries were looked at


class Gap(NamedTuple):
    """A stretch of time in which nobody executed the run, after the lease `fence`."""

    fence: int
    begun_at: float
    ended_at: float
    died: bool  # the process before it died; otherwise it had given the run back


class Mark(NamedTuple):
    """Something that happened to the run itself."""

    at: float
    event: str
    by: str | None


class Kept(NamedTuple):
    """Work that earlier leases did and that was not done again."""

    units: int
    work_s: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """A run as it is shown. `cut` when only its latest entries were looked at."""

    run: Run
    state: ShownState
    leases: tuple[Lease, ...]
    gaps: tuple[Gap, ...]
    marks: tuple[Mark, ...]
    units: tuple[UnitLine, ...]
    kept: Kept
    cut: bool

    @property
    def worked_s(self) -> float:
        """How long somebody executed it, as far as its leases were looked at."""
        return sum(max(0.0, lease.last_sign_at - lease.begun_at) for lease in self.leases)

    @property
    def repeated(self) -> int:
        """How many executions a death cut off: work that had to be done again."""
        return sum(1 for unit in self.units for attempt in unit.attempts if attempt.state == "crashed")

    @property
    def dead_s(self) -> float:
        """How long nobody worked on it because a process had died."""
        return sum(gap.ended_at - gap.begun_at for gap in self.gaps if gap.died)

    @property
    def failed(self) -> tuple[UnitLine, ...]:
        return tuple(unit for unit in self.units if unit.state == "failed")

    @property
    def in_flight(self) -> tuple[UnitLine, ...]:
        """What is being executed now, was when the process died, or is due to be tried again."""
        return tuple(unit for unit in self.units if unit.state in ("running", "interrupted", "again"))


def shown_state(run: Run, *, holder_is_dead: bool) -> ShownState:
    return "interrupted" if run.state == "running" and holder_is_dead else run.state


def timeline(
    run: Run,
    entries: Sequence[Entry],
    begun: Sequence[Begun],
    *,
    now: float,
    holder_is_dead: bool,
    kept: int | None = None,
) -> Timeline:
    """What the entries tell, which are in order of seq.

    They may be the latest ones and a few older ones; then older leases and units are missing. `kept` is how many units
    were done before the latest lease, if that is known better than from the entries.
    """
    state = shown_state(run, holder_is_dead=holder_is_dead)
    since = _since(entries)
    leases = _leases(run, entries, state, since)
    return Timeline(
        run,
        state,
        leases,
        _gaps(leases, state, now),
        tuple(_mark(entry) for entry in entries if entry.state == "mark"),
        _units(run, entries, begun, state),
        _kept(run, entries, kept),
        since > 0,
    )


# -- leases and the time between them ---------------------------------------------------------------

_ENDS: Final = (
    "returned",
    "raised",
    "released",
    "suspended",
    "retried",
    "paused",
    "diverged",
    "doubted",
    "cancelled",
)


def _since(entries: Sequence[Entry]) -> int:
    """The entry from which on none is missing."""
    since = entries[-1].seq if entries else 0
    for entry in reversed(entries):
        if entry.seq < since - 1:
            break
        since = entry.seq
    return since


def _leases(run: Run, entries: Sequence[Entry], state: ShownState, since: int) -> tuple[Lease, ...]:
    claims: list[Entry] = []
    by_fence: dict[int, list[Entry]] = {}
    for entry in entries:
        by_fence.setdefault(entry.fence, []).append(entry)
        if entry.kind == "mark" and entry.name == "claimed":
            claims.append(entry)
    return tuple(_lease(run, claim, by_fence[claim.fence], state, since) for claim in claims)


def _lease(run: Run, claim: Entry, own: Sequence[Entry], state: ShownState, since: int) -> Lease:
    last_sign_at, end = claim.ended_at, _unended(run, claim)
    own = [entry for entry in own if not _is_by_hand(entry)]
    for entry in own:
        if entry.kind == "mark" and end in _ENDS:
            continue  # what became of the run after its end
        # The next holder writes `crashed` on behalf of the dead one; only the beginning is the dead one's own.
        at = entry.begun_at if entry.state == "crashed" and entry.value is None else entry.ended_at
        last_sign_at = max(last_sign_at, at or 0.0)
        if entry.kind == "mark" and entry.name in _ENDS:
            end = cast(LeaseEnd, entry.name)
    if end == "open" and state == "interrupted":
        end = "died"
    top = [entry for entry in own if entry.kind in ("step", "item") and SEPARATOR not in entry.key]
    done, failed = (sum(1 for entry in top if entry.state == wanted) for wanted in ("done", "failed"))
    owner, whole = _text(claim.value) or "", claim.seq >= since
    return Lease(claim.fence, owner, claim.ended_at, last_sign_at, end, done, failed, whole)


def _is_by_hand(entry: Entry) -> bool:
    """Whether it was recorded of the run, not by its holder: it carries the fence of the lease before all the same.

    Where the holder itself has opened a unit again, a mark of the same moment is its sign.
    """
    if entry.kind == "mark":
        return entry.name == "renamed"
    return entry.state == "reopened" or (entry.state == "done" and entry.attempt == 0)


def _unended(run: Run, claim: Entry) -> LeaseEnd:
    """How a lease ended that no mark tells of: what came after it must have begun with its holder's death."""
    return "open" if claim.fence == run.fence else "died"


def _gaps(leases: Sequence[Lease], state: ShownState, now: float) -> tuple[Gap, ...]:
    starts = [lease.begun_at for lease in leases[1:]]
    if leases and leases[-1].end != "open" and state not in ("done", "cancelled"):
        starts.append(now)
    return tuple(
        Gap(lease.fence, lease.last_sign_at, max(start, lease.last_sign_at), lease.end == "died")
        for lease, start in zip(leases, starts, strict=False)
    )


def _mark(entry: Entry) -> Mark:
    # What a person did names them; the other marks carry arguments and owners.
    named = entry.name in ("cancelled", "paused", "resumed", "reset", "renamed")
    carried = _carried_by(entry.value) if entry.name == "cancelled" else None
    if carried is not None:
        return Mark(entry.ended_at, "closed here, to go on elsewhere,", carried)
    # By `onward retry` or `skip`; `onward reset` cancels.
    event = "made ready again" if entry.name == "reset" else entry.name
    return Mark(entry.ended_at, event, _text(entry.value) if named else None)


def _carried_by(value: str | None) -> str | None:
    """Who closed the run only because it goes on in another journal."""
    found = _decoded(value)
    by = found.get("carried_by") if isinstance(found, dict) else None
    return by if isinstance(by, str) else None


# -- units ------------------------------------------------------------------------------------------


def _units(
    run: Run, entries: Sequence[Entry], begun: Sequence[Begun], state: ShownState
) -> tuple[UnitLine, ...]:
    by_key: dict[str, list[Entry]] = {}
    beats: dict[str, list[Beat]] = {}
    for entry in entries:
        if entry.kind == "beat":
            beats.setdefault(entry.key.rpartition(SEPARATOR)[0], []).append(beat_of(entry))
        elif entry.kind != "mark":
            by_key.setdefault(entry.key, []).append(entry)
    started = {one.key: one for one in begun}
    units = [_unit(run, own, started.pop(key, None), state) for key, own in by_key.items()]
    units += [_unit(run, (), one, state) for one in started.values()]
    if beats:
        units = [replace(unit, beats=tuple(beats.get(unit.key, ()))) for unit in units]
    return tuple(units)


def beat_of(entry: Entry) -> Beat:
    """A heartbeat, from its entry."""
    unit, _, name = entry.key.rpartition(SEPARATOR)
    return Beat(unit, int(name.rpartition("~")[2]), entry.attempt, entry.ended_at, entry.value or "null")


def _unit(run: Run, own: Sequence[Entry], begun: Begun | None, state: ShownState) -> UnitLine:
    attempts = tuple(_attempt(entry) for entry in own if entry.state != "reopened")
    if begun is None:
        last = own[-1]
        return UnitLine(last.key, last.kind, last.name, _settled(own), attempts, seq=last.seq)
    return UnitLine(
        begun.key,
        begun.kind,
        begun.name,
        _unsettled(run, begun, state),
        attempts,
        begun.crashes,
        begun.due_at,
        begun.begun_at,
        own[-1].seq if own else -1,
    )


def _attempt(entry: Entry) -> Attempt:
    failure = failure_of(entry.value) if entry.state in ("failed", "retry", "crashed") else None
    return Attempt(entry.attempt, entry.state, entry.begun_at, entry.ended_at, entry.fence, failure)


def _settled(own: Sequence[Entry]) -> UnitState:
    """The state of a unit that is not begun now. A done entry stands, whatever else is recorded."""
    done = [entry for entry in own if entry.state == "done"]
    if done:
        return "skipped" if done[-1].attempt == 0 else "done"
    return "failed" if own[-1].state == "failed" else "again"


def _unsettled(run: Run, begun: Begun, state: ShownState) -> UnitState:
    if begun.fence == run.fence and state == "running":
        return "running"
    return "interrupted" if begun.fence == run.fence and state == "interrupted" else "again"


def _kept(run: Run, entries: Sequence[Entry], known: int | None) -> Kept:
    """What is done and was done before the latest lease; its length by the mean of those that were looked at."""
    done = [
        entry
        for entry in entries
        if entry.state == "done" and entry.kind in ("step", "item") and SEPARATOR not in entry.key
    ]
    before = [entry for entry in done if entry.fence < run.fence]
    if known is None or known <= len(before):
        return Kept(len(before), _lengths(before))
    seen = before or done
    return Kept(known, known * _lengths(seen) / len(seen) if seen else 0.0)


def _lengths(entries: Iterable[Entry]) -> float:
    return sum(max(0.0, entry.ended_at - entry.begun_at) for entry in entries if entry.begun_at is not None)


def _text(value: str | None) -> str | None:
    found = _decoded(value)
    return found if isinstance(found, str) else None


def _decoded(value: str | None) -> object:
    if value is None:
        return None
    try:
        return codec.decode(value)
    except PayloadError:
        return None

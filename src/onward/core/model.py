"""The nouns of the journal: Run, Entry, Begun, Change.

Times are seconds since the epoch (UTC, the database's clock); payloads are JSON text (see codec).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any, Final, Literal, NamedTuple

RunKind = Literal["loop", "map", "workflow"]
RunState = Literal["pending", "running", "waiting", "paused", "stuck", "done", "failed", "cancelled"]
# beat: a heartbeat of the unit in whose scope its key stands; always done.
EntryKind = Literal["step", "item", "sleep", "value", "child", "beat", "mark"]
# done, failed: outcomes. retry: an attempt that failed and will be repeated. crashed: the process died in it.
# reopened: a failed outcome that is to be executed again. mark: an event of the run itself.
EntryState = Literal["done", "failed", "retry", "crashed", "reopened", "mark"]
Request = Literal["pause", "cancel"]

CLOSED: frozenset[RunState] = frozenset(("done", "cancelled"))  # never continued by calling again
ENDED: frozenset[RunState] = frozenset(("done", "failed", "cancelled"))


class Run(NamedTuple):
    """One execution of a loop, a map or a workflow.

    A tuple, because a queued run is read, claimed and ended for every job: a frozen dataclass of as many fields takes
    six times as long to copy.
    """

    id: str
    kind: RunKind
    name: str
    identity: str  # what a direct call is recognised by; unique among unfinished direct runs
    args: str | None = None
    direct: bool = True
    state: RunState = "pending"
    fence: int = 0  # counts leases; a commit under an older fence is refused
    owner: str | None = None
    lease_until: float | None = None
    wake_at: float | None = None
    request: Request | None = None
    stalls: int = 0  # leases in a row that ended uncleanly without recording anything
    leased_seq: int = -1  # the last entry when the current lease began
    result: str | None = None
    error: str | None = None
    command: str | None = None  # what a person types to continue it
    total: int | None = None
    done: int = 0  # items done up to entry `counted_seq`; readers add later ones
    counted_seq: int = -1
    created_at: float = 0.0
    updated_at: float = 0.0
    # Of runs that workers execute (not `direct`):
    queue: str = ""
    priority: int = 0  # higher ones first
    lane: str | None = None  # what a queue's limit per key counts it under
    single: str | None = None  # no other run that is stored has it at the same time, see decide.freed
    tags: str | None = None  # a JSON array of text
    parent: str | None = None  # the id of the run that started it
    attempt: int = 0  # how often it has failed as a whole
    no: int = 0  # the store's number for it; 0 before it is stored


class Entry(NamedTuple):
    """One record of a run's journal. Append-only; a tuple because one is made for every step.

    `key` names the unit within its run; at most one entry of a key is `done`. The store assigns `seq`.
    """

    key: str
    kind: EntryKind
    state: EntryState
    name: str
    fingerprint: bytes | None = None
    value: str | None = None  # the payload: result, error, wake-up time, ...
    checksum: int | None = None
    attempt: int = 1
    fence: int = 0
    begun_at: float | None = None
    ended_at: float = 0.0
    seq: int = -1


class Begun(NamedTuple):
    """A unit that has begun and has no outcome yet: what is in flight, or was when the process died."""

    key: str
    kind: EntryKind
    name: str
    attempt: int = 1
    crashes: int = 0
    suspect: bool = False  # was in flight, not alone, when the process died
    due_at: float | None = None  # its next attempt is not before this time
    fence: int = 0
    begun_at: float = 0.0


class Progress(NamedTuple):
    """What a loop's run row says of it."""

    done: int
    total: int | None
    seq: int


class Change(NamedTuple):
    """All that one fact changes in one run. A store applies all of it in one transaction, or nothing.

    Guard: the stored fence equals `fence`. With `before` (a claim, or a change made without a lease) the stored owner,
    lease_until and state must also equal those of `before`. With `create` the run must not exist yet, nor another
    open direct run of its identity.
    """

    run_no: int
    fence: int
    entries: tuple[Entry, ...] = ()
    begun: tuple[Begun, ...] = ()
    ended: tuple[str, ...] = ()  # keys that leave the set of begun ones
    after: Run | None = None
    before: Run | None = None
    progress: Progress | None = None
    create: bool = False
    beside: tuple[Change, ...] = ()  # of other runs: written together with this one, or none of them
    awaits: tuple[str, ...] = ()  # ids of runs: when the first of them has ended, this one is due


class Claim(NamedTuple):
    """A worker asks for up to `limit` runs of the queues that are ready: no delay, timer or limit is in their way.

    `names` are the workflows that it knows; `queues` those that it serves, all of them if there are none.
    """

    owner: str
    lease_s: float
    names: tuple[str, ...]
    queues: tuple[str, ...] = ()
    limit: int = 1


class Claimed(NamedTuple):
    """What a Claim got: runs that are leased now, each with the number of its last entry.

    `next_at`: when the next run that was seen waiting is due, by the store's clock; None if none is.
    """

    runs: tuple[tuple[Run, int], ...]
    next_at: float | None = None


class Arrival(NamedTuple):
    """An item for the run of a workflow that takes many at once.

    It joins the stored run with the `single` of `run` that has not begun, if that holds fewer than `at_most`; else
    `run` is added for it. With `key` it joins once: another one of that workflow and key is the same.
    """

    run: Run
    item: str  # JSON
    at_most: int
    key: str | None = None


class Arrived(NamedTuple):
    """The run that an Arrival is in. Not `new` where it had come before."""

    run_no: int
    run_id: str
    new: bool


class Lot(NamedTuple):
    """Runs that are added together and differ in little, so that nothing of what they share is made for each.

    `like` and `mark`, its first entry, say all but the columns, in which each run has its place. An identity is
    `prefix` and id; what `mark` records are the arguments.
    """

    like: Run
    mark: Entry
    prefix: str
    ids: Sequence[str]
    args: Sequence[str]
    checksums: Sequence[int]  # of the arguments
    lanes: Sequence[str | None]
    singles: Sequence[str | None]

    @property
    def shared(self) -> tuple[Any, ...]:
        """What the rows of all of them have in common."""
        shared: tuple[Any, ...] = _SHARED(self.like)
        return shared

    def run(self, at: int) -> Run:
        own = self.ids[at]
        return self.like._replace(
            id=own,
            identity=self.prefix + own,
            args=self.args[at],
            lane=self.lanes[at],
            single=self.singles[at],
        )

    def change(self, at: int) -> Change:
        """The change that adds one of them alone."""
        mark = self.mark._replace(value=self.args[at], checksum=self.checksums[at])
        return Change(0, 0, (mark,), after=self.run(at), create=True)


_OWN: Final = ("id", "identity", "args", "lane", "single", "no")
_SHARED: Final = itemgetter(*(at for at, name in enumerate(Run._fields) if name not in _OWN))


class Added(NamedTuple):
    """The numbers of a Lot's runs, in their order; 0 of one whose id or `single` is taken, which was left out."""

    numbers: Sequence[int]


class End(NamedTuple):
    """A run that is held has returned `value` at `at`, and nothing else is to be written of it.

    In little what `core.decide.returned` says at length; a store may write it at a fraction of what a Change costs.
    """

    run: Run
    value: str | None
    at: float


class Leasing(NamedTuple):
    """Runs that were never leased, as a claim leases all of them at once, so that nothing of what they share is made
    for each. `mark` is the entry that each of them gets; where it stands is each one's `leased_seq`.
    """

    taken: Sequence[tuple[Run, int]]  # as they stood, each with the number of its last entry
    runs: Sequence[Run]  # as they are leased, in the same order
    mark: Entry

    def changes(self) -> Iterator[Change]:
        """The same, one by one."""
        for (before, _), after in zip(self.taken, self.runs, strict=True):
            yield Change(before.no, before.fence, (self.mark,), after=after, before=before)


class Applied(NamedTuple):
    """A change that is durable. `seq` is that of the run's last entry."""

    run_no: int
    seq: int
    request: Request | None


# What every step makes is made by these: the constructor of a NamedTuple is written in Python, at twice the cost.
_new: Final = tuple.__new__


def made(fields: tuple[Any, ...]) -> Entry:
    """The entry with these fields, all of them."""
    return _new(Entry, fields)


def run_of(fields: tuple[Any, ...]) -> Run:
    """The run with these fields, all of them."""
    return _new(Run, fields)


def change_of(fields: tuple[Any, ...]) -> Change:
    """The change with these fields, all of them."""
    return _new(Change, fields)


def end_of_run(run: Run, value: str | None, at: float) -> End:
    """The end of a run that has returned."""
    return _new(End, (run, value, at))


def applied(run_no: int, seq: int) -> Applied:
    """A change that is durable, of a run of which nobody asked anything."""
    return _new(Applied, (run_no, seq, None))


def with_entry(run: Run, entry: Entry, ended: tuple[str, ...]) -> Change:
    """The change that adds one entry to a leased run; the units `ended` leave the set of begun ones."""
    return _new(Change, (run.no, run.fence, (entry,), (), ended, None, None, None, False, (), ()))


def starts(run: Run, begun: Begun) -> Change:
    """The change by which a unit begins."""
    return _new(Change, (run.no, run.fence, (), (begun,), (), None, None, None, False, (), ()))


class Refused(NamedTuple):
    """A change of which nothing was written, because its guard did not hold."""

    reason: Literal["fence", "lease", "exists", "missing", "key", "moved"]
    detail: str
    run_no: int = 0  # of the change `beside` that was refused; 0 if it was the change itself


Answer = Applied | Refused
# What a store is asked for in one batch, and what it answers: a Change and an End are answered by an Answer, a Claim by
# Claimed, an Arrival by Arrived or Refused, a Lot by Added or Refused.
Order = Change | End | Claim | Arrival | Lot
Answered = Answer | Claimed | Arrived | Added


class Owner(NamedTuple):
    """A process that leases runs."""

    id: str
    host: str
    boot: str
    pid: int
    command: str
    started_at: float


class WorkerRow(NamedTuple):
    """A worker, as it describes itself: for people, and to tell what nobody works on."""

    owner: str
    names: tuple[str, ...]  # the workflows that it knows
    queues: tuple[str, ...]  # those that it serves; all if there are none
    concurrency: int
    state: Literal["working", "draining"]
    seen_at: float


class QueueCounts(NamedTuple):
    """How many runs of a queue are in which state, each counted up to a bound, and when its oldest pending one came."""

    pending: int
    waiting: int
    running: int
    failed: int
    oldest_at: float | None


class ItemCounts(NamedTuple):
    done: int
    failed: int
    total: int | None

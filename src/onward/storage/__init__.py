"""The port: what every store promises. `tests/storage` checks each line of it on each store.

A store knows rows and guards, not rules: which change a fact means is decided in `core`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from onward.core.flow import Settings
from onward.core.model import (
    Answer,
    Answered,
    Begun,
    Entry,
    Order,
    Owner,
    QueueCounts,
    Request,
    Run,
    RunState,
    WorkerRow,
)
from onward.core.schedules import Move, Schedule
from onward.storage.bell import Bell


class Store(Protocol):
    """A journal. Safe to use from many threads; `commit` is called by one thread at a time (see committer)."""

    @property
    def place(self) -> str:
        """Where it is, for people: a path, or a URL without its password."""
        ...

    @property
    def doubts(self) -> Sequence[str]:
        """What at this place is in the way of what is promised, a sentence each; nothing, as a rule."""
        ...

    def now(self) -> float:
        """The store's clock: leases and timers are judged by it alone. Seconds since the epoch."""
        ...

    # -- writing ------------------------------------------------------------------------------------

    def commit(self, changes: Sequence[Order]) -> list[Answered]:
        """Apply the changes in one transaction, in order, and return one answer each once it is durable.

        A change whose guard does not hold is answered `Refused` and leaves no trace; the others go through. Entries get
        the next numbers of their run: dense, from 0. Units leave the set of begun ones before others enter it. A value
        that no journal can hold (half a surrogate pair) refuses its change alone. A change and those `beside` it have
        one answer: if the guard of one of them does not hold, nothing of any of them is written.

        `after` does not undo what others have written since: a lease that its change keeps is never shortened, and a
        request that the writer has not seen stays unless this change grants it, a wake-up that came since stays, and a
        `single` that was given up is not taken again. Id, kind, name, identity, direct and
        created_at, queue, lane and parent of a run never change (but see `rename`); the number of a deleted run is
        never given again. Of the runs that have the same `single` at most one is stored; another is refused (`exists`).

        A run whose change `awaits` others is due as soon as one of them has ended, even if that is the case already.

        A Claim is answered `Claimed` and sees what stands before it: pending and due runs of the queues, by priority,
        what has waited for its time before what never began, each in its order, as far as the queues' limits let
        them through (`core.flow`): at no moment are more runs of a queue or a lane being executed, or have more of them
        begun within a rate's window, than that. Each is leased as `core.claiming.claimed` says. Two claims never get
        the same run. What one lane holds back hides no other lane, and costs a claim no more than a bounded look.

        An Arrival is answered `Arrived`: its item is in a run that has not begun, or it came before under its key; or
        `Refused` (`key`: another item came under that key). The first claim of the run makes the items that have
        arrived, in their order, its one argument.

        Raises JournalFull (nothing applied, may be repeated), JournalBusy (likewise), JournalBroken (nothing may be
        acknowledged any more), OutcomeUnknown.
        """
        ...

    def renew(self, owner: str, until: float) -> list[tuple[int, Request | None]]:
        """Extend all live leases of `owner` to `until`; return the runs it still holds and what is asked of them.

        A lease that has ended is extended too if nobody has claimed the run since: the fence decides.
        """
        ...

    def request(self, run_no: int, request: Request | None) -> bool:
        """Ask the holder of the run's lease to pause or cancel; None takes a pause back.

        False if nobody holds it, who could hear of it, or if it is to be cancelled: that is not taken back.
        """
        ...

    def register(self, owner: Owner) -> None:
        """Make this process known; its death is noticed at once where the store can tell."""
        ...

    def unregister(self, owner: str) -> None: ...

    def note_end(self, owner: str) -> None:
        """Note beside the journal, which takes no writes just now, that this process ends by itself with runs in hand.

        As far as that is possible; never raises.
        """
        ...

    def delete(self, run_no: int) -> None:
        """Remove a run and everything of it."""
        ...

    def add_run(
        self, run: Run, entries: Iterable[Entry], begun: Iterable[Begun], *, instead_of: Run | None = None
    ) -> Answer:
        """Add a whole run that comes from another journal, in one transaction and without holding it in memory.

        Its entries are numbered from 0 in their order; everything else is stored as it is given. Refused (`exists`) if
        there is a run of its id, or another open direct run of its identity; (`key`) if a unit is done twice. With
        `instead_of` that run is removed in the same transaction, unless it has changed since it was read. An exception
        that `entries` raises leaves nothing written.
        """
        ...

    def set_moved(self, to: str | None) -> None:
        """Everything of this journal goes on at `to`: no run is added here any more (`moved`); None takes that back."""
        ...

    def moved_to(self) -> str | None:
        """Where everything of this journal goes on, if it was moved."""
        ...

    def rename(self, run: Run, *, name: str, identity: str, command: str | None, mark: Entry) -> Answer:
        """Give a run another name, identity and command, and record `mark`; the one exception to what never changes.

        Refused (`lease`, `fence`) if the run has changed since it was read, (`exists`) if another open direct run has
        that identity already.
        """
        ...

    def prune(self, run: Run, *, at_most: int) -> Answer:
        """Remove up to `at_most` of a run's entries, the latest first, and with the last of them the run itself.

        The answer's `seq` is the number of the latest entry that is left: -1 when the run is gone. Refused if the run
        has changed since it was read. Between two calls the run is there, numbered without a gap.
        """
        ...

    def move_schedules(self, moves: Sequence[Move]) -> list[bool]:
        """Apply each move whose schedule is still as it was read; which of them were, once all of it is durable.

        All in one transaction. A schedule is as it was read if it has the revision of `before`, or is not there where
        that is None. Then its row becomes `after`, or is removed; its `starts` are added but for those whose run id is
        taken; and of the runs that it `cancels` the leased ones are asked to cancel, the other unfinished ones are
        cancelled. A later move of the same call sees what an earlier one has written. A journal that was moved
        (`set_moved`) applies none.
        """
        ...

    # -- reading ------------------------------------------------------------------------------------

    def run(self, run_id: str) -> Run | None: ...

    def open_run(self, identity: str) -> Run | None:
        """The unfinished direct run of this identity (neither done nor cancelled); at most one exists."""
        ...

    def latest_run(self, identity: str) -> Run | None:
        """The direct run of this identity that was added last."""
        ...

    def runs(
        self,
        *,
        states: Sequence[RunState] = (),
        name: str | None = None,
        limit: int = 100,
        before_no: int | None = None,
    ) -> list[Run]:
        """Newest first."""
        ...

    def entries(self, run_no: int, *, after: int = -1, limit: int = -1) -> list[Entry]:
        """Entries with seq > `after`, in order."""
        ...

    def recorded(self, run_no: int) -> Sequence[tuple[Any, ...]]:
        """All entries of a run, in order, as tuples of their fields: making thousands of Entries takes its time."""
        ...

    def last_seq(self, run_no: int) -> int:
        """The number of the run's last entry; -1 if it has none."""
        ...

    def done_items(self, run_no: int, depth_key: str, *, after: int, limit: int) -> list[tuple[int, str]]:
        """(seq, key) of the done items directly under `depth_key`, with seq > `after`, in order of seq.

        Directly: after that prefix the key holds no further scope, so an item's own inner items are not among them.
        """
        ...

    def outcome(self, run_no: int, key: str) -> Entry | None:
        """What is recorded under the key: its `done` entry, else its latest `failed` one, unless it was reopened."""
        ...

    def scope_entries(self, run_no: int, prefix: str) -> list[Entry]:
        """The outcomes (done, failed, reopened) of all that starts with `prefix`, in order of seq.

        Costs as much as there are, however long the run is. Attempts and marks are not among them.
        """
        ...

    def failed_items(self, run_no: int) -> list[Entry]:
        """The latest failed entry of every item that has not been done or reopened since, in order of seq."""
        ...

    def count_items(self, run_no: int, after: int) -> int:
        """How many top-level items were done after entry number `after`."""
        ...

    def begun(self, run_no: int) -> list[Begun]:
        """Units begun and without outcome, oldest first."""
        ...

    def single_run(self, single: str) -> Run | None:
        """The run that has this `single`."""
        ...

    def queues(self) -> list[Settings]:
        """Every queue that ever had a run or was given limits, by name."""
        ...

    def set_queue(
        self, name: str, *, paused: bool | None = None, declared: str | None = None, chosen: str | None = None
    ) -> None:
        """Write what is given of a queue, for all claims from now on; the queue need not be there yet."""
        ...

    def queue_counts(self, queue: str, *, at_most: int) -> QueueCounts:
        """How many runs of a queue are in which state, each counted up to `at_most`, so that it costs no more."""
        ...

    def dead_runs(self, queue: str, *, limit: int, before_no: int | None = None) -> list[Run]:
        """The failed runs of a queue, newest first."""
        ...

    def announce(self, worker: WorkerRow) -> None:
        """Make known what a worker knows and does; it is forgotten with its owner."""
        ...

    def workers(self) -> list[WorkerRow]:
        """Those that have announced themselves, whoever was seen last first; some may be dead."""
        ...

    def ready(self, *, now: float, at_most: int) -> list[tuple[str, str, int, float]]:
        """(queue, workflow, how many, created_at of the oldest) of queued runs that are pending, or due at `now`.

        Counts at most so many that are pending, and so many of each workflow that are due.
        """
        ...

    def holders(self) -> list[tuple[str, float]]:
        """Who executes queued runs, and when the first lease of each ends."""
        ...

    def runs_held(self, owner: str, *, limit: int) -> list[Run]:
        """Queued runs that `owner` executes, or did when it died."""
        ...

    def schedules(self) -> list[Schedule]:
        """All schedules, by name."""
        ...

    def unfinished(self, run_ids: Sequence[str]) -> list[str]:
        """Which of these runs are there and have not ended."""
        ...

    def runs_of_schedule(self, name: str, *, limit: int) -> list[Run]:
        """The runs that a schedule of this name has started, the latest nominal time first."""
        ...

    def owner(self, owner_id: str) -> Owner | None: ...

    def owner_is_dead(self, owner_id: str) -> bool:
        """True only if it is proven that the process is dead.

        The kernel has freed its lock or its number, on this boot; or its session with the database is gone and has not
        come back for a while. Never from the age of a lease: that is for who asks.
        """
        ...

    def ended_alive(self, owner_id: str) -> bool:
        """Whether `note_end` has left a note of this owner."""
        ...

    def requests(self, owner: str) -> list[tuple[int, Request]]:
        """What is asked of the runs that `owner` holds: (run number, request)."""
        ...

    def version(self) -> object:
        """A cheap value that changes when anybody has written: waiting without polling the rows.

        At once for what others wait for (runs that are queued, asked, released or at their end) and for all that this
        process writes; for the rest within a second. It may change without need.
        """
        ...

    def doorbell(self) -> Bell | None:
        """What rings when anybody has written, or has begun to; None if there is no such thing here. For one listener.

        What was written then is visible, and `version` another one, when its commit is durable. The store closes it.
        """
        ...

    def linger(self, seconds: float) -> None:
        """Sleep for so long, or less if it is known sooner that somebody has written; any number of threads may."""
        ...

    def problems(self) -> Iterator[str]:
        """What is wrong with the stored data, a sentence each: structure, checksums, numbering."""
        ...

    # -- life -----------------------------------------------------------------------------------------

    def backup(self, target: Path) -> None:
        """Copy the journal as it is at this moment into the file `target`, while others go on writing.

        JournalUnusable, naming the tool, where the database has its own way to make copies.

        The copy is complete, checked and durable before it takes its place; readable by its owner alone. It replaces
        an earlier copy, and nothing else. Raises UsageError (that is no place for a copy), JournalUnusable (it cannot
        be written there), JournalFull, JournalBroken (the journal is damaged, so there is no copy); then `target` is
        as it was.
        """
        ...

    def shrink(self) -> None:
        """Give back the room of what was removed: to the disk, or to what the database writes next.

        Writers may have to wait; SQLite needs as much room again meanwhile.
        """
        ...

    def tidy(self) -> None:
        """Housekeeping off the commit path (a WAL checkpoint); called now and then by the owner's keeper."""
        ...

    def abandon(self) -> None:
        """Forget every handle without closing it: what a forked child does with its parent's store."""
        ...

    def close(self) -> None: ...

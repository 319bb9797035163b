"""One write transaction: many changes of many runs, each behind its guard, in two round trips.

The first begins, locks the rows of all runs that the changes are for, in the order of their numbers, and reads their
guards. Then the changes are checked and their rows collected. The second writes them, a statement for each table, and
commits. A begun unit that ends within the same batch never reaches the disk. A claim sees what stands before it, so
that is written first, together with the questions of the claim.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

import psycopg

from onward.core.model import ENDED, Answered, Applied, Begun, Change, Claim, Order, Refused, Run
from onward.storage import claims, guards
from onward.storage.guards import Guard
from onward.storage.postgres import rows
from onward.storage.postgres.arrays import columns, ints, texts
from onward.storage.postgres.failures import UNIQUE, code, is_unwritable
from onward.storage.postgres.link import Link, Row, Step
from onward.storage.postgres.longtext import short
from onward.storage.postgres.shelf import Shelf, reads

# What packing does with a value that no journal can hold: half a surrogate pair, a number beyond 64 bits.
UNPACKABLE: Final = (UnicodeEncodeError, OverflowError, TypeError, ValueError, struct.error)
_RUN_INDEXES: Final = ("run_id", "run_open", "run_single")


class Clash(Exception):
    """A change that collides with what is stored or with its own batch; the transaction must be taken back."""

    def __init__(self, refused: Refused) -> None:
        self.refused = refused
        super().__init__(refused.detail)


class Transaction:
    """The changes of one batch. What is found and left of each run tells afterwards whether it was committed."""

    def __init__(self, link: Link, now: Callable[[], float]) -> None:
        self._link, self._now = link, now
        self.answers: list[Answered] = []
        self.found: dict[int, Guard] = {}  # as stored when it was locked
        self.left: dict[int, Guard] = {}  # as it will be stored
        self.heard = False  # whether others may be waiting for what it does
        # Something of what it writes, by which it is recognised later.
        self.first_entry: Row | None = None
        self.created: dict[str, int] = {}
        self.numbers: list[int] = []  # for new runs
        self._forget_rows()

    def _forget_rows(self) -> None:
        self._new: list[Row] = []
        self._entries: list[Row] = []
        self._begun: dict[tuple[int, str], Begun | None] = {}
        self._runs: dict[int, Run] = {}
        self._progress: dict[int, Row] = {}
        self._queues: set[str] = set()
        self._starts: list[Row] = []
        self._waiters: list[Row] = []
        self._ended: list[str] = []

    def begin(self, orders: Sequence[Order], *further: Step) -> list[list[Row]]:
        """Begin, and read and lock what the orders need; the rows of `further` statements, which see it locked."""
        changes = [order for order in orders if type(order) is Change]
        numbers = ints(sorted(_numbers(changes)))
        new = sum(change.create for change in changes)
        steps: list[Step] = [("begin", ()), _guards(changes, numbers), ("last_seqs", (numbers,))]
        if new:
            steps.append(("new_numbers", (new,)))
        _, stored, last, *more = self._link.all(*steps, *further)
        self.numbers = [no for (no,) in more.pop(0)] if new else []
        self.found = guards_of(stored, last)
        self.left = dict(self.found)
        return more

    def answer(self, order: Order) -> Answered:
        """Apply a change, or claim runs."""
        if type(order) is Claim:
            return self._claim(order)
        assert type(order) is Change
        return self.apply(order)

    def apply(self, change: Change) -> Applied | Refused:
        """Check the change's guard and collect its rows. A refusal leaves no trace."""
        if change.create:
            no, guard = self._create(change)
        else:
            no, found = change.run_no, self.left.get(change.run_no)
            refused = guards.refusal(change, found) or self._refused_beside(change)
            if refused is not None:
                return refused
            assert found is not None, "a change without a guard is refused as missing"
            guard = found
        seq = guard.seq
        for entry in change.entries:
            seq += 1
            self._entries.append(rows.entry_row(no, seq, entry))
        if self.first_entry is None and self._entries:
            self.first_entry = self._entries[0]
        for key in change.ended:
            self._begun[no, key] = None
        for begun in change.begun:
            self._begun[no, begun.key] = begun
        self.left[no] = guard = self._row(no, change, guard._replace(seq=seq))
        self._waiters += [(awaited, no) for awaited in change.awaits]
        for other in change.beside:
            self.apply(other)  # its guard holds, see above
        return Applied(no, seq, guard.request)

    # -- one change -------------------------------------------------------------------------------------

    def _create(self, change: Change) -> tuple[int, Guard]:
        run = change.after
        assert run is not None, "a change that creates a run says what run"
        no = self.numbers.pop(0)
        self._new.append(rows.new_run(run, no))
        self.created[run.id] = no
        if not run.direct:
            self._queues.add(run.queue)
            self.heard = True
        return no, guards.written(run, -1)

    def _refused_beside(self, change: Change) -> Refused | None:
        """Why one of the changes beside may not be written; then none of them is."""
        for other in change.beside:
            refused = guards.refusal(other, self.left.get(other.run_no))
            if refused is not None:
                return refused._replace(run_no=other.run_no)
        return None

    def _row(self, no: int, change: Change, guard: Guard) -> Guard:
        """Collect what the change does to the run's row, which for most changes is nothing."""
        if change.after is not None and not change.create:
            run = guards.kept(change, change.after, guard)
            self._runs[no] = run
            self._progress.pop(no, None)  # overwritten
            guard = guards.written(run, guard.seq)
            self.heard = self.heard or run.state != "running"
            if run.state in ENDED:
                self._ended.append(run.id)
        if change.progress is not None:
            done, total, counted = change.progress
            if no in self._runs:
                self._runs[no] = replace(self._runs[no], done=done, total=total, counted_seq=counted)
            else:
                self._progress[no] = (done, total, counted, no)
        return guard

    # -- a claim ------------------------------------------------------------------------------------------

    def _claim(self, order: Claim) -> Answered:
        now = self._now()
        before = self.steps()
        found = self._link.all(*before, *reads(order, now))
        self.written()
        return claims.claim(Shelf(self._link, self, found[len(before) :]), order, now)

    def know(self, no: int, guard: Guard) -> None:
        """A run that was locked by a claim."""
        self.found.setdefault(no, guard)
        self.left[no] = guard

    def start(self, queue: str, at: float, no: int) -> None:
        self._starts.append((queue, at, no))

    # -- writing ------------------------------------------------------------------------------------------

    def steps(self) -> list[Step]:
        """The statements that write what was collected; a value that cannot be written is raised as UNPACKABLE."""
        ended = [(no, short(key)) for (no, key), begun in self._begun.items() if begun is None]
        started = [rows.begun_row(no, begun) for (no, _), begun in self._begun.items() if begun is not None]
        runs = [rows.set_run(run, no) for no, run in self._runs.items()]
        each: tuple[tuple[str, rows.Kinds, Sequence[Row]], ...] = (
            ("add_run", rows.NEW_RUN, self._new),
            ("add_entries", rows.ENTRY, self._entries),
            ("end_begun", rows.ENDED, ended),
            ("set_begun", rows.BEGUN, started),
            ("set_run", rows.SET_RUN, runs),
            ("set_progress", rows.PROGRESS, list(self._progress.values())),
            ("add_start", rows.STARTS, self._starts),
            ("add_waiter", rows.WAITERS, self._waiters),
        )
        steps: list[Step] = [(name, columns(kinds, some)) for name, kinds, some in each if some]
        if self._waiters:
            steps.append(("wake_idle", (*columns(rows.WAITERS, self._waiters), self._now())))
        if self._ended:
            steps.append(("end_waiters", (texts(self._ended), self._now())))
        if self._queues:
            steps.append(("add_queue", (texts(sorted(self._queues)),)))
        if self._starts:
            steps.append(("forget_starts", (self._now(),)))
        return steps

    def written(self) -> None:
        """What was collected is sent; a claim of the same batch comes after it."""
        self._forget_rows()

    def include(self, other: Transaction) -> None:
        """What another one has sent, within a part of this one, has become part of this one."""
        self.left.update(other.left)
        self.found.update({no: guard for no, guard in other.found.items() if no not in self.found})
        self.first_entry = self.first_entry or other.first_entry
        self.created.update(other.created)
        self.heard = self.heard or other.heard

    @property
    def collected(self) -> str:
        """The keys that were to be recorded, for people."""
        return ", ".join(str(row[2]) for row in self._entries)[:2_000]

    def seen(self, link: Link) -> bool | None:
        """Whether it shows in what is stored, once it is known to be over; None if that does not tell."""
        if self.first_entry is not None:
            no, seq, key, fence = (self.first_entry[at] for at in (0, 1, 2, 10))
            if link.ask("there", *columns((ints, ints, texts, ints), [(no, seq, key, fence)])):
                return True
            return False if link.ask("last_seqs", ints([no]))[0][1] < seq else None
        if self.created:
            return dict(link.ask("numbers", texts(list(self.created)))) == self.created
        changed = sorted(no for no, guard in self.left.items() if guard != self.found.get(no))
        if not changed:
            return False  # it only says again what is so
        stored, last = link.all(("guards", (ints(changed),)), ("last_seqs", (ints(changed),)))
        now = guards_of(stored, last)
        if all(now.get(no) == self.left[no] for no in changed):
            return True
        return False if all(now.get(no) == self.found[no] for no in changed) else None


def one_by_one(link: Link, orders: Sequence[Order], now: Callable[[], float], hold: int) -> Transaction:
    """Apply the orders so that each stands or falls alone: the slow way, after the batch as a whole has failed.

    Begins the transaction and leaves it to be committed. What is returned has the answers and all that was applied.
    """
    whole = Transaction(link, now)
    whole.begin(orders, ("hold", (hold,)))
    for order in orders:
        alone = Transaction(link, now)
        alone.found, alone.left, alone.numbers = dict(whole.found), dict(whole.left), whole.numbers
        answer = _alone(link, alone, order)
        if not isinstance(answer, Refused):
            whole.include(alone)
        whole.answers.append(answer)
    return whole


def _alone(link: Link, alone: Transaction, order: Order) -> Answered:
    link.ask("savepoint")
    try:
        answer = alone.answer(order)
        if not isinstance(answer, Refused):
            link.all(*alone.steps(), ("release", ()))
            return answer
    except UNPACKABLE as problem:
        answer = guards.unwritable(problem)
    except psycopg.Error as problem:
        refused = refusal_of(problem, alone, order)
        if refused is None:
            raise
        answer = refused
    link.all(("take_back", ()), ("release", ()))
    return answer


def refusal_of(problem: psycopg.Error, transaction: Transaction, order: Order) -> Refused | None:
    """What the database's refusal of a change means; None if it means something else."""
    if is_unwritable(problem):
        return guards.unwritable(problem)
    if code(problem) != UNIQUE or type(order) is not Change:
        return None
    if problem.diag.constraint_name in _RUN_INDEXES:
        written = [one.after for one in (order, *order.beside) if one.after is not None]
        return guards.exists(written[0]) if written else None
    return guards.recorded(transaction.collected)


def guards_of(stored: Iterable[Row], last: Iterable[Row]) -> dict[int, Guard]:
    """The guards of runs by their numbers, from the rows of `guards` and `last_seqs`; not of those locked beside."""
    seqs: dict[int, int] = dict(last)
    return {row[0]: Guard._make((*row[1:], seqs[row[0]])) for row in stored if row[0] in seqs}


def _guards(changes: Sequence[Change], numbers: object) -> Step:
    every = [one for change in changes for one in (change, *change.beside)]
    awaited = [run_id for change in every for run_id in change.awaits]
    ended = [change.after.id for change in every if change.after is not None and change.after.state in ENDED]
    if not awaited and not ended:
        return "guards", (numbers,)
    return "guards_around", (numbers, texts(awaited), texts(ended))


def _numbers(changes: Iterable[Change]) -> set[int]:
    """The runs that are there already and that the changes are for."""
    found = set()
    for change in changes:
        if not change.create:
            found.add(change.run_no)
        found.update(other.run_no for other in change.beside)
    return found

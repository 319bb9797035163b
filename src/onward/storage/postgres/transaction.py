"""One write transaction: many changes of many runs, each behind its guard, in two round trips.

The first begins, locks the rows of all runs that the changes are for, in the order of their numbers, and reads their
guards. Then the changes are checked and their rows collected. The second writes them, a statement for each table, and
commits. A begun unit that ends within the same batch never reaches the disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

import psycopg

from onward.core.model import Answer, Applied, Begun, Change, Refused, Run
from onward.storage import guards
from onward.storage.guards import Guard
from onward.storage.postgres import rows
from onward.storage.postgres.arrays import columns, ints, texts
from onward.storage.postgres.failures import UNIQUE, code, is_unwritable
from onward.storage.postgres.link import Link, Row, Step
from onward.storage.postgres.longtext import short

# What packing does with a value that no journal can hold: half a surrogate pair, a number beyond 64 bits.
UNPACKABLE: Final = (UnicodeEncodeError, OverflowError, TypeError, ValueError)
_RUN_INDEXES: Final = ("run_id", "run_open")


class Clash(Exception):
    """A change that collides with what is stored or with its own batch; the transaction must be taken back."""

    def __init__(self, refused: Refused) -> None:
        self.refused = refused
        super().__init__(refused.detail)


class Transaction:
    """The changes of one batch. What is found and left of each run tells afterwards whether it was committed."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.found: dict[int, Guard] = {}  # as stored when it was locked
        self.left: dict[int, Guard] = {}  # as it will be stored
        self.entries: list[Row] = []
        self.created: list[Row] = []
        self.answers: list[Answer] = []
        self._begun: dict[tuple[int, str], Begun | None] = {}
        self._runs: dict[int, Run] = {}
        self._progress: dict[int, Row] = {}
        self._numbers: list[int] = []

    def begin(self, changes: Sequence[Change], *further: Step) -> list[list[Row]]:
        """Begin, and read and lock what the changes need; the rows of `further` statements, which see it locked."""
        numbers = ints(sorted(_numbers(changes)))
        new = sum(change.create for change in changes)
        steps: tuple[Step, ...] = (
            ("begin", ()),
            ("guards", (numbers,)),
            ("last_seqs", (numbers,)),
            ("new_numbers", (new,)),
        )
        _, stored, last, created, *more = self._link.all(*steps, *further)
        self.found = guards_of(stored, last)
        self.left = dict(self.found)
        self._numbers = [no for (no,) in created]
        return more

    def apply(self, change: Change) -> Answer:
        """Check the change's guard and collect its rows. A refusal leaves no trace."""
        if change.create:
            assert change.after is not None, "a change that creates a run says what run"
            no, guard = self._numbers.pop(0), guards.written(change.after, -1)
            self.created.append(rows.new_run(change.after, no))
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
            self.entries.append(rows.entry_row(no, seq, entry))
        for key in change.ended:
            self._begun[no, key] = None
        for begun in change.begun:
            self._begun[no, begun.key] = begun
        self.left[no] = guard = self._row(no, change, guard._replace(seq=seq))
        for other in change.beside:
            self.apply(other)  # its guard holds, see above
        return Applied(no, seq, guard.request)

    def steps(self) -> list[Step]:
        """The statements that write what was collected; a value that cannot be written is raised as UNPACKABLE."""
        ended = [(no, short(key)) for (no, key), begun in self._begun.items() if begun is None]
        started = [rows.begun_row(no, begun) for (no, _), begun in self._begun.items() if begun is not None]
        runs = [rows.set_run(run, no) for no, run in self._runs.items()]
        each: tuple[tuple[str, rows.Kinds, Sequence[Row]], ...] = (
            ("add_run", rows.NEW_RUN, self.created),
            ("add_entries", rows.ENTRY, self.entries),
            ("end_begun", rows.ENDED, ended),
            ("set_begun", rows.BEGUN, started),
            ("set_run", rows.SET_RUN, runs),
            ("set_progress", rows.PROGRESS, list(self._progress.values())),
        )
        return [(name, columns(kinds, some)) for name, kinds, some in each if some]

    def seen(self, link: Link) -> bool | None:
        """Whether it shows in what is stored, once it is known to be over; None if that does not tell."""
        if self.entries:
            no, seq, key, fence = (self.entries[0][at] for at in (0, 1, 2, 10))
            if link.ask("there", *columns((ints, ints, texts, ints), [(no, seq, key, fence)])):
                return True
            return False if link.ask("last_seqs", ints([no]))[0][1] < seq else None
        if self.created:
            return dict(link.ask("numbers", texts([row[0] for row in self.created]))) == {
                row[0]: row[22] for row in self.created
            }
        changed = sorted(no for no, guard in self.left.items() if guard != self.found.get(no))
        if not changed:
            return False  # it only says again what is so
        stored, last = link.all(("guards", (ints(changed),)), ("last_seqs", (ints(changed),)))
        now = guards_of(stored, last)
        if all(now.get(no) == self.left[no] for no in changed):
            return True
        return False if all(now.get(no) == self.found[no] for no in changed) else None

    @property
    def collected(self) -> str:
        """The keys that were to be recorded, for people."""
        return ", ".join(str(row[2]) for row in self.entries)[:2_000]

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
        if change.progress is not None:
            done, total, counted = change.progress
            if no in self._runs:
                self._runs[no] = replace(self._runs[no], done=done, total=total, counted_seq=counted)
            else:
                self._progress[no] = (done, total, counted, no)
        return guard


def one_by_one(link: Link, changes: Sequence[Change], hold: int) -> Transaction:
    """Apply the changes so that each stands or falls alone: the slow way, after the batch as a whole has failed.

    Begins the transaction and leaves it to be committed. What is returned has the answers and all that was applied.
    """
    whole = Transaction(link)
    whole.begin(changes, ("hold", (hold,)))
    for change in changes:
        alone = Transaction(link)
        alone.left, alone._numbers = dict(whole.left), whole._numbers
        answer = _alone(link, alone, change)
        if isinstance(answer, Applied):
            whole.left.update(alone.left)
            whole.entries += alone.entries
            whole.created += alone.created
        whole.answers.append(answer)
    return whole


def _alone(link: Link, alone: Transaction, change: Change) -> Answer:
    try:
        answer = alone.apply(change)
        if isinstance(answer, Refused):
            return answer
        steps = alone.steps()
    except UNPACKABLE as problem:
        return guards.unwritable(problem)
    try:
        link.all(("savepoint", ()), *steps, ("release", ()))
    except psycopg.Error as problem:
        refused = refusal_of(problem, alone, change)
        if refused is None:
            raise
        link.all(("take_back", ()), ("release", ()))
        return refused
    return answer


def refusal_of(problem: psycopg.Error, transaction: Transaction, change: Change) -> Refused | None:
    """What the database's refusal of a change means; None if it means something else."""
    if is_unwritable(problem):
        return guards.unwritable(problem)
    if code(problem) != UNIQUE:
        return None
    if problem.diag.constraint_name in _RUN_INDEXES:
        written = [one.after for one in (change, *change.beside) if one.after is not None]
        return guards.exists(written[0]) if written else None
    return guards.recorded(transaction.collected)


def guards_of(stored: Iterable[Row], last: Iterable[Row]) -> dict[int, Guard]:
    """The guards of runs by their numbers, from the rows of `guards` and `last_seqs`."""
    seqs: dict[int, int] = dict(last)
    return {row[0]: Guard._make((*row[1:], seqs[row[0]])) for row in stored}


def _numbers(changes: Iterable[Change]) -> set[int]:
    """The runs that are there already and that the changes are for."""
    found = set()
    for change in changes:
        if not change.create:
            found.add(change.run_no)
        found.update(other.run_no for other in change.beside)
    return found

"""One write transaction: many changes of many runs, each behind its guard.

Rows are collected and written together at the end, so that a batch costs one statement call per table. A begun unit
that ends within the same batch never reaches the disk. If that fails on a change, the batch is repeated one by one
(`batch`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import apsw

from onward.core.model import (
    ENDED,
    Added,
    Answered,
    Applied,
    Arrival,
    Begun,
    Change,
    Claim,
    Entry,
    Leasing,
    Lot,
    Order,
    Refused,
    Run,
)
from onward.storage import arrivals, claims, guards
from onward.storage.guards import Guard
from onward.storage.sqlite.shelf import Shelf
from onward.storage.sqlite.unread import Unread
from onward.storage.sqlite.wide import Row, insert
from onward.storage.untold import Untold

_UNIQUE: Final = (apsw.SQLITE_CONSTRAINT_UNIQUE, apsw.SQLITE_CONSTRAINT_PRIMARYKEY)
# What a value does that no journal can hold: half a surrogate pair, a number beyond 64 bits, text beyond 1 GB.
UNWRITABLE: Final = (UnicodeEncodeError, OverflowError, TypeError, apsw.TooBigError, apsw.ConstraintError)


class Clash(Exception):
    """A change that collides with what is stored or with its own batch; the transaction must be taken back."""

    def __init__(self, refused: Refused) -> None:
        self.refused = refused
        super().__init__(refused.detail)


class Transaction:
    """The changes of one batch, on a connection that has begun a transaction."""

    def __init__(
        self,
        connection: apsw.Connection,
        sql: Mapping[str, str],
        now: Callable[[], float],
        unread: Unread | None = None,
    ) -> None:
        """`unread`: what a claim may lease without reading it; who gives it reads it afterwards."""
        self._connection, self._sql, self._now = connection, sql, now
        self._execute = connection.execute
        self.unread = unread
        self.found: dict[int, Guard] = {}  # as stored when first seen
        self.left: dict[int, Guard] = {}  # as it will be stored
        self.untold: dict[int, Entry] = {}  # the marks of claims that only the rows of runs tell
        self._entries: list[Row] = []
        self._rows: list[Run] = []
        self._begun: dict[tuple[int, str], Begun | None] = {}
        self._moved: bool | None = None
        self._queues: set[str] = set()  # that are known to be there

    def look_ahead(self, orders: Sequence[Order]) -> None:
        """Read the guards of all runs that the changes are for: in one call, at a third of what one call each costs."""
        numbers = {order.run_no for order in orders if type(order) is Change}
        if len(numbers) > 1:
            rows = self._execute(self._sql["guards"], (json.dumps(list(numbers)),))
            self.found.update((row[0], Guard._make(row[1:])) for row in rows)
            self.left.update(self.found)

    def answers(self, orders: Sequence[Order]) -> list[Answered]:
        """Answer one after the other; new runs that stand side by side are added by one call."""
        answers: list[Answered] = []
        new: list[Change] = []
        for order in orders:
            if type(order) is Change and order.create and not order.begun and not order.beside:
                new.append(order)
                continue
            if new:
                answers += self._created(new)
                new = []
            answers.append(self.answer(order))
        return answers + self._created(new) if new else answers

    def answer(self, order: Order) -> Answered:
        """Apply a change, claim runs, or put an item into one."""
        if type(order) is Change:
            return self.apply(order)
        self._write_rows()  # it sees what stands before it
        if type(order) is Lot:
            return self._add(order)
        shelf = Shelf(self._connection, self._sql, self)
        if type(order) is Claim:
            return claims.claim(shelf, order, self._now())
        assert type(order) is Arrival
        return arrivals.arrive(shelf, order, self._now())

    def apply(self, change: Change) -> Applied | Refused:
        """Check the change's guard and collect its rows. A refusal leaves no trace."""
        no, guard = self._create(change) if change.create else (change.run_no, self.guard(change.run_no))
        if isinstance(guard, Refused):
            return guard
        if not change.create:
            refused = guards.refusal(change, guard)
            if refused is None and change.beside:
                refused = self._refused_beside(change)
            if refused is not None:
                return refused
        assert guard is not None, "a change without a guard is refused as missing"
        if guard.untold and (change.entries or change.after is not None):
            guard = self.tell(no)
        seq = guard.seq
        for entry in change.entries:
            seq += 1
            self._entries.append((no, seq, *entry[:11]))
        self._units(no, change)
        self.left[no] = guard = self._row(no, change, guard, seq)
        if change.awaits:
            self._wait(no, change)
        for other in change.beside:
            self.apply(other)  # its guard holds, see above
        return Applied(no, seq, guard.request)

    def flush(self) -> None:
        """Write what was collected, or raise Clash."""
        self._write_rows()
        if self._entries:
            try:
                self._insert("add_entry", self._entries)
            except apsw.ConstraintError as problem:
                raise _clash(
                    problem, guards.recorded(", ".join(str(row[2]) for row in self._entries))
                ) from problem
            self._entries.clear()
        if self._begun:
            self._flush_units()

    # -- one change -------------------------------------------------------------------------------------

    def guard(self, no: int) -> Guard | None:
        """What decides about changes of this run, as the batch so far leaves it."""
        guard = self.left.get(no)
        if guard is None:
            for row in self._execute(self._sql["guard"], (no,)):
                guard = self.found[no] = self.left[no] = Guard._make(row)
        return guard

    def tell(self, no: int) -> Guard:
        """Make entries of what the run's row tells: it is about to say something else, or something comes after it."""
        untold = Untold._make(next(self._execute(self._sql["untold"], (no,))))
        self._entries += [(no, entry.seq, *entry[:11]) for entry in untold.entries()]
        self._execute(self._sql["tell"], (no,))
        self.untold.pop(no, None)
        self.left[no] = guard = self.left[no]._replace(untold=0)
        return guard

    def _refused_beside(self, change: Change) -> Refused | None:
        """Why one of the changes beside may not be written; then none of them is."""
        for other in change.beside:
            refused = guards.refusal(other, self.guard(other.run_no))
            if refused is not None:
                return refused._replace(run_no=other.run_no)
        return None

    def _create(self, change: Change) -> tuple[int, Guard | Refused]:
        run = change.after
        assert run is not None, "a change that creates a run says what run"
        if self._is_moved:
            return 0, guards.moved()
        self._write_rows()  # perhaps they make room for it
        try:
            self._execute(self._sql["add_run"], run[:-1])
        except apsw.ConstraintError as problem:
            raise _clash(problem, guards.exists(run)) from problem
        no = self._connection.last_insert_rowid()
        if not run.direct:
            self._know_queue(run.queue)
        return no, guards.written(run, -1)

    def _created(self, new: Sequence[Change]) -> list[Answered]:
        """Add many runs. One that collides with what is there is refused, and keeps none of the others."""
        if len(new) == 1 or self._is_moved:
            return [self.apply(change) for change in new]
        self._write_rows()
        last: int = next(self._execute(self._sql["last_number"]))[0]
        runs = [change.after for change in new if change.after is not None]
        assert len(runs) == len(new), "a change that creates a run says what run"
        self._insert("add_runs", [(*run[:-1], no) for no, run in enumerate(runs, last + 1)])
        added = {no for (no,) in self._execute(self._sql["added_runs"], (last,))}
        answers: list[Answered] = []
        entries: list[Row] = []
        for no, run, change in zip(range(last + 1, last + 1 + len(new)), runs, new, strict=True):
            if no not in added:
                answers.append(guards.exists(run))
                continue
            entries += [(no, seq, *entry[:11]) for seq, entry in enumerate(change.entries)]
            answers.append(Applied(no, len(change.entries) - 1, run.request))
        # At once, so that what is stored says how each of them stands.
        self._insert("add_entry", entries)
        for queue in {run.queue for run in runs if not run.direct}:
            self._know_queue(queue)
        if added:  # one of them tells whether all of it was committed
            no = max(added)
            run, change = runs[no - last - 1], new[no - last - 1]
            self.left[no] = guards.written(run, len(change.entries) - 1)
        return answers

    def _add(self, lot: Lot) -> Added | Refused:
        """Add the runs of a lot, each with its mark."""
        if self._is_moved:
            return guards.moved()
        last: int = next(self._execute(self._sql["last_number"]))[0]
        numbers: list[int] = list(range(last + 1, last + 1 + len(lot.ids)))
        before = self._connection.total_changes()
        own = zip(numbers, lot.ids, lot.args, lot.lanes, lot.singles, strict=True)
        self._insert("add_lot", list(own), shared=(lot.prefix, *lot.shared))
        marks: list[Row] = list(zip(numbers, lot.args, lot.checksums, strict=True))
        if self._connection.total_changes() - before != len(numbers):
            added = {no for (no,) in self._execute(self._sql["added_runs"], (last,))}
            numbers = [no if no in added else 0 for no in numbers]
            marks = [mark for mark in marks if mark[0] in added]
        # At once, as in `_created`.
        self._insert("add_marks", marks, shared=(*lot.mark[:5], *lot.mark[7:11]))
        if marks:  # one of them tells whether all of it was committed
            self._know_queue(lot.like.queue)
            self.left[marks[-1][0]] = guards.written(lot.like, 0)
        return Added(numbers)

    def _insert(self, statement: str, rows: Sequence[Row], *, shared: Row = ()) -> None:
        insert(self._connection, self._sql, statement, rows, shared=shared)

    @property
    def _is_moved(self) -> bool:
        """Whether runs are not added here any more; asked once a transaction, which for most is never."""
        if self._moved is None:
            self._moved = bool(self._execute(self._sql["moved_to"]).fetchall())
        return self._moved

    def _know_queue(self, queue: str) -> None:
        if queue not in self._queues:
            self._execute(self._sql["add_queue"], (queue,))
            self._queues.add(queue)

    def lease(self, changes: Sequence[Change]) -> None:
        """Write claims: a few columns of each run, and its mark, by one call each."""
        rows: dict[Row, list[int]] = {}
        collected, left = self._entries, self.left
        for change in changes:
            no, _, entries, _, _, run, *_ = change
            assert run is not None, "a claim writes the run's row"
            # By number: state to leased_seq, but result; error, single and updated_at.
            row = (*run[6:14], run[15], run[25], run[21])
            rows.setdefault(row, []).append(no)
            seq = run[13] - len(entries)
            for entry in entries:
                seq += 1
                collected.append((no, seq, *entry[:11]))
            left[no] = guards.written(run, seq)
        for row, numbers in rows.items():
            self._execute(self._sql["lease"], (json.dumps(numbers), *row, 0))

    def lease_first(self, leases: Leasing) -> None:
        """As `lease`, of runs that differ in nothing but the number of their mark, which their rows tell."""
        numbers: dict[int, list[int]] = {}
        left, untold, like = self.left, self.untold, leases.runs[0]
        for run in leases.runs:
            no, seq = run[29], run[13]
            numbers.setdefault(seq, []).append(no)
            left[no] = guards.written(run, seq, 1)
            untold[no] = leases.mark
        for seq, some in numbers.items():
            shared = (*like[6:13], seq, like[15], like[25], like[21])
            self._execute(self._sql["lease"], (json.dumps(some), *shared, 1))

    def _row(self, no: int, change: Change, guard: Guard, seq: int) -> Guard:
        """Write what the change does to the run's row, which for most changes is nothing."""
        if change.after is not None and not change.create:
            run = guards.kept(change, change.after, guard)
            self._rows.append(run._replace(no=no) if run.no != no else run)
            guard = guards.written(run, seq)
        elif seq != guard.seq:
            guard = Guard(guard.fence, guard.request, guard.owner, guard.lease_until, guard.state, seq)
        if change.progress is not None:
            self._write_rows()
            done, total, counted = change.progress
            self._execute(self._sql["set_progress"], (done, total, counted, no))
        return guard

    def _write_rows(self) -> None:
        """Write the rows of runs that were collected, in their order, and wake who waits for one of them."""
        rows = self._rows
        if not rows:
            return
        self._rows = []
        try:
            self._connection.executemany(self._sql["set_run"], map(_mutable, rows))
        except (
            apsw.ConstraintError
        ) as problem:  # of several it is told which one when they are repeated alone
            raise _clash(problem, guards.exists(rows[-1])) from problem
        wake_waiters(self._connection, self._sql, [run.id for run in rows if run.state in ENDED], self._now)

    # -- runs that wait for others ------------------------------------------------------------------------

    def _wait(self, no: int, change: Change) -> None:
        self._write_rows()
        for awaited in change.awaits:
            self._execute(self._sql["add_waiter"], (awaited, no))
            if self._connection.changes() == 0:  # it has ended
                self._execute(self._sql["wake"], (no, self._now()))

    # -- units in flight ----------------------------------------------------------------------------------

    def _units(self, no: int, change: Change) -> None:
        for key in change.ended:
            self._begun[no, key] = None
        for begun in change.begun:
            self._begun[no, begun.key] = begun

    def _flush_units(self) -> None:
        ended: list[Row] = [at for at, begun in self._begun.items() if begun is None]
        started: list[Row] = [(no, *begun) for (no, _), begun in self._begun.items() if begun is not None]
        if ended:
            self._connection.executemany(self._sql["end_begun"], ended)
        if started:
            self._connection.executemany(self._sql["set_begun"], started)
        self._begun.clear()


def wake_waiters(
    connection: apsw.Connection, sql: Mapping[str, str], ended: Sequence[str], now: Callable[[], float]
) -> None:
    """Make due what waits for one of the runs that have ended."""
    if ended and next(connection.execute(sql["is_awaited"]))[0]:
        for (no,) in connection.execute(sql["end_waiters"], (json.dumps(ended),)).fetchall():
            connection.execute(sql["wake"], (no, now()))


def _clash(problem: apsw.ConstraintError, refused: Refused) -> Exception:
    # The stubs of apsw do not know the attribute, which every error has.
    return Clash(refused) if getattr(problem, "extendedresult", 0) in _UNIQUE else problem


def _mutable(run: Run) -> Row:
    return (
        run.state, run.fence, run.owner, run.lease_until, run.wake_at, run.request, run.stalls, run.leased_seq,
        run.result, run.error, run.command, run.total, run.done, run.counted_seq, run.args, run.updated_at,
        run.priority, run.single, run.tags, run.attempt, run.no,
    )  # fmt: skip

"""One write transaction: many changes of many runs, each behind its guard.

Rows are collected and written together at the end, so that a batch costs one statement call per table. A begun unit
that ends within the same batch never reaches the disk. If that fails on a change, `store` repeats the batch one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import apsw

from onward.core.model import Answer, Applied, Begun, Change, Refused, Run
from onward.storage import guards
from onward.storage.guards import Guard

_UNIQUE: Final = (apsw.SQLITE_CONSTRAINT_UNIQUE, apsw.SQLITE_CONSTRAINT_PRIMARYKEY)
# What a value does that no journal can hold: half a surrogate pair, a number beyond 64 bits, text beyond 1 GB.
UNWRITABLE: Final = (UnicodeEncodeError, OverflowError, TypeError, apsw.TooBigError, apsw.ConstraintError)

Row = tuple[Any, ...]


class Clash(Exception):
    """A change that collides with what is stored or with its own batch; the transaction must be taken back."""

    def __init__(self, refused: Refused) -> None:
        self.refused = refused
        super().__init__(refused.detail)


class Transaction:
    """The changes of one batch, on a connection that has begun a transaction."""

    def __init__(self, connection: apsw.Connection, sql: Mapping[str, str]) -> None:
        self._connection, self._sql = connection, sql
        self._execute = connection.execute
        self.found: dict[int, Guard] = {}  # as stored when first seen
        self.left: dict[int, Guard] = {}  # as it will be stored
        self._entries: list[Row] = []
        self._begun: dict[tuple[int, str], Begun | None] = {}

    def look_ahead(self, changes: Sequence[Change]) -> None:
        """Read the guards of all runs that the changes are for: in one call, at a third of what one call each costs."""
        numbers = {change.run_no for change in changes}
        if len(numbers) > 1:
            rows = self._connection.executemany(self._sql["guards"], [(no,) for no in numbers])
            self.found.update((row[0], Guard._make(row[1:])) for row in rows)
            self.left.update(self.found)

    def apply(self, change: Change) -> Answer:
        """Check the change's guard and collect its rows. A refusal leaves no trace."""
        no, guard = self._create(change) if change.create else (change.run_no, self._guard(change.run_no))
        if isinstance(guard, Refused):
            return guard
        if not change.create:
            refused = guards.refusal(change, guard)
            if refused is None and change.beside:
                refused = self._refused_beside(change)
            if refused is not None:
                return refused
        assert guard is not None, "a change without a guard is refused as missing"
        seq = guard.seq
        for entry in change.entries:
            seq += 1
            self._entries.append((no, seq, *entry[:11]))
        self._units(no, change)
        self.left[no] = guard = self._row(no, change, guard, seq)
        for other in change.beside:
            self.apply(other)  # its guard holds, see above
        return Applied(no, seq, guard.request)

    def flush(self) -> None:
        """Write what was collected, or raise Clash."""
        if self._entries:
            try:
                self._connection.executemany(self._sql["add_entry"], self._entries)
            except apsw.ConstraintError as problem:
                raise _clash(
                    problem, guards.recorded(", ".join(str(row[2]) for row in self._entries))
                ) from problem
            self._entries.clear()
        if self._begun:
            self._flush_units()

    # -- one change -------------------------------------------------------------------------------------

    def _guard(self, no: int) -> Guard | None:
        guard = self.left.get(no)
        if guard is None:
            for row in self._execute(self._sql["guard"], (no,)):
                guard = self.found[no] = self.left[no] = Guard._make(row)
        return guard

    def _refused_beside(self, change: Change) -> Refused | None:
        """Why one of the changes beside may not be written; then none of them is."""
        for other in change.beside:
            refused = guards.refusal(other, self._guard(other.run_no))
            if refused is not None:
                return refused._replace(run_no=other.run_no)
        return None

    def _create(self, change: Change) -> tuple[int, Guard | Refused]:
        run = change.after
        assert run is not None, "a change that creates a run says what run"
        try:
            self._execute(self._sql["add_run"], _new(run))
        except apsw.ConstraintError as problem:
            raise _clash(problem, guards.exists(run)) from problem
        return self._connection.last_insert_rowid(), guards.written(run, -1)

    def _row(self, no: int, change: Change, guard: Guard, seq: int) -> Guard:
        """Write what the change does to the run's row, which for most changes is nothing."""
        if change.after is not None and not change.create:
            run = guards.kept(change, change.after, guard)
            try:
                self._execute(self._sql["set_run"], _mutable(run, no))
            except apsw.ConstraintError as problem:
                raise _clash(problem, guards.exists(run)) from problem
            guard = guards.written(run, seq)
        elif seq != guard.seq:
            guard = Guard(guard.fence, guard.request, guard.owner, guard.lease_until, guard.state, seq)
        if change.progress is not None:
            done, total, counted = change.progress
            self._execute(self._sql["set_progress"], (done, total, counted, no))
        return guard

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


def one_by_one(connection: apsw.Connection, sql: Mapping[str, str], changes: Sequence[Change]) -> Batch:
    """Apply the changes so that each stands or falls alone: the slow way, after the batch as a whole has failed."""
    batch = Batch([], {}, {})
    for change in changes:
        connection.execute(sql["savepoint"])
        alone = Transaction(connection, sql)
        try:
            answer = alone.apply(change)
            alone.flush()
        except Clash as clash:
            answer = clash.refused
        except UNWRITABLE as problem:
            answer = guards.unwritable(problem)
        if isinstance(answer, Refused):
            connection.execute(sql["take_back"])
        else:
            batch.found.update({no: guard for no, guard in alone.found.items() if no not in batch.found})
            batch.left.update(alone.left)
        connection.execute(sql["release"])
        batch.answers.append(answer)
    return batch


class Batch:
    """What a transaction answers, and by what one can tell afterwards whether it was committed."""

    def __init__(self, answers: list[Answer], found: dict[int, Guard], left: dict[int, Guard]) -> None:
        self.answers, self.found, self.left = answers, found, left

    def seen(self, guard_of: Callable[[int], Row | None]) -> bool | None:
        """Whether the transaction shows in what `guard_of` reads; None if none of its runs tells."""
        for no, left in self.left.items():
            found = self.found.get(no)
            if left == found:
                continue
            row = guard_of(no)
            if row == left:
                return True
            if row == found:
                return False
        return None


def _clash(problem: apsw.ConstraintError, refused: Refused) -> Exception:
    # The stubs of apsw do not know the attribute, which every error has.
    return Clash(refused) if getattr(problem, "extendedresult", 0) in _UNIQUE else problem


def _new(run: Run) -> Row:
    return (
        run.id, run.kind, run.name, run.identity, run.args, run.direct, run.state, run.fence, run.owner,
        run.lease_until, run.wake_at, run.request, run.stalls, run.leased_seq, run.result, run.error, run.command,
        run.total, run.done, run.counted_seq, run.created_at, run.updated_at,
    )  # fmt: skip


def _mutable(run: Run, no: int) -> Row:
    return (
        run.state, run.fence, run.owner, run.lease_until, run.wake_at, run.request, run.stalls, run.leased_seq,
        run.result, run.error, run.command, run.total, run.done, run.counted_seq, run.args, run.updated_at, no,
    )  # fmt: skip

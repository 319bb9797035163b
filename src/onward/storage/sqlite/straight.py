"""The straight way for the commonest commits: outcomes of units, the beginnings of the next ones, and how runs ended.

Knows the number of the last entry of each run that this process has just written to, so that nothing is read before it
is written: the statement that adds an entry checks the guard itself. Whoever else writes to a run raises its fence; a
number that is wrong all the same is refused by the primary key. In any doubt the changes take the way of a whole
`Transaction`, which reads what is stored.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import apsw

from onward.core.decide import end_of, returned_mark
from onward.core.model import Answered, Begun, Change, Claim, End, Entry, Order, applied
from onward.core.transitions import freed
from onward.storage.guards import Guard
from onward.storage.sqlite.transaction import UNWRITABLE, Clash, Transaction, wake_waiters
from onward.storage.sqlite.unread import NotNew, Unread
from onward.storage.sqlite.wide import WIDE, Row, insert

# What follows the entries, and the units, of a change that is nothing else.
_NO_UNITS: Final = list(Change(0, 0)[3:])
_NO_ROW: Final = list(Change(0, 0)[5:])
_UNKNOWN: Final = (-1, -1)  # no fence is negative
# A claim that met what was leased before was taken back for nothing: so many after it read first.
_READ_FIRST: Final = 64
# Fence, number of the claim's mark, and that mark itself.
Fresh = tuple[int, int, Entry]


class Doubt(Exception):
    """A commit that went straight, of which SQLite says that it failed: it may be on the disk all the same."""

    def __init__(self, written: Written, problem: apsw.Error) -> None:
        self.written, self.problem = written, problem
        super().__init__(str(problem))


class Straight:
    """The straight way on one connection."""

    _RUNS: Final = 10_000

    def __init__(
        self,
        connection: apsw.Connection,
        sql: Mapping[str, str],
        now: Callable[[], float],
        almost: Callable[[], None] = lambda: None,
    ) -> None:
        """`almost`: called when all is written that the next process waits for, but for the commit itself."""
        self._almost = almost
        # One cursor for all statements: making one costs as much as a statement's own work.
        cursor = connection.cursor()
        self._execute, self._executemany = cursor.execute, cursor.executemany
        self._connection, self._now = connection, now
        self._changes, self._total = connection.changes, connection.total_changes
        self._sql, self._add = sql, sql["add_alone"]
        self.doubt: apsw.Error | None = (
            None  # until somebody has found out what became of the commit that raised it
        )
        self._last: dict[int, tuple[int, int]] = {}  # run -> fence and number of the last entry
        # Runs of whose claim no entry is stored; none of them is among the others.
        self._fresh: dict[int, Fresh] = {}
        self._reads_first = 0  # so many claims read what they lease before they lease it

    def learn(self, left: Mapping[int, Guard], untold: Mapping[int, Entry]) -> None:
        """Take in how a transaction that is durable left its runs; `untold`: marks of its claims without an entry."""
        for known in (self._last, self._fresh):
            if len(known) > self._RUNS:
                known.clear()
        for no, guard in left.items():
            mark = untold.get(no)
            if mark is not None:
                self._fresh[no] = guard.fence, guard.seq, mark
            elif not guard.untold:
                self._fresh.pop(no, None)
                if guard.state == "running":  # nobody writes to the others in a hurry
                    self._last[no] = guard.fence, guard.seq

    def planned(self, changes: Sequence[Order]) -> Plan | None:
        """What these changes write; None if they cannot go straight. Touches no database."""
        claim = changes[-1] if changes and type(changes[-1]) is Claim else None
        plan = Plan(self._last, self._fresh, claim)
        if len(changes) == 1:
            (only,) = changes
            if type(only) is Change and _is_alone(only) and only.run_no not in self._fresh:
                plan.alone = only
                return plan
        is_straight = all(map(plan.add, changes if claim is None else changes[:-1]))
        return plan if is_straight and plan.left else None

    def commit_alone(self, order: Order) -> list[Answered] | None:
        """As `commit`, of what may be a change of a single entry: a whole commit in one statement; None if not."""
        if type(order) is not Change:
            return None
        no, fence, entries, *rest = order
        known, seq = self._last.get(no, _UNKNOWN)
        if known != fence or rest != _NO_UNITS or len(entries) != 1:
            return None
        seq += 1
        try:
            self._execute(self._add, (no, seq, fence) + entries[0][:11])  # noqa: RUF005  (takes half as long)
        except apsw.BusyError:
            raise  # nothing was begun
        except UNWRITABLE:
            return None
        except apsw.Error as problem:
            self.doubt = problem  # before any call, which could be interrupted
            raise Doubt(Written([applied(no, seq)], (no, fence, seq - 1, seq)), problem) from problem
        if self._changes() != 1:
            return None
        self._last[no] = fence, seq
        return [applied(no, seq)]

    # -- many changes, or such that units begin and end with -------------------------------------------------

    def commit(self, plan: Plan) -> list[Answered] | None:
        """The answers, once they are durable; None if nothing was written, because one of them cannot go straight."""
        if plan.alone is not None:
            return self.commit_alone(plan.alone)
        self._execute(self._sql["begin"])
        transaction = self._write(plan)
        if transaction is None:
            plan.unread = None
            self._execute(self._sql["rollback"])
            return None
        self._almost()
        try:
            self._execute(self._sql["commit"])
        except apsw.BusyError:
            raise  # still open, and taken back by our caller
        except apsw.Error as problem:
            no, (fence, seq) = next(iter(plan.left.items()))
            before = (self._last.get(no) or self._fresh[no])[1]
            raise Doubt(Written(plan.answers, (no, fence, before, seq)), problem) from problem
        self._last.update(plan.left)
        for row in chain(plan.ends, plan.untold):
            self._last.pop(row[0], None)
        for no in chain(plan.told, [row[0] for row in plan.untold]):
            self._fresh.pop(no, None)
        self.learn(transaction.left, transaction.untold)
        return plan.answers

    def completed(self, plan: Plan, answers: list[Answered]) -> list[Answered]:
        """The answers to a plan that is durable, with what was leased without reading it."""
        if plan.unread is not None:
            claimed: Any = answers[-1]
            answers[-1] = claimed = plan.unread.read(claimed, self._connection)
            mark = plan.unread.mark
            if mark is not None:
                known: dict[int, Fresh] = {}  # mostly one, for all of them
                for run, seq in claimed.runs:
                    self._fresh[run[29]] = known.get(seq) or known.setdefault(seq, (1, seq, mark))
        return answers

    def _write(self, plan: Plan) -> Transaction | None:
        """Write the plan, and what it leaves room for; None if anything is not as it was left, or cannot be written."""
        try:
            before = self._total()
            if plan.told:
                self._execute(self._sql["tell_first"], (json.dumps(plan.told),))
            if plan.rows:
                self._add_guarded(plan.rows)
            if plan.untold:
                insert(self._connection, self._sql, "end_untold", plan.untold)
            if plan.ends:
                insert(self._connection, self._sql, "end_alone", plan.ends)
            if self._total() - before != plan.size:
                return None  # a lease is lost, or somebody asked something
            if plan.ends:
                mark = returned_mark(0, 0.0)
                insert(self._connection, self._sql, "add_ends", plan.marks, shared=(*mark[:8], mark[9]))
            if plan.ended:
                wake_waiters(self._connection, self._sql, plan.ended, self._now)
            if plan.units:
                self._write_units(plan.units)
            plan.unread = self._unread(plan)
            transaction = Transaction(self._connection, self._sql, self._now, plan.unread)
            if plan.claim is not None:
                plan.answers.append(transaction.answer(plan.claim))
                transaction.flush()
        except NotNew:
            self._reads_first = _READ_FIRST
            return None
        except (Clash, *UNWRITABLE):
            return None
        return transaction

    def _unread(self, plan: Plan) -> Unread | None:
        """What the claim of a plan may lease without reading it; None if there is none, or it is to read first."""
        if plan.claim is None or self._reads_first:
            self._reads_first -= plan.claim is not None
            return None
        return Unread(self._connection, self._sql)

    def _add_guarded(self, rows: Sequence[Row]) -> None:
        """Many by each statement as far as they go: of what an entry costs, a quarter less."""
        whole = len(rows) - len(rows) % WIDE
        if whole:
            self._executemany(
                self._sql["add_guarded wide"],
                [tuple(chain.from_iterable(rows[at : at + WIDE])) for at in range(0, whole, WIDE)],
            )
        if whole < len(rows):
            self._executemany(self._add, rows[whole:])

    def _write_units(self, units: Mapping[tuple[int, str], Begun | None]) -> None:
        ended: list[Row] = [at for at, one in units.items() if one is None]
        begun: list[Row] = [(no, *one) for (no, _), one in units.items() if one is not None]
        if len(ended) == len(begun) == 1:
            # One begins where one ends, as in a loop: one statement instead of two.
            self._execute(self._sql["follow_begun"], (*begun[0], *ended[0]))
            if self._changes() == 1:
                return
        if ended:
            self._executemany(self._sql["end_begun"], ended)
        if begun:
            self._executemany(self._sql["set_begun"], begun)


class Plan:
    """What a batch of changes writes, if their runs are as they were left."""

    def __init__(
        self,
        known: Mapping[int, tuple[int, int]],
        fresh: Mapping[int, Fresh],
        claim: Claim | None = None,
    ) -> None:
        self._known, self._fresh = known, fresh
        self.alone: Order | None = None  # all there is: a change of a single entry
        self.claim = claim  # of what the rest leaves room for
        self.unread: Unread | None = None  # what it has leased, and nobody has read yet
        self.left: dict[int, tuple[int, int]] = {}
        self.rows: list[Row] = []
        self.told: list[int] = []  # fresh runs, of which `rows` has the mark
        self.untold: list[Row] = []  # fresh runs that have returned
        self.ends: list[Row] = []  # other runs that have returned
        self.marks: list[Row] = []  # what tells their entries apart
        self.ended: list[str] = []  # the ids of those and of these
        self.units: dict[tuple[int, str], Begun | None] = {}  # that have begun, or have ended
        self.answers: list[Answered] = []

    @property
    def size(self) -> int:
        """How many rows change while what was known is checked."""
        return len(self.told) + len(self.rows) + len(self.untold) + len(self.ends)

    def add(self, change: Order) -> bool:
        """Whether the change can go straight."""
        if type(change) is not Change:
            return type(change) is End and self._add_end(change)
        no, fence, entries, begun, ended, *rest = change
        if rest != _NO_ROW:
            end = end_of(change)
            return end is not None and self._add_end(end)
        known, seq = self.left.get(no) or self._known.get(no) or self._told(no)
        # Only a statement that adds an entry checks the guard, so there must be one for each run.
        if known != fence or not (entries or no in self.left):
            return False
        for entry in entries:
            seq += 1
            self.rows.append((no, seq, fence) + entry[:11])  # noqa: RUF005
        self.left[no] = fence, seq
        self.answers.append(applied(no, seq))
        for key in ended:
            self.units[no, key] = None
        for one in begun:
            self.units[no, one.key] = one
        return True

    def _told(self, no: int) -> tuple[int, int]:
        """As known of a fresh run, once its mark is among the rows."""
        fresh = self._fresh.get(no)
        if fresh is None:
            return _UNKNOWN
        fence, seq, mark = fresh
        self.rows.append((no, seq, fence, *mark[:11]))
        self.told.append(no)
        return fence, seq

    def _add_end(self, end: End) -> bool:
        run, value, at = end
        no, fence, single = run[29], run[7], run[25]
        if no in self.left:
            return False
        fresh = self._fresh.get(no)
        known, seq = fresh[:2] if fresh is not None else self._known.get(no, _UNKNOWN)
        if known != fence:
            return False
        seq += 1
        if fresh is not None:
            self.untold.append((no, value, at))
        else:
            self.ends.append((no, fence, value, None if single is None else freed(single, "end"), at))
            self.marks.append((no, seq, fence, at))
        self.ended.append(run[0])
        self.left[no] = fence, seq
        self.answers.append(applied(no, seq))
        return True


def _is_alone(change: Change) -> bool:
    return len(change.entries) == 1 and [*change[3:]] == _NO_UNITS


class Written:
    """What a commit that went straight answers, and by what one can tell afterwards whether it happened.

    `mark`: of one of its runs the number, the fence, the number of the last entry before and after.
    """

    def __init__(self, answers: list[Answered], mark: tuple[int, int, int, int]) -> None:
        self.answers, self._mark = answers, mark

    def seen(self, guard_of: Callable[[int], Row | None]) -> bool | None:
        """Whether the commit shows in what `guard_of` reads; None if that does not tell."""
        no, fence, before, after = self._mark
        row = guard_of(no)
        if row is None or row[0] != fence:
            return None
        last = Guard._make(row).seq
        return True if last == after else False if last == before else None

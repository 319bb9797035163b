"""The schedules of a PostgreSQL journal: their rows, and the runs that they start, within one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from onward.core.model import Applied, Change, Refused, Run
from onward.core.schedules import Move, Schedule
from onward.storage import calendar
from onward.storage.postgres import locks, rows
from onward.storage.postgres.arrays import ints
from onward.storage.postgres.link import Link, Step
from onward.storage.postgres.transaction import Transaction, guards_of, untold_of


class Calendar:
    """See `storage.calendar.Rows`. The schedules that it is asked for are locked."""

    def __init__(self, link: Link, transaction: Transaction, *, is_moved: bool) -> None:
        self._link, self._transaction, self.is_moved = link, transaction, is_moved

    def revision(self, name: str) -> int | None:
        found = self._link.ask("schedule_revision", name)
        return int(found[0][0]) if found else None

    def put(self, schedule: Schedule) -> None:
        self._link.ask("put_schedule", *rows.schedule_row(schedule))

    def drop(self, name: str) -> None:
        self._link.ask("drop_schedule", name)

    def run(self, run_id: str) -> Run | None:
        [found] = self._transaction.read([("run", (run_id,))])
        if not found:
            return None
        number = ints([found[0][-1]])
        stored, last, again = self._transaction.read(
            [("guards", (number,)), ("last_seqs", (number,)), ("run", (run_id,))]
        )
        for no, guard in guards_of(stored, last).items():
            self._transaction.know(no, guard)
        self._transaction.untold.update(untold_of(stored, last))
        return rows.a_run(again[0]) if again else None

    def write(self, change: Change) -> Applied | Refused:
        return self._transaction.apply(change)

    def ask_to_cancel(self, run_no: int) -> None:
        self._link.ask("request", run_no, "cancel")


def apply(link: Link, moves: Sequence[Move], now: Callable[[], float]) -> list[bool]:
    """Begin a transaction and make the moves in it; which of them were applied. It is left to be committed."""
    names = sorted({one.name for move in moves for one in (move.before, move.after) if one is not None})
    # Also of a schedule that is not there yet, which no row could be locked for.
    held: list[Step] = [("hold", (locks.number(link.schema, "schedule", name),)) for name in names]
    stay: Step = ("stay", (locks.number(link.schema, "moving"),))
    *_, moved = link.all(("begin", ()), stay, *held, ("moved_to", ()))
    transaction = Transaction(link, now)
    transaction.moved = bool(moved)
    applied = calendar.apply(Calendar(link, transaction, is_moved=bool(moved)), moves, now())
    if steps := transaction.sealed():
        link.all(*steps)
    return applied

"""The schedules of a PostgreSQL journal: what their moves read comes at once, and what they write goes at once.

Whoever moves schedules holds a lock of its own for that, taken after those of runs, as nobody takes them the other way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from onward.core.model import Applied, Change, Refused, Run
from onward.core.schedules import Move, Schedule
from onward.storage.calendar import row_of
from onward.storage.postgres import locks
from onward.storage.postgres.arrays import bools, columns, floats, ints, texts
from onward.storage.postgres.link import Link, Step
from onward.storage.postgres.rows import Kinds, a_run
from onward.storage.postgres.transaction import Transaction

_SCHEDULE: Final[Kinds] = (
    *(texts, texts, ints, floats, floats, floats, floats, bools, texts, floats),
    *(texts, texts, texts, ints, ints, ints, texts),
)


class Calendar:
    """See `storage.calendar.Rows`. Begins the transaction; `steps` are what is to be written at its end."""

    def __init__(
        self, link: Link, transaction: Transaction, moves: Sequence[Move], cancelled: Sequence[Run]
    ) -> None:
        self._transaction = transaction
        starts = [start for move in moves for start in move.starts]
        # So that these are locked, and those who wait for them.
        ends = [Change(run.no, run.fence, after=run._replace(state="cancelled")) for run in cancelled]
        names = [known.name for move in moves for known in (move.before or move.after,) if known is not None]
        ids = [start.after.id for start in starts if start.after is not None] + [run.id for run in cancelled]
        found = transaction.begin(
            [*starts, *ends],
            ("hold", (locks.number(link.schema, "schedules"),)),
            ("stay", (locks.number(link.schema, "moving"),)),
            ("moved_to", ()),
            ("schedule_revision", (texts(names),)),
            ("runs_of_ids", (texts(ids),)),
        )
        _, _, moved, revisions, runs = found
        self.is_moved = bool(moved)
        self._revisions: dict[str, int] = dict(revisions)
        self._runs = {run.id: run for run in map(a_run, runs)}
        self._put: dict[str, Schedule] = {}
        self._dropped: set[str] = set()
        self._asked: list[int] = []

    def revision(self, name: str) -> int | None:
        return self._revisions.get(name)

    def put(self, schedule: Schedule) -> None:
        self._put[schedule.name] = schedule
        self._dropped.discard(schedule.name)
        self._revisions[schedule.name] = schedule.revision

    def drop(self, name: str) -> None:
        self._put.pop(name, None)
        self._dropped.add(name)
        del self._revisions[name]

    def run(self, run_id: str) -> Run | None:
        return self._runs.get(run_id)

    def write(self, change: Change) -> Applied | Refused:
        answer = self._transaction.apply(change)
        if change.after is not None and isinstance(answer, Applied):
            self._runs[change.after.id] = change.after._replace(no=answer.run_no)
        return answer

    def ask_to_cancel(self, run_no: int) -> None:
        self._asked.append(run_no)

    def steps(self) -> list[Step]:
        steps: list[Step] = [("request", (no, "cancel")) for no in self._asked]
        if self._dropped:
            steps.append(("drop_schedule", (texts(sorted(self._dropped)),)))
        if self._put:
            rows = [row_of(schedule) for schedule in self._put.values()]
            steps.append(("put_schedule", columns(_SCHEDULE, rows)))
        return steps

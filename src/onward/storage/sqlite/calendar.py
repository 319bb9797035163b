"""The schedules of a SQLite journal: their rows, and the runs that they start, within one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import apsw

from onward.core.model import Applied, Change, Refused, Run
from onward.core.schedules import Schedule
from onward.storage.calendar import row_of
from onward.storage.sqlite.reader import run_of


class Batch(Protocol):
    """The transaction that the moves are made in."""

    def apply(self, change: Change) -> Applied | Refused: ...


class Calendar:
    """See `storage.calendar.Rows`."""

    def __init__(self, connection: apsw.Connection, sql: Mapping[str, str], batch: Batch) -> None:
        self._execute, self._sql, self._batch = connection.execute, sql, batch

    @property
    def is_moved(self) -> bool:
        return bool(self._execute(self._sql["moved_to"]).fetchall())

    def revision(self, name: str) -> int | None:
        found: int | None = self._execute(self._sql["schedule_revision"], (name,)).get
        return found

    def put(self, schedule: Schedule) -> None:
        self._execute(self._sql["put_schedule"], row_of(schedule))

    def drop(self, name: str) -> None:
        self._execute(self._sql["drop_schedule"], (name,))

    def run(self, run_id: str) -> Run | None:
        row = self._execute(self._sql["run"], (run_id,)).fetchone()
        return None if row is None else run_of(row)

    def write(self, change: Change) -> Applied | Refused:
        return self._batch.apply(change)

    def ask_to_cancel(self, run_no: int) -> None:
        self._execute(self._sql["request"], (run_no, "cancel")).fetchall()

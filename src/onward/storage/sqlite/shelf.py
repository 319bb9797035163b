"""The runs of a SQLite journal's queues, as a claim or an arrival sees them within its transaction."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import apsw

from onward.core.flow import Candidate, Limits
from onward.core.model import Answer, Applied, Arrival, Change, Claim, Leasing, Refused, Run
from onward.storage.arrivals import Batch
from onward.storage.guards import Guard, written
from onward.storage.sqlite.reader import run_of, settings_of
from onward.storage.sqlite.unread import Unread, new_run


class Transaction(Protocol):
    """What the order is part of: what it has collected so far counts."""

    found: dict[int, Guard]
    left: dict[int, Guard]
    unread: Unread | None

    def apply(self, change: Change) -> Applied | Refused: ...

    def lease(self, changes: Sequence[Change]) -> None: ...

    def lease_first(self, leases: Leasing) -> None: ...


class Shelf:
    """See `storage.claims.Shelf` and `storage.arrivals.Tray`."""

    def __init__(self, connection: apsw.Connection, sql: Mapping[str, str], batch: Transaction) -> None:
        self._connection, self._sql, self._batch = connection, sql, batch

    def _rows(self, name: str, *values: object) -> Iterator[tuple[Any, ...]]:
        return self._connection.execute(self._sql[name], values)

    def _value(self, name: str, *values: object) -> Any:
        for row in self._rows(name, *values):
            return row[0]
        return None

    def _write(self, name: str, *values: object) -> None:
        self._connection.execute(self._sql[name], values)

    # -- what a claim sees --------------------------------------------------------------------------------

    def queues(self) -> list[Limits]:
        return [settings_of(row).limits for row in self._rows("queues")]

    def ready_kinds(self) -> list[tuple[str, str]]:
        return self._kinds("ready_kind")

    def waiting_kinds(self) -> list[tuple[str, str]]:
        return self._kinds("waiting_kind")

    def _kinds(self, statement: str) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        at: Any = ("", "")
        while (at := self._connection.execute(self._sql[statement], at).fetchone()) is not None:
            found.append(at)
        return found

    def ready(self, queue: str, name: str, limit: int) -> Iterator[Candidate]:
        return map(Candidate._make, self._rows("ready", queue, name, limit))

    def due(self, queue: str, name: str, now: float, limit: int) -> Iterator[Candidate]:
        return map(Candidate._make, self._rows("due", queue, name, now, limit))

    def next_due(self, queue: str, name: str, now: float) -> float | None:
        found: float | None = self._value("next_due", queue, name, now)
        return found

    def ready_lanes(self, queue: str, name: str, first: str, limit: int) -> list[str]:
        return self._lanes("ready_lane", queue, name, first, limit)

    def waiting_lanes(self, queue: str, name: str, first: str, limit: int) -> list[str]:
        return self._lanes("waiting_lane", queue, name, first, limit)

    def _lanes(self, statement: str, queue: str, name: str, first: str, limit: int) -> list[str]:
        found: list[str] = []
        while len(found) < limit:
            lane = self._value(statement, queue, name, first)
            if lane is None:
                break
            found.append(lane)
            first = lane + "\0"  # the least text that is greater
        return found

    def ready_in(self, queue: str, name: str, lane: str, limit: int) -> Iterator[Candidate]:
        return map(Candidate._make, self._rows("ready_in", queue, name, lane, limit))

    def due_in(self, queue: str, name: str, lane: str, now: float, limit: int) -> Iterator[Candidate]:
        return map(Candidate._make, self._rows("due_in", queue, name, lane, now, limit))

    def turn(self, queue: str) -> str:
        return self._value("turn", queue) or ""

    def set_turn(self, queue: str, lane: str) -> None:
        self._write("set_turn", queue, lane)

    def running(self, queue: str, at_most: int) -> int:
        return int(self._value("busy", queue, at_most))

    def running_in(self, queue: str, lane: str, at_most: int) -> int:
        return int(self._value("busy_in", queue, lane, at_most))

    def running_here(self, queue: str, owner: str, at_most: int) -> int:
        return int(self._value("busy_here", queue, owner, at_most))

    def starts(self, queue: str, lane: str, since: float) -> int:
        return int(self._value("starts", queue, lane, since))

    def first_start(self, queue: str, lane: str, since: float) -> float | None:
        found: float | None = self._value("first_start", queue, lane, since)
        return found

    def note_starts(self, queue: str, lane: str, at: float, count: int) -> None:
        self._write("add_starts", queue, lane, at, count)

    def forget_starts(self, queue: str, until: float) -> None:
        self._write("forget_starts", queue, until)

    def lease_new(self, queue: str, name: str, order: Claim, now: float) -> Sequence[tuple[Run, int]] | None:
        unread = self._batch.unread
        return () if unread is not None and unread.lease(queue, name, order, now) else None

    def take(self, numbers: Sequence[int]) -> list[tuple[Run, int]]:
        found = {
            row[18]: self._seen(new_run(row), row[19]) for row in self._rows("new_runs", json.dumps(numbers))
        }
        if len(found) < len(numbers):
            others = json.dumps([no for no in numbers if no not in found])
            found.update(
                (row[29], self._seen(run_of(row[:-1]), row[-1])) for row in self._rows("ready_runs", others)
            )
        return [found[no] for no in numbers]

    def _seen(self, run: Run, seq: int) -> tuple[Run, int]:
        """The run and the number of its last entry, as the transaction so far leaves it."""
        left = self._batch.left
        known = left.get(run[29])
        if known is None:
            self._batch.found[run[29]] = left[run[29]] = written(run, seq)
            return run, seq
        return run, known.seq  # its latest entries are collected, and not written yet

    def arrived(self, no: int) -> list[str]:
        items = [item for (item,) in self._rows("arrived", no)]
        self._write("forget_arrivals", no)
        self._write("empty_arrivals", no)
        return items

    def lease(self, changes: Sequence[Change]) -> None:
        for change in changes:
            before, after = change.before, change.after
            assert before is not None, "a claim is made of what was read"
            assert after is not None, "and it writes the run's row"
            if before.args is None:
                self._write("set_args", change.run_no, after.args)
        self._batch.lease(changes)

    def lease_first(self, leases: Leasing) -> None:
        self._batch.lease_first(leases)

    # -- what an arrival sees -----------------------------------------------------------------------------

    def arrival(self, name: str, key: str) -> tuple[int, str, int] | None:
        for no, run_id, checksum in self._rows("arrival", name, key):
            return no, run_id, checksum
        return None

    def open_batch(self, single: str) -> Batch | None:
        for row in self._rows("open_batch", single):
            return Batch._make(row)
        return None

    def add_arrival(self, batch: Batch, order: Arrival, checksum: int) -> None:
        chars = batch.chars + len(order.item)
        self._write(
            "add_arrival", batch.run_no, batch.items, order.run.name, order.key, order.item, checksum, chars
        )

    def take_one(self, no: int) -> Run:
        return self.take([no])[0][0]

    def apply(self, change: Change) -> Answer:
        return self._batch.apply(change)

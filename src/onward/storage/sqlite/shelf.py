"""The runs of a SQLite journal's queues, as a claim sees them within its transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import apsw

from onward.core.flow import Candidate, Limits
from onward.core.model import Applied, Change, Refused, Run
from onward.storage.guards import Guard
from onward.storage.sqlite.reader import run_of


class Batch(Protocol):
    """The transaction that the claim is part of: what it has collected so far counts."""

    def guard(self, no: int) -> Guard | None: ...

    def apply(self, change: Change) -> Applied | Refused: ...


class Shelf:
    """See `storage.claims.Shelf`."""

    def __init__(self, connection: apsw.Connection, sql: Mapping[str, str], batch: Batch) -> None:
        self._connection, self._sql, self._batch = connection, sql, batch

    def _rows(self, name: str, *values: object) -> Iterator[tuple[Any, ...]]:
        return self._connection.execute(self._sql[name], values)

    def queues(self) -> list[Limits]:
        return [limits_of(row) for row in self._rows("queues")]

    def ready(self, queue: str, name: str, limit: int) -> Iterator[Candidate]:
        return (Candidate(*row) for row in self._rows("ready", queue, name, limit))

    def due(self, queue: str, name: str, now: float, limit: int) -> Iterator[Candidate]:
        return (Candidate(*row) for row in self._rows("due", queue, name, now, limit))

    def next_due(self, queue: str, name: str) -> float | None:
        return next(self._rows("next_due", queue, name))[0]  # type: ignore[no-any-return]

    def running(self, queue: str) -> int:
        return int(next(self._rows("busy", queue))[0])

    def lanes(self, queue: str) -> dict[str, int]:
        return dict(self._rows("busy_lanes", queue))

    def starts(self, queue: str, since: float) -> int:
        self._connection.execute(self._sql["forget_starts"], (queue, since))
        return int(next(self._rows("starts", queue, since))[0])

    def take(self, numbers: Sequence[int]) -> Iterator[tuple[Run, int]]:
        for no in numbers:
            guard = self._batch.guard(no)
            assert guard is not None, "a candidate is stored"
            yield run_of(next(self._rows("run_numbered", no))), guard.seq

    def write(self, change: Change) -> Applied:
        answer = self._batch.apply(change)
        assert isinstance(answer, Applied), "nobody else writes within the transaction"
        return answer

    def note_start(self, queue: str, at: float, no: int) -> None:
        self._connection.execute(self._sql["add_start"], (queue, at, no))


def limits_of(row: tuple[Any, ...]) -> Limits:
    name, paused, *rest = row
    return Limits(name, bool(paused), *rest)

"""The floor: what bare SQLite needs for the same bytes, through the same driver, with the same durability."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import apsw

# Larger than all that one measurement writes, so that the log is overwritten and never grows while it is timed.
_LOG_BYTES = 32_000_000


class Cost(NamedTuple):
    """Of one operation, in microseconds."""

    wall_us: float
    cpu_us: float


class Meter:
    """Times a block of `count` operations, wall clock and CPU of all threads of this process."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.cost = Cost(0.0, 0.0)

    def __enter__(self) -> Meter:
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        self.cost = Cost(wall / self._count * 1e6, cpu / self._count * 1e6)


class Floor:
    """A table in a database of its own: WAL, synchronous=FULL, the log recycled."""

    def __init__(self, folder: Path) -> None:
        self.connection = connection = apsw.Connection(str(folder / "floor.db"))
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "FULL")
        connection.wal_autocheckpoint(0)
        connection.execute(
            "CREATE TABLE record (run INTEGER, seq INTEGER, key TEXT, value TEXT, PRIMARY KEY (run, seq)) WITHOUT ROWID"
        )
        connection.execute("INSERT INTO record VALUES (0, 0, '', ?)", ("x" * _LOG_BYTES,))
        self._next = 0
        self.recycle()

    def recycle(self) -> None:
        """The next write starts the log over."""
        self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)

    def one_by_one(self, count: int) -> Cost:
        """`INSERT` in autocommit mode, each durable before the next."""
        rows = self._rows(count)
        execute = self.connection.execute
        with Meter(count) as meter:
            for row in rows:
                execute("INSERT INTO record VALUES (1, ?, ?, ?)", row)
        self.recycle()
        return meter.cost

    def insert_one(self) -> None:
        """A single durable row."""
        for row in self._rows(1):
            self.connection.execute("INSERT INTO record VALUES (1, ?, ?, ?)", row)

    def batch(self, count: int) -> Cost:
        """All rows in one transaction."""
        rows = self._rows(count)
        with Meter(count) as meter, self.connection:
            self.connection.executemany("INSERT INTO record VALUES (1, ?, ?, ?)", rows)
        self.recycle()
        return meter.cost

    def _rows(self, count: int) -> list[tuple[int, str, str]]:
        first, self._next = self._next, self._next + count
        return [(i, f"fetch#{i}", f'{{"id":{i},"name":"venue"}}') for i in range(first, self._next)]

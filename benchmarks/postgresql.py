"""PostgreSQL: what a durable step costs above a bare durable row, and how many workflows share a transaction.

Brings its own server, from the wheel that the tests use, with its data in the folder that is measured.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from statistics import median
from typing import Any

import fleet
import latency
import psycopg
import sequential
from floor import Cost, Meter
from row import Row

import onward

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from postgres.server import Server, server

_STEPS = 600
_ROUNDS = 7
_FLEET = 1_000
_BATCH = 30_000


class Floor:
    """A table of the same shape in the same server, written to through the same driver."""

    def __init__(self, running: Server) -> None:
        self._connection: psycopg.Connection[Any] = running.connect()
        self._connection.execute(
            "CREATE TABLE record (run bigint, seq bigint, key text, value text, PRIMARY KEY (run, seq))"
        )
        self._next = 0

    def one_by_one(self, count: int) -> Cost:
        """`INSERT` in autocommit mode, each durable before the next."""
        rows = self._rows(count)
        with Meter(count) as meter:
            for row in rows:
                self._connection.execute("INSERT INTO record VALUES (1, %s, %s, %s)", row)
        return meter.cost

    def batch(self, count: int) -> Cost:
        """All rows in one transaction, by COPY."""
        rows = self._rows(count)
        cursor = self._connection.cursor()
        with Meter(count) as meter, cursor.copy("COPY record FROM STDIN") as copy:
            for row in rows:
                copy.write_row((1, *row))
        return meter.cost

    def _rows(self, count: int) -> list[tuple[int, str, str]]:
        first, self._next = self._next, self._next + count
        return [(i, f"fetch#{i}", f'{{"id":{i},"name":"venue"}}') for i in range(first, self._next)]


def measure(folder: Path) -> list[Row]:
    folder.chmod(0o755)  # the server's user must reach its data in it
    with server(folder / "server") as running:
        floor = Floor(running)
        onward.connect(running.url())
        rows = [_sequential(floor), _fleet(floor), *latency.rows(folder, running.url(), ", PostgreSQL")]
        onward.connect("memory:")
    return rows


def _sequential(floor: Floor) -> Row:
    sequential.steps(-1, 100)
    floor.one_by_one(100)
    pairs = [
        (floor.one_by_one(_STEPS), Cost(*sequential.steps(attempt, _STEPS))) for attempt in range(_ROUNDS)
    ]
    ratio = median(step.wall_us / bare.wall_us for bare, step in pairs)
    return Row(
        "sequential durable step, PostgreSQL",
        f"{median(bare.wall_us for bare, _ in pairs):.0f} µs (psycopg INSERT, autocommit)",
        f"{median(step.wall_us for _, step in pairs):.0f} µs = {ratio:.2f} × floor",
        "≤ 1.3 × floor",
        ratio,
        1.3,
    )


def _fleet(floor: Floor) -> Row:
    bare, steady, whole = [], [], []
    for attempt in range(1_000, 1_000 + _ROUNDS):
        bare.append(1e6 / floor.batch(_BATCH).wall_us)
        a, b = asyncio.run(fleet.round_of(attempt, _FLEET))
        steady.append(a)
        whole.append(b)
    return Row(
        f"{_FLEET:,} concurrent async workflows, PostgreSQL",
        f"{median(bare):,.0f} rows/s (one COPY)",
        f"{median(steady):,.0f} steps/s ({median(whole):,.0f} with opening and closing the runs)",
        "≥ 10,000 steps/s",
        median(steady),
        10_000,
        at_least=True,
    )

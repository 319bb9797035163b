"""A queue: how fast no-op jobs are started in bulk and executed by one worker, leases and history included."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from time import perf_counter, process_time, time

import journal
from floor import Floor, Meter
from row import Row

import onward
from onward.api import connect
from onward.runtime.worker import Worker

_ROUNDS = 5
_JOBS = 20_000  # in one round
_PAIRS = 500  # of the floor
_STARTED = 50_000
_TIMES = 10
_CPU_US = 60
_CLAIM = """
UPDATE job SET state = 'running', owner = 'me', until = ?
WHERE id = (SELECT id FROM job WHERE state = 'ready' ORDER BY id LIMIT 1) RETURNING id, args
"""
_COMPLETE = "UPDATE job SET state = 'done', owner = NULL, until = NULL WHERE id = ?"


@onward.workflow
def noop(number: int) -> int:
    return number


class Queue:
    """What the least queue would need: one commit that finds and leases a job, and one that completes it."""

    def __init__(self, floor: Floor) -> None:
        self._execute, self._floor = floor.connection.execute, floor
        self._execute(
            "CREATE TABLE job (id INTEGER PRIMARY KEY, args TEXT, state TEXT, owner TEXT, until REAL)"
        )
        self._execute("CREATE INDEX ready ON job (id) WHERE state = 'ready'")

    def two_commits(self, count: int) -> float:
        """Microseconds for each job."""
        with self._floor.connection as connection:
            rows = [(f"[[{number}],{{}}]",) for number in range(count)]
            connection.executemany("INSERT INTO job (args, state) VALUES (?, 'ready')", rows)
        with Meter(count) as meter:
            for _ in range(count):
                ((number, _),) = self._execute(_CLAIM, (time() + 15,)).fetchall()
                self._execute(_COMPLETE, (number,))
        self._floor.recycle()
        return meter.cost.wall_us


def _drained() -> tuple[float, float]:
    """Wall clock and CPU for each job that waits, in microseconds."""
    worker = Worker(connect.engine(), concurrency=1)
    began, used = perf_counter(), process_time()
    worker.run(burst=True)
    wall, cpu = perf_counter() - began, process_time() - used
    if worker.executed != _JOBS or worker.rest(5):
        raise SystemExit(f"{worker.executed} of {_JOBS} jobs were executed; nothing was measured")
    return wall / _JOBS * 1e6, cpu / _JOBS * 1e6


def measure(folder: Path) -> list[Row]:
    journal.opened(folder)
    floor = Floor(folder)
    queue = Queue(floor)
    batch, pair, starting, wall, cpu = ([] for _ in range(5))  # type: tuple[list[float], ...]
    for number in range(_ROUNDS + 1):
        batch.append(1e6 / floor.batch(_JOBS).wall_us)
        with Meter(_JOBS) as meter:
            noop.start_many(range(_JOBS))
        journal.recycle()
        starting.append(1e6 / meter.cost.wall_us)
        pair.append(queue.two_commits(_PAIRS))
        taken = _drained()
        journal.recycle()
        wall.append(taken[0])
        cpu.append(taken[1])
        if number == 0:  # warm
            for figures in (batch, pair, starting, wall, cpu):
                figures.clear()
    times = median(one / other for one, other in zip(pair, wall, strict=True))
    total = f"{_ROUNDS} × {_JOBS:,} jobs"
    return [
        Row(
            f"start no-op jobs in bulk, {total}",
            f"{median(batch):,.0f} rows/s (one batch insert)",
            f"{median(starting):,.0f} jobs/s",
            f"≥ {_STARTED:,} jobs/s",
            median(starting),
            _STARTED,
            at_least=True,
        ),
        Row(
            f"execute them in one worker, {total}",
            f"{1e6 / median(pair):,.0f} jobs/s (claim and complete, two commits)",
            f"{1e6 / median(wall):,.0f} jobs/s, {times:.1f} × the floor",
            f"≥ {_TIMES} × the floor",
            times,
            _TIMES,
            at_least=True,
        ),
        Row(
            "CPU of it for each job",
            "–",
            f"{median(cpu):.0f} µs",
            f"≤ {_CPU_US} µs",
            median(cpu),
            _CPU_US,
        ),
    ]

"""A queue: how fast no-op jobs are started in bulk, and executed by one process and by one for each core.

Leases and history are included. `python jobs.py NAME FOLDER` is one of a team of processes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from statistics import median
from time import perf_counter, process_time, time

import apsw
import journal
from floor import Floor, Meter
from row import Row
from team import Team, wait_for_go

import onward
from onward.api import connect
from onward.runtime.worker import Worker

_ROUNDS = 5
_JOBS = 20_000  # in one round
_PAIRS = 500  # of the floor
_STARTED = 50_000
_TIMES = 10
_CPU_US = 60
_PROCESSES = max(2, min(4, os.cpu_count() or 1))
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
        self._floor = floor
        floor.connection.execute(
            "CREATE TABLE job (id INTEGER PRIMARY KEY, args TEXT, state TEXT, owner TEXT, until REAL)"
        )
        floor.connection.execute("CREATE INDEX ready ON job (id) WHERE state = 'ready'")

    def two_commits(self, count: int) -> float:
        """Microseconds for each job."""
        self._add(count)
        with Meter(count) as meter:
            claim_each(self._floor.connection)
        self._floor.recycle()
        return meter.cost.wall_us

    def two_commits_by_all(self, count: int, folder: Path) -> float:
        """The same by a process for each core: the better of the two is the floor."""
        self._add(count)
        with Team("claim_and_complete", folder, _PROCESSES) as team:
            wall_s, _ = team.go()
        self._floor.recycle()
        return wall_s / count * 1e6

    def _add(self, count: int) -> None:
        with self._floor.connection as connection:
            rows = [(f"[[{number}],{{}}]",) for number in range(count)]
            connection.executemany("INSERT INTO job (args, state) VALUES (?, 'ready')", rows)


def claim_each(connection: apsw.Connection) -> int:
    """Claim and complete jobs until none is left; how many it were."""
    count = 0
    while found := connection.execute(_CLAIM, (time() + 15,)).fetchall():
        connection.execute(_COMPLETE, (found[0][0],))
        count += 1
    return count


def _drained() -> tuple[float, float]:
    """Wall clock and CPU for each job that waits, in microseconds."""
    worker = Worker(connect.engine(), concurrency=1)
    began, used = perf_counter(), process_time()
    worker.run(burst=True)
    wall, cpu = perf_counter() - began, process_time() - used
    if worker.executed != _JOBS or worker.rest(5):
        raise SystemExit(f"{worker.executed} of {_JOBS} jobs were executed; nothing was measured")
    return wall / _JOBS * 1e6, cpu / _JOBS * 1e6


def _drained_by_all(team: Team) -> tuple[float, float]:
    """The same by a process for each core, all at work at the same time."""
    wall_s, lines = team.go()
    if sum(int(executed) for executed, _ in lines) != _JOBS:
        raise SystemExit(f"{lines} of {_JOBS} jobs were executed; nothing was measured")
    return wall_s / _JOBS * 1e6, sum(float(cpu) for _, cpu in lines) / _JOBS * 1e6


def drain(folder: Path) -> None:
    """One of a team: executes what waits."""
    onward.connect(folder / "journal.db")
    worker = Worker(connect.engine(), concurrency=1)
    wait_for_go()
    used = process_time()
    worker.run(burst=True)
    print(worker.executed, process_time() - used, flush=True)
    worker.rest(5)


def claim_and_complete(folder: Path) -> None:
    """One of a team at the floor: on a connection of its own, that waits for the others."""
    connection = apsw.Connection(str(folder / "floor.db"))
    connection.pragma("synchronous", "FULL")
    connection.wal_autocheckpoint(0)
    connection.set_busy_timeout(10_000)
    wait_for_go()
    print(claim_each(connection), 0, flush=True)


def measure(folder: Path) -> list[Row]:
    journal.opened(folder)
    floor = Floor(folder)
    queue = Queue(floor)
    batch, pair, pairs, starting, wall, cpu, wall_all, cpu_all = ([] for _ in range(8))  # type: tuple[list[float], ...]
    for number in range(_ROUNDS + 1):
        batch.append(1e6 / floor.batch(_JOBS).wall_us)
        with Meter(_JOBS) as meter:
            noop.start_many(range(_JOBS))
        journal.recycle()
        starting.append(1e6 / meter.cost.wall_us)
        pair.append(queue.two_commits(_PAIRS))
        pairs.append(queue.two_commits_by_all(_PAIRS, folder))
        for figures, other, taken in (
            (wall, cpu, _drained()),
            (wall_all, cpu_all, _started_and_drained(folder)),
        ):
            figures.append(taken[0])
            other.append(taken[1])
            journal.recycle()
        if number == 0:  # warm
            for figures in (batch, pair, pairs, starting, wall, cpu, wall_all, cpu_all):
                figures.clear()
    least = min(median(pair), median(pairs))
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
        *_drain_rows(f"execute them in one process, {total}", least, median(wall), median(cpu)),
        *_drain_rows(
            f"execute them in {_PROCESSES} processes, {total}", least, median(wall_all), median(cpu_all)
        ),
    ]


def _drain_rows(what: str, floor_us: float, wall_us: float, cpu_us: float) -> list[Row]:
    times = floor_us / wall_us
    return [
        Row(
            what,
            f"{1e6 / floor_us:,.0f} jobs/s (claim and complete, two commits)",
            f"{1e6 / wall_us:,.0f} jobs/s, {times:.1f} × the floor",
            f"≥ {_TIMES} × the floor",
            times,
            _TIMES,
            at_least=True,
        ),
        Row("CPU of that for each job", "–", f"{cpu_us:.0f} µs", f"≤ {_CPU_US} µs", cpu_us, _CPU_US),
    ]


def _started_and_drained(folder: Path) -> tuple[float, float]:
    noop.start_many(range(_JOBS))
    journal.recycle()
    with Team("drain", folder, _PROCESSES) as team:
        return _drained_by_all(team)


if __name__ == "__main__":
    {"drain": drain, "claim_and_complete": claim_and_complete}[sys.argv[1]](Path(sys.argv[2]))

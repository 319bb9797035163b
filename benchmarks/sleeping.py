"""A million runs that sleep: what an idle worker costs beside them, and how late it wakes those that come due."""

from __future__ import annotations

import datetime as dt
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import median, quantiles

import apsw
import journal
from crew import Crew, cpu_s, crew, note, notes
from row import NO_TARGET, Row

import onward
from onward.api import connect, working

_DAY_S = 86_400
_AT_ONCE = 10_000
_IDLE_S = 10.0
_WOKEN = 100
_WITHIN_S = 5.0
_SETTLE_S = 2.0
_ASLEEP_S = 10.0  # by then all of them have been claimed once, and sleep


@onward.workflow
def nap(number: int) -> None:
    """One of the million: tomorrow."""


@onward.workflow
def wake(place: str, number: int, due_at: float) -> None:
    """Sleeps until a moment, and notes when it is awake again."""
    onward.sleep_until(dt.datetime.fromtimestamp(due_at, dt.UTC))
    note(Path(place), f"{number} {due_at} {time.time()}")


def _put_to_sleep(count: int) -> float:
    """Seconds it takes to start so many runs that are due tomorrow."""
    begun_at = time.perf_counter()
    tomorrow = nap.options(id="nap-{number}", delay=_DAY_S)
    for at in range(0, count, _AT_ONCE):
        tomorrow.start_many(range(at, min(count, at + _AT_ONCE)))
    return time.perf_counter() - begun_at


def _idle_share(workers: Crew, pid: int) -> float:
    """Percent of a core that the worker uses while nothing is to be done."""
    workers.assemble(1)
    time.sleep(_SETTLE_S)
    before = cpu_s(pid)
    time.sleep(_IDLE_S)
    workers.check()
    return 100 * (cpu_s(pid) - before) / _IDLE_S


def _lateness(workers: Crew, place: Path) -> list[float]:
    """Seconds between the due moment and the first line executed after it, of runs that slept as rows."""
    chance = random.Random(1)
    begin = time.time() + _ASLEEP_S
    for number in range(_WOKEN):
        wake.start(str(place), number, begin + chance.uniform(0.0, _WITHIN_S))
    workers.until(lambda: _asleep() == _WOKEN, "that all of them sleep", begin - time.time())
    workers.until(lambda: len(notes(place)) == _WOKEN, "that all of them are awake")
    return [float(at) - float(due) for _, due, at in notes(place)]


def _asleep() -> int:
    connection = apsw.Connection(connect.engine().store.place, flags=apsw.SQLITE_OPEN_READONLY)
    ((count,),) = connection.execute(
        "SELECT count(*) FROM run INDEXED BY run_due WHERE direct = 0 AND state = 'waiting' AND wake_at IS NOT NULL"
        " AND queue = 'default' AND name = 'wake'"
    )
    connection.close()
    return int(count)


def _statements(folder: Path) -> float:
    """SQL statements a second of an idle worker, counted in a process of its own: counting costs CPU."""
    command = [sys.executable, __file__, str(folder)]
    counted = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(counted.stdout)


def counting(folder: Path) -> None:
    """The body of that process: a worker that ends after some seconds and prints what it asked of SQLite."""
    count = 0

    def counted(_: object) -> None:
        nonlocal count
        count += 1

    def hook(connection: apsw.Connection) -> None:
        connection.trace_v2(apsw.SQLITE_TRACE_STMT, counted)

    apsw.connection_hooks.append(hook)
    onward.connect(folder / "journal.db")

    def end() -> None:
        nonlocal count
        time.sleep(_SETTLE_S)
        before = count
        time.sleep(_IDLE_S / 2)
        print((count - before) / (_IDLE_S / 2), flush=True)
        os._exit(0)

    threading.Thread(target=end, daemon=True).start()
    working.work()


def measure(folder: Path) -> list[Row]:
    sleepers = int(os.environ["ONWARD_BENCH_SLEEPERS"])
    onward.connect(folder / "journal.db")
    took_s = _put_to_sleep(sleepers)
    journal.recycle()
    place = folder / "notes"
    with crew(Path(__file__).resolve(), folder) as workers:
        pid = workers.hire("--quiet")
        share = _idle_share(workers, pid)
        late = sorted(_lateness(workers, place))
    statements = _statements(folder)
    if min(late) < 0:
        raise SystemExit("a run was woken before its time")
    p99 = quantiles(late, n=100)[98]
    rows_mb = (folder / "journal.db").stat().st_size / 1e6
    what = f"{sleepers:,} sleeping runs"
    return [
        Row(
            f"{what}: as rows",
            NO_TARGET,
            f"{rows_mb:,.0f} MB, started in {took_s:.0f} s",
            NO_TARGET,
            0,
            0,
        ),
        Row(f"{what}: an idle worker's CPU", "–", f"{share:.2f} % of a core", "< 1 %", share, 1),
        Row(
            f"{what}: an idle worker's statements",
            "–",
            f"{statements:.0f} a second",
            NO_TARGET,
            0,
            0,
        ),
        Row(
            f"{what}: {_WOKEN} come due within {_WITHIN_S:.0f} s",
            "–",
            f"late by {1000 * median(late):.0f} ms (p99 {1000 * p99:.0f} ms)",
            "≤ 100 ms late",
            p99,
            0.1,
        ),
    ]


if __name__ == "__main__":
    counting(Path(sys.argv[1]))

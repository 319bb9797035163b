"""Three worker processes that follow the same schedules, killed at random: each nominal time starts one run."""

from __future__ import annotations

import random
import signal
import statistics
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from onward.api import connect
from onward.core.schedules import nominal_of
from postgres.server import fresh_schema
from surfaces.conftest import Programs

pytestmark = pytest.mark.faults

# `each` may overlap and catches up all; `turns` must not overlap. Both note what they do outside of the journal.
APP = """
def note(what):
    here = onward.current()
    with open("done.txt", "a") as file:
        file.write(f"{what} {here.run_id} {os.getpid()}\\n")

@onward.schedule("* * * * * *", name="each", overlap="allow", catch_up="all")
@onward.workflow
def each_job():
    note("each")

@onward.schedule(every=1, name="turns", overlap="queue", catch_up="all")
@onward.workflow(max_crashes=100)
def turns_job():
    note("begin")
    time.sleep(0.5)
    note("end")
"""
SECONDS = 15
WORKERS = 3


@pytest.fixture(params=[pytest.param("sqlite", marks=pytest.mark.full), "postgres"])
def where(request: pytest.FixtureRequest, journal: object, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which kind of journal the test and its programs use."""
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_server").url(schema=fresh_schema())
        monkeypatch.setenv("ONWARD_URL", url)
    kind: str = request.param
    return kind


@pytest.mark.important
@pytest.mark.slow
def test_three_workers_that_are_killed_start_each_time_once(
    where: str, programs: Programs, tell: Callable[[object], None]
) -> None:
    programs.write(APP, "app.py")
    dice = random.Random(7)
    workers = [programs.start("-m", "onward.cli", "worker", "app.py", "--quiet") for _ in range(WORKERS)]
    programs.wait_for("done.txt")
    while not any(line.startswith("begin") for line in programs.lines("done.txt")):
        time.sleep(0.01)
    end, kills, hits = time.monotonic() + SECONDS, 0, 0
    while time.monotonic() < end or hits < 4:
        time.sleep(dice.uniform(0.5, 1.5))
        at = _in_the_middle(programs, workers)
        if at is None or dice.random() < 0.3:
            at = dice.randrange(WORKERS)
        else:
            hits += 1
        workers[at].send_signal(signal.SIGKILL)
        kills += 1
        workers[at].wait(100)
        workers[at] = programs.start("-m", "onward.cli", "worker", "app.py", "--quiet")
    _pause_all(programs)
    _let_end(workers)
    _check(programs, lambda what: tell(f"{what} ({where})"), kills)


def _in_the_middle(programs: Programs, workers: list[Any]) -> int | None:
    """The worker that executes `turns` now."""
    what, _, pid = next(line.split() for line in reversed(programs.lines("done.txt")) if line[:4] != "each")
    return next((at for at, one in enumerate(workers) if what == "begin" and one.pid == int(pid)), None)


def _pause_all(programs: Programs) -> None:
    for name in ("each", "turns"):
        while programs.onward("schedule", "pause", name).returncode == 75:
            time.sleep(0.1)


def _let_end(workers: list[Any]) -> None:
    store = connect.engine().store
    until = time.monotonic() + 60
    while store.runs(states=["pending", "running", "waiting"], limit=1):
        assert time.monotonic() < until, "what was started does not end"
        time.sleep(0.05)
    for worker in workers:
        worker.terminate()
        worker.wait(100)


def _check(programs: Programs, tell: Callable[[object], None], kills: int) -> None:
    store = connect.engine().store
    noted = [line.split() for line in programs.lines("done.txt")]
    rows = {one.name: one for one in store.schedules()}
    late: list[float] = []
    for name in ("each", "turns"):
        runs = store.runs_of_schedule(name, limit=999)
        nominal = sorted(nominal_of(run.id.rpartition("@")[2]) for run in runs)
        # Gapless and without repeats, whoever was alive.
        assert nominal == [nominal[0] + at for at in range(len(nominal))]
        assert rows[name].started == len(runs)
        assert (rows[name].skipped, rows[name].missed) == (0, 0)
        assert {run.state for run in runs} == {"done"}
        for run in runs:
            assert sum(entry.name == "submitted" for entry in store.entries(run.no)) == 1
        if name == "each":
            late = [run.created_at - nominal_of(run.id.rpartition("@")[2]) for run in runs]
            times = Counter(run_id for what, run_id, _ in noted if what == "each")
            leases = {run.id: run.fence for run in runs}
            # More than once only where its worker died in it: then it was leased more than once.
            assert set(times) == set(leases)
            assert all(count <= leases[run_id] for run_id, count in times.items())
    assert min(late) > 0, "a run before its time"
    assert len(late) >= SECONDS
    assert kills >= 8
    again = sum(run.fence > 1 for name in rows for run in store.runs_of_schedule(name, limit=999))
    assert again > 0, "no worker was killed in the middle of a run: nothing was shown"
    _check_turns(store)
    tell(
        f"schedules: {kills} kills of 3 workers in {SECONDS} s, {len(late)} times of each second started once, "
        f"{1000 * statistics.median(late):.1f} ms late (median), {again} runs taken over"
    )


def _check_turns(store: Any) -> None:
    """Runs that must not overlap: each was added after the one before it had ended."""
    runs = sorted(store.runs_of_schedule("turns", limit=999), key=lambda run: run.no)
    for earlier, later in pairwise(runs):
        assert later.created_at >= earlier.updated_at

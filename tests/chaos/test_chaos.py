"""Three worker processes on one journal; kill -9, SIGSTOP beyond the lease, drains, and clients that start and cancel.

All promises hold, and when the faults are over everything comes to its end. `ONWARD_CHAOS_SEED` chooses another course.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from chaos import jobs, oracle
from onward.api import connect
from onward.api.journal import Journal
from onward.core.errors import OnwardError
from onward.core.model import ENDED
from onward.runtime.engine import Engine

pytestmark = [pytest.mark.important, pytest.mark.slow]
SEED = int(os.environ.get("ONWARD_CHAOS_SEED", "0"))
WORKERS = 3
HEALING_S = 60.0
TESTS = str(Path(__file__).parents[1])


@pytest.fixture(params=["sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A journal for many processes."""
    return f"sqlite:///{tmp_path / 'journal.db'}"


@pytest.fixture
def engine(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """The clients' side of it."""
    monkeypatch.setenv("ONWARD_QUIET", "1")
    for name in ("LEASE_MARGIN_S", "SUSPEND_S", "FAULT_PAUSE_S"):  # put back afterwards
        monkeypatch.setattr(jobs.limits, name, getattr(jobs.limits, name))
    jobs.enter(tmp_path)
    connect.disconnect()
    engine = jobs.opened(url)
    monkeypatch.setattr(connect, "_engine", engine)
    yield engine
    engine.close()


class Staff:
    """The worker processes, and what is done to them."""

    def __init__(self, url: str, folder: Path, chance: random.Random) -> None:
        self._url, self._folder, self._chance = url, folder, chance
        self._alive: list[subprocess.Popen[bytes]] = []
        self._ending: list[subprocess.Popen[bytes]] = []
        self._stopped: dict[int, float] = {}  # pid -> when it goes on
        self.kills = self.stops = self.drains = 0
        for _ in range(WORKERS):
            self._hire()

    def _hire(self) -> None:
        environment = {**os.environ, "PYTHONPATH": TESTS}
        command = [sys.executable, "-m", "chaos.jobs", self._url, str(self._folder)]
        with (self._folder / "stderr.log").open("ab") as log:
            self._alive.append(subprocess.Popen(command, env=environment, stderr=log))

    def strike_while(self, goes_on: Callable[[], bool]) -> None:
        """One fault after the other; then all that are stopped go on."""
        while goes_on():
            self._strike()
            time.sleep(self._chance.uniform(0.2, 0.8))
        self._let_go_on(float("inf"))

    def missing(self) -> list[str]:
        """What has to happen, or nothing was shown, and has not happened yet."""
        seen = {line["what"] for line in oracle.read(self._folder).workers}
        return [what for what in ("taken over", "refused", "waiting", "down") if what not in seen]

    def _strike(self) -> None:
        """One fault, and whoever is missing is replaced."""
        self._let_go_on(time.monotonic())
        up = {line["pid"] for line in oracle.read(self._folder).workers if line["what"] == "up"}
        awake = [one for one in self._alive if one.pid in up and one.pid not in self._stopped]
        victim = self._chance.choice(awake) if awake else None
        if victim is not None:
            match self._chance.choice(("kill", "stop", "stop", "stop", "drain")):
                case "kill":
                    self.kills += 1
                    victim.kill()
                    self._dismiss(victim)
                case "stop" if len(self._stopped) < WORKERS - 1:
                    self.stops += 1
                    victim.send_signal(signal.SIGSTOP)
                    self._stopped[victim.pid] = time.monotonic() + jobs.LEASE_S + self._chance.uniform(0.7, 2)
                case "drain":
                    self.drains += 1
                    victim.send_signal(signal.SIGTERM)
                    self._dismiss(victim)
        while len(self._alive) < WORKERS:
            self._hire()

    def _dismiss(self, one: subprocess.Popen[bytes]) -> None:
        self._alive.remove(one)
        self._ending.append(one)

    def _let_go_on(self, now: float) -> None:
        for one in self._alive:
            if one.pid in self._stopped and self._stopped[one.pid] <= now:
                one.send_signal(signal.SIGCONT)
                del self._stopped[one.pid]

    def close(self) -> None:
        """End them in order; what does not end is killed."""
        for one in self._alive:
            with suppress(ProcessLookupError):
                one.send_signal(signal.SIGCONT)
                one.terminate()
        for one in [*self._alive, *self._ending]:
            try:
                one.wait(15)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()


def play(engine: Engine, staff: Staff, chance: random.Random, seconds: float) -> set[str]:
    """Clients and nemesis side by side; the ids of the runs that were acknowledged."""
    acknowledged: set[str] = set()
    began = time.monotonic()

    def goes_on() -> bool:
        """For so long, and on a busy machine until every fault has shown; the test fails if that never comes."""
        took = time.monotonic() - began
        return took < seconds or (took < 3 * seconds and bool(staff.missing()))

    # In a thread of its own: a worker that is stopped while it writes keeps all others waiting until it goes on.
    nemesis = threading.Thread(target=staff.strike_while, args=(goes_on,))
    nemesis.start()
    number = 0
    while goes_on():
        if len(acknowledged) < 400:
            number += 1
            kind = chance.choice(jobs.KINDS)
            acknowledged.add(kind.options(id=f"{kind.name}-{number}").start(number).id)
        if chance.random() < 0.1 and acknowledged:
            act(engine, chance, chance.choice(sorted(acknowledged)))
        time.sleep(chance.uniform(0.02, 0.1))
    nemesis.join()
    return acknowledged


def act(engine: Engine, chance: random.Random, run_id: str) -> None:
    """Pause, resume or cancel a run, whatever state it is in."""
    with suppress(OnwardError):  # it cannot be done to one in that state
        getattr(Journal(engine), chance.choice(("pause", "pause", "resume", "cancel")))(run_id)


def settle(engine: Engine) -> None:
    """Let paused runs go on, and wait until everything has ended."""
    end = time.monotonic() + HEALING_S
    while time.monotonic() < end:
        unfinished = [run for run in engine.store.runs(limit=10_000) if run.state not in ENDED]
        if not unfinished:
            return
        for run in unfinished:
            if run.state == "paused":
                with suppress(OnwardError):
                    Journal(engine).resume(run.id)
        time.sleep(0.2)


def chaos(
    engine: Engine, url: str, folder: Path, seed: int, seconds: float, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(seed)
    staff = Staff(url, folder, random.Random(seed + 1))
    try:
        acknowledged = play(engine, staff, chance, seconds)
        settle(engine)
    finally:
        staff.close()
    logs = oracle.read(folder)
    counts = oracle.counts(engine.store, logs)
    with capsys.disabled():
        print(f"\nseed {seed}: {staff.kills} kills, {staff.stops} stops, {staff.drains} drains; ", end="")
        print(", ".join(f"{count} {name}" for name, count in sorted(counts.items())))
    found = oracle.breaches(engine.store, logs, acknowledged, staff.stops)
    assert not found, f"seed {seed}: " + "; ".join(found[:8])
    assert not staff.missing(), f"vacuous: {counts}"
    assert counts["orphaned"]


@pytest.mark.timeout(180)
def test_three_workers_keep_every_promise_whatever_is_done_to_them(
    engine: Engine, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chaos(engine, url, tmp_path, SEED, 15.0, capsys)


@pytest.mark.full
@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", range(1, 6))
def test_three_workers_keep_every_promise_for_longer(
    seed: int, engine: Engine, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chaos(engine, url, tmp_path, SEED + seed, 60.0, capsys)

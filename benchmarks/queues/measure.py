"""One contestant in one setting: rates with their floor, the latency of an idle worker, and a worker's death."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contestants import Contestant, Store
from job import kill, session_of  # of ../rivals
from place import Unavailable, environment, python_of
from stores import HERE, Stores

_LONGEST_S = 300
_START_S = 60
# A worker that says it is ready has a moment left to connect.
_SETTLE_S = 3.0


@dataclass
class Outcome:
    """What was measured. Rates in jobs a second, latencies in seconds."""

    enqueue: list[float] = field(default_factory=list)
    drain: list[float] = field(default_factory=list)
    insert_floor: list[float] = field(default_factory=list)
    pair_floor: list[float] = field(default_factory=list)
    executed_s: list[float] = field(default_factory=list)
    result_s: list[float] = field(default_factory=list)
    elsewhere: str = ""


class Script:
    """A contestant's script with a folder and a store of its own."""

    def __init__(self, job: str, setting: str, python: Path, folder: Path, store: str) -> None:
        self.folder = folder
        self._command = [str(python), str(HERE / "jobs" / f"{job}.py"), setting]
        self._variables = {"QUEUES_FOLDER": str(folder), "QUEUES_STORE": store, "ONWARD_URL": store}

    def run(self, word: str, jobs: int = 0, within_s: float = _LONGEST_S) -> Any:
        """Run a command to its end; what it printed last, read as JSON."""
        try:
            done = subprocess.run(
                [*self._command, word],
                cwd=self.folder,
                env=self._environment(jobs),
                capture_output=True,
                text=True,
                timeout=within_s,
            )
        except subprocess.TimeoutExpired:
            raise Unavailable(f"`{word}` took more than {within_s:.0f} s") from None
        if done.returncode != 0:
            raise Unavailable(
                f"`{word}` failed: {(done.stderr.strip().splitlines() or ['silently'])[-1][:200]}"
            )
        lines = done.stdout.strip().splitlines()
        return json.loads(lines[-1]) if lines and lines[-1][:1] in "[{-0123456789" else None

    @contextmanager
    def worker(self) -> Iterator[subprocess.Popen[bytes]]:
        """A worker that has said it is ready; nothing of it is left afterwards."""
        before = len(self.lines("ready"))
        with (self.folder / "output.txt").open("ab") as output:
            process = subprocess.Popen(
                [*self._command, "work"],
                cwd=self.folder,
                env=self._environment(0),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            self.until(lambda: len(self.lines("ready")) > before, process, _START_S, "was not ready")
            yield process
        finally:
            kill(process)

    def until(
        self, condition: Callable[[], bool], process: subprocess.Popen[bytes], within_s: float, what: str
    ) -> None:
        """Wait for it. Raises Unavailable when the worker ends, or the time is over."""
        end = time.monotonic() + within_s
        while not condition():
            if process.poll() is not None:
                text = (self.folder / "output.txt").read_text(errors="replace").strip().splitlines()
                raise Unavailable(f"its worker ended: {text[-1][:200] if text else 'silently'}")
            if time.monotonic() > end:
                raise Unavailable(f"it {what} within {within_s:.0f} s")
            time.sleep(0.01)

    def lines(self, file: str) -> list[tuple[int, int, int]]:
        """(number, nanoseconds, process) of every execution that was noted."""
        path = self.folder / file
        text = path.read_text() if path.exists() else ""
        return [tuple(map(int, line.split())) for line in text.rpartition("\n")[0].splitlines()]  # type: ignore[misc]

    def count(self, file: str) -> int:
        path = self.folder / file
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def _environment(self, jobs: int) -> dict[str, str]:
        return environment(**self._variables, QUEUES_JOBS=str(jobs))


def rates(outcome: Outcome, script: Script, floor: Script, jobs: int) -> None:
    """Enqueue so many jobs and drain them, right after the floor on the same store."""
    floors = floor.run("floor")
    outcome.insert_floor.append(floors["insert"])
    outcome.pair_floor.append(floors["pair"])
    script.run("setup")
    outcome.enqueue.append(jobs / script.run("enqueue", jobs))
    with script.worker() as process:
        script.until(
            lambda: script.count("done") >= jobs, process, _LONGEST_S, f"had not drained {jobs:,} jobs"
        )
    moments = sorted(at for _, at, _ in script.lines("done"))
    outcome.drain.append((len(moments) - 1) / (moments[-1] - moments[0]) * 1e9)


def idle(outcome: Outcome, script: Script, times: int) -> None:
    """Start single jobs in one process while a worker in another has nothing to do."""
    script.run("setup")
    with script.worker() as process:
        time.sleep(_SETTLE_S)
        said = script.run("ask", times)
        script.until(lambda: script.count("done") >= times, process, _START_S, "had not executed all")
    executed = {number: at for number, at, _ in script.lines("done")}
    outcome.executed_s += [(executed[number] - begun) / 1e9 for number, begun, _ in said]
    outcome.result_s += [(result - begun) / 1e9 for _, begun, result in said if result is not None]


def death(outcome: Outcome, script: Script, bound_s: float) -> None:
    """kill -9 of the one of two workers that has a job in hand: how long until the other one executes it."""
    script.run("setup")
    with script.worker() as one, script.worker() as other:
        time.sleep(_SETTLE_S)
        script.run("hang")
        script.until(lambda: script.count("hung") > 0, one, _START_S, "had not begun the job")
        time.sleep(1.0)
        holder = script.lines("hung")[0][2]
        victim, heir = (one, other) if holder in session_of(one.pid) else (other, one)
        if script.count("hung") > 1:
            outcome.elsewhere = "twice while its worker lives"
            return
        killed_at = time.time_ns()
        kill(victim)
        try:
            script.until(lambda: script.count("hung") > 1, heir, bound_s, "did not continue")
        except Unavailable:
            outcome.elsewhere = f"never within {bound_s:.0f} s"
            return
        outcome.elsewhere = f"{(script.lines('hung')[1][1] - killed_at) / 1e9:.1f} s"


def floor_of(store: Store, environments: Path, folder: Path, url: str) -> Script:
    """The script that measures what the bare store can do, with the driver that its contestants use."""
    owner = {"SQLite": "", "PostgreSQL": "procrastinate", "Redis": "rq"}[store]
    python = python_of(owner, environments) if owner else Path(sys.executable)
    return Script(f"floor_{store.lower()}", "default", python, folder, url)


def measured(
    outcome: Outcome, contestant: Contestant, setting: str, stores: Stores, environments: Path, place: Path,
    what: Callable[[Script, Script], None],
) -> None:  # fmt: skip
    """Do one measurement in a folder and a store of its own."""
    python = (
        python_of(contestant.environment, environments) if contestant.environment else Path(sys.executable)
    )
    place.mkdir(parents=True)
    with stores.url(contestant, place, synced=setting != "default") as url:
        script = Script(contestant.job, setting, python, place, url)
        (place / "floor").mkdir()
        floor_url = f"sqlite:///{place / 'floor' / 'store.db'}" if contestant.store == "SQLite" else url
        what(script, floor_of(contestant.store, environments, place / "floor", floor_url))

"""The measurement of queues beside each other runs, and its judge tells one that continues from one that does not."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

from api.lives import environment

pytestmark = pytest.mark.faults

ROOT = Path(__file__).resolve().parents[2]
QUEUES, RIVALS = ROOT / "benchmarks" / "queues", ROOT / "benchmarks" / "rivals"


@pytest.fixture
def queues(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The modules of the measurement, which import each other by their bare names."""
    for folder in (RIVALS, QUEUES):
        monkeypatch.syspath_prepend(str(folder))
    mine, theirs = ("contestants", "stores", "measure"), ("field", "pages", "place", "job")
    found = {name: __import__(name) for name in (*theirs, *mine)}
    for name in found:
        monkeypatch.delitem(sys.modules, name)
    return found


@pytest.mark.full
@pytest.mark.slow
def test_the_measurement_of_onward_itself_runs_and_a_killed_worker_is_continued(tmp_path: Path) -> None:
    command = [sys.executable, str(QUEUES / "run.py"), "onward-sqlite", "--folder", str(tmp_path)]
    command += ["--scale", "0.01", "--rounds", "1", "--asked", "5", "--bound", "20"]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=110)
    if "where syncing costs nothing" in ended.stderr:
        pytest.skip("the temporary directory is memory")
    assert ended.returncode == 0, ended.stderr
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in ended.stdout.splitlines()[2:4]]
    assert [row[0] for row in rows] == ["onward, default", "onward, bulk"]
    for row in rows:
        assert all(re.fullmatch(r"[\d,]+ \(\S+ ×\)", cell) for cell in row[3:5]), row
        assert all(re.fullmatch(r"[\d,]+ ms, [\d,]+ ms", cell) for cell in row[5:7]), row
        assert re.fullmatch(r"\d+\.\d s", row[7]), row


FORGETFUL = """
    import os, sys, time
    sys.path.insert(0, {jobs!r})
    import tasks

    # A queue of one file per job: taken by renaming it, which nobody undoes.
    match sys.argv[2]:
        case "hang":
            (tasks.FOLDER / "job").touch()
        case "work":
            tasks.ready()
            while True:
                try:
                    (tasks.FOLDER / "job").rename(tasks.FOLDER / str(os.getpid()))
                    tasks.hang(0)
                except FileNotFoundError:
                    time.sleep(0.01)
"""
TWICE = """
    import sys, time
    sys.path.insert(0, {jobs!r})
    import tasks

    # Everybody executes everything.
    match sys.argv[2]:
        case "hang":
            (tasks.FOLDER / "job").touch()
        case "work":
            tasks.ready()
            while not (tasks.FOLDER / "job").exists():
                time.sleep(0.01)
            tasks.hang(0)
            time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "verdict"), [(FORGETFUL, "never within 2 s"), (TWICE, "twice while its worker lives")]
)
def test_the_judge_tells_a_job_that_is_lost_and_one_that_is_executed_twice(
    queues: dict[str, ModuleType], tmp_path: Path, script: str, verdict: str
) -> None:
    job = tmp_path / "job.py"
    job.write_text(textwrap.dedent(script).format(jobs=str(QUEUES / "jobs")))
    measure = queues["measure"]
    outcome = measure.Outcome()
    (tmp_path / "place").mkdir()
    contestant = measure.Script(
        str(job.with_suffix("")), "default", Path(sys.executable), tmp_path / "place", ""
    )

    measure.death(outcome, contestant, 2.0)

    assert outcome.elsewhere == verdict


def test_every_contestant_has_its_script_and_pins_without_addresses(queues: dict[str, ModuleType]) -> None:
    for contestant in queues["contestants"].FIELD:
        assert (QUEUES / "jobs" / f"{contestant.job}.py").exists()
        if contestant.environment:
            pins = (RIVALS / "requirements" / f"{contestant.environment}.txt").read_text().splitlines()
            names = [
                re.fullmatch(r"([A-Za-z0-9._-]+)==[A-Za-z0-9.!+_-]+", pin) for pin in pins if pin[:1] != "#"
            ]
            assert all(names), pins
            assert contestant.package in {name[1].lower() for name in names if name}

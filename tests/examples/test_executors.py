"""Work in an executor's processes, as the examples do it: the program is killed half-way, and continued by the next."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from api.lives import environment
from onward.core.model import Entry
from onward.storage.open import open_store

pytestmark = pytest.mark.faults

EXECUTORS = Path(__file__).resolve().parents[2] / "examples" / "executors"


def begin(script: str, folder: Path, output: Path) -> subprocess.Popen[bytes]:
    """The example as a reader runs it, in a session of its own."""
    variables = environment(ONWARD_URL=f"sqlite:///{folder / 'journal.db'}", HOME=str(folder))
    with output.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, str(EXECUTORS / script)],
            cwd=folder,
            env=variables,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def results(output: Path) -> list[str]:
    """The lines of results, in their order."""
    return [line for line in output.read_text().splitlines() if re.fullmatch(r"[A-Z]{2}: .* km .*", line)]


def kill_half_way(process: subprocess.Popen[bytes], output: Path, after: int) -> list[int]:
    """SIGKILL to the main process alone; handles of what it has started."""
    deadline = time.monotonic() + 100
    while len(results(output)) < after:
        assert process.poll() is None, output.read_text()
        assert time.monotonic() < deadline, output.read_text()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    # Before it is reaped: until then nobody else has its number.
    started = []
    for pid in others_of(process.pid):
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself meanwhile
            started.append(os.pidfd_open(pid))
    assert process.wait() == -signal.SIGKILL
    return started


def entries_of(folder: Path) -> list[Entry]:
    store = open_store(str(folder / "journal.db"), durability="process")
    try:
        (run,) = store.runs()
        assert run.state == "done"
        return [entry for entry in store.entries(run.no) if entry.kind == "item" and entry.state == "done"]
    finally:
        store.close()


def others_of(session: int) -> list[int]:
    """The processes of a session without its leader."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z" and int(stat.parent.name) != session:
            found.append(int(stat.parent.name))
    return found


def end(started: list[int]) -> None:
    for handle in started:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        os.close(handle)


def expected() -> list[str]:
    """What plain Python computes, without executor and onward."""
    code = "import airports\nfor c in airports.countries(): airports.show(airports.most_remote(c))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=EXECUTORS, capture_output=True, text=True, timeout=100, check=True
    )
    return done.stdout.splitlines()


def lives_twice(script: str, folder: Path) -> None:
    """Kill the main process after some results; the rerun yields them from the journal and computes the rest."""
    first, second = folder / "first.txt", folder / "second.txt"
    process = begin(script, folder, first)
    started = kill_half_way(process, first, after=20)
    kept = len(results(first))
    try:
        rerun = begin(script, folder, second)
        assert rerun.wait(110) == 0, second.read_text()
    finally:
        end(started)
    text = second.read_text()
    assert results(second) == expected()
    assert "continuing most-remote" in text, text
    entries = entries_of(folder)
    assert set(Counter(entry.key for entry in entries).values()) == {1}
    by_life = Counter(entry.fence for entry in entries)
    assert by_life[1] >= kept, "what was yielded was recorded, and is not computed again"
    assert by_life[2] == len(entries) - by_life[1] > 0, "the kill left something to do"


@pytest.mark.important
@pytest.mark.slow
@pytest.mark.parametrize("script", ["processes.py", "on_dask.py"])
def test_work_in_other_processes_goes_on_where_its_program_was_killed(script: str, tmp_path: Path) -> None:
    lives_twice(script, tmp_path)


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_work_on_ray_goes_on_where_its_program_was_killed(tmp_path: Path) -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed (240 MB): `make test-full` installs it")
    lives_twice("on_ray.py", tmp_path)

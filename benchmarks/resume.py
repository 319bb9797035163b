"""A run with thousands of recorded steps is continued: the time until the first new step, in a fresh process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

import apsw
from row import Row

import onward

_ROUNDS = 5
_SIZES = (10_000, 20_000)


@onward.step
def fetch(number: int) -> dict[str, object]:
    return {"id": number, "name": "venue"}


@onward.step(max_crashes=1_000)
def new(found: int) -> int:
    """Reached when all that is recorded has been replayed. Tells when, and is killed like the process before."""
    print(json.dumps({"reached_at": perf_counter(), "found": found}), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    return found


@onward.workflow
def steps(count: int) -> int:
    found = 0
    for number in range(count):
        found += fetch(number) == {"id": number, "name": "venue"}
    return new(found)


def killed(folder: Path, count: int) -> None:
    """The body of the child process: continue the run until it is killed. Times one SELECT of its rows first."""
    onward.connect(folder / "journal.db")
    print(json.dumps({"select_s": _select(folder), "begun_at": perf_counter()}), flush=True)
    steps(count)


def _select(folder: Path) -> float:
    connection = apsw.Connection(str(folder / "journal.db"))
    begun_at = perf_counter()
    connection.execute(
        "SELECT key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at, seq "
        "FROM entry WHERE run = (SELECT max(no) FROM run) ORDER BY seq"
    ).fetchall()
    took_s = perf_counter() - begun_at
    connection.close()
    return took_s


def _child(folder: Path, count: int) -> tuple[float, float]:
    """(seconds to the first new step, seconds of the SELECT)."""
    command = [sys.executable, __file__, str(folder), str(count)]
    child = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if child.returncode != -signal.SIGKILL:
        raise SystemExit(f"the resumed process ended with {child.returncode} instead of being killed")
    said = {}
    for line in child.stdout.splitlines():
        said.update(json.loads(line))
    if said["found"] != count:
        raise SystemExit(f"of {count:,} recorded steps only {said['found']:,} came back")
    return said["reached_at"] - said["begun_at"], said["select_s"]


def measure(folder: Path) -> list[Row]:
    took: dict[int, list[tuple[float, float]]] = {}
    for count in _SIZES:
        (place := folder / str(count)).mkdir(mode=0o700)
        _child(place, count)
        took[count] = [_child(place, count) for _ in range(_ROUNDS)]
    ms = {count: 1_000 * median(resume for resume, _ in pairs) for count, pairs in took.items()}
    floor_ms = {count: 1_000 * median(select for _, select in pairs) for count, pairs in took.items()}
    ratio = {count: median(resume / select for resume, select in pairs) for count, pairs in took.items()}
    small, large = _SIZES
    growth = ms[large] / ms[small]
    what = f"resume of {small:,} recorded steps"
    floor = f"{floor_ms[small]:.0f} ms (one SELECT of its rows)"
    return [
        Row(what, floor, f"{ms[small]:.0f} ms", "≤ 100 ms", ms[small], 100),
        Row(what, floor, f"{ratio[small]:.1f} × floor", "≤ 3 × floor", ratio[small], 3),
        Row(
            f"resume of {large:,} recorded steps",
            f"{floor_ms[large]:.0f} ms",
            f"{ms[large]:.0f} ms = {growth:.2f} × that of {small:,}",
            "linear: ≤ 2 × that",
            growth,
            2,
        ),
    ]


if __name__ == "__main__":
    killed(Path(sys.argv[1]), int(sys.argv[2]))

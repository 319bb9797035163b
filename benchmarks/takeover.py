"""kill -9 of a worker in the middle of a step: how long until another process on this host executes that step."""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import median

from crew import Crew, crew, note, notes
from row import Row

import onward

_ROUNDS = 10
_SPARES = 2  # workers beside the one that is killed


@onward.step
def first(place: str, number: int) -> None:
    note(Path(place), f"first {number} {os.getpid()} {time.time()}")


@onward.step
def second(place: str, number: int) -> None:
    """Stands still in its first life, to be killed there."""
    lives = sum(line[:2] == ["second", str(number)] for line in notes(Path(place)))
    note(Path(place), f"second {number} {os.getpid()} {time.time()}")
    if lives == 0:
        time.sleep(600)


@onward.workflow
def job(place: str, number: int) -> None:
    first(place, number)
    second(place, number)


def _lines(place: Path, word: str, number: int) -> list[list[str]]:
    return [line for line in notes(place) if line[:2] == [word, str(number)]]


def _round(workers: Crew, place: Path, number: int) -> float:
    """Seconds from the kill to the first line that another process writes in the step."""
    workers.assemble(1 + _SPARES)
    job.start(str(place), number)
    workers.until(lambda: len(_lines(place, "second", number)) == 1, "the step to be killed in")
    victim = int(_lines(place, "second", number)[0][2])
    time.sleep(0.3)  # a new hand is at work by then, and the journal at rest
    killed_at = time.time()
    workers.kill(victim)
    workers.until(lambda: len(_lines(place, "second", number)) == 2, "the continuation elsewhere")
    _, _, heir, at = _lines(place, "second", number)[1]
    if int(heir) == victim or len(_lines(place, "first", number)) != 1:
        raise SystemExit("a recorded step was executed again; nothing was measured")
    workers.hire("--quiet")
    return float(at) - killed_at


def measure(folder: Path) -> list[Row]:
    onward.connect(folder / "journal.db")
    place = folder / "notes"
    with crew(Path(__file__).resolve(), folder) as workers:
        for _ in range(1 + _SPARES):
            workers.hire("--quiet")
        taken = [_round(workers, place, number) for number in range(_ROUNDS)]
    worst = max(taken)
    return [
        Row(
            f"kill -9 of a worker in a step → another process continues it, {_ROUNDS} times",
            "–",
            f"median {1000 * median(taken):.0f} ms, longest {1000 * worst:.0f} ms",
            "≤ 1 s on the same host",
            worst,
            1,
        )
    ]

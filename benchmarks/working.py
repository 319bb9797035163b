"""A loop whose items take 50 ms each: what the guarantee costs when there is real work."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

import journal
from floor import Floor
from row import Row

import onward

_ROUNDS = 5
_ITEMS = 40
_WORK_S = 0.05


def work() -> None:
    """Takes its time to within microseconds: sleeps most of it, then watches the clock."""
    end = time.perf_counter() + _WORK_S
    time.sleep(_WORK_S - 0.003)
    while time.perf_counter() < end:
        pass


def round_of(attempt: int, floor: Floor) -> tuple[float, float]:
    """Seconds of all plain items and of all durable ones, taken in turn: whatever the disk does, it does to both."""
    plain_s = durable_s = begun_at = 0.0
    for number in onward.each(range(_ITEMS + 1), name=f"work-{attempt}"):
        now = time.perf_counter()
        if number > 0:
            durable_s += now - begun_at
        if number == _ITEMS:
            break
        work()
        floor.insert_one()
        begun_at = time.perf_counter()
        plain_s += begun_at - now
        work()
    return plain_s, durable_s


def measure(folder: Path) -> list[Row]:
    journal.opened(folder)
    floor = Floor(folder)
    bare: list[float] = []
    taken: list[float] = []
    for attempt in range(_ROUNDS):
        plain_s, durable_s = round_of(attempt, floor)
        bare.append(plain_s)
        taken.append(durable_s)
        journal.recycle()
        floor.recycle()
    above = 100 * median(t / b - 1 for b, t in zip(bare, taken, strict=True))
    return [
        Row(
            "loop with 50 ms of work per item",
            f"{1000 * median(bare) / _ITEMS:.2f} ms per item (plain loop, one bare commit each)",
            f"{above:+.2f} %",
            "< 1 % above floor",
            above,
            1,
        )
    ]

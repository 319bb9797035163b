"""One step after the other: what a durable step costs above a bare durable row."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import journal
from floor import Cost, Floor, Meter
from row import Row

import onward

_STEPS = 1_500
_ROUNDS = 5


@onward.step
def fetch(number: int) -> dict[str, object]:
    return {"id": number, "name": "venue"}


@onward.workflow
def steps(attempt: int, count: int) -> list[float]:
    fetch(-1)  # the first of a run also pays for what opening it left to do
    with Meter(count) as meter:
        for number in range(count):
            fetch(number)
    return list(meter.cost)


def measure(folder: Path) -> list[Row]:
    journal.opened(folder)
    floor = Floor(folder)
    steps(-1, 200)
    floor.one_by_one(200)
    bare: list[Cost] = []
    durable: list[Cost] = []
    for attempt in range(_ROUNDS):
        bare.append(floor.one_by_one(_STEPS))
        durable.append(Cost(*steps(attempt, _STEPS)))
        journal.recycle()
    floor_us, floor_cpu_us = median(c.wall_us for c in bare), median(c.cpu_us for c in bare)
    step_us = median(c.wall_us for c in durable)
    ratio = median(d.wall_us / b.wall_us for b, d in zip(bare, durable, strict=True))
    above_us = median(d.cpu_us - b.cpu_us for b, d in zip(bare, durable, strict=True))
    return [
        Row(
            "sequential durable step",
            f"{floor_us:.0f} µs (apsw INSERT, autocommit)",
            f"{step_us:.0f} µs = {ratio:.2f} × floor",
            "≤ 1.35 × floor",
            ratio,
            1.35,
        ),
        Row(
            "CPU of a sequential step",
            f"{floor_cpu_us:.0f} µs",
            f"{above_us:.0f} µs above it",
            "≤ 30 µs above floor",
            above_us,
            30,
        ),
    ]

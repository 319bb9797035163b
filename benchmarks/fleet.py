"""Many async workflows at once: group commit lets them share one durable transaction."""

from __future__ import annotations

import asyncio
from pathlib import Path
from statistics import median
from time import perf_counter

import journal
from floor import Floor
from row import NO_TARGET, Row

import onward

_ROUNDS = 5
_STEPS = 30_000  # of all workflows together, in one round
_TARGET = 20_000
_TARGET_SIZE = 1_000


@onward.step
async def fetch(number: int) -> dict[str, object]:
    return {"id": number, "name": "venue"}


class Gate:
    """Lets all workflows begin their steps together, so that steps are timed apart from opening the runs."""

    def __init__(self, size: int) -> None:
        self._missing = size
        self._open = asyncio.Event()
        self.opened_at = 0.0

    async def pass_through(self) -> None:
        self._missing -= 1
        if self._missing == 0:
            self.opened_at = perf_counter()
            self._open.set()
        await self._open.wait()


_gates: dict[int, Gate] = {}


@onward.workflow
async def gated(attempt: int, number: int, count: int) -> float:
    await _gates[attempt].pass_through()
    for at in range(count):
        await fetch(at)
    return perf_counter()


async def round_of(attempt: int, size: int) -> tuple[float, float]:
    """Steps a second: once all runs are open, and with their opening and closing."""
    count = _STEPS // size
    gate = _gates[attempt] = Gate(size)
    begun_at = perf_counter()
    ended_at = max(await asyncio.gather(*(gated(attempt, number, count) for number in range(size))))
    whole_s = perf_counter() - begun_at
    return _STEPS / (ended_at - gate.opened_at), _STEPS / whole_s


def measure(folder: Path) -> list[Row]:
    journal.opened(folder)
    floor = Floor(folder)
    floor.batch(_STEPS)
    rows = []
    attempt = 0
    for size in (100, _TARGET_SIZE):
        bare: list[float] = []
        steady: list[float] = []
        whole: list[float] = []
        for _ in range(_ROUNDS):
            attempt += 1
            bare.append(1e6 / floor.batch(_STEPS).wall_us)
            a, b = asyncio.run(round_of(attempt, size))
            steady.append(a)
            whole.append(b)
            journal.recycle()
        rate = median(steady)
        rows.append(
            Row(
                f"{size:,} concurrent async workflows",
                f"{median(bare):,.0f} rows/s (one batch insert)",
                f"{rate:,.0f} steps/s ({median(whole):,.0f} with opening and closing the runs)",
                f"≥ {_TARGET:,} steps/s" if size == _TARGET_SIZE else NO_TARGET,
                rate,
                _TARGET if size == _TARGET_SIZE else 0,
                at_least=True,
            )
        )
    return rows

"""An idle worker in another process: how long from `start` to the result, as the one who started it sees it."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import quantiles

from crew import crew
from row import Row

import onward

_ASKED = 200
_P50_MS, _P99_MS = 20, 50
_PAUSE_S = 0.05  # between two: the worker has come to rest


@onward.workflow
def double(number: int) -> int:
    return 2 * number


def measure(folder: Path) -> list[Row]:
    onward.connect(folder / "journal.db")
    return rows(folder)


def rows(folder: Path, url: str | None = None, where: str = "") -> list[Row]:
    """On the journal that is connected, which is the one at `url` if that is not the one in `folder`."""
    taken: list[float] = []
    with crew(Path(__file__).resolve(), folder, url) as workers:
        workers.hire("--quiet")
        workers.assemble(1)
        for number in range(10 + _ASKED):
            time.sleep(_PAUSE_S)
            began = time.perf_counter()
            if double.start(number).result(10) != 2 * number:
                raise SystemExit("a wrong result came back; nothing was measured")
            taken.append(1_000 * (time.perf_counter() - began))
    cuts = quantiles(taken[10:], n=100)
    what = f"start → result in another process that is idle{where}, {_ASKED} times"
    return [
        Row(f"{what}: p50", "–", f"{cuts[49]:.1f} ms", f"≤ {_P50_MS} ms", cuts[49], _P50_MS),
        Row(f"{what}: p99", "–", f"{cuts[98]:.1f} ms", f"≤ {_P99_MS} ms", cuts[98], _P99_MS),
    ]

"""How fast a run goes and how long the rest of it will take, from its latest entries. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from onward.core.keys import SEPARATOR
from onward.core.model import Entry, ItemCounts

# Durations that the time left is judged by, and how many of them it takes before anything is said.
PACES: Final = 100
LEARNING: Final = 5


class Estimate(NamedTuple):
    """How long the rest will take, as a range in seconds."""

    low_s: float
    high_s: float


def time_left(remaining: int, paces: Sequence[float]) -> Estimate | None:
    """The time for `remaining` units, from the seconds that each of the last ones took (divided by parallelism).

    Between the median, which an outlier does not move, and the mean, which knows them; None before there are enough.
    """
    if remaining <= 0 or len(paces) < LEARNING:
        return None
    mean, median = sum(paces) / len(paces), _median(paces)
    # Completions that come in bursts have a median near zero, which would promise too much.
    low, high = sorted((max(median, mean / 2), mean))
    return Estimate(low * remaining, high * remaining)


def _median(values: Sequence[float]) -> float:
    # Importing `statistics` takes longer than all of this file, and every program would pay for it.
    ordered, middle = sorted(values), len(values) // 2
    return ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def rate(entries: Iterable[Entry], fence: int) -> float | None:
    """Items a second, from the latest entries of the lease `fence`; None before the first few."""
    ends = [e.ended_at for e in entries if e.fence == fence and e.state in ("done", "failed") and _is_item(e)]
    if len(ends) < LEARNING:
        return None
    took = max(ends) - min(ends)
    return (len(ends) - 1) / took if took > 0 else None


def _is_item(entry: Entry) -> bool:
    return entry.kind == "item" and SEPARATOR not in entry.key


def estimate(counts: ItemCounts, entries: Iterable[Entry]) -> Estimate | None:
    """How long the rest of a loop or map will take, from its latest entries; dead time does not count."""
    spans = [
        (e.begun_at, e.ended_at)
        for e in entries
        if e.kind == "item" and e.state == "done" and e.begun_at is not None and SEPARATOR not in e.key
    ][-PACES:]
    if counts.total is None or not spans:
        return None
    lengths = [max(0.0, end - start) for start, end in spans]
    busy = _covered(spans)
    parallel = max(1.0, sum(lengths) / busy) if busy > 0 else 1.0
    return time_left(counts.total - counts.done - counts.failed, [length / parallel for length in lengths])


def _covered(spans: Sequence[tuple[float, float]]) -> float:
    """The length of the union of the spans."""
    covered, upto = 0.0, float("-inf")
    for start, end in sorted(spans):
        covered += max(0.0, end - max(start, upto))
        upto = max(upto, end)
    return covered

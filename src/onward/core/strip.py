"""The time of a run as a strip of equal parts: executed, dead, set aside. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from onward.core.timeline import Timeline

Stretch = Literal["worked", "dead", "idle"]


def strip(line: Timeline, *, now: float, width: int) -> list[Stretch]:
    """The run's time in `width` equal parts: in each what it was, by most of it. Empty for a run nobody ever leased."""
    if not line.leases:
        return []
    begun_at = line.leases[0].begun_at
    ended_at = max(now if line.leases[-1].end == "open" else line.leases[-1].last_sign_at, begun_at)
    ended_at = max([ended_at, *(gap.ended_at for gap in line.gaps)])
    part_s = (ended_at - begun_at) / width
    gaps = [(gap.begun_at, gap.ended_at, gap.died) for gap in line.gaps]
    return [
        _stretch(gaps, begun_at + number * part_s, begun_at + (number + 1) * part_s)
        for number in range(width)
    ]


def _stretch(gaps: Sequence[tuple[float, float, bool]], start: float, end: float) -> Stretch:
    lost = {True: 0.0, False: 0.0}
    for begun_at, ended_at, died in gaps:
        lost[died] += max(0.0, min(ended_at, end) - max(begun_at, start))
    if lost[True] + lost[False] <= (end - start) / 2:
        return "worked"
    return "dead" if lost[True] >= lost[False] else "idle"

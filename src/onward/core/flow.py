"""Which of the runs that wait in queues may begin now: priorities, and the limits of each queue. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Limits(NamedTuple):
    """A queue and what it may do at once; None where there is no limit."""

    name: str
    paused: bool = False
    concurrency: int | None = None  # runs that are being executed, over all workers
    per_key: int | None = None  # the same, of one lane
    rate: int | None = None  # first claims in any `window_s` seconds
    window_s: float | None = None

    @property
    def is_free(self) -> bool:
        """Whether nothing of it has to be counted."""
        return self.concurrency is None and self.per_key is None and self.rate is None


class Candidate(NamedTuple):
    """A run that is ready. `wake_at`: since when, if it has waited for a time; those go before equals."""

    no: int
    priority: int
    lane: str | None
    wake_at: float | None = None


class Room(NamedTuple):
    """What is left of a queue's limits: None where there is none."""

    runs: int | None = None
    lanes: Mapping[str, int] | None = None  # executed now, by lane
    per_key: int | None = None
    starts: int | None = None


def room(limits: Limits, *, running: int, lanes: Mapping[str, int], starts: int) -> Room:
    """What a queue has room for, given what it executes and how many have begun within its window."""
    return Room(
        None if limits.concurrency is None else max(0, limits.concurrency - running),
        lanes,
        limits.per_key,
        None if limits.rate is None else max(0, limits.rate - starts),
    )


def in_order(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The order in which they are claimed: by priority, what has waited for its time before what never began."""
    return sorted(candidates, key=_rank)


def _rank(one: Candidate) -> tuple[int, bool, float, int]:
    return -one.priority, one.wake_at is None, one.wake_at or 0.0, one.no


def pick(candidates: Iterable[Candidate], room: Room, limit: int) -> list[Candidate]:
    """The first of them that fit, at most `limit`.

    A rate counts what begins: a run that goes on after it has waited is not held back by it.
    """
    chosen: list[Candidate] = []
    begun = 0
    lanes = dict(room.lanes or {})
    at_most = limit if room.runs is None else min(limit, room.runs)
    for one in candidates:
        if len(chosen) >= at_most:
            break
        begins = one.wake_at is None
        if begins and room.starts is not None and begun >= room.starts:
            continue
        if room.per_key is not None and one.lane is not None:
            if lanes.get(one.lane, 0) >= room.per_key:
                continue
            lanes[one.lane] = lanes.get(one.lane, 0) + 1
        begun += begins
        chosen.append(one)
    return chosen

"""Which of the runs that wait in queues may begin now: priorities, and the limits of each queue. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from onward.core import limits as bounds
from onward.core.errors import UsageError
from onward.core.pace import Rate


class Quota(NamedTuple):
    """So many starts in any stretch of so many seconds."""

    starts: int
    window_s: float


def quota_of(text: str, option: str) -> Quota:
    """The quota that a rate means: `5/s`, `60/min`, `1/10s`, `60/min burst 10`.

    Spread evenly as in a map, but in steps of a second: a claim takes what a second allows at once. With a burst so
    many may follow each other at once, and no more come in the time that they take at that rate.

    Raises UsageError, which names `option`.
    """
    rate = Rate.parsed(text, option)
    starts = rate.burst if "burst" in text else max(1, math.floor(rate.per_s))
    quota = Quota(starts, starts / rate.per_s)
    if quota.window_s > bounds.QUOTA_S:
        raise UsageError(f"{option}={text!r} looks back further than a year; nothing was changed")
    return quota


class Limits(NamedTuple):
    """A queue and what it may do at once; None where there is no limit. A lane is what has the same key."""

    name: str
    paused: bool = False
    concurrency: int | None = None  # runs that are being executed, over all workers
    per_key: int | None = None  # the same, of one lane
    per_worker: int | None = None  # the same, of one worker
    rate: Quota | None = None  # first claims
    key_rate: Quota | None = None  # the same, of one lane

    @property
    def is_free(self) -> bool:
        """Whether nothing of it has to be counted."""
        return all(limit is None for limit in self[2:])

    @property
    def has_lanes(self) -> bool:
        """Whether one lane may be held up while others are not."""
        return self.per_key is not None or self.key_rate is not None


# What limits a queue can have, by name: those of Limits.
FIELDS: Final = Limits._fields[2:]


class Settings(NamedTuple):
    """What is stored of a queue. `declared` by the code and `chosen` by a person, which goes first: JSON objects.

    A field of `chosen` that is null lifts the limit; one that is missing leaves it to the code.
    """

    name: str
    paused: bool = False
    declared: str = "{}"
    chosen: str = "{}"

    @property
    def limits(self) -> Limits:
        """What holds."""
        return _limits(self)


@lru_cache(maxsize=1_000)
def _limits(settings: Settings) -> Limits:
    given = {**fields_of(settings.declared), **fields_of(settings.chosen)}
    return Limits(settings.name, settings.paused, **given)


def fields_of(text: str) -> dict[str, Any]:
    """The limits that such a JSON object names. What a later version has put there is passed over."""
    stored: Mapping[str, Any] = json.loads(text)
    return {
        name: Quota(*value) if isinstance(value, list) else value
        for name, value in stored.items()
        if name in FIELDS
    }


def text_of(fields: Mapping[str, Any]) -> str:
    """The JSON object of these limits: the same text for the same limits."""
    return json.dumps(fields, sort_keys=True)


class Candidate(NamedTuple):
    """A run that is ready. `wake_at`: since when, if it has waited for a time; those go before equals.

    One that has `begun` before goes on, which no rate holds back.
    """

    no: int
    priority: int
    lane: str | None
    wake_at: float | None = None
    begun: bool = False


def rank(one: Candidate) -> tuple[int, bool, float, int]:
    """Their order: by priority, what has waited for its time before what never began, then by age."""
    return -one.priority, one.wake_at is None, one.wake_at or 0.0, one.no


def in_order(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The candidates in the order in which they are claimed."""
    return sorted(candidates, key=rank)


class Room:
    """What is left of a queue's limits, while its runs are picked. What the lanes do is asked when one comes up."""

    def __init__(
        self,
        limits: Limits,
        *,
        running: int = 0,
        here: int = 0,
        starts: int = 0,
        lane_running: Callable[[str], int] = lambda lane: 0,
        lane_starts: Callable[[str], int] = lambda lane: 0,
    ) -> None:
        self._limits = limits
        self._lane_running, self._lane_starts = lane_running, lane_starts
        self._runs = min(_left(limits.concurrency, running), _left(limits.per_worker, here))
        self._starts = _left(limits.rate and limits.rate.starts, starts)
        self._in_lane: dict[str, int] = {}
        self._began_in_lane: dict[str, int] = {}
        self.held_by_rate = False  # whether the queue's rate has held back a run
        self.lanes_held: set[str] = set()  # lanes whose rate has
        self.lanes_full: set[str] = set()  # lanes whose runs are as many as may be

    @property
    def is_full(self) -> bool:
        """Whether nothing fits any more."""
        return self._runs <= 0

    @property
    def may_begin(self) -> bool:
        """Whether the queue's rate lets another run begin."""
        return self._starts > 0

    def take(self, one: Candidate) -> bool:
        """Whether the run fits; if so it has its place from now on."""
        if self._runs <= 0:
            return False
        if not one.begun and self._starts <= 0:
            self.held_by_rate = True
            return False
        if one.lane and self._limits.has_lanes and not self._take_in_lane(one.lane, begins=not one.begun):
            return False
        self._runs -= 1
        self._starts -= not one.begun
        return True

    def _take_in_lane(self, lane: str, *, begins: bool) -> bool:
        if lane in self.lanes_full or (begins and lane in self.lanes_held):
            return False
        per_key, key_rate = self._limits.per_key, self._limits.key_rate
        if per_key is not None:
            running = self._in_lane.get(lane)
            running = self._lane_running(lane) if running is None else running
            if running >= per_key:
                self.lanes_full.add(lane)
                return False
            self._in_lane[lane] = running
        if key_rate is not None and begins:
            began = self._began_in_lane.get(lane)
            began = self._lane_starts(lane) if began is None else began
            if began >= key_rate.starts:
                self.lanes_held.add(lane)
                return False
            self._began_in_lane[lane] = began + 1
        if per_key is not None:
            self._in_lane[lane] += 1
        return True


def _left(limit: int | None, used: int) -> float:
    return math.inf if limit is None else limit - used


def pick(candidates: Iterable[Candidate], room: Room, limit: int) -> list[Candidate]:
    """The first of them that fit, at most `limit`."""
    chosen: list[Candidate] = []
    if limit > 0 and not room.is_full:
        for one in candidates:
            if room.take(one):
                chosen.append(one)
                if len(chosen) >= limit or room.is_full:
                    break
    return chosen


def booked_at(quota: Quota, now: float) -> float:
    """When a start counts as made: now, or, of a quota of very many, at the next line of a grid.

    So that what is kept of them stays small; later than it was, so that there are never more than the quota allows.
    """
    if quota.starts <= bounds.QUOTA_ROWS:
        return now
    grid = quota.window_s / bounds.QUOTA_ROWS
    return math.ceil(now / grid) * grid

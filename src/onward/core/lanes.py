"""Which of the items that are ready starts next: every key has a lane of its own, and no lane holds up another.

Pure: times come in as arguments. Items start in the order in which they came, except that one whose lane is full, held
back or paced lets those of other lanes go ahead.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Hashable
from typing import Generic, Literal, NamedTuple, TypeVar

from onward.core.pace import Pace, Rate

T = TypeVar("T")


class Next(NamedTuple, Generic[T]):
    """What may start now, or, if there is nothing, in how many seconds to ask again (infinite: when one has left)."""

    item: T | None
    wait_s: float


class _Lane(Generic[T]):
    """The items of one key."""

    __slots__ = ("held_until", "leaving", "pace", "queued", "running", "waiting")

    def __init__(self, pace: Pace | None) -> None:
        self.waiting: deque[tuple[int, T]] = deque()
        self.running = 0
        self.held_until = -math.inf
        self.pace = pace
        self.queued: Literal["", "ready", "held"] = ""  # where the lane itself waits, at most once
        self.leaving = False  # it is empty, and forgotten as soon as its pace or hold no longer counts

    def wait_s(self, now: float) -> float:
        """Seconds until it may start its next item."""
        return max(self.held_until - now, self.pace.wait_s(now) if self.pace is not None else 0.0, 0.0)

    @property
    def counts_until(self) -> float:
        """When what it has started and heard no longer matters to an item that comes."""
        return max(self.held_until, self.pace.idle_at if self.pace is not None else -math.inf)


class Lanes(Generic[T]):
    """Items that wait for their start. `width`: how many of one key may be in flight; those without a key are free."""

    def __init__(self, *, width: int = 1, pace: Pace | None = None, key_rate: Rate | None = None) -> None:
        self._width, self._pace, self._key_rate = width, pace, key_rate
        self._lanes: dict[Hashable, _Lane[T]] = {}
        self._ready: list[
            tuple[int, Hashable]
        ] = []  # lanes that may start one, by the number of their first item
        self._held: list[tuple[float, int, Hashable]] = []  # lanes that may start none before a time
        self._leaving: list[tuple[float, int, Hashable]] = []  # empty ones, and when they can be forgotten
        self._came = 0
        self._waiting = 0

    def __len__(self) -> int:
        """How many items wait."""
        return self._waiting

    @property
    def ready(self) -> int:
        """How many lanes have an item that could start, as far as the lane is concerned."""
        return len(self._ready)

    def add(self, item: T, key: Hashable) -> None:
        """Let an item wait for its start. `key=None`: it belongs to no lane."""
        lane = self._lane(key)
        self._waiting += 1
        lane.waiting.append((self._number(), item))
        self._offer(key, lane)

    def take(self, now: float) -> Next[T]:
        """The next item that may start now, if there is one; it is in flight then, until `leave`."""
        self._release(now)
        while self._ready:
            wait_s = self._pace.wait_s(now) if self._pace is not None else 0.0
            if wait_s > 0:
                return Next(None, wait_s)
            key = heapq.heappop(self._ready)[1]
            lane = self._lanes[key]
            lane.queued = ""
            if not lane.waiting:  # `take_any` was faster
                continue
            if lane.wait_s(now) > 0:
                lane.queued = "held"
                heapq.heappush(self._held, (now + lane.wait_s(now), self._number(), key))
                continue
            if self._pace is not None:
                self._pace.start(now)
            return Next(self._begin(key, lane, now), 0.0)
        return Next(None, max(0.0, self._held[0][0] - now) if self._held else math.inf)

    def take_any(self, now: float) -> T | None:
        """The next item whatever its lane and the pace say: for one that will only learn that the run has stopped."""
        for key, lane in self._lanes.items():
            if lane.waiting:
                return self._begin(key, lane, now)
        return None  # nothing waits at all

    def book(self, key: Hashable, now: float) -> float:
        """Book a further start of an item in flight (its next attempt); returns in how many seconds it is."""
        lane = self._lanes.get(key)
        wait_s = self._pace.start(now) if self._pace is not None else 0.0
        if lane is not None and lane.pace is not None:
            wait_s = max(wait_s, lane.pace.start(now))
        return wait_s

    def leave(self, key: Hashable, now: float) -> None:
        """An item of this key has ended."""
        lane = self._lanes[key]
        lane.running -= 1
        self._offer(key, lane)
        self._forget(key, lane, now)

    def hold(self, key: Hashable, until: float) -> None:
        """Start no item of this key before that time. Items without a key are not held."""
        if key is not None:
            lane = self._lane(key)
            lane.held_until = max(lane.held_until, until)
            self._forget(key, lane, -math.inf)  # perhaps no item of it ever comes

    # -- lanes ----------------------------------------------------------------------------------------

    def _lane(self, key: Hashable) -> _Lane[T]:
        lane = self._lanes.get(key)
        if lane is None:
            rate = self._key_rate
            lane = self._lanes[key] = _Lane(Pace(rate) if rate is not None and key is not None else None)
        return lane

    def _offer(self, key: Hashable, lane: _Lane[T]) -> None:
        """Put a lane among the ready ones, if it has an item and room."""
        if not lane.queued and lane.waiting and (key is None or lane.running < self._width):
            lane.queued = "ready"
            heapq.heappush(self._ready, (lane.waiting[0][0], key))

    def _begin(self, key: Hashable, lane: _Lane[T], now: float) -> T:
        _, item = lane.waiting.popleft()
        self._waiting -= 1
        lane.running += 1
        if lane.pace is not None:
            lane.pace.start(now)
        if lane.queued == "":
            self._offer(key, lane)
        return item

    def _release(self, now: float) -> None:
        """Offer the lanes whose time has come, and forget those that nothing is left of."""
        while self._held and self._held[0][0] <= now:
            key = heapq.heappop(self._held)[2]
            lane = self._lanes[key]
            lane.queued = ""
            self._offer(key, lane)
            self._forget(key, lane, now)
        while self._leaving and self._leaving[0][0] <= now:
            key = heapq.heappop(self._leaving)[2]
            lane = self._lanes[key]
            lane.leaving = False
            self._forget(key, lane, now)

    def _forget(self, key: Hashable, lane: _Lane[T], now: float) -> None:
        """Forget an empty lane, now or when its pace and its hold no longer count: there may be a million keys."""
        if lane.waiting or lane.running or lane.queued or lane.leaving:
            return
        if lane.counts_until <= now:
            del self._lanes[key]
        else:
            lane.leaving = True
            heapq.heappush(self._leaving, (lane.counts_until, self._number(), key))

    def _number(self) -> int:
        # Keys need not be comparable: this decides between equal times.
        self._came += 1
        return self._came

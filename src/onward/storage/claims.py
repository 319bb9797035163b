"""How a store answers a worker's Claim: the same for all stores, inside the transaction that writes the leases.

What a claim may take is decided in `core.flow`, what it changes in `core.claiming`; a store says what it has (`Shelf`).

Candidates are looked at in their order until enough of them fit. Where a queue has lanes and too many of the first ones
belong to lanes that are full, the lanes are looked at one by one instead: a million runs of one host hide nobody.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from onward.core.claiming import Past, claimed, first_claimed
from onward.core.flow import Candidate, Limits, Quota, Room, booked_at, in_order, pick, rank
from onward.core.model import Change, Claim, Claimed, Leasing, Run

# Candidates that may be passed over before the lanes are looked at instead, and lanes that are looked at then. Each
# costs a few microseconds of the time for which all others wait.
PASSED_OVER: Final = 200
LANES: Final = 1_000
# A worker that wakes exactly when a rate has room again must not find that it has none by a rounding error.
_BREATH_S: Final = 1e-4


class Shelf(Protocol):
    """What the runs of a store's queues look like within one transaction."""

    def queues(self) -> Sequence[Limits]: ...

    def ready_kinds(self) -> Iterable[tuple[str, str]]:
        """(queue, workflow) of which runs are pending; costs as much as there are such pairs."""
        ...

    def waiting_kinds(self) -> Iterable[tuple[str, str]]: ...

    def ready(self, queue: str, name: str, limit: int) -> Iterable[Candidate]:
        """Pending runs by priority, then in the order in which they were added."""
        ...

    def due(self, queue: str, name: str, now: float, limit: int) -> Iterable[Candidate]:
        """Waiting runs whose time has come, the longest overdue first."""
        ...

    def next_due(self, queue: str, name: str, now: float) -> float | None:
        """When the first run is due that is not yet."""
        ...

    def ready_lanes(self, queue: str, name: str, first: str, limit: int) -> Sequence[str]:
        """Lanes of pending runs from `first` on, in order."""
        ...

    def waiting_lanes(self, queue: str, name: str, first: str, limit: int) -> Sequence[str]: ...

    def ready_in(self, queue: str, name: str, lane: str, limit: int) -> Iterable[Candidate]:
        """As `ready`, of one lane."""
        ...

    def due_in(self, queue: str, name: str, lane: str, now: float, limit: int) -> Iterable[Candidate]:
        """As `due`, of one lane."""
        ...

    def turn(self, queue: str) -> str:
        """The lane at which the next look at lanes begins."""
        ...

    def set_turn(self, queue: str, lane: str) -> None: ...

    def running(self, queue: str, at_most: int) -> int:
        """How many runs are being executed; counts no further than `at_most`."""
        ...

    def running_in(self, queue: str, lane: str, at_most: int) -> int: ...

    def running_here(self, queue: str, owner: str, at_most: int) -> int: ...

    def starts(self, queue: str, lane: str, since: float) -> int:
        """How many runs have begun after `since`; `lane` is empty for all of the queue."""
        ...

    def first_start(self, queue: str, lane: str, since: float) -> float | None:
        """When the first of them began."""
        ...

    def note_starts(self, queue: str, lane: str, at: float, count: int) -> None: ...

    def forget_starts(self, queue: str, until: float) -> None: ...

    def lease_new(self, queue: str, name: str, order: Claim, now: float) -> Sequence[tuple[Run, int]] | None:
        """Lease the first runs of a workflow, as `take` and `lease_first` would, if none of them was ever leased.

        None, with nothing written, if that is not so, or if there is no quicker way here. Of what it leases, the store
        may read some, or all, when it is durable: that is not in the answer yet.
        """
        ...

    def take(self, numbers: Sequence[int]) -> list[tuple[Run, int]]:
        """Runs as they stand, each with the number of its last entry, in that order."""
        ...

    def arrived(self, no: int) -> Sequence[str]:
        """The items that have arrived for a run, in their order, as JSON; from now on there come no more."""
        ...

    def lease(self, changes: Sequence[Change]) -> None:
        """Write what `core.claiming.claimed` has decided."""
        ...

    def lease_first(self, leases: Leasing) -> None:
        """Write what `core.claiming.first_claimed` has decided."""
        ...


class _Found(NamedTuple):
    """What one queue offers to a claim."""

    limits: Limits
    chosen: list[Candidate]
    room: Room


def claim(shelf: Shelf, order: Claim, now: float) -> Claimed:
    """Lease up to `order.limit` runs that are ready; the rest stays as it was."""
    served = [q for q in shelf.queues() if not q.paused and (not order.queues or q.name in order.queues)]
    ready, waiting = _names(shelf.ready_kinds(), order), _names(shelf.waiting_kinds(), order)
    alone = _alone(served, ready, waiting)
    if alone is not None:
        leased = shelf.lease_new(*alone, order, now)
        if leased is not None:
            return Claimed(tuple(leased))
    found = []
    next_at: float | None = None
    for limits in served:
        names, sleeping = ready.get(limits.name, ()), waiting.get(limits.name, ())
        for name in sleeping:
            next_at = _earliest(next_at, shelf.next_due(limits.name, name, now))
        if names or sleeping:
            found.append(_fitting(shelf, limits, names, sleeping, order, now))
    if len(found) == 1:
        ((limits, best, _),) = found
        if not limits.is_free:  # perhaps of many lanes, one after the other
            best = in_order(best)[: order.limit]
        runs = _leased(shelf, [one.no for one in best], order, now)
        if not limits.is_free:
            _note_starts(shelf, [(limits, one) for one in best if not one.begun], now)
    else:
        whose = {one.no: each for each in found for one in each.chosen}
        best = in_order(one for each in found for one in each.chosen)[: order.limit]
        runs = _leased(shelf, [one.no for one in best], order, now)
        _note_starts(shelf, [(whose[one.no].limits, one) for one in best if not one.begun], now)
    for each in found:
        next_at = _earliest(next_at, _room_again(shelf, each, now))
    return Claimed(tuple(runs), next_at)


def _names(kinds: Iterable[tuple[str, str]], order: Claim) -> dict[str, list[str]]:
    """The workflows that this worker knows, by the queues in which runs of them are."""
    known: dict[str, list[str]] = {}
    names = set(order.names)
    for queue, name in kinds:
        if name in names:
            known.setdefault(queue, []).append(name)
    return known


def _alone(
    served: Sequence[Limits], ready: Mapping[str, Sequence[str]], waiting: Mapping[str, Sequence[str]]
) -> tuple[str, str] | None:
    """The one queue and workflow of which anything is to be had, if nothing limits it and nothing is due later."""
    here = [limits for limits in served if limits.name in ready or limits.name in waiting]
    if len(here) != 1 or here[0].name in waiting or not here[0].is_free:
        return None
    queue = here[0].name
    return (queue, ready[queue][0]) if len(ready[queue]) == 1 else None


# -- what fits ----------------------------------------------------------------------------------------


class _Window:
    """The first candidates of one workflow; knows whether there may be more."""

    def __init__(self, candidates: Iterable[Candidate], size: int) -> None:
        self._candidates, self._size = candidates, size
        self._seen = 0

    def __iter__(self) -> Iterator[Candidate]:
        for one in self._candidates:
            self._seen += 1
            yield one

    @property
    def is_cut(self) -> bool:
        return self._seen >= self._size


def _fitting(
    shelf: Shelf, limits: Limits, names: Sequence[str], sleeping: Sequence[str], order: Claim, now: float
) -> _Found:
    """The runs of one queue that its limits let through, in their order."""
    size = order.limit if limits.is_free else order.limit + PASSED_OVER
    room = _room(shelf, limits, order, now)
    if len(names) == 1 and not sleeping and limits.is_free:
        return _Found(limits, list(shelf.ready(limits.name, names[0], size))[:size], room)
    ready = {name: _Window(shelf.ready(limits.name, name, size), size) for name in names}
    due = {name: _Window(in_order(shelf.due(limits.name, name, now, size)), size) for name in sleeping}
    everything = heapq.merge(*ready.values(), *due.values(), key=rank)
    chosen = pick(everything, room, order.limit)
    del everything  # and with it statements that are read halfway: what follows writes
    if limits.has_lanes and len(chosen) < order.limit and not room.is_full:
        cut = [name for name, window in ready.items() if window.is_cut and room.may_begin]
        cut_due = [name for name, window in due.items() if window.is_cut]
        if cut or cut_due:
            chosen += _beyond(shelf, limits, cut, cut_due, order.limit - len(chosen), chosen, room, now)
    return _Found(limits, chosen, room)


def _room(shelf: Shelf, limits: Limits, order: Claim, now: float) -> Room:
    name, per_key, rate, key_rate = limits.name, limits.per_key or 0, limits.rate, limits.key_rate
    concurrency, per_worker = limits.concurrency, limits.per_worker
    key_window_s = 0.0 if key_rate is None else key_rate.window_s
    return Room(
        limits,
        running=0 if concurrency is None else shelf.running(name, concurrency),
        here=0 if per_worker is None else shelf.running_here(name, order.owner, per_worker),
        starts=0 if rate is None else shelf.starts(name, "", now - rate.window_s),
        lane_running=lambda lane: shelf.running_in(name, lane, per_key),
        lane_starts=lambda lane: shelf.starts(name, lane, now - key_window_s),
    )


def _beyond(
    shelf: Shelf,
    limits: Limits,
    names: Sequence[str],
    sleeping: Sequence[str],
    limit: int,
    chosen: Sequence[Candidate],
    room: Room,
    now: float,
) -> list[Candidate]:
    """What fits of the lanes that are hidden behind others: the first runs of each lane, in their order.

    Of very many lanes so many in turn, so that none of them waits for ever.
    """
    queue, first = limits.name, shelf.turn(limits.name)
    had = {one.no for one in chosen}
    each = len(had) + min(limit, limits.per_key or limit)
    heads: list[Candidate] = []
    last: str | None = None
    for name in names:
        lanes = _lanes_in_turn(shelf.ready_lanes, queue, name, first)
        last = lanes[-1] if len(lanes) >= LANES else last
        for lane in lanes:
            if lane not in room.lanes_full and lane not in room.lanes_held:
                heads += [one for one in shelf.ready_in(queue, name, lane, each) if one.no not in had]
    for name in sleeping:
        lanes = _lanes_in_turn(shelf.waiting_lanes, queue, name, first)
        last = lanes[-1] if len(lanes) >= LANES else last
        for lane in lanes:
            if lane not in room.lanes_full:
                heads += [one for one in shelf.due_in(queue, name, lane, now, each) if one.no not in had]
    if last is not None:
        shelf.set_turn(queue, last)
    return pick(in_order(heads), room, limit)


class _Look(Protocol):
    def __call__(self, queue: str, name: str, first: str, limit: int) -> Sequence[str]: ...


def _lanes_in_turn(look: _Look, queue: str, name: str, first: str) -> list[str]:
    lanes = list(look(queue, name, first, LANES))
    if len(lanes) < LANES and first:
        before = look(queue, name, "", LANES - len(lanes))
        lanes += [lane for lane in before if lane < first]
    return lanes


# -- what is written ------------------------------------------------------------------------------------


def _leased(shelf: Shelf, numbers: Sequence[int], order: Claim, now: float) -> list[tuple[Run, int]]:
    taken = shelf.take(numbers) if numbers else []
    first = first_claimed(taken, owner=order.owner, now=now, lease_s=order.lease_s)
    if first is not None:
        if taken:
            shelf.lease_first(first)
        return [(run, run[13]) for run in first.runs]  # its leased_seq
    runs, changes = [], []
    for run, last_seq in taken:
        past = Past(last_seq, progressed=False)
        change = claimed(run, past, owner=order.owner, now=now, lease_s=order.lease_s)
        after = change.after
        assert after is not None, "a claim writes the run's row"
        if after.args is None:  # its items have arrived one by one
            after = after._replace(args=f"[[[{','.join(shelf.arrived(run.no))}]],{{}}]")
            change = change._replace(after=after)
        changes.append(change)
        runs.append((after, after.leased_seq))
    if changes:
        shelf.lease(changes)
    return runs


def _note_starts(shelf: Shelf, begun: Sequence[tuple[Limits, Candidate]], now: float) -> None:
    """Count what has begun, where there is a rate."""
    starts: Counter[tuple[str, str, Quota]] = Counter()
    for limits, one in begun:
        if limits.rate is not None:
            starts[limits.name, "", limits.rate] += 1
        if limits.key_rate is not None and one.lane:
            starts[limits.name, one.lane, limits.key_rate] += 1
    for (queue, lane, quota), count in starts.items():
        shelf.note_starts(queue, lane, booked_at(quota, now), count)
    for limits in {limits for limits, _ in begun}:
        windows = [quota.window_s for quota in (limits.rate, limits.key_rate) if quota is not None]
        if windows:
            shelf.forget_starts(limits.name, now - max(windows))


def _room_again(shelf: Shelf, found: _Found, now: float) -> float | None:
    """When a rate lets something begin that it has held back."""
    limits, room = found.limits, found.room
    again = None
    if room.held_by_rate and limits.rate is not None:
        again = _earliest(again, _free_at(shelf, limits.name, "", limits.rate, now))
    if limits.key_rate is not None:
        for lane in room.lanes_held:
            again = _earliest(again, _free_at(shelf, limits.name, lane, limits.key_rate, now))
    return again


def _free_at(shelf: Shelf, queue: str, lane: str, quota: Quota, now: float) -> float | None:
    first = shelf.first_start(queue, lane, now - quota.window_s)
    return None if first is None else first + quota.window_s + _BREATH_S


def _earliest(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else min(one, other)


def added_up(found: Iterable[tuple[str, str, int, float]]) -> list[tuple[str, str, int, float]]:
    """(queue, workflow, how many runs, created_at of the oldest), one for each queue and workflow, in their order."""
    known: dict[tuple[str, str], tuple[int, float]] = {}
    for queue, name, count, oldest in found:
        before, older = known.get((queue, name), (0, oldest))
        known[queue, name] = before + count, min(older, oldest)
    return [(*at, *known[at]) for at in sorted(known)]

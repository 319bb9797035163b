"""How a store answers a worker's Claim: the same for all stores, inside the transaction that writes the leases.

What a claim may take is decided in `core.flow`, what it changes in `core.decide`; a store says what it has (`Shelf`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

from onward.core.decide import Past, claimed
from onward.core.flow import Candidate, Limits, in_order, pick, room
from onward.core.model import Applied, Change, Claim, Claimed, Run

# Candidates looked at for each place to be filled in a queue whose limits may pass some of them over.
PASSED_OVER: Final = 20


class Shelf(Protocol):
    """What the runs of a store's queues look like within one transaction."""

    def queues(self) -> list[Limits]: ...

    def ready(self, queue: str, name: str, limit: int) -> Iterable[Candidate]:
        """Pending runs by priority, then in the order in which they were added."""
        ...

    def due(self, queue: str, name: str, now: float, limit: int) -> Iterable[Candidate]:
        """Waiting runs whose time has come, the longest overdue first."""
        ...

    def next_due(self, queue: str, name: str) -> float | None:
        """When the first waiting run is due."""
        ...

    def running(self, queue: str) -> int: ...

    def lanes(self, queue: str) -> Mapping[str, int]: ...

    def starts(self, queue: str, since: float) -> int:
        """How many runs have begun after `since`; earlier ones may be forgotten."""
        ...

    def take(self, numbers: Sequence[int]) -> Iterable[tuple[Run, int]]:
        """Runs as they stand, each with the number of its last entry."""
        ...

    def write(self, change: Change) -> Applied: ...

    def note_start(self, queue: str, at: float, no: int) -> None: ...


def claim(shelf: Shelf, order: Claim, now: float) -> Claimed:
    """Lease up to `order.limit` runs that are ready; the rest stays as it was."""
    served = [q for q in shelf.queues() if not order.queues or q.name in order.queues]
    found: list[tuple[Candidate, Limits]] = []
    next_at: float | None = None
    for queue in served:
        if queue.paused:
            continue
        found += [(one, queue) for one in _fitting(shelf, queue, order, now)]
        next_at = _earliest(next_at, _next_at(shelf, queue, order, now))
    by_no = {one.no: queue for one, queue in found}
    runs = []
    chosen = [one.no for one in in_order(one for one, _ in found)[: order.limit]]
    for run, last_seq in shelf.take(chosen):
        queue = by_no[run.no]
        if queue.rate is not None and run.fence == 0:
            shelf.note_start(queue.name, now, run.no)
        runs.append(_leased(shelf, run, last_seq, order, now))
    return Claimed(tuple(runs), next_at)


def _leased(shelf: Shelf, run: Run, last_seq: int, order: Claim, now: float) -> tuple[Run, int]:
    change = claimed(run, Past(last_seq, progressed=False), owner=order.owner, now=now, lease_s=order.lease_s)
    answer = shelf.write(change)
    assert change.after is not None, "a claim writes the run's row"
    return change.after, answer.seq


def _fitting(shelf: Shelf, queue: Limits, order: Claim, now: float) -> list[Candidate]:
    """Candidates of one queue that its limits let through, in their order."""
    looked_at = order.limit if queue.is_free else order.limit * PASSED_OVER
    found: list[Candidate] = []
    for name in order.names:
        found += shelf.due(queue.name, name, now, looked_at)
        found += shelf.ready(queue.name, name, looked_at)
    if not found:
        return found
    left = room(
        queue,
        running=0 if queue.concurrency is None else shelf.running(queue.name),
        lanes={} if queue.per_key is None else shelf.lanes(queue.name),
        starts=0 if queue.window_s is None else shelf.starts(queue.name, now - queue.window_s),
    )
    return pick(in_order(found), left, order.limit)


def _next_at(shelf: Shelf, queue: Limits, order: Claim, now: float) -> float | None:
    """When something of the queue that is not ready now may be."""
    times = [shelf.next_due(queue.name, name) for name in order.names]
    return min((at for at in times if at is not None), default=None)


def _earliest(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else min(one, other)

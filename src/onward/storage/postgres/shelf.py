"""The runs of a PostgreSQL journal's queues, as a claim sees them within its transaction: read in one round trip.

Queues with limits are claimed from by one process at a time (their rows are locked); of the others each claim takes
what no other one is just taking, so that many workers never wait for each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from onward.core.flow import Candidate, Limits
from onward.core.model import Applied, Change, Claim, Refused, Run
from onward.storage.claims import PASSED_OVER
from onward.storage.guards import Guard
from onward.storage.postgres.arrays import ints, texts
from onward.storage.postgres.link import Link, Row, Step


class Batch(Protocol):
    """The transaction that the claim is part of."""

    def know(self, no: int, guard: Guard) -> None: ...

    def apply(self, change: Change) -> Applied | Refused: ...

    def start(self, queue: str, at: float, no: int) -> None: ...


def reads(order: Claim, now: float) -> list[Step]:
    """What a claim wants to know; the answers are a Shelf's."""
    queues, names = texts(order.queues), texts(order.names)
    each = (queues, names, order.limit, order.limit * PASSED_OVER)
    return [
        ("lock_queues", (queues,)),
        ("queues", ()),
        ("busy", ()),
        ("starts", (now,)),
        ("due", (*each, now)),
        ("ready", each),
        ("next_due", (queues, names)),
    ]


class Shelf:
    """See `storage.claims.Shelf`."""

    def __init__(self, link: Link, batch: Batch, found: Sequence[Sequence[Row]]) -> None:
        self._link, self._batch = link, batch
        _, self._queues, self._busy, starts, due, ready, next_due = found
        self._starts: dict[str, int] = dict(starts)
        self._due, self._ready = _by_pair(due), _by_pair(ready)
        self._next_due = {(queue, name): at for queue, name, at in next_due}

    def queues(self) -> list[Limits]:
        return [Limits(*row) for row in self._queues]

    def ready(self, queue: str, name: str, limit: int) -> list[Candidate]:
        return self._ready.get((queue, name), [])[:limit]

    def due(self, queue: str, name: str, now: float, limit: int) -> list[Candidate]:
        return self._due.get((queue, name), [])[:limit]

    def next_due(self, queue: str, name: str) -> float | None:
        return self._next_due.get((queue, name))

    def running(self, queue: str) -> int:
        return sum(count for name, _, count in self._busy if name == queue)

    def lanes(self, queue: str) -> Mapping[str, int]:
        return {lane: count for name, lane, count in self._busy if name == queue and lane is not None}

    def starts(self, queue: str, since: float) -> int:
        return self._starts.get(queue, 0)

    def take(self, numbers: Sequence[int]) -> list[tuple[Run, int]]:
        if not numbers:
            return []
        found = {}
        for *row, seq in self._link.ask("taken", ints(numbers)):
            run = Run(*row)
            found[run.no] = run, seq
            guard = Guard(run.fence, run.request, run.owner, run.lease_until, run.state, seq)
            self._batch.know(run.no, guard)
        return [found[no] for no in numbers]

    def write(self, change: Change) -> Applied:
        answer = self._batch.apply(change)
        assert isinstance(answer, Applied), "its row is locked"
        return answer

    def note_start(self, queue: str, at: float, no: int) -> None:
        self._batch.start(queue, at, no)


def _by_pair(rows: Sequence[Row]) -> dict[tuple[str, str], list[Candidate]]:
    """Candidates by queue and workflow, in the order of the rows."""
    found: dict[tuple[str, str], list[Candidate]] = {}
    for queue, name, *candidate in rows:
        found.setdefault((queue, name), []).append(Candidate(*candidate))
    return found

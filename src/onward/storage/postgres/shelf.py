"""The runs of a PostgreSQL journal's queues, as a claim sees them within its transaction.

What every claim asks is read in one round trip, the rest when it is asked for, for all lanes at once. Queues with
limits are claimed from by one process at a time (their rows are locked); of the others each claim takes what no other
one is just taking, so that many workers never wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from onward.core.flow import Candidate, Limits, Settings
from onward.core.model import Change, Claim, Leasing, Run
from onward.storage.claims import PASSED_OVER
from onward.storage.guards import Guard
from onward.storage.postgres.arrays import ints, texts
from onward.storage.postgres.link import Link, Row, Step


class Batch(Protocol):
    """The transaction that the claim is part of."""

    def know(self, no: int, guard: Guard) -> None: ...

    def lease(self, changes: Sequence[Change]) -> None: ...

    def lease_first(self, leases: Leasing) -> None: ...

    def start(self, queue: str, lane: str, at: float, count: int) -> None: ...


def reads(order: Claim, now: float) -> list[Step]:
    """What every claim wants to know; the answers are a Shelf's."""
    queues, names = texts(order.queues), texts(order.names)
    free, limited = (queues, names, order.limit), (queues, names, order.limit + PASSED_OVER)
    return [
        ("unsorted", ()),
        ("lock_queues", (queues,)),
        ("queues", ()),
        ("ready_kind", ()),
        ("waiting_kind", ()),
        ("ready", free),
        ("ready_limited", limited),
        ("due", (*free, now)),
        ("due_limited", (*limited, now)),
        ("next_due", (queues, names, now)),
        ("sorted", ()),
    ]


class Shelf:
    """See `storage.claims.Shelf`."""

    def __init__(self, link: Link, batch: Batch, found: Sequence[Sequence[Row]]) -> None:
        self._link, self._batch = link, batch
        _, locked, queues, ready_kinds, waiting_kinds, *found = found
        ready, ready_limited, due, due_limited, next_due, _ = found
        self._locked = {name for (name,) in locked}
        self._queues = [Settings._make(row).limits for row in queues]
        self._ready_kinds, self._waiting_kinds = list(ready_kinds), list(waiting_kinds)
        self._ready, self._due = _by_pair([*ready, *ready_limited]), _by_pair([*due, *due_limited])
        self._next_due = {(queue, name): at for queue, name, at in next_due}
        self._asked: dict[tuple[object, ...], Any] = {}
        self._noted: list[tuple[str, str, float]] = []  # starts of this very claim

    def _once(self, *question: object, ask: Callable[[], Any]) -> Any:
        """The answer to a question that several lanes share."""
        if question not in self._asked:
            self._asked[question] = ask()
        return self._asked[question]

    # -- what is there ------------------------------------------------------------------------------------

    def queues(self) -> list[Limits]:
        # One that was given limits while it was being locked waits for the next claim.
        return [limits for limits in self._queues if limits.is_free or limits.name in self._locked]

    def ready_kinds(self) -> list[tuple[str, str]]:
        return self._ready_kinds

    def waiting_kinds(self) -> list[tuple[str, str]]:
        return self._waiting_kinds

    def ready(self, queue: str, name: str, limit: int) -> list[Candidate]:
        return self._ready.get((queue, name), [])[:limit]

    def due(self, queue: str, name: str, now: float, limit: int) -> list[Candidate]:
        return self._due.get((queue, name), [])[:limit]

    def next_due(self, queue: str, name: str, now: float) -> float | None:
        return self._next_due.get((queue, name))

    # -- lanes ----------------------------------------------------------------------------------------------

    def ready_lanes(self, queue: str, name: str, first: str, limit: int) -> list[str]:
        return self._lanes("ready", queue, name, first, limit)

    def waiting_lanes(self, queue: str, name: str, first: str, limit: int) -> list[str]:
        return self._lanes("waiting", queue, name, first, limit)

    def _lanes(self, state: str, queue: str, name: str, first: str, limit: int) -> list[str]:
        lanes = [lane for (lane,) in self._link.ask(f"{state}_lane", queue, name, first, limit)]
        # Their runs are asked for next, one lane after the other.
        self._asked.setdefault((state, queue, name), []).extend(lanes)
        return lanes

    def ready_in(self, queue: str, name: str, lane: str, limit: int) -> list[Candidate]:
        lanes = self._asked["ready", queue, name]
        return self._in_lanes("ready_in", queue, name, lanes, limit).get(lane, [])

    def due_in(self, queue: str, name: str, lane: str, now: float, limit: int) -> list[Candidate]:
        lanes = self._asked["waiting", queue, name]
        return self._in_lanes("due_in", queue, name, lanes, limit, now).get(lane, [])

    def _in_lanes(
        self, statement: str, queue: str, name: str, lanes: Sequence[str], limit: int, *now: float
    ) -> Mapping[str, list[Candidate]]:
        def ask() -> dict[str, list[Candidate]]:
            found: dict[str, list[Candidate]] = {}
            for row in self._link.ask(statement, queue, name, texts(lanes), limit, *now):
                found.setdefault(row[2], []).append(Candidate._make(row))
            return found

        answer: Mapping[str, list[Candidate]] = self._once(statement, queue, name, limit, ask=ask)
        return answer

    def turn(self, queue: str) -> str:
        return str(self._link.ask("turn", queue)[0][0])

    def set_turn(self, queue: str, lane: str) -> None:
        self._link.ask("set_turn", queue, lane)

    # -- what counts against limits ---------------------------------------------------------------------------

    def running(self, queue: str, at_most: int) -> int:
        return int(self._link.ask("busy", queue, at_most)[0][0])

    def running_in(self, queue: str, lane: str, at_most: int) -> int:
        lanes: Mapping[str, int] = self._once(
            "busy_in", queue, ask=lambda: dict(self._link.ask("busy_in", queue))
        )
        return min(at_most, lanes.get(lane, 0))

    def running_here(self, queue: str, owner: str, at_most: int) -> int:
        return int(self._link.ask("busy_here", queue, owner, at_most)[0][0])

    def starts(self, queue: str, lane: str, since: float) -> int:
        return self._started(queue, since).get(lane, (0, None))[0]

    def first_start(self, queue: str, lane: str, since: float) -> float | None:
        noted = [at for of, of_lane, at in self._noted if (of, of_lane) == (queue, lane) and at > since]
        first = self._started(queue, since).get(lane, (0, None))[1]
        return min(noted if first is None else [first, *noted], default=None)

    def _started(self, queue: str, since: float) -> Mapping[str, tuple[int, float | None]]:
        def ask() -> dict[str, tuple[int, float]]:
            return {lane: (count, first) for lane, count, first in self._link.ask("starts", queue, since)}

        found: Mapping[str, tuple[int, float | None]] = self._once("starts", queue, since, ask=ask)
        return found

    def note_starts(self, queue: str, lane: str, at: float, count: int) -> None:
        self._batch.start(queue, lane, at, count)
        self._noted.append((queue, lane, at))

    def forget_starts(self, queue: str, until: float) -> None:
        self._link.ask("forget_starts", queue, until)

    # -- taking -----------------------------------------------------------------------------------------------

    def lease_new(self, queue: str, name: str, order: Claim, now: float) -> None:
        return None

    def take(self, numbers: Sequence[int]) -> list[tuple[Run, int]]:
        found = {}
        asked = ints(numbers)
        taken, last = self._link.all(("ready_runs", (asked,)), ("last_seqs", (asked,)))
        seqs: dict[int, int] = dict(last)
        for row in taken:
            run = Run._make(row)
            found[run.no] = run, seqs[run.no]
            guard = Guard(run.fence, run.request, run.owner, run.lease_until, run.state, seqs[run.no])
            self._batch.know(run.no, guard)
        return [found[no] for no in numbers if no in found]

    def arrived(self, no: int) -> list[str]:
        items, _, _ = self._link.all(
            ("arrived", (no,)), ("forget_arrivals", (no,)), ("empty_arrivals", (no,))
        )
        return [item for (item,) in items]

    def lease(self, changes: Sequence[Change]) -> None:
        self._batch.lease(changes)

    def lease_first(self, leases: Leasing) -> None:
        self._batch.lease_first(leases)


def _by_pair(rows: Sequence[Row]) -> dict[tuple[str, str], list[Candidate]]:
    """Candidates by queue and workflow, in the order of the rows."""
    found: dict[tuple[str, str], list[Candidate]] = {}
    for queue, name, *candidate in rows:
        found.setdefault((queue, name), []).append(Candidate._make(candidate))
    return found

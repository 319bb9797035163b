"""The runs of the queues of a journal in memory, and those that wait for others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from onward.core.flow import Candidate, Limits, in_order
from onward.core.model import ENDED, Applied, Change, Refused, Run


class Rows(Protocol):
    run: Run

    @property
    def entries(self) -> list[Any]: ...


class Shelf:
    """See `storage.claims.Shelf`. Reads all runs each time: memory is for tests, and for little."""

    def __init__(self, rows: Mapping[int, Any], apply: Callable[[Change], Applied | Refused]) -> None:
        self._rows, self._apply = rows, apply
        self.limits: dict[str, Limits] = {}
        self._starts: dict[str, list[float]] = {}
        self._waiters: dict[str, set[int]] = {}

    # -- what a change does beside its run -----------------------------------------------------------

    def changed(self, run: Run, change: Change, now: float) -> None:
        """Take in that `change` has been written and left `run`."""
        if change.create and not run.direct:
            self.limits.setdefault(run.queue, Limits(run.queue))
        for awaited in change.awaits:
            going_on = [
                r.run for r in self._rows.values() if r.run.id == awaited and r.run.state not in ENDED
            ]
            if going_on:
                self._waiters.setdefault(awaited, set()).add(run.no)
            else:
                self._wake(run.no, now)
        if change.after is not None and run.state in ENDED:
            for no in self._waiters.pop(run.id, ()):
                self._wake(no, now)

    def _wake(self, no: int, now: float) -> None:
        rows = self._rows.get(no)
        if (
            rows is not None
            and rows.run.state == "waiting"
            and (rows.run.wake_at is None or rows.run.wake_at > now)
        ):
            rows.run = replace(rows.run, wake_at=now)

    def has_other(self, single: str, no: int) -> bool:
        return any(rows.run.single == single and rows.run.no != no for rows in self._rows.values())

    # -- what a claim sees ------------------------------------------------------------------------------

    def queues(self) -> list[Limits]:
        return [self.limits[name] for name in sorted(self.limits)]

    def _queued(self, queue: str, state: str, name: str | None = None) -> Iterator[Run]:
        for rows in list(self._rows.values()):
            run = rows.run
            if not run.direct and run.state == state and run.queue == queue and name in (None, run.name):
                yield run

    def ready(self, queue: str, name: str, limit: int) -> list[Candidate]:
        found = [Candidate(run.no, run.priority, run.lane) for run in self._queued(queue, "pending", name)]
        return in_order(found)[:limit]

    def due(self, queue: str, name: str, now: float, limit: int) -> list[Candidate]:
        found = [
            Candidate(run.no, run.priority, run.lane, run.wake_at)
            for run in self._queued(queue, "waiting", name)
            if run.wake_at is not None and run.wake_at <= now
        ]
        return sorted(found, key=lambda one: (one.wake_at, one.no))[:limit]

    def next_due(self, queue: str, name: str) -> float | None:
        times = (run.wake_at for run in self._queued(queue, "waiting", name))
        return min((at for at in times if at is not None), default=None)

    def running(self, queue: str) -> int:
        return sum(1 for _ in self._queued(queue, "running"))

    def lanes(self, queue: str) -> Mapping[str, int]:
        return Counter(run.lane for run in self._queued(queue, "running") if run.lane is not None)

    def starts(self, queue: str, since: float) -> int:
        self._starts[queue] = [at for at in self._starts.get(queue, ()) if at > since]
        return len(self._starts[queue])

    def take(self, numbers: Sequence[int]) -> list[tuple[Run, int]]:
        return [(self._rows[no].run, len(self._rows[no].entries) - 1) for no in numbers]

    def write(self, change: Change) -> Applied:
        answer = self._apply(change)
        assert isinstance(answer, Applied), "nobody else writes meanwhile"
        return answer

    def note_start(self, queue: str, at: float, no: int) -> None:
        self._starts.setdefault(queue, []).append(at)

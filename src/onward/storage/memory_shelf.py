"""The runs of the queues of a journal in memory, those that wait for others, and its schedules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from onward.core.flow import Candidate, Limits, Settings, in_order
from onward.core.model import (
    ENDED,
    Answer,
    Applied,
    Arrival,
    Change,
    Claim,
    Leasing,
    QueueCounts,
    Refused,
    Request,
    Run,
)
from onward.core.schedules import Schedule
from onward.storage.arrivals import Batch


class Rows(Protocol):
    run: Run

    @property
    def entries(self) -> list[Any]: ...


class Shelf:
    """See `storage.claims.Shelf` and `storage.arrivals.Tray`. Reads all runs each time: for little."""

    def __init__(self, rows: Mapping[int, Any], apply: Callable[[Change], Applied | Refused]) -> None:
        self._rows, self._apply = rows, apply
        self.settings: dict[str, Settings] = {}
        self._turns: dict[str, str] = {}
        self._starts: dict[tuple[str, str], dict[float, int]] = {}  # by queue and lane: how many began when
        self._items: dict[
            int, list[tuple[str, int]]
        ] = {}  # of runs that take many: each, and all chars so far
        self._keys: dict[tuple[str, str], tuple[int, int]] = {}
        self._waiters: dict[str, set[int]] = {}

    # -- what a change does beside its run -----------------------------------------------------------

    def changed(self, run: Run, change: Change, now: float) -> None:
        """Take in that `change` has been written and left `run`."""
        if change.create and not run.direct:
            self.settings.setdefault(run.queue, Settings(run.queue))
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
            and rows.run.state in ("waiting", "paused")
            and (rows.run.wake_at is None or rows.run.wake_at > now)
        ):
            rows.run = rows.run._replace(wake_at=now)

    def has_other(self, single: str, no: int) -> bool:
        return any(rows.run.single == single and rows.run.no != no for rows in self._rows.values())

    # -- what people see and set ----------------------------------------------------------------------

    def set(self, queue: str, **given: Any) -> None:
        """Settings of a queue; what is None stays as it is."""
        changed = {field: value for field, value in given.items() if value is not None}
        self.settings[queue] = self.settings.get(queue, Settings(queue))._replace(**changed)

    def counts(self, queue: str, at_most: int) -> QueueCounts:
        pending = self.queued(queue, "pending")
        waiting, running, failed = (
            min(at_most, len(self.queued(queue, state))) for state in ("waiting", "running", "failed")
        )
        oldest_at = min((run.created_at for run in pending), default=None)
        return QueueCounts(min(at_most, len(pending)), waiting, running, failed, oldest_at)

    def dead(self, queue: str, limit: int, before_no: int | None) -> list[Run]:
        """Those that have failed, newest first."""
        dead = [run for run in self.queued(queue, "failed") if before_no is None or run.no < before_no]
        return dead[::-1][:limit]

    # -- what a claim sees ------------------------------------------------------------------------------

    def queues(self) -> list[Limits]:
        return [settings.limits for settings in self.all_settings()]

    def all_settings(self) -> list[Settings]:
        return [self.settings[name] for name in sorted(self.settings)]

    def queued(self, queue: str, state: str, name: str | None = None) -> list[Run]:
        """Queued runs in a state, in the order in which they were added."""
        return [
            rows.run
            for rows in list(self._rows.values())
            if not rows.run.direct
            and rows.run.state == state
            and rows.run.queue == queue
            and name in (None, rows.run.name)
        ]

    def _kinds(self, state: str) -> list[tuple[str, str]]:
        runs = (rows.run for rows in self._rows.values())
        return sorted({(run.queue, run.name) for run in runs if not run.direct and run.state == state})

    def ready_kinds(self) -> list[tuple[str, str]]:
        return self._kinds("pending")

    def waiting_kinds(self) -> list[tuple[str, str]]:
        return self._kinds("waiting")

    def ready(self, queue: str, name: str, limit: int) -> list[Candidate]:
        return in_order(_candidate(run) for run in self.queued(queue, "pending", name))[:limit]

    def due(self, queue: str, name: str, now: float, limit: int) -> list[Candidate]:
        found = [
            _candidate(run)
            for run in self.queued(queue, "waiting", name)
            if run.wake_at is not None and run.wake_at <= now
        ]
        return sorted(found, key=lambda one: (one.wake_at, one.no))[:limit]

    def next_due(self, queue: str, name: str, now: float) -> float | None:
        times = (run.wake_at for run in self.queued(queue, "waiting", name))
        return min((at for at in times if at is not None and at > now), default=None)

    def ready_lanes(self, queue: str, name: str, first: str, limit: int) -> list[str]:
        return self._lanes("pending", queue, name, first, limit)

    def waiting_lanes(self, queue: str, name: str, first: str, limit: int) -> list[str]:
        return self._lanes("waiting", queue, name, first, limit)

    def _lanes(self, state: str, queue: str, name: str, first: str, limit: int) -> list[str]:
        lanes = {run.lane for run in self.queued(queue, state, name) if run.lane is not None}
        return sorted(lane for lane in lanes if lane >= first)[:limit]

    def ready_in(self, queue: str, name: str, lane: str, limit: int) -> list[Candidate]:
        return [one for one in self.ready(queue, name, len(self._rows)) if one.lane == lane][:limit]

    def due_in(self, queue: str, name: str, lane: str, now: float, limit: int) -> list[Candidate]:
        return [one for one in self.due(queue, name, now, len(self._rows)) if one.lane == lane][:limit]

    def turn(self, queue: str) -> str:
        return self._turns.get(queue, "")

    def set_turn(self, queue: str, lane: str) -> None:
        self._turns[queue] = lane

    def running(self, queue: str, at_most: int) -> int:
        return min(at_most, len(self.queued(queue, "running")))

    def running_in(self, queue: str, lane: str, at_most: int) -> int:
        return min(at_most, sum(run.lane == lane for run in self.queued(queue, "running")))

    def running_here(self, queue: str, owner: str, at_most: int) -> int:
        return min(at_most, sum(run.owner == owner for run in self.queued(queue, "running")))

    def starts(self, queue: str, lane: str, since: float) -> int:
        return sum(count for at, count in self._starts.get((queue, lane), {}).items() if at > since)

    def first_start(self, queue: str, lane: str, since: float) -> float | None:
        return min((at for at in self._starts.get((queue, lane), ()) if at > since), default=None)

    def note_starts(self, queue: str, lane: str, at: float, count: int) -> None:
        starts = self._starts.setdefault((queue, lane), {})
        starts[at] = starts.get(at, 0) + count

    def forget_starts(self, queue: str, until: float) -> None:
        for (of, lane), starts in list(self._starts.items()):
            if of == queue:
                kept = {at: count for at, count in starts.items() if at > until}
                self._starts[of, lane] = kept
                if not kept:
                    del self._starts[of, lane]

    def lease_new(self, queue: str, name: str, order: Claim, now: float) -> None:
        return None

    def take(self, numbers: Sequence[int]) -> list[tuple[Run, int]]:
        return [(self._rows[no].run, len(self._rows[no].entries) - 1) for no in numbers]

    def arrived(self, no: int) -> list[str]:
        items = self._items.pop(no, [])
        return [item for item, _ in items]

    def lease(self, changes: Sequence[Change]) -> None:
        for change in changes:
            answer = self._apply(change)
            assert isinstance(answer, Applied), "nobody else writes meanwhile"

    def lease_first(self, leases: Leasing) -> None:
        self.lease([*leases.changes()])

    # -- what an arrival sees -----------------------------------------------------------------------------

    def arrival(self, name: str, key: str) -> tuple[int, str, int] | None:
        no, checksum = self._keys.get((name, key), (0, 0))
        return (no, self._rows[no].run.id, checksum) if no in self._rows else None

    def open_batch(self, single: str) -> Batch | None:
        for rows in list(self._rows.values()):
            run = rows.run
            if run.single == single and run.args is None and run.state in ("waiting", "pending", "paused"):
                items = self._items.get(run.no, [])
                return Batch(run.no, run.id, len(items), items[-1][1] if items else 0)
        return None

    def add_arrival(self, batch: Batch, order: Arrival, checksum: int) -> None:
        chars = batch.chars + len(order.item)
        self._items.setdefault(batch.run_no, []).append((order.item, chars))
        if order.key is not None:
            self._keys[order.run.name, order.key] = (batch.run_no, checksum)

    def take_one(self, no: int) -> Run:
        run: Run = self._rows[no].run
        return run

    def apply(self, change: Change) -> Answer:
        return self._apply(change)


def _candidate(run: Run) -> Candidate:
    return Candidate(run.no, run.priority, run.lane, run.wake_at, begun=run.fence > 0)


class Calendar:
    """See `storage.calendar.Rows`."""

    def __init__(
        self,
        apply: Callable[[Change], Applied | Refused],
        run: Callable[[str], Run | None],
        request: Callable[[int, Request], bool],
        moved_to: Callable[[], str | None],
    ) -> None:
        self._apply, self._run, self._request, self._moved_to = apply, run, request, moved_to
        self.schedules: dict[str, Schedule] = {}

    @property
    def is_moved(self) -> bool:
        return self._moved_to() is not None

    def revision(self, name: str) -> int | None:
        found = self.schedules.get(name)
        return None if found is None else found.revision

    def put(self, schedule: Schedule) -> None:
        self.schedules[schedule.name] = schedule

    def drop(self, name: str) -> None:
        del self.schedules[name]

    def run(self, run_id: str) -> Run | None:
        return self._run(run_id)

    def write(self, change: Change) -> Applied | Refused:
        return self._apply(change)

    def ask_to_cancel(self, run_no: int) -> None:
        self._request(run_no, "cancel")

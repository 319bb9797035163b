"""A journal in memory: the same promises without durability, for unit tests, simulation and `ONWARD_URL=memory:`.

What is kept of runs is in `memory_runs`, their queues and the schedules in `memory_shelf`. This file owns the lock, the
clock and the life of the store.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from onward.core.decide import at_length
from onward.core.errors import JournalError, JournalUnusable
from onward.core.flow import Settings
from onward.core.model import (
    ENDED,
    Answer,
    Answered,
    Arrival,
    Begun,
    Change,
    Claim,
    Entry,
    Lot,
    Order,
    Owner,
    QueueCounts,
    Request,
    Run,
    RunState,
    WorkerRow,
)
from onward.core.schedules import Move, Schedule, id_range, origin
from onward.storage import arrivals, calendar, claims
from onward.storage.memory_runs import Rows, Runs
from onward.storage.memory_shelf import Calendar


class MemoryStore:
    """A journal that lives as long as the process. Every call is atomic."""

    def __init__(self, place: str = "memory:", *, clock: Callable[[], float] = time.time) -> None:
        self._place, self._clock = place, clock
        self._lock = threading.RLock()
        self._runs = Runs(clock)
        self._shelf = self._runs.shelf
        self._owners: dict[str, Owner] = {}
        self._workers: dict[str, WorkerRow] = {}
        self._calendar = Calendar(self._runs.apply, self.run, self.request, self.moved_to)
        self._version = 0
        self._unusable: JournalError | None = None

    @property
    def place(self) -> str:
        return self._place

    @property
    def doubts(self) -> Sequence[str]:
        return ()

    def now(self) -> float:
        return self._clock()

    # -- writing ------------------------------------------------------------------------------------

    def commit(self, changes: Sequence[Order]) -> list[Answered]:
        self._refuse_if_unusable()
        with self._lock:
            self._version += 1
            return [self._answer(order) for order in at_length(changes)]

    def _answer(self, order: Order) -> Answered:
        if isinstance(order, Claim):
            return claims.claim(self._shelf, order, self.now())
        if isinstance(order, Arrival):
            return arrivals.arrive(self._shelf, order, self.now())
        if isinstance(order, Lot):
            return self._runs.add(order)
        assert isinstance(order, Change), "ends come at length"
        return self._runs.apply(order)

    def renew(self, owner: str, until: float) -> list[tuple[int, Request | None]]:
        self._refuse_if_unusable()
        with self._lock:
            held = [rows for rows in self._runs.rows.values() if rows.run.owner == owner]
            for rows in held:
                rows.run = rows.run._replace(lease_until=max(rows.run.lease_until or until, until))
            self._version += bool(held)
            return [(rows.run.no, rows.run.request) for rows in held]

    def request(self, run_no: int, request: Request | None) -> bool:
        self._refuse_if_unusable()
        with self._lock:
            rows = self._runs.rows.get(run_no)
            if rows is None or rows.run.state != "running":
                return False
            if rows.run.request == "cancel" != request:
                return False
            rows.run = rows.run._replace(request=request)
            self._version += 1
            return True

    def register(self, owner: Owner) -> None:
        self._refuse_if_unusable()
        self._owners[owner.id] = owner

    def unregister(self, owner: str) -> None:
        self._owners.pop(owner, None)
        self._workers.pop(owner, None)

    def announce(self, worker: WorkerRow) -> None:
        self._refuse_if_unusable()
        with self._lock:
            self._workers[worker.owner] = worker
            self._version += 1

    def delete(self, run_no: int) -> None:
        self._refuse_if_unusable()
        with self._lock:
            self._version += self._runs.rows.pop(run_no, None) is not None

    def add_run(
        self, run: Run, entries: Iterable[Entry], begun: Iterable[Begun], *, instead_of: Run | None = None
    ) -> Answer:
        self._refuse_if_unusable()
        change = Change(0, 0, tuple(entries), tuple(begun), after=run, create=True)
        with self._lock:
            self._version += 1
            if instead_of is not None:
                return self._runs.put_instead(instead_of, change)
            return self._runs.apply(change)

    def set_moved(self, to: str | None) -> None:
        self._refuse_if_unusable()
        self._runs.moved_to = to

    def moved_to(self) -> str | None:
        return self._runs.moved_to

    def rename(self, run: Run, *, name: str, identity: str, command: str | None, mark: Entry) -> Answer:
        self._refuse_if_unusable()
        with self._lock:
            self._version += 1
            return self._runs.rename(run, name=name, identity=identity, command=command, mark=mark)

    def prune(self, run: Run, *, at_most: int) -> Answer:
        self._refuse_if_unusable()
        with self._lock:
            self._version += 1
            return self._runs.prune(run, at_most)

    def move_schedules(self, moves: Sequence[Move]) -> list[bool]:
        self._refuse_if_unusable()
        with self._lock:
            self._version += 1
            return calendar.apply(self._calendar, moves, self.now())

    # -- reading ------------------------------------------------------------------------------------

    def run(self, run_id: str) -> Run | None:
        self._refuse_if_unusable()
        with self._lock:
            return self._runs.run(run_id)

    def open_run(self, identity: str) -> Run | None:
        """The unfinished direct run of this identity (neither done nor cancelled); at most one exists."""
        self._refuse_if_unusable()
        with self._lock:
            return self._runs.open_run(identity)

    def latest_run(self, identity: str) -> Run | None:
        self._refuse_if_unusable()
        with self._lock:
            return self._runs.latest_run(identity)

    def runs(
        self,
        *,
        states: Sequence[RunState] = (),
        name: str | None = None,
        limit: int = 100,
        before_no: int | None = None,
    ) -> list[Run]:
        """Newest first."""
        self._refuse_if_unusable()
        with self._lock:
            return self._runs.page(states, name, limit, before_no)

    def _all(self) -> list[Run]:
        """Newest first."""
        self._refuse_if_unusable()
        with self._lock:
            return list(self._runs)

    def _of(self, run_no: int) -> Rows:
        self._refuse_if_unusable()
        return self._runs.rows.get(run_no) or Rows(Run("", "loop", "", ""))

    def entries(self, run_no: int, *, after: int = -1, limit: int = -1) -> list[Entry]:
        with self._lock:
            return self._of(run_no).since(after, limit)

    def recorded(self, run_no: int) -> list[Entry]:
        return self.entries(run_no)

    def last_seq(self, run_no: int) -> int:
        with self._lock:
            return len(self._of(run_no).entries) - 1

    def done_items(self, run_no: int, depth_key: str, *, after: int, limit: int) -> list[tuple[int, str]]:
        with self._lock:
            return self._of(run_no).done_items(depth_key, after, limit)

    def outcome(self, run_no: int, key: str) -> Entry | None:
        with self._lock:
            return self._of(run_no).outcome(key)

    def scope_entries(self, run_no: int, prefix: str) -> list[Entry]:
        with self._lock:
            return self._of(run_no).in_scope(prefix)

    def failed_items(self, run_no: int) -> list[Entry]:
        with self._lock:
            return self._of(run_no).failed_items()

    def count_items(self, run_no: int, after: int) -> int:
        with self._lock:
            return self._of(run_no).count_items(after)

    def begun(self, run_no: int) -> list[Begun]:
        with self._lock:
            return sorted(self._of(run_no).begun.values(), key=lambda begun: (begun.begun_at, begun.key))

    def owner(self, owner_id: str) -> Owner | None:
        return self._owners.get(owner_id)

    def owner_is_dead(self, owner_id: str) -> bool:
        """Never proven: the store dies with its owners."""
        return False

    def note_end(self, owner: str) -> None:
        """Nothing to note: the store dies with its owners."""

    def ended_alive(self, owner_id: str) -> bool:
        return False

    def single_run(self, single: str) -> Run | None:
        return next((run for run in self._all() if run.single == single), None)

    def queues(self) -> list[Settings]:
        return self._shelf.all_settings()

    def set_queue(
        self, name: str, *, paused: bool | None = None, declared: str | None = None, chosen: str | None = None
    ) -> None:
        self._refuse_if_unusable()
        with self._lock:
            self._shelf.set(name, paused=paused, declared=declared, chosen=chosen)
            self._version += 1

    def queue_counts(self, queue: str, *, at_most: int) -> QueueCounts:
        with self._lock:
            return self._shelf.counts(queue, at_most)

    def dead_runs(self, queue: str, *, limit: int, before_no: int | None = None) -> list[Run]:
        with self._lock:
            return self._shelf.dead(queue, limit, before_no)

    def workers(self) -> list[WorkerRow]:
        return sorted(self._workers.values(), key=lambda worker: (-worker.seen_at, worker.owner))

    def ready(self, *, now: float, at_most: int) -> list[tuple[str, str, int, float]]:
        return claims.added_up(
            (run.queue, run.name, 1, run.created_at)
            for run in self._all()
            if not run.direct
            and (run.state == "pending" or (run.state == "waiting" and (run.wake_at or now + 1) <= now))
        )

    def holders(self) -> list[tuple[str, float]]:
        ends: dict[str, float] = {}
        for run in self._all():
            if not run.direct and run.owner is not None and run.lease_until is not None:
                ends[run.owner] = min(run.lease_until, ends.get(run.owner, run.lease_until))
        return sorted(ends.items())

    def runs_held(self, owner: str, *, limit: int) -> list[Run]:
        return [run for run in reversed(self._all()) if not run.direct and run.owner == owner][:limit]

    def schedules(self) -> list[Schedule]:
        self._refuse_if_unusable()
        with self._lock:
            return sorted(self._calendar.schedules.values())

    def unfinished(self, run_ids: Sequence[str]) -> list[str]:
        found = (self.run(run_id) for run_id in run_ids)
        return [run.id for run in found if run is not None and run.state not in ENDED]

    def runs_of_schedule(self, name: str, *, limit: int) -> list[Run]:
        first, end = id_range(name)
        own = [run for run in self._all() if first <= run.id < end and origin(run.identity) is not None]
        return sorted(own, key=lambda run: run.id, reverse=True)[:limit]

    def requests(self, owner: str) -> list[tuple[int, Request]]:
        return [
            (run.no, run.request) for run in self._all() if run.owner == owner and run.request is not None
        ]

    def version(self) -> object:
        return self._version

    def doorbell(self) -> None:
        return None

    def linger(self, seconds: float) -> None:
        time.sleep(seconds)

    def problems(self) -> Iterator[str]:
        self._refuse_if_unusable()
        for rows in list(self._runs.rows.values()):
            yield from rows.problems()

    # -- life -----------------------------------------------------------------------------------------

    def backup(self, target: Path) -> None:
        raise JournalUnusable(
            f"the journal {self._place} is in memory, so there is no file to copy; nothing was written"
        )

    def shrink(self) -> None:
        self._refuse_if_unusable()

    def tidy(self) -> None:
        self._refuse_if_unusable()

    def abandon(self) -> None:
        self._unusable = JournalUnusable(
            f"this process was forked from one that uses the journal {self._place}; a journal in memory cannot be "
            f"shared with it, nothing was recorded. Call onward.connect in the child."
        )

    def close(self) -> None:
        """Let go of it. A journal in memory that others of this process opened by name stays theirs."""

    def _refuse_if_unusable(self) -> None:
        if self._unusable is not None:
            raise self._unusable

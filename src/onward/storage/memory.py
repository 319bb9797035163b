"""A journal in memory: the same promises without durability, for unit tests, simulation and `ONWARD_URL=memory:`."""

from __future__ import annotations

import threading
import time
from bisect import insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from onward.core.decide import at_length
from onward.core.errors import JournalError, JournalUnusable
from onward.core.flow import Settings
from onward.core.keys import SEPARATOR
from onward.core.model import (
    CLOSED,
    ENDED,
    Added,
    Answer,
    Answered,
    Applied,
    Arrival,
    Begun,
    Change,
    Claim,
    Entry,
    Lot,
    Order,
    Owner,
    QueueCounts,
    Refused,
    Request,
    Run,
    RunState,
    WorkerRow,
)
from onward.core.schedules import Move, Schedule, id_range, origin
from onward.storage import arrivals, calendar, claims, guards
from onward.storage import problems as checks
from onward.storage.guards import Guard
from onward.storage.memory_shelf import Calendar, Shelf


class _Rows:
    """What is kept of one run."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.entries: list[Entry] = []
        self.done: dict[str, Entry] = {}
        self.failed: dict[str, Entry] = {}  # the latest failed or reopened entry of each key
        self.begun: dict[str, Begun] = {}
        self.inside: dict[str, list[Entry]] = {}  # by their outermost unit: the entries in its scope

    def guard(self) -> Guard:
        return guards.written(self.run, len(self.entries) - 1)

    def add(self, entry: Entry) -> None:
        entry = entry._replace(seq=len(self.entries))
        self.entries.append(entry)
        outermost, inner, _ = entry.key.partition(SEPARATOR)
        if inner:
            self.inside.setdefault(outermost, []).append(entry)
        if entry.state == "done":
            self.done[entry.key] = entry
        elif entry.state in ("failed", "reopened"):
            self.failed[entry.key] = entry


class MemoryStore:
    """A journal that lives as long as the process. Every call is atomic."""

    def __init__(self, place: str = "memory:", *, clock: Callable[[], float] = time.time) -> None:
        self._place, self._clock = place, clock
        self._lock = threading.RLock()
        self._rows: dict[int, _Rows] = {}
        # Where to look for a run; what is found is compared, since the run may have been removed or renamed.
        self._ids: dict[str, int] = {}
        self._identities: dict[str, list[int]] = {}
        self._open: dict[str, int] = {}
        self._owners: dict[str, Owner] = {}
        self._workers: dict[str, WorkerRow] = {}
        self._last_no = 0
        self._moved_to: str | None = None
        self._shelf = Shelf(self._rows, self._apply)
        self._calendar = Calendar(self._apply, self.run, self.request, self.moved_to)
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

    def _alone(self, change: Change) -> Applied | Refused:
        self._version += 1
        return self._apply(change)

    def _answer(self, order: Order) -> Answered:
        if isinstance(order, Claim):
            return claims.claim(self._shelf, order, self.now())
        if isinstance(order, Arrival):
            return arrivals.arrive(self._shelf, order, self.now())
        if isinstance(order, Lot):
            return self._add(order)
        assert isinstance(order, Change), "ends come at length"
        return self._apply(order)

    def _add(self, lot: Lot) -> Added | Refused:
        if self._moved_to is not None:
            return guards.moved()
        answers = [self._apply(lot.change(at)) for at in range(len(lot.ids))]
        return Added([0 if isinstance(answer, Refused) else answer.run_no for answer in answers])

    def _apply(self, change: Change) -> Applied | Refused:
        rows, guard = self._new(change) if change.create else self._stored(change)
        refused = None if change.create else guards.refusal(change, guard)
        refused = refused or self._clash(change, rows)
        refused = refused or (self._refused_beside(change) if change.beside else None)
        if refused is not None:
            return refused
        assert rows is not None, "a change of a run that is missing is refused"
        assert guard is not None, "a change of a run that is missing is refused"
        self._write(change, rows, guard)
        for other in change.beside:
            self._apply(other)  # its guard holds, see above
        self._shelf.changed(rows.run, change, self.now())
        return Applied(rows.run.no, len(rows.entries) - 1, rows.run.request)

    def _refused_beside(self, change: Change) -> Refused | None:
        for other in change.beside:
            rows, guard = self._stored(other)
            refused = guards.refusal(other, guard) or self._clash(other, rows)
            if refused is not None:
                return refused._replace(run_no=other.run_no)
        return None

    def _new(self, change: Change) -> tuple[_Rows, Guard]:
        assert change.after is not None, "a change that creates a run says what run"
        rows = _Rows(change.after._replace(no=self._last_no + 1))
        return rows, rows.guard()

    def _stored(self, change: Change) -> tuple[_Rows | None, Guard | None]:
        rows = self._rows.get(change.run_no)
        return rows, None if rows is None else rows.guard()

    def _clash(self, change: Change, rows: _Rows | None) -> Refused | None:
        assert rows is not None, "a change of a run that is missing is refused"
        if change.create and self._moved_to is not None:
            return guards.moved()
        if change.create and self.run(rows.run.id) is not None:
            return guards.exists(rows.run)
        if change.after is not None and change.after.direct and change.after.state not in CLOSED:
            other = self.open_run(rows.run.identity)
            if other is not None and other.no != rows.run.no:
                return guards.exists(rows.run)
        single = None if change.after is None or rows.run.single is None else change.after.single
        if single is not None and self._shelf.has_other(single, rows.run.no):
            return guards.exists(rows.run)
        done = [entry.key for entry in change.entries if entry.state == "done"]
        twice = next((key for at, key in enumerate(done) if key in rows.done or key in done[:at]), None)
        return None if twice is None else guards.recorded(twice)

    def _write(self, change: Change, rows: _Rows, guard: Guard) -> None:
        if change.create:
            self._last_no = rows.run.no
            self._rows[rows.run.no] = rows
            self._ids[rows.run.id] = rows.run.no
            insort(self._identities.setdefault(rows.run.identity, []), rows.run.no)
        elif change.after is not None:
            rows.run = _merged(rows.run, guards.kept(change, change.after, guard))
        if rows.run.direct and rows.run.state not in CLOSED:
            self._open[rows.run.identity] = rows.run.no
        if change.progress is not None:
            done, total, seq = change.progress
            rows.run = rows.run._replace(done=done, total=total, counted_seq=seq)
        for entry in change.entries:
            rows.add(entry)
        for key in change.ended:
            rows.begun.pop(key, None)
        for begun in change.begun:
            rows.begun[begun.key] = begun

    def renew(self, owner: str, until: float) -> list[tuple[int, Request | None]]:
        self._refuse_if_unusable()
        with self._lock:
            held = [rows for rows in self._rows.values() if rows.run.owner == owner]
            for rows in held:
                rows.run = rows.run._replace(lease_until=max(rows.run.lease_until or until, until))
            self._version += bool(held)
            return [(rows.run.no, rows.run.request) for rows in held]

    def request(self, run_no: int, request: Request | None) -> bool:
        self._refuse_if_unusable()
        with self._lock:
            rows = self._rows.get(run_no)
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
            self._version += self._rows.pop(run_no, None) is not None

    def add_run(
        self, run: Run, entries: Iterable[Entry], begun: Iterable[Begun], *, instead_of: Run | None = None
    ) -> Answer:
        self._refuse_if_unusable()
        change = Change(0, 0, tuple(entries), tuple(begun), after=run, create=True)
        with self._lock:
            if instead_of is None:
                return self._alone(change)
            refused = guards.refusal(
                self._untouched(instead_of), self._stored(self._untouched(instead_of))[1]
            )
            if refused is not None:
                return refused
            before = self._rows.pop(instead_of.no)
            answer = self._alone(change)
            if isinstance(answer, Refused):
                self._rows[instead_of.no] = before
                self._in_order()
            return answer

    def set_moved(self, to: str | None) -> None:
        self._refuse_if_unusable()
        self._moved_to = to

    def moved_to(self) -> str | None:
        return self._moved_to

    def rename(self, run: Run, *, name: str, identity: str, command: str | None, mark: Entry) -> Answer:
        self._refuse_if_unusable()
        with self._lock:
            other = self.open_run(identity)
            if run.direct and run.state not in CLOSED and other is not None and other.no != run.no:
                return guards.exists(run)
            answer = self._alone(self._untouched(run)._replace(entries=(mark,)))
            if isinstance(answer, Applied):
                rows = self._rows[run.no]
                rows.run = rows.run._replace(name=name, identity=identity, command=command)
                insort(self._identities.setdefault(identity, []), run.no)
                if rows.run.direct and rows.run.state not in CLOSED:
                    self._open[identity] = run.no
            return answer

    def prune(self, run: Run, *, at_most: int) -> Answer:
        self._refuse_if_unusable()
        with self._lock:
            answer = self._alone(self._untouched(run))
            if isinstance(answer, Refused):
                return answer
            rows = self._rows.pop(run.no)
            kept = rows.entries[: max(0, len(rows.entries) - at_most)]
            if kept:
                self._rows[run.no] = left = _Rows(rows.run)
                left.begun = rows.begun
                for entry in kept:
                    left.add(entry)
                self._in_order()
            return answer._replace(seq=len(kept) - 1)

    def move_schedules(self, moves: Sequence[Move]) -> list[bool]:
        self._refuse_if_unusable()
        with self._lock:
            self._version += 1
            return calendar.apply(self._calendar, moves, self.now())

    def _in_order(self) -> None:
        rows = sorted(self._rows.items())
        self._rows.clear()
        self._rows.update(rows)

    def _untouched(self, run: Run) -> Change:
        """A change that writes nothing, and is refused if the run has changed since it was read."""
        return Change(run.no, run.fence, before=run)

    # -- reading ------------------------------------------------------------------------------------

    def run(self, run_id: str) -> Run | None:
        self._refuse_if_unusable()
        with self._lock:
            rows = self._rows.get(self._ids.get(run_id, 0))
            return None if rows is None else rows.run

    def open_run(self, identity: str) -> Run | None:
        """The unfinished direct run of this identity (neither done nor cancelled); at most one exists."""
        self._refuse_if_unusable()
        with self._lock:
            rows = self._rows.get(self._open.get(identity, 0))
            if rows is None or rows.run.identity != identity or rows.run.state in CLOSED:
                return None
            return rows.run

    def latest_run(self, identity: str) -> Run | None:
        self._refuse_if_unusable()
        with self._lock:
            numbers = self._identities.get(identity, ())
            found = (self._rows[no].run for no in reversed(numbers) if no in self._rows)
            return next((run for run in found if run.identity == identity and run.direct), None)

    def runs(
        self,
        *,
        states: Sequence[RunState] = (),
        name: str | None = None,
        limit: int = 100,
        before_no: int | None = None,
    ) -> list[Run]:
        """Newest first."""
        found = [
            run
            for run in self._runs()
            if (not states or run.state in states)
            and (name is None or run.name == name)
            and (before_no is None or run.no < before_no)
        ]
        return found if limit < 0 else found[:limit]

    def _runs(self) -> list[Run]:
        """Newest first."""
        self._refuse_if_unusable()
        with self._lock:
            return [rows.run for rows in reversed(self._rows.values())]

    def _of(self, run_no: int) -> _Rows:
        self._refuse_if_unusable()
        return self._rows.get(run_no) or _Rows(Run("", "loop", "", ""))

    def entries(self, run_no: int, *, after: int = -1, limit: int = -1) -> list[Entry]:
        with self._lock:
            found = self._of(run_no).entries[max(after + 1, 0) :]
        return found if limit < 0 else found[:limit]

    def recorded(self, run_no: int) -> list[Entry]:
        return self.entries(run_no)

    def last_seq(self, run_no: int) -> int:
        with self._lock:
            return len(self._of(run_no).entries) - 1

    def done_items(self, run_no: int, depth_key: str, *, after: int, limit: int) -> list[tuple[int, str]]:
        own = (
            (entry.seq, entry.key)
            for entry in self.entries(run_no, after=after)
            if _is_done_item(entry, depth_key)
        )
        return [found for _, found in zip(range(limit), own, strict=False)] if limit >= 0 else list(own)

    def outcome(self, run_no: int, key: str) -> Entry | None:
        with self._lock:
            rows = self._of(run_no)
            entry = rows.done.get(key) or rows.failed.get(key)
        return None if entry is None or entry.state == "reopened" else entry

    def scope_entries(self, run_no: int, prefix: str) -> list[Entry]:
        outcomes = ("done", "failed", "reopened")
        outermost, inner, _ = prefix.partition(SEPARATOR)
        with self._lock:
            rows = self._of(run_no)
            among = list(rows.inside.get(outermost, ()) if inner else rows.entries)
        return [e for e in among if e.state in outcomes and e.key.startswith(prefix)]

    def failed_items(self, run_no: int) -> list[Entry]:
        with self._lock:
            rows = self._of(run_no)
            failed = [e for e in rows.failed.values() if e.state == "failed" and e.kind == "item"]
            return sorted((e for e in failed if e.key not in rows.done), key=lambda e: e.seq)

    def count_items(self, run_no: int, after: int) -> int:
        return sum(_is_done_item(entry, "") for entry in self.entries(run_no, after=after))

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
        return next((run for run in self._runs() if run.single == single), None)

    def queues(self) -> list[Settings]:
        return self._shelf.all_settings()

    def set_queue(
        self, name: str, *, paused: bool | None = None, declared: str | None = None, chosen: str | None = None
    ) -> None:
        self._refuse_if_unusable()
        given: dict[str, Any] = {"paused": paused, "declared": declared, "chosen": chosen}
        with self._lock:
            now = self._shelf.settings.get(name, Settings(name))
            changed = {field: value for field, value in given.items() if value is not None}
            self._shelf.settings[name] = now._replace(**changed)
            self._version += 1

    def queue_counts(self, queue: str, *, at_most: int) -> QueueCounts:
        with self._lock:
            pending = self._shelf.queued(queue, "pending")
            waiting, running, failed = (
                min(at_most, len(self._shelf.queued(queue, state)))
                for state in ("waiting", "running", "failed")
            )
        oldest_at = min((run.created_at for run in pending), default=None)
        return QueueCounts(min(at_most, len(pending)), waiting, running, failed, oldest_at)

    def dead_runs(self, queue: str, *, limit: int, before_no: int | None = None) -> list[Run]:
        with self._lock:
            dead = [
                run for run in self._shelf.queued(queue, "failed") if before_no is None or run.no < before_no
            ]
        return dead[::-1][:limit]

    def workers(self) -> list[WorkerRow]:
        return sorted(self._workers.values(), key=lambda worker: (-worker.seen_at, worker.owner))

    def ready(self, *, now: float, at_most: int) -> list[tuple[str, str, int, float]]:
        return claims.added_up(
            (run.queue, run.name, 1, run.created_at)
            for run in self._runs()
            if not run.direct
            and (run.state == "pending" or (run.state == "waiting" and (run.wake_at or now + 1) <= now))
        )

    def holders(self) -> list[tuple[str, float]]:
        ends: dict[str, float] = {}
        for run in self._runs():
            if not run.direct and run.owner is not None and run.lease_until is not None:
                ends[run.owner] = min(run.lease_until, ends.get(run.owner, run.lease_until))
        return sorted(ends.items())

    def runs_held(self, owner: str, *, limit: int) -> list[Run]:
        return [run for run in reversed(self._runs()) if not run.direct and run.owner == owner][:limit]

    def schedules(self) -> list[Schedule]:
        self._refuse_if_unusable()
        with self._lock:
            return sorted(self._calendar.schedules.values())

    def unfinished(self, run_ids: Sequence[str]) -> list[str]:
        found = (self.run(run_id) for run_id in run_ids)
        return [run.id for run in found if run is not None and run.state not in ENDED]

    def runs_of_schedule(self, name: str, *, limit: int) -> list[Run]:
        first, end = id_range(name)
        own = [run for run in self._runs() if first <= run.id < end and origin(run.identity) is not None]
        return sorted(own, key=lambda run: run.id, reverse=True)[:limit]

    def requests(self, owner: str) -> list[tuple[int, Request]]:
        return [
            (run.no, run.request) for run in self._runs() if run.owner == owner and run.request is not None
        ]

    def version(self) -> object:
        return self._version

    def doorbell(self) -> None:
        return None

    def linger(self, seconds: float) -> None:
        time.sleep(seconds)

    def problems(self) -> Iterator[str]:
        self._refuse_if_unusable()
        for rows in list(self._rows.values()):
            run = rows.run
            if (run.owner is None) != (run.lease_until is None) or (run.owner and run.state in ENDED):
                yield checks.odd_lease(run.id, run.state, run.owner, run.lease_until)
            for e in list(rows.entries):
                yield from checks.of_entry(
                    run.id, e.seq, e.key, e.value, e.checksum, e.fence, run.fence, e.kind, e.state
                )

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


def _is_done_item(entry: Entry, prefix: str) -> bool:
    return (
        entry.state == "done"
        and entry.kind == "item"
        and entry.key.startswith(prefix)
        and SEPARATOR not in entry.key[len(prefix) :]
    )


def _merged(stored: Run, after: Run) -> Run:
    """`after`, without what a run never changes, and without what others did to it since it was read."""
    asleep = ("waiting", "paused")
    times = (
        (stored.wake_at, after.wake_at)
        if stored.fence > 0 and stored.state in asleep and after.state in asleep
        else ()
    )
    return after._replace(
        wake_at=min((at for at in times if at is not None), default=after.wake_at),
        single=None if stored.single is None else after.single,
        id=stored.id,
        kind=stored.kind,
        name=stored.name,
        identity=stored.identity,
        direct=stored.direct,
        created_at=stored.created_at,
        queue=stored.queue,
        lane=stored.lane,
        parent=stored.parent,
        no=stored.no,
    )

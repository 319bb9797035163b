"""How a SQLite journal is read: rows become Runs and Entries, on a connection that never waits for writers."""

from __future__ import annotations

import heapq
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final

import apsw

from onward.core.errors import JournalError
from onward.core.flow import Settings
from onward.core.model import Begun, Entry, Owner, QueueCounts, Request, Run, RunState, WorkerRow, made
from onward.core.model import run_of as made_run
from onward.core.schedules import Schedule, id_range
from onward.storage import problems as checks
from onward.storage.calendar import schedule_of
from onward.storage.claims import added_up
from onward.storage.sqlite.connection import connect, opening
from onward.storage.sqlite.failures import FAILURES, Failure, journal_error
from onward.storage.sqlite.owners import Owners
from onward.storage.untold import Untold, with_untold

# A prefix with fewer done entries than this is read by its keys and sorted (a few ms); one with more is read in order.
_FEW: Final = 20_000
_LAST: Final = "\U0010ffff"  # greater than any character a key can go on with
_ENDLESS: Final = 2**62
# Priorities of one workflow that are looked at for the oldest run; more of them are a mistake.
_PRIORITIES: Final = 1_000

Row = tuple[Any, ...]
Ask = Callable[..., list[Any]]


class Reader:
    """The reading half of the store. Threads take turns; each call sees what was committed before it began."""

    _path: Path
    _owners: Owners

    def __init__(self, connection: apsw.Connection, sql: Mapping[str, str]) -> None:
        self._connection, self._sql = connection, sql
        self._reading = threading.Lock()
        self._closed: JournalError | None = None

    def _refuse(self, error: JournalError) -> None:
        """From now on every call raises `error`."""
        self._closed = error

    def _refuse_if_closed(self) -> None:
        if self._closed is not None:
            raise self._closed

    def _rows(self, name: str, *values: object) -> list[Any]:
        self._refuse_if_closed()
        with self._reading:
            self._refuse_if_closed()  # perhaps it was closed while this thread waited
            try:
                return self._connection.execute(self._sql[name], values).fetchall()
            except FAILURES as problem:
                raise self._failure(problem) from problem

    @contextmanager
    def _snapshot(self) -> Iterator[Ask]:
        """What is asked within it is answered from one state of the journal."""
        self._refuse_if_closed()
        with self._reading:
            self._refuse_if_closed()
            try:
                try:
                    self._connection.execute(self._sql["snapshot"])
                    yield lambda name, *values: self._connection.execute(self._sql[name], values).fetchall()
                finally:
                    if self._connection.in_transaction:  # left open, it would show this state for ever
                        self._connection.execute(self._sql["commit"])
            except FAILURES as problem:
                raise self._failure(problem) from problem

    def _failure(self, problem: Failure) -> BaseException:
        known = journal_error(problem, str(self._path), system_errno=self._connection.system_errno)
        return problem if known is None else known

    # -- runs ---------------------------------------------------------------------------------------

    def run(self, run_id: str) -> Run | None:
        return _only(self._rows("run", run_id))

    def open_run(self, identity: str) -> Run | None:
        """The unfinished direct run of this identity (neither done nor cancelled); at most one exists."""
        return _only(self._rows("open_run", identity))

    def latest_run(self, identity: str) -> Run | None:
        return _only(self._rows("latest_run", identity))

    def runs(
        self,
        *,
        states: Sequence[RunState] = (),
        name: str | None = None,
        limit: int = 100,
        before_no: int | None = None,
    ) -> list[Run]:
        """Newest first."""
        page = (_ENDLESS if before_no is None else before_no, limit)
        if name is not None:
            rows = self._rows("runs_named", *page, name, json.dumps(list(states)) if states else None)
        elif states:
            rows = list(heapq.merge(*self._in_states(states, page), key=lambda row: -row[-1]))
            rows = rows[:limit] if limit >= 0 else rows
        else:
            rows = self._rows("runs", *page)
        return [run_of(row) for row in rows]

    def _in_states(self, states: Sequence[RunState], page: Row) -> list[list[Row]]:
        """Lists of runs, newest first, that hold all that are in one of these states."""
        # From one state, or a run that is claimed meanwhile would be in none of them, or in two.
        with self._snapshot() as ask:
            found = [ask("runs_in_state", *page, state) for state in dict.fromkeys(states)]
            if "running" in states:
                found.append(ask("runs_busy", *page))
            if "pending" in states:
                found += [ask("runs_ready", *page, *one) for one in _ready_kinds(ask)]
        return found

    # -- entries --------------------------------------------------------------------------------------

    def entries(self, run_no: int, *, after: int = -1, limit: int = -1) -> list[Entry]:
        return _entries(self._page(run_no, after, limit))

    def recorded(self, run_no: int) -> list[Row]:
        return self._page(run_no, -1, -1)

    def _page(self, run_no: int, after: int, limit: int) -> list[Row]:
        rows = self._rows("entries", run_no, after, limit)
        if rows and rows[-1][0] is None:
            untold = Untold._make(rows.pop()[1:7])
            return with_untold(rows, untold, after=after, limit=None if limit < 0 else limit)
        return rows

    def last_seq(self, run_no: int) -> int:
        return next((last for (last,) in self._rows("last_seq", run_no)), -1)

    def done_items(self, run_no: int, depth_key: str, *, after: int, limit: int) -> list[tuple[int, str]]:
        span = (run_no, depth_key, depth_key + _LAST)
        few = self._rows("count_done", *span, _FEW)[0][0] < _FEW
        return self._rows("done_items_by_key" if few else "done_items_by_seq", *span, after, limit, depth_key)

    def outcome(self, run_no: int, key: str) -> Entry | None:
        latest: Entry | None = None
        for entry in _entries(self._rows("outcome", run_no, key)):
            if entry.state == "done":
                return entry
            latest = entry
        return None if latest is None or latest.state == "reopened" else latest

    def scope_entries(self, run_no: int, prefix: str) -> list[Entry]:
        return _entries(self._rows("scope_entries", run_no, prefix, prefix + _LAST))

    def failed_items(self, run_no: int) -> list[Entry]:
        return _entries(self._rows("failed_items", run_no))

    def count_items(self, run_no: int, after: int) -> int:
        count: int = self._rows("count_items", run_no, after)[0][0]
        return count

    def begun(self, run_no: int) -> list[Begun]:
        return [
            Begun(key, kind, name, attempt, crashes, bool(suspect), due_at, fence, begun_at)
            for key, kind, name, attempt, crashes, suspect, due_at, fence, begun_at in self._rows(
                "begun", run_no
            )
        ]

    # -- the rest -------------------------------------------------------------------------------------

    def owner(self, owner_id: str) -> Owner | None:
        return next((Owner._make(row) for row in self._rows("owner", owner_id)), None)

    def note_end(self, owner: str) -> None:
        self._owners.note_end(owner)

    def ended_alive(self, owner_id: str) -> bool:
        return self._owners.ended_alive(owner_id)

    def single_run(self, single: str) -> Run | None:
        return _only(self._rows("single_run", single))

    def queues(self) -> list[Settings]:
        return [settings_of(row) for row in self._rows("queues")]

    def queue_counts(self, queue: str, *, at_most: int) -> QueueCounts:
        pending, waiting, running, failed = (
            self._rows(name, queue, at_most)[0][0]
            for name in ("count_ready", "count_waiting", "busy", "count_dead")
        )
        return QueueCounts(pending, waiting, running, failed, self._oldest_ready(queue) if pending else None)

    def _oldest_ready(self, queue: str) -> float | None:
        oldest: list[float] = []
        at: Any = (queue, "")
        while (rows := self._rows("ready_kind", *at)) and (at := rows[0])[0] == queue:
            for priority in islice(_priorities(self._rows, *at), _PRIORITIES):
                oldest += [row[0] for row in self._rows("oldest_ready", *at, priority) if row[0] is not None]
        return min(oldest, default=None)

    def dead_runs(self, queue: str, *, limit: int, before_no: int | None = None) -> list[Run]:
        before = _ENDLESS if before_no is None else before_no
        return [run_of(row) for row in self._rows("dead_runs", queue, before, limit)]

    def workers(self) -> list[WorkerRow]:
        return [
            WorkerRow(owner, tuple(json.loads(names)), tuple(json.loads(queues)), *rest)
            for owner, names, queues, *rest in self._rows("workers")
        ]

    def ready(self, *, now: float, at_most: int) -> list[tuple[str, str, int, float]]:
        found = self._rows("waiting_names", at_most)
        at = ("", "")
        while kinds := self._rows("waiting_kind", *at):
            at = kinds[0]
            found += [(*at, *due) for due in self._rows("count_due", *at, now, at_most) if due[0]]
        return added_up(found)

    def holders(self) -> list[tuple[str, float]]:
        return self._rows("holders")

    def runs_held(self, owner: str, *, limit: int) -> list[Run]:
        return [run_of(row) for row in self._rows("runs_held", owner, limit)]

    def schedules(self) -> list[Schedule]:
        return [schedule_of(row) for row in self._rows("schedules")]

    def unfinished(self, run_ids: Sequence[str]) -> list[str]:
        return [run_id for (run_id,) in self._rows("unfinished", json.dumps(list(run_ids)))]

    def runs_of_schedule(self, name: str, *, limit: int) -> list[Run]:
        return [run_of(row) for row in self._rows("runs_of_schedule", *id_range(name), limit)]

    def moved_to(self) -> str | None:
        return next((to for (to,) in self._rows("moved_to")), None)

    def requests(self, owner: str) -> list[tuple[int, Request]]:
        return self._rows("requests", owner)

    def idle_owners(self) -> list[str]:
        """Owners that hold no run."""
        return [owner_id for (owner_id,) in self._rows("idle_owners")]

    def version(self) -> object:
        # Of this connection, which never writes: so it counts all commits, this process's writer's included.
        return self._rows("data_version")[0][0]

    def problems(self) -> Iterator[str]:
        """A connection of its own: the check of a large journal takes long and must not keep readers waiting."""
        with opening(self._path):
            connection = connect(self._path, reads_only=True)
        try:
            yield from self._problems(connection)
        except FAILURES as problem:
            yield f"the check could not go on: {problem}; what follows in the file is not checked"
        finally:
            connection.close(True)

    def _problems(self, connection: apsw.Connection) -> Iterator[str]:
        for (found,) in connection.execute(self._sql["integrity"]):
            if found != "ok":
                yield f"the file's structure is damaged: {found}"
        for table, _, parent, _ in connection.execute(self._sql["strays"]):
            yield f"a row of `{table}` belongs to no row of `{parent}`"
        for run_id, count, first, last in connection.execute(self._sql["misnumbered"]):
            yield checks.misnumbered(run_id, count, first, last)
        for run_id, key, count in connection.execute(self._sql["done_twice"]):
            yield checks.done_twice(run_id, key, count)
        for row in connection.execute(self._sql["payloads"]):
            yield from checks.of_entry(*(_text(value) for value in row))
        for run_id, state, owner, lease_until in connection.execute(self._sql["odd_leases"]):
            yield checks.odd_lease(run_id, state, owner, lease_until)
        for run_id, untold, state in connection.execute(self._sql["odd_untold"]):
            yield checks.odd_untold(run_id, untold, state)


def _ready_kinds(ask: Ask) -> Iterator[tuple[str, str, int]]:
    """The queues, workflows and priorities of which runs are pending: a step into the index for each."""
    at: Any = ("", "")
    rows = ask("ready_kind", *at)
    while rows:
        at = rows[0]
        for priority in _priorities(ask, *at):
            yield (*at, priority)
        rows = ask("ready_kind", *at)


def _priorities(ask: Ask, queue: str, name: str) -> Iterator[int]:
    priority = _ENDLESS
    while following := ask("ready_priority", queue, name, priority):
        priority = following[0][0]
        yield priority


def _entries(rows: list[Row]) -> list[Entry]:
    return [made(row) for row in rows]


def settings_of(row: Row) -> Settings:
    return Settings(row[0], bool(row[1]), row[2], row[3])


def run_of(row: Row) -> Run:
    return made_run((*row[:5], row[5] == 1, *row[6:]))  # SQLite knows no booleans


def _text(value: Any) -> Any:
    """Damaged text as well as it can be shown; it will not match its checksum."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _only(rows: list[Row]) -> Run | None:
    return run_of(rows[0]) if rows else None

"""How a PostgreSQL journal is read: rows become Runs and Entries, over a few connections that threads share.

What was not answered because the connection broke is asked again over a new one, for a while.
"""

from __future__ import annotations

import heapq
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import psycopg

from onward.core import limits
from onward.core.errors import JournalError
from onward.core.flow import Settings
from onward.core.model import Begun, Entry, Owner, QueueCounts, Request, Run, RunState, WorkerRow
from onward.core.schedules import Schedule, id_range
from onward.storage.claims import added_up
from onward.storage.postgres.arrays import texts
from onward.storage.postgres.connecting import Connector
from onward.storage.postgres.failures import Lost, is_passing, journal_error
from onward.storage.postgres.link import Link, Row, Step
from onward.storage.postgres.longtext import short, start
from onward.storage.postgres.rows import a_run, schedule_of
from onward.storage.untold import Untold, with_untold

# A prefix with fewer done entries than this is read by its keys and sorted (a few ms); one with more is read in order.
_FEW: Final = 20_000
_LAST: Final = "\U0010ffff"  # greater than any character a key can go on with
_ENDLESS: Final = 2**62
# Where the queued runs of a state are found that are in no index of states or names.
_QUEUED: Final[dict[RunState, str]] = {"pending": "runs_ready", "running": "runs_busy"}
# Connections for reading; more threads than that take turns.
_MOST: Final = 4
# Priorities of a queue's workflows that are looked at for the oldest run; more of them are a mistake.
_PRIORITIES: Final = 1_000


class Pool:
    """Connections to read over: made when they are needed, kept for the next."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._idle: list[Link] = []
        self._places = threading.Semaphore(_MOST)
        self._closed = False

    @contextmanager
    def borrowed(self, until: float) -> Iterator[Link]:
        with self._places:
            link = self._taken() or self._connector.patiently(until)
            try:
                yield link
            finally:
                if link.usable:
                    self._idle.append(link)
                else:
                    link.close()
                if self._closed:  # while somebody was reading
                    self.close()

    def put(self, link: Link) -> None:
        self._idle.append(link)

    def _taken(self) -> Link | None:
        while self._idle:
            try:
                link = self._idle.pop()
            except IndexError:  # another thread was faster
                return None
            if link.usable:
                return link
            link.close()
        return None

    def abandon(self) -> None:
        for link in self._idle:
            link.abandon()

    def close(self) -> None:
        self._closed = True
        while (link := self._taken()) is not None:
            link.close()


class Reader:
    """The reading half of the store. Each call sees what was committed before it began."""

    def __init__(self, connector: Connector, *, busy_s: float = limits.BUSY_S) -> None:
        self._connector, self._busy_s = connector, busy_s
        self._pool = Pool(connector)
        self._closed: JournalError | None = None

    @property
    def place(self) -> str:
        return self._connector.address.place

    def _refuse_if_closed(self) -> None:
        if self._closed is not None:
            raise self._closed

    def _rows(self, name: str, *values: object) -> list[Any]:
        return self._all((name, values))[0]

    def _all(self, *steps: Step) -> list[list[Any]]:
        self._refuse_if_closed()
        until = time.monotonic() + self._busy_s
        while True:
            try:
                with self._pool.borrowed(until) as link:
                    if len(steps) == 1:
                        return [link.ask(steps[0][0], *steps[0][1])]
                    return link.all(("begin_reading", ()), *steps, ("commit", ()))[1:-1]
            except Lost as lost:
                if time.monotonic() >= until:
                    raise self._connector.unreachable(lost) from lost
            except psycopg.Error as problem:
                if not is_passing(problem):
                    raise (journal_error(problem, self.place) or problem) from problem
            self._refuse_if_closed()

    # -- runs ---------------------------------------------------------------------------------------

    def run(self, run_id: str) -> Run | None:
        return _only(self._rows("run", run_id)) if _storable(run_id) else None

    def open_run(self, identity: str) -> Run | None:
        return _only(self._rows("open_run", short(identity))) if _storable(identity) else None

    def latest_run(self, identity: str) -> Run | None:
        return _only(self._rows("latest_run", short(identity))) if _storable(identity) else None

    def runs(
        self,
        *,
        states: Sequence[RunState] = (),
        name: str | None = None,
        limit: int = 100,
        before_no: int | None = None,
    ) -> list[Run]:
        """Newest first."""
        most = None if limit < 0 else limit
        page = (_ENDLESS if before_no is None else before_no, most)
        if name is not None:
            if not _storable(name):
                return []
            steps: list[Step] = [("runs_named", (*page, name, texts(list(states)) if states else None))]
        elif states:
            steps = [("runs_in_state", (*page, state)) for state in dict.fromkeys(states)]
        else:
            return [a_run(row) for row in self._rows("runs", *page)]
        # Queued ones, which these leave out.
        steps += [(ask, (*page, name)) for state, ask in _QUEUED.items() if not states or state in states]
        each = self._all(*steps)
        return [a_run(row) for row in list(heapq.merge(*each, key=lambda row: -row[-1]))[:most]]

    # -- entries --------------------------------------------------------------------------------------

    def entries(self, run_no: int, *, after: int = -1, limit: int = -1) -> list[Entry]:
        return [Entry._make(row) for row in self._page(run_no, after, None if limit < 0 else limit)]

    def recorded(self, run_no: int) -> list[tuple[Any, ...]]:
        return self._page(run_no, -1, None)

    def _page(self, run_no: int, after: int, limit: int | None) -> list[tuple[Any, ...]]:
        rows = self._rows("entries", run_no, after, limit)
        place = next(
            (at for at in reversed(range(len(rows))) if rows[at][0] is None), None
        )  # the last, as a rule
        if place is None:
            return rows
        *_, owner, _, _, count, seq, fence, claimed_at, returned_at, _ = rows.pop(place)
        if not count:
            return rows
        untold = Untold(count, seq, fence, owner, claimed_at, returned_at)
        return with_untold(rows, untold, after=after, limit=limit)

    def last_seq(self, run_no: int) -> int:
        return next((last for (last,) in self._rows("last_seq", run_no)), -1)

    def done_items(self, run_no: int, depth_key: str, *, after: int, limit: int) -> list[tuple[int, str]]:
        span = (run_no, *_span(depth_key))
        few = self._rows("count_done", *span, _FEW)[0][0] < _FEW
        name = "done_items_by_key" if few else "done_items_by_seq"
        return self._rows(name, *span, after, None if limit < 0 else limit, depth_key)

    def outcome(self, run_no: int, key: str) -> Entry | None:
        latest: Entry | None = None
        for row in self._rows("outcome", run_no, short(key)):
            entry = Entry._make(row)
            if entry.state == "done":
                return entry
            latest = entry
        return None if latest is None or latest.state == "reopened" else latest

    def scope_entries(self, run_no: int, prefix: str) -> list[Entry]:
        return [Entry._make(row) for row in self._rows("scope_entries", run_no, *_span(prefix), prefix)]

    def failed_items(self, run_no: int) -> list[Entry]:
        return [Entry._make(row) for row in self._rows("failed_items", run_no)]

    def count_items(self, run_no: int, after: int) -> int:
        count: int = self._rows("count_items", run_no, after)[0][0]
        return count

    def begun(self, run_no: int) -> list[Begun]:
        return [Begun._make(row) for row in self._rows("begun", run_no)]

    # -- the rest -------------------------------------------------------------------------------------

    def owner(self, owner_id: str) -> Owner | None:
        return next((Owner._make(row) for row in self._rows("owner", owner_id)), None)

    def requests(self, owner: str) -> list[tuple[int, Request]]:
        return self._rows("requests", owner)

    def idle_owners(self) -> list[str]:
        """Owners that hold no run."""
        return [owner_id for (owner_id,) in self._rows("idle_owners")]

    def single_run(self, single: str) -> Run | None:
        return _only(self._rows("single_run", single)) if _storable(single) else None

    def queues(self) -> list[Settings]:
        return [Settings._make(row) for row in self._rows("queues")]

    def queue_counts(self, queue: str, *, at_most: int) -> QueueCounts:
        names = ("count_ready", "count_waiting", "busy", "count_dead")
        *counts, oldest = self._all(
            *((name, (queue, at_most)) for name in names), ("oldest_ready", (queue, _PRIORITIES))
        )
        return QueueCounts._make((*(rows[0][0] for rows in counts), oldest[0][0]))

    def dead_runs(self, queue: str, *, limit: int, before_no: int | None = None) -> list[Run]:
        before = _ENDLESS if before_no is None else before_no
        return [a_run(row) for row in self._rows("dead_runs", queue, before, limit)]

    def schedules(self) -> list[Schedule]:
        return [schedule_of(row) for row in self._rows("schedules")]

    def unfinished(self, run_ids: Sequence[str]) -> list[str]:
        wanted = [run_id for run_id in run_ids if _storable(run_id)]
        return [run_id for (run_id,) in self._rows("unfinished", texts(wanted))]

    def runs_of_schedule(self, name: str, *, limit: int) -> list[Run]:
        return [a_run(row) for row in self._rows("runs_of_schedule", *id_range(name), limit)]

    def moved_to(self) -> str | None:
        return next((to for (to,) in self._rows("moved_to")), None)

    def workers(self) -> list[WorkerRow]:
        return [
            WorkerRow(owner, tuple(json.loads(names)), tuple(json.loads(queues)), *rest)
            for owner, names, queues, *rest in self._rows("workers")
        ]

    def ready(self, *, now: float, at_most: int) -> list[tuple[str, str, int, float]]:
        found = self._rows("waiting_names", at_most)
        for at in self._rows("waiting_kind"):
            found += [(*at, *due) for due in self._rows("count_due", *at, now, at_most) if due[0]]
        return added_up(found)

    def holders(self) -> list[tuple[str, float]]:
        return self._rows("holders")

    def runs_held(self, owner: str, *, limit: int) -> list[Run]:
        return [a_run(row) for row in self._rows("runs_held", owner, limit)]


def _span(prefix: str) -> tuple[str, str]:
    """Between which values the indexed forms of all keys with this prefix lie."""
    return start(prefix), start(prefix) + _LAST


def _storable(text: str) -> bool:
    """Whether there can be such a text in the journal at all."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def _only(rows: list[Row]) -> Run | None:
    return a_run(rows[0]) if rows else None

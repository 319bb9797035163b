"""The runs of a journal in memory: their entries, where to look for one, and how a change is written to them.

A change stands as a whole or is refused and leaves no trace, by the same guards as in the other stores. The entries
of a run are numbered 0, 1, 2, ... without a gap, and no key is done twice. Knows no locks: `MemoryStore` has one for
all of it.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from onward.core.keys import SEPARATOR
from onward.core.model import (
    CLOSED,
    ENDED,
    Added,
    Answer,
    Applied,
    Begun,
    Change,
    Entry,
    Lot,
    Refused,
    Run,
    RunState,
)
from onward.storage import guards
from onward.storage import problems as checks
from onward.storage.guards import Guard
from onward.storage.memory_shelf import Shelf


class Rows:
    """What is kept of one run."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.entries: list[Entry] = []
        self.done: dict[str, Entry] = {}
        self.failed: dict[str, Entry] = {}  # the latest failed or reopened entry of each key
        self.begun: dict[str, Begun] = {}
        self._inside: dict[str, list[Entry]] = {}  # by their outermost unit: the entries in its scope

    def guard(self) -> Guard:
        return guards.written(self.run, len(self.entries) - 1)

    def add(self, entry: Entry) -> None:
        entry = entry._replace(seq=len(self.entries))
        self.entries.append(entry)
        outermost, inner, _ = entry.key.partition(SEPARATOR)
        if inner:
            self._inside.setdefault(outermost, []).append(entry)
        if entry.state == "done":
            self.done[entry.key] = entry
        elif entry.state in ("failed", "reopened"):
            self.failed[entry.key] = entry

    def since(self, after: int, limit: int = -1) -> list[Entry]:
        found = self.entries[max(after + 1, 0) :]
        return found if limit < 0 else found[:limit]

    def done_items(self, depth_key: str, after: int, limit: int) -> list[tuple[int, str]]:
        own = ((e.seq, e.key) for e in self.since(after) if _is_done_item(e, depth_key))
        return list(islice(own, limit) if limit >= 0 else own)

    def outcome(self, key: str) -> Entry | None:
        entry = self.done.get(key) or self.failed.get(key)
        return None if entry is None or entry.state == "reopened" else entry

    def in_scope(self, prefix: str) -> list[Entry]:
        outcomes = ("done", "failed", "reopened")
        outermost, inner, _ = prefix.partition(SEPARATOR)
        among = self._inside.get(outermost, ()) if inner else self.entries
        return [e for e in among if e.state in outcomes and e.key.startswith(prefix)]

    def failed_items(self) -> list[Entry]:
        failed = (e for e in self.failed.values() if e.state == "failed" and e.kind == "item")
        return sorted((e for e in failed if e.key not in self.done), key=lambda e: e.seq)

    def count_items(self, after: int) -> int:
        return sum(_is_done_item(entry, "") for entry in self.since(after))

    def problems(self) -> Iterator[str]:
        run = self.run
        if (run.owner is None) != (run.lease_until is None) or (run.owner and run.state in ENDED):
            yield checks.odd_lease(run.id, run.state, run.owner, run.lease_until)
        for e in list(self.entries):
            yield from checks.of_entry(
                run.id, e.seq, e.key, e.value, e.checksum, e.fence, run.fence, e.kind, e.state
            )


def _is_done_item(entry: Entry, prefix: str) -> bool:
    return (
        entry.state == "done"
        and entry.kind == "item"
        and entry.key.startswith(prefix)
        and SEPARATOR not in entry.key[len(prefix) :]
    )


class Runs:
    """All runs of a journal, and the queues in which those for workers stand."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.rows: dict[int, Rows] = {}  # by number, in that order
        self.shelf = Shelf(self.rows, self.apply)
        self.moved_to: str | None = None  # where everything goes on; then no run is added here
        self._last_no = 0
        # Where to look for a run; what is found is compared, since the run may have been removed or renamed.
        self._ids: dict[str, int] = {}
        self._identities: dict[str, list[int]] = {}
        self._open: dict[str, int] = {}

    # -- finding ------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Run]:
        """Newest first."""
        return (rows.run for rows in reversed(self.rows.values()))

    def run(self, run_id: str) -> Run | None:
        rows = self.rows.get(self._ids.get(run_id, 0))
        return None if rows is None else rows.run

    def open_run(self, identity: str) -> Run | None:
        rows = self.rows.get(self._open.get(identity, 0))
        if rows is None or rows.run.identity != identity or rows.run.state in CLOSED:
            return None
        return rows.run

    def latest_run(self, identity: str) -> Run | None:
        numbers = self._identities.get(identity, ())
        found = (self.rows[no].run for no in reversed(numbers) if no in self.rows)
        return next((run for run in found if run.identity == identity and run.direct), None)

    def page(
        self, states: Sequence[RunState], name: str | None, limit: int, before_no: int | None
    ) -> list[Run]:
        found = (
            run
            for run in self
            if (not states or run.state in states)
            and (name is None or run.name == name)
            and (before_no is None or run.no < before_no)
        )
        return list(found if limit < 0 else islice(found, limit))

    # -- one change ---------------------------------------------------------------------------------

    def apply(self, change: Change) -> Applied | Refused:
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
            self.apply(other)  # its guard holds, see above
        self.shelf.changed(rows.run, change, self._now())
        return Applied(rows.run.no, len(rows.entries) - 1, rows.run.request)

    def _refused_beside(self, change: Change) -> Refused | None:
        for other in change.beside:
            rows, guard = self._stored(other)
            refused = guards.refusal(other, guard) or self._clash(other, rows)
            if refused is not None:
                return refused._replace(run_no=other.run_no)
        return None

    def _new(self, change: Change) -> tuple[Rows, Guard]:
        assert change.after is not None, "a change that creates a run says what run"
        rows = Rows(change.after._replace(no=self._last_no + 1))
        return rows, rows.guard()

    def _stored(self, change: Change) -> tuple[Rows | None, Guard | None]:
        rows = self.rows.get(change.run_no)
        return rows, None if rows is None else rows.guard()

    def _clash(self, change: Change, rows: Rows | None) -> Refused | None:
        assert rows is not None, "a change of a run that is missing is refused"
        if change.create and self.moved_to is not None:
            return guards.moved()
        if change.create and self.run(rows.run.id) is not None:
            return guards.exists(rows.run)
        if change.after is not None and change.after.direct and change.after.state not in CLOSED:
            other = self.open_run(rows.run.identity)
            if other is not None and other.no != rows.run.no:
                return guards.exists(rows.run)
        single = None if change.after is None or rows.run.single is None else change.after.single
        if single is not None and self.shelf.has_other(single, rows.run.no):
            return guards.exists(rows.run)
        done = [entry.key for entry in change.entries if entry.state == "done"]
        twice = next((key for at, key in enumerate(done) if key in rows.done or key in done[:at]), None)
        return None if twice is None else guards.recorded(twice)

    def _write(self, change: Change, rows: Rows, guard: Guard) -> None:
        if change.create:
            self._last_no = rows.run.no
            self.rows[rows.run.no] = rows
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

    # -- whole runs ---------------------------------------------------------------------------------

    def add(self, lot: Lot) -> Added | Refused:
        if self.moved_to is not None:
            return guards.moved()
        answers = [self.apply(lot.change(at)) for at in range(len(lot.ids))]
        return Added([0 if isinstance(answer, Refused) else answer.run_no for answer in answers])

    def put_instead(self, of: Run, change: Change) -> Answer:
        """Let the run that `change` creates take the place of another one, if that is as it was read."""
        refused = guards.refusal(_untouched(of), self._stored(_untouched(of))[1])
        if refused is not None:
            return refused
        before = self.rows.pop(of.no)
        answer = self.apply(change)
        if isinstance(answer, Refused):
            self.rows[of.no] = before
            self._in_order()
        return answer

    def rename(self, run: Run, *, name: str, identity: str, command: str | None, mark: Entry) -> Answer:
        other = self.open_run(identity)
        if run.direct and run.state not in CLOSED and other is not None and other.no != run.no:
            return guards.exists(run)
        answer = self.apply(_untouched(run)._replace(entries=(mark,)))
        if isinstance(answer, Applied):
            rows = self.rows[run.no]
            rows.run = rows.run._replace(name=name, identity=identity, command=command)
            insort(self._identities.setdefault(identity, []), run.no)
            if rows.run.direct and rows.run.state not in CLOSED:
                self._open[identity] = run.no
        return answer

    def prune(self, run: Run, at_most: int) -> Answer:
        answer = self.apply(_untouched(run))
        if isinstance(answer, Refused):
            return answer
        rows = self.rows.pop(run.no)
        kept = rows.entries[: max(0, len(rows.entries) - at_most)]
        if kept:
            self.rows[run.no] = left = Rows(rows.run)
            left.begun = rows.begun
            for entry in kept:
                left.add(entry)
            self._in_order()
        return answer._replace(seq=len(kept) - 1)

    def _in_order(self) -> None:
        rows = sorted(self.rows.items())
        self.rows.clear()
        self.rows.update(rows)


def _untouched(run: Run) -> Change:
    """A change that writes nothing, and is refused if the run has changed since it was read."""
    return Change(run.no, run.fence, before=run)


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

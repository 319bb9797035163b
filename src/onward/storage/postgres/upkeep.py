"""The life of a journal as a whole: runs that come from elsewhere, are renamed or removed, and what may be wrong.

Nothing here is on the way of a step. Each call is one transaction, short enough for the writers that wait behind it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Final

import psycopg

from onward.core.errors import JournalUnusable
from onward.core.model import Answer, Applied, Begun, Change, Entry, Refused, Run
from onward.storage import guards
from onward.storage import problems as checks
from onward.storage.postgres import locks, rows
from onward.storage.postgres.alone import refusal_of
from onward.storage.postgres.arrays import columns, ints
from onward.storage.postgres.failures import UNIQUE, Lost, code, is_unwritable
from onward.storage.postgres.link import Link, Step
from onward.storage.postgres.longtext import long, short
from onward.storage.postgres.reader import Reader
from onward.storage.postgres.transaction import UNPACKABLE, Clash, Transaction

# Entries of a run that is added are sent in parts of this many.
_PART: Final = 1_000


class Upkeep(Reader):
    """The part of the store that is about whole runs and the whole journal."""

    @abstractmethod
    def now(self) -> float:
        """The store's clock."""

    @abstractmethod
    def _transaction(self) -> AbstractContextManager[Link]:
        """A connection of a write transaction that has not begun: committed at the end, taken back on any exception."""

    # -- whole runs -----------------------------------------------------------------------------------

    def add_run(
        self, run: Run, entries: Iterable[Entry], begun: Iterable[Begun], *, instead_of: Run | None = None
    ) -> Answer:
        create = Change(0, 0, begun=tuple(begun), after=run, create=True)
        removed = [] if instead_of is None else [_untouched(instead_of)]
        try:
            with self._transaction() as link:
                transaction = Transaction(link, self.now)
                transaction.begin([*removed, create])
                for change in removed:
                    _apply(transaction, change)
                    _remove_all(link, change.run_no)
                answer = _apply(transaction, create)
                _write(link, transaction, create)
                return answer._replace(seq=_write_all(link, answer.run_no, entries))
        except Clash as clash:
            return clash.refused
        except UNPACKABLE as problem:
            return guards.unwritable(problem)

    def set_moved(self, to: str | None) -> None:
        with self._transaction() as link:
            # Alone: whoever is adding a run now has done it before.
            link.all(("begin", ()), ("hold", (locks.number(link.schema, "moving"),)))
            if to is None:
                link.ask("unset_moved")
            else:
                link.ask("set_moved", to)

    def rename(self, run: Run, *, name: str, identity: str, command: str | None, mark: Entry) -> Answer:
        change = Change(run.no, run.fence, (mark,), before=run)
        try:
            with self._transaction() as link:
                transaction = Transaction(link, self.now)
                transaction.begin([change])
                answer = _apply(transaction, change)
                _write(link, transaction, change)
                try:
                    link.ask("rename", run.no, name, short(identity), command, long(identity))
                except psycopg.Error as problem:
                    if code(problem) != UNIQUE:
                        raise
                    raise Clash(guards.exists(run)) from problem
                return answer
        except Clash as clash:
            return clash.refused

    def prune(self, run: Run, *, at_most: int) -> Answer:
        try:
            with self._transaction() as link:
                transaction = Transaction(link, self.now)
                transaction.begin([_untouched(run)])
                answer = _apply(transaction, _untouched(run))
                # From the end: what is left stays numbered from 0, should this never be finished.
                left = max(-1, answer.seq - at_most)
                link.all(*_told(transaction, run.no, at_most), ("delete_latest", (run.no, left)))
                if left < 0:
                    link.all(
                        *(
                            (name, (run.no,))
                            for name in ("delete_begun", "drop_waiters", "delete_arrivals", "delete_run")
                        )
                    )
                return answer._replace(seq=left)
        except Clash as clash:
            return clash.refused

    def delete(self, run_no: int) -> None:
        with self._transaction() as link:
            # Locked first, as a commit does: what is being written to it now must not be left behind.
            Transaction(link, self.now).begin([Change(run_no, 0)])
            _remove_all(link, run_no)

    # -- the whole journal ------------------------------------------------------------------------------

    def shrink(self) -> None:
        for table in ("vacuum_run", "vacuum_entry", "vacuum_begun"):
            self._rows_alone(table)

    @abstractmethod
    def _rows_alone(self, name: str) -> None:
        """A statement that may take long and be in no transaction."""

    def backup(self, target: Path) -> None:
        schema = self._connector.address.schema
        raise JournalUnusable(
            f"the journal {self.place} is in a database, which has its own way to copy it; nothing was written. Use: "
            f"pg_dump --format=custom --schema={schema} --file=FILE, followed by the journal's URL"
        )

    def problems(self) -> Iterator[str]:
        """A connection of its own: the check of a large journal takes long and must not keep readers waiting."""
        self._refuse_if_closed()
        link = self._checking()
        try:
            link.all(("begin_reading", ()), ("scanning", ()))
            yield from self._problems(link)
        except (psycopg.Error, Lost) as problem:
            yield f"the check could not go on: {problem}; what follows in the journal is not checked"
        finally:
            link.close()

    @abstractmethod
    def _checking(self) -> Link:
        """A connection for a check: its calls may take long. To be closed."""

    def _problems(self, link: Link) -> Iterator[str]:
        for (name,) in link.ask("invalid_indexes", self._connector.address.schema):
            yield f"the index {name} is not valid: REINDEX it"
        for table, count in link.ask("strays"):
            yield f"{count} rows of `{table}` belong to no row of `run`"
        for run_id, count, first, last in link.ask("misnumbered"):
            yield checks.misnumbered(run_id, count, first, last)
        for run_id, key, count in link.ask("done_twice"):
            yield checks.done_twice(run_id, key, count)
        link.ask("payloads")
        while payloads := link.ask("more_payloads"):
            for row in payloads:
                yield from checks.of_entry(*row)
        for run_id, state, owner, lease_until in link.ask("odd_leases"):
            yield checks.odd_lease(run_id, state, owner, lease_until)
        for run_id, untold, state in link.ask("odd_untold"):
            yield checks.odd_untold(run_id, untold, state)


def _told(transaction: Transaction, no: int, at_most: int) -> list[Step]:
    """What makes the row of a run tell of no entries, where the latest ones are to go, but only `at_most`."""
    guard = transaction.left[no]
    if not guard.untold:
        return []
    told: list[Step] = [("tell", (ints([no]),))]
    if guard.untold > at_most:  # some of them stay
        told.append(
            ("add_entries", columns(rows.ENTRY, rows.mark_rows(no, guard.seq, transaction.untold[no])))
        )
    return told


def _untouched(run: Run) -> Change:
    """A change that writes nothing, and is refused if the run has changed since it was read."""
    return Change(run.no, run.fence, before=run)


def _apply(transaction: Transaction, change: Change) -> Applied:
    answer = transaction.apply(change)
    if isinstance(answer, Refused):
        raise Clash(answer)
    return answer


def _write(link: Link, transaction: Transaction, change: Change) -> None:
    try:
        link.all(*transaction.steps())
    except psycopg.Error as problem:
        refused = refusal_of(problem, transaction, change)
        if refused is None:
            raise
        raise Clash(refused) from problem


def _remove_all(link: Link, no: int) -> None:
    link.all(
        *(
            (statement, (no,))
            for statement in (
                "delete_entries",
                "delete_begun",
                "drop_waiters",
                "delete_arrivals",
                "delete_run",
            )
        )
    )


def _write_all(link: Link, no: int, entries: Iterable[Entry]) -> int:
    """Write all entries, numbered from 0; the number of the last."""
    seq, rest = -1, iter(entries)
    while part := list(islice(rest, _PART)):
        numbered: Sequence[tuple[object, ...]] = [
            rows.entry_row(no, seq + at, entry) for at, entry in enumerate(part, 1)
        ]
        seq += len(part)
        try:
            link.ask("add_entries", *columns(rows.ENTRY, numbered))
        except psycopg.Error as problem:
            if is_unwritable(problem):
                raise Clash(guards.unwritable(problem)) from problem
            if code(problem) != UNIQUE:
                raise
            raise Clash(Refused("key", "a unit of the run is done twice; nothing was written")) from problem
    return seq

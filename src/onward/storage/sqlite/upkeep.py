"""What is done to a journal beside executing its runs: whole runs come, go or are renamed, queues and schedules are
set, the file is copied or made smaller.

Nothing here is on the way of a step. Each call is one transaction, short enough for the writers that wait behind it.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import apsw

from onward.core.model import Answer, Applied, Begun, Change, Entry, Refused, Run
from onward.core.schedules import Move
from onward.storage import calendar, guards
from onward.storage.sqlite import copies
from onward.storage.sqlite.calendar import Calendar
from onward.storage.sqlite.reader import Reader, Row
from onward.storage.sqlite.transaction import UNWRITABLE, Clash, Transaction


class Upkeep(Reader):
    """The part of the store that is about whole runs, queues, schedules and the whole file."""

    @abstractmethod
    def _transaction(self) -> AbstractContextManager[apsw.Connection]:
        """A write transaction: committed at the end, taken back on any exception."""

    now: Callable[[], float]  # the store's clock

    # -- whole runs -----------------------------------------------------------------------------------

    def add_run(
        self, run: Run, entries: Iterable[Entry], begun: Iterable[Begun], *, instead_of: Run | None = None
    ) -> Answer:
        try:
            with self._transaction() as writer:
                if instead_of is not None:
                    self._remove_all(writer, instead_of)
                transaction = Transaction(writer, self._sql, self.now)
                answer = transaction.apply(Change(0, 0, begun=tuple(begun), after=run, create=True))
                transaction.flush()
                assert isinstance(answer, Applied), "a run that cannot be created is a Clash"
                numbered = _Numbered(answer.run_no, entries)
                _write_all(writer, self._sql["add_entry"], numbered)
                return answer._replace(seq=numbered.last)
        except Clash as clash:
            return clash.refused
        except UNWRITABLE as problem:
            return guards.unwritable(problem)

    def _remove_all(self, writer: apsw.Connection, run: Run) -> None:
        answer = Transaction(writer, self._sql, self.now).apply(Change(run.no, run.fence, before=run))
        if isinstance(answer, Refused):
            raise Clash(answer)
        self._delete(writer, run.no)

    def _delete(self, writer: apsw.Connection, run_no: int) -> None:
        for statement in ("delete_entries", "delete_begun", "drop_waiters", "delete_arrivals", "delete_run"):
            writer.execute(self._sql[statement], (run_no,))

    def set_moved(self, to: str | None) -> None:
        with self._transaction() as writer:
            if to is None:
                writer.execute(self._sql["unset_moved"])
            else:
                writer.execute(self._sql["set_moved"], (to,))

    def rename(self, run: Run, *, name: str, identity: str, command: str | None, mark: Entry) -> Answer:
        try:
            with self._transaction() as writer:
                transaction = Transaction(writer, self._sql, self.now)
                answer = transaction.apply(Change(run.no, run.fence, (mark,), before=run))
                if isinstance(answer, Refused):
                    raise Clash(answer)
                transaction.flush()
                try:
                    writer.execute(self._sql["rename"], (run.no, name, identity, command))
                except apsw.ConstraintError as problem:
                    raise Clash(guards.exists(run)) from problem
                return answer
        except Clash as clash:
            return clash.refused

    def prune(self, run: Run, *, at_most: int) -> Answer:
        try:
            with self._transaction() as writer:
                transaction = Transaction(writer, self._sql, self.now)
                answer = transaction.apply(Change(run.no, run.fence, before=run))
                if isinstance(answer, Refused):
                    raise Clash(answer)
                # From the end: what is left stays numbered from 0, should this never be finished.
                left = max(-1, answer.seq - at_most)
                untold = transaction.left[run.no].untold
                if untold > at_most:
                    transaction.tell(run.no)
                    transaction.flush()
                elif untold:
                    writer.execute(self._sql["tell"], (run.no,))
                writer.execute(self._sql["delete_latest"], (run.no, left))
                if left < 0:
                    for statement in ("delete_begun", "drop_waiters", "delete_arrivals", "delete_run"):
                        writer.execute(self._sql[statement], (run.no,))
                return answer._replace(seq=left)
        except Clash as clash:
            return clash.refused

    def delete(self, run_no: int) -> None:
        with self._transaction() as writer:
            self._delete(writer, run_no)

    # -- queues and schedules ----------------------------------------------------------------------------

    def set_queue(
        self, name: str, *, paused: bool | None = None, declared: str | None = None, chosen: str | None = None
    ) -> None:
        with self._transaction() as writer:
            writer.execute(self._sql["set_queue"], (name, paused, declared, chosen))

    def move_schedules(self, moves: Sequence[Move]) -> list[bool]:
        with self._transaction() as writer:
            transaction = Transaction(writer, self._sql, self.now)
            applied = calendar.apply(Calendar(writer, self._sql, transaction), moves, self.now())
            transaction.flush()
            return applied

    # -- the whole file -------------------------------------------------------------------------------

    def shrink(self) -> None:
        with self._transaction() as writer:
            # VACUUM begins a transaction of its own; the turn to write stays ours.
            writer.execute(self._sql["rollback"])
            writer.execute(self._sql["vacuum"])
            writer.execute(self._sql["begin"])

    def backup(self, target: Path) -> None:
        self._refuse_if_closed()
        copies.write(self._path, Path(os.path.abspath(target)), self._sql)


class _Numbered:
    """Entries as rows of one run, numbered from 0; `last` is the number of the latest one."""

    def __init__(self, run_no: int, entries: Iterable[Entry]) -> None:
        self._run_no, self._entries, self.last = run_no, entries, -1

    def __iter__(self) -> Iterator[Row]:
        for entry in self._entries:
            self.last += 1
            yield (self._run_no, self.last, *entry[:11])


def _write_all(writer: apsw.Connection, statement: str, rows: Iterable[Row]) -> None:
    try:
        writer.executemany(statement, rows)
    except apsw.ConstraintError as problem:
        raise Clash(Refused("key", "a unit of the run is done twice; nothing was written")) from problem

"""The life of a journal as a whole: runs that come from elsewhere, are renamed or removed, and copies of the file.

Nothing here is on the way of a step. Each call is one transaction, short enough for the writers that wait behind it.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

import apsw

from onward.core.errors import PASSING, JournalBroken, JournalError, JournalFull, JournalUnusable, UsageError
from onward.core.model import Answer, Applied, Begun, Change, Entry, Refused, Run
from onward.core.texts import plain
from onward.storage import guards, host, parts
from onward.storage.migrate import APPLICATION_ID
from onward.storage.sqlite import files
from onward.storage.sqlite.connection import connect, opening
from onward.storage.sqlite.failures import FAILURES, journal_error
from onward.storage.sqlite.reader import Reader, Row
from onward.storage.sqlite.transaction import UNWRITABLE, Clash, Transaction

# Pages copied at a time: 16 MB, so that an interrupt is noticed soon.
_COPY_PAGES: Final = 4_000
_HEADER_BYTES: Final = 72


class Upkeep(Reader):
    """The part of the store that is about whole runs and the whole file."""

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
        for statement in ("delete_entries", "delete_begun", "drop_waiters", "delete_arrivals", "delete_run"):
            writer.execute(self._sql[statement], (run.no,))

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
                answer = Transaction(writer, self._sql, self.now).apply(Change(run.no, run.fence, before=run))
                if isinstance(answer, Refused):
                    raise Clash(answer)
                left = max(-1, answer.seq - at_most)
                # From the end: what is left stays numbered from 0, should this never be finished.
                writer.execute(self._sql["delete_latest"], (run.no, left))
                if left < 0:
                    for statement in ("delete_begun", "drop_waiters", "delete_arrivals", "delete_run"):
                        writer.execute(self._sql[statement], (run.no,))
                return answer._replace(seq=left)
        except Clash as clash:
            return clash.refused

    # -- the whole file -------------------------------------------------------------------------------

    def shrink(self) -> None:
        with self._transaction() as writer:
            # VACUUM begins a transaction of its own; the turn to write stays ours.
            writer.execute(self._sql["rollback"])
            writer.execute(self._sql["vacuum"])
            writer.execute(self._sql["begin"])

    def backup(self, target: Path) -> None:
        self._refuse_if_closed()
        target = Path(os.path.abspath(target))
        try:
            _refuse_target(target, self._path)
            with parts.part(target.parent) as part:
                with _copying(target):
                    self._copy(part)
                    _verify(part, target)
                settle(part, target)
        except OSError as problem:
            is_no_place = isinstance(problem, (FileNotFoundError, NotADirectoryError))
            raise (UsageError if is_no_place else JournalUnusable)(
                f"the copy {plain(str(target), 1_000)} cannot be written: {problem.strerror or problem}; the journal "
                f"is as it was. Name another file."
            ) from problem

    def _copy(self, part: Path) -> None:
        """Copy a snapshot: a reader's transaction, which keeps no writer waiting and sees none of them."""
        with opening(self._path):
            source = connect(self._path, reads_only=True)
        copy = apsw.Connection(str(part), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            source.execute(self._sql["snapshot"])
            source.execute(self._sql["is_empty"]).fetchall()
            with copy.backup("main", source, "main") as copying:
                while not copying.done:
                    copying.step(_COPY_PAGES)
        finally:
            source.close(True)
            copy.close(True)


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


# -- copies -----------------------------------------------------------------------------------------


def _refuse_target(target: Path, journal: Path) -> None:
    """Only a journal that nobody has open may be replaced by a copy."""
    if not target.name or not str(target).isprintable():
        raise UsageError(f"{plain(str(target))} is no name for a file; nothing was written. Name another.")
    sides = [end for end in ("-wal", "-shm") if files.side(target, end).exists()]
    if target == journal or sides:
        raise UsageError(
            f"{target} is a journal in use; nothing was written. Name another file for the copy."
        )
    if target.is_symlink() or (target.exists() and not is_journal(target)):
        raise UsageError(
            f"{target} is there already and is no copy of a journal; nothing was written. Name another file."
        )


def is_journal(path: Path) -> bool:
    """Whether a file says of itself that it is a journal."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        header = file.read(_HEADER_BYTES)
    # https://sqlite.org/fileformat2.html: the application id stands at offset 68.
    return header[:15] == b"SQLite format 3" and header[68:72] == APPLICATION_ID.to_bytes(4, "big")


@contextmanager
def _copying(target: Path) -> Iterator[None]:
    try:
        yield
    except FAILURES as problem:
        known = journal_error(problem, str(target))
        if isinstance(known, JournalFull):
            raise JournalFull(
                f"there is no room for the copy {target}; the journal is as it was, and nothing was left of the copy."
            ) from problem
        raise (problem if known is None else _not_copied(target, known)) from problem


def _not_copied(target: Path, problem: JournalError) -> JournalError:
    kind = type(problem) if isinstance(problem, PASSING) else JournalBroken
    return kind(f"no copy was written to {target}: {problem}")


def _verify(part: Path, target: Path) -> None:
    found = verified(part)
    if found != "ok":
        raise JournalBroken(
            f"the journal is damaged ({found[:200]}), so its copy would be; nothing was written to {target}. "
            f"`onward doctor` tells more."
        )


def verified(part: Path) -> str:
    """Make a copy one file without a log, and read all of it; `ok`, or what is wrong with it."""
    copy = apsw.Connection(str(part), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        copy.pragma("journal_mode", "DELETE")
        return str(copy.pragma("integrity_check"))
    finally:
        copy.close(True)


def settle(part: Path, target: Path) -> None:
    """Put the copy into its place, durably."""
    descriptor = os.open(part, os.O_RDONLY | os.O_CLOEXEC)
    try:
        host.sync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(part, target)
    folder = os.open(target.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        host.sync(folder)
    finally:
        os.close(folder)

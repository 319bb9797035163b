"""Copies of a journal's file: taken while others write, whole or not there, and durable before anybody is told."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw

from onward.core.errors import PASSING, JournalBroken, JournalError, JournalFull, JournalUnusable, UsageError
from onward.core.texts import plain
from onward.storage import host, parts
from onward.storage.migrate import APPLICATION_ID
from onward.storage.sqlite import files
from onward.storage.sqlite.connection import connect, opening
from onward.storage.sqlite.failures import FAILURES, journal_error

# Pages copied at a time: 16 MB, so that an interrupt is noticed soon.
_COPY_PAGES: Final = 4_000
_HEADER_BYTES: Final = 72


def write(journal: Path, target: Path, sql: Mapping[str, str]) -> None:
    """Copy a journal that may be in use to `target`; in place of an earlier copy, if there is one."""
    try:
        _refuse_target(target, journal)
        with parts.part(target.parent) as part:
            with _copying(target):
                _copy(journal, part, sql)
                _verify(part, target)
            settle(part, target)
    except OSError as problem:
        is_no_place = isinstance(problem, (FileNotFoundError, NotADirectoryError))
        raise (UsageError if is_no_place else JournalUnusable)(
            f"the copy {plain(str(target), 1_000)} cannot be written: {problem.strerror or problem}; the journal "
            f"is as it was. Name another file."
        ) from problem


def _copy(journal: Path, part: Path, sql: Mapping[str, str]) -> None:
    """Copy a snapshot: a reader's transaction, which keeps no writer waiting and sees none of them."""
    with opening(journal):
        source = connect(journal, reads_only=True)
    copy = apsw.Connection(str(part), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        source.execute(sql["snapshot"])
        source.execute(sql["is_empty"]).fetchall()
        with copy.backup("main", source, "main") as copying:
            while not copying.done:
                copying.step(_COPY_PAGES)
    finally:
        source.close(True)
        copy.close(True)


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

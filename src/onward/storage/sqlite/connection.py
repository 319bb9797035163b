"""Connections to a journal file, all set up alike."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import apsw

from onward.core import limits
from onward.core.errors import JournalUnusable
from onward.storage.sqlite.failures import FAILURES, journal_error

Durability = Literal["machine", "process"]

# Two connections that reset the log at the same moment can corrupt it. https://sqlite.org/wal.html#walresetbug
_AFFECTED: Final = ((3, 7, 0), (3, 51, 2))

_SETTINGS: Final = (
    # What a file brings along is never executed: it may come from a backup, a colleague or an attacker.
    (apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0),
    (apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0),
    (apsw.SQLITE_DBCONFIG_ENABLE_VIEW, 0),
    (apsw.SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0),
    (apsw.SQLITE_DBCONFIG_DEFENSIVE, 1),
    # Plans do not depend on bound values. Without this, tables with partial indexes make SQLite prepare a statement
    # anew each time it is bound: reading the guard of a commit took 9.8 us instead of 1.6 us.
    (apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1),
    # Checkpoints are made in `tidy` and `close` alone, in turn with the writers of other processes. This also keeps the
    # log's file in place when the last connection closes.
    (apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1),
)


def refuse_affected_sqlite(version: str, *, forced: bool) -> None:
    """JournalUnusable for a SQLite that can corrupt the journal when two processes write."""
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:3])
    if not forced and _AFFECTED[0] <= numbers <= _AFFECTED[1]:
        raise JournalUnusable(
            f"apsw was built with SQLite {version}, which can corrupt a journal that two processes write to (fixed in "
            f"3.51.3); nothing was opened. Install the apsw wheel (`pip install --force-reinstall apsw`), or add "
            f"?force-sqlite=1 to the URL if only one process ever uses the journal."
        )


def connect(path: Path, *, durability: Durability = "machine", reads_only: bool = False) -> apsw.Connection:
    """A connection that waits for foreign locks, checkpoints nothing by itself and trusts nothing in the file."""
    # NOMUTEX: the threads that use a connection take turns by a lock of the store's. SQLite's own, asked for each value
    # that is bound and each column, is a fifth of reading a row.
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOFOLLOW | apsw.SQLITE_OPEN_NOMUTEX
    # It must be no link itself. Its directories may be: /tmp is one on macOS.
    real = path.parent.resolve() / path.name
    connection = apsw.Connection(str(real), flags=flags)
    # Waits for programs that do not queue for their turn, such as the `sqlite3` shell.
    connection.set_busy_timeout(int(limits.BUSY_S * 1000))
    for setting, value in _SETTINGS:
        connection.config(setting, value)
    connection.wal_autocheckpoint(0)
    connection.pragma("mmap_size", 0)
    connection.pragma("cell_size_check", 1)
    # FULL: the log is synced before a commit returns. NORMAL survives the process, not the machine.
    connection.pragma("synchronous", "FULL" if durability == "machine" else "NORMAL")
    # On macOS a plain sync leaves data in the disk's own cache. Elsewhere these say nothing.
    if durability == "machine":
        connection.pragma("fullfsync", 1)
        connection.pragma("checkpoint_fullfsync", 1)
    # The log is overwritten from its start, never truncated: overwriting syncs twice as fast as appending (measured).
    connection.pragma("journal_size_limit", -1)
    if reads_only:
        connection.pragma("query_only", 1)
    return connection


@contextmanager
def opening(path: Path) -> Iterator[None]:
    """Turns what SQLite says while a journal is opened into sentences."""
    try:
        yield
    except FAILURES as problem:
        known = journal_error(problem, str(path), opening=True)
        if known is None:
            raise
        raise known from problem

"""What PostgreSQL's errors mean for a journal, in one table.

Two classes are of our own: `Lost`, when the connection is gone and so is the answer, and `Passing`, when the server has
taken the transaction back and it can be repeated at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import psycopg

from onward.core.errors import JournalBroken, JournalBusy, JournalError, JournalFull, JournalUnusable


class Lost(Exception):
    """The connection is gone. What was sent last may have been executed or not."""


class Passing(Exception):
    """A deadlock, or an order of things that cannot be: nothing was written, and the same may be tried again."""


_FULL: Final = (
    "there is no room on the disk of {place}; nothing was lost, and this was not recorded. Free some there."
)
_BUSY: Final = (
    "the journal {place} did not take this just now ({error}); nothing was recorded. Repeat the call."
)
_BROKEN: Final = (
    "the journal {place} cannot be read or written any more ({error}); what was in flight is not recorded, what was "
    "acknowledged before is kept as far as the server kept it. Look at the server, then run `onward doctor`."
)
_READ_ONLY: Final = (
    "the journal {place} is read-only here ({error}); nothing was recorded. Connect to the primary server "
    "(target_session_attrs=read-write in the URL finds it among several hosts)."
)
_RIGHTS: Final = (
    "the role that uses the journal {place} lacks a right ({error}); nothing was recorded. docs/postgres.md lists "
    "what a role needs."
)
_GONE: Final = (
    "the tables of the journal {place} are not as they were ({error}); nothing more is recorded. If a newer version of "
    "onward has altered them, update onward here; if somebody has removed them, restore the schema from a backup."
)

# By SQLSTATE, or by its class (the first two characters). https://www.postgresql.org/docs/current/errcodes-appendix.html
_TABLE: Final[Mapping[str, tuple[type[JournalError], str]]] = {
    "53100": (JournalFull, _FULL),  # disk_full
    "53": (JournalBusy, _BUSY),  # out of memory, too many connections
    "55P03": (JournalBusy, _BUSY),  # lock_not_available
    "57014": (JournalBusy, _BUSY),  # query_canceled: a statement_timeout of the role
    "25006": (JournalBusy, _READ_ONLY),  # a fail-over may be under way: it passes
    "42501": (JournalUnusable, _RIGHTS),
    "3F000": (JournalBroken, _GONE),
    "42P01": (JournalBroken, _GONE),
    "42703": (JournalBroken, _GONE),
    "58": (JournalBroken, _BROKEN),  # I/O errors
    "XX": (JournalBroken, _BROKEN),  # corruption
}
# The server ends the session, or does not take one yet.
_ENDED: Final = ("08", "57P01", "57P02", "57P03", "57P05", "25P03", "25P04")
_REPEATED: Final = ("40001", "40P01")
# What a value does that no journal can hold: a NUL in text, text that is not UTF-8, a number out of range, too long.
_UNWRITABLE: Final = ("22", "23502", "23514", "54000")

UNIQUE: Final = "23505"


def code(problem: psycopg.Error) -> str:
    return problem.sqlstate or ""


def is_unwritable(problem: psycopg.Error) -> bool:
    return code(problem).startswith(_UNWRITABLE)


def is_lost(problem: psycopg.Error, connection: psycopg.Connection[object]) -> bool:
    """Whether the session is over, whatever the driver calls it."""
    return connection.closed or connection.broken or code(problem).startswith(_ENDED)


def is_passing(problem: psycopg.Error) -> bool:
    return code(problem) in _REPEATED


def journal_error(problem: psycopg.Error, place: str) -> JournalError | None:
    """The error to raise instead of `problem`, or None if it is a fault of ours and must be seen as it is."""
    state = code(problem)
    kind, sentence = _TABLE.get(state) or _TABLE.get(state[:2]) or (None, "")
    if kind is None:
        return None
    return kind(sentence.format(place=place, error=first_line(problem)))


def first_line(problem: BaseException) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0]

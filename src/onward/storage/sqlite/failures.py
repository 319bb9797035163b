"""What SQLite's errors mean for a journal, in one table."""

from __future__ import annotations

import errno
from typing import Final

import apsw

from onward.core.errors import JournalBroken, JournalBusy, JournalError, JournalFull, JournalUnusable

_FULL: Final = (
    "there is no room on the disk of {place}; nothing was lost, and this was not recorded. Free some space."
)
_BUSY: Final = (
    "the journal {place} is locked by another program; nothing was recorded. Repeat the call ({error})."
)
_BROKEN: Final = (
    "the journal {place} cannot be read or written any more ({error}); what was in flight is not recorded, what was "
    "acknowledged before lies on the disk as far as the disk kept it. Look at the disk, then run `onward doctor`."
)
_GONE: Final = (
    "the tables of the journal {place} are not as they were ({error}); nothing more is recorded. If a newer version of "
    "onward has altered them, update onward here; if not, the file was exchanged or is damaged: run `onward doctor`."
)
_READ_ONLY: Final = (
    "the journal {place} is read-only here ({error}); nothing was changed. Make the file, its directory \
and its disk writable for this user."
)
_FOREIGN: Final = (
    "{place} is not a journal ({error}); nothing was changed. Choose another place with ONWARD_URL."
)
_NO_ACCESS: Final = (
    "the journal {place} cannot be opened ({error}); nothing was changed. Check its path and rights."
)

# Text is decoded by the driver: damage can show as what only looks like a fault of ours.
Failure = apsw.Error | UnicodeDecodeError
FAILURES: Final = (apsw.Error, UnicodeDecodeError)

_TABLE: Final[tuple[tuple[type[apsw.Error], type[JournalError], str], ...]] = (
    (apsw.FullError, JournalFull, _FULL),
    (apsw.BusyError, JournalBusy, _BUSY),
    (apsw.LockedError, JournalBusy, _BUSY),
    (apsw.ReadOnlyError, JournalUnusable, _READ_ONLY),
    (apsw.PermissionsError, JournalUnusable, _READ_ONLY),
    (apsw.IOError, JournalBroken, _BROKEN),
    (apsw.CorruptError, JournalBroken, _BROKEN),
    (apsw.NotADBError, JournalBroken, _BROKEN),
    (apsw.CantOpenError, JournalBroken, _BROKEN),
    (apsw.ProtocolError, JournalBroken, _BROKEN),
    (apsw.SchemaChangeError, JournalBroken, _BROKEN),
    (apsw.SQLError, JournalBroken, _GONE),  # a missing table or column
)
# While a journal is being opened nothing is in flight: what it lacks is its place's fault.
_OPENING: Final[tuple[tuple[type[apsw.Error], type[JournalError], str], ...]] = (
    (apsw.NotADBError, JournalUnusable, _FOREIGN),
    (apsw.CantOpenError, JournalUnusable, _NO_ACCESS),
)


def journal_error(
    problem: Failure, place: str, *, opening: bool = False, system_errno: int = 0
) -> JournalError | None:
    """The error to raise instead of `problem`, or None if it is a fault of ours and must be seen as it is."""
    if isinstance(problem, UnicodeDecodeError):
        return JournalBroken(
            _BROKEN.format(place=place, error="it holds text that is not UTF-8: it is damaged")
        )
    if isinstance(problem, apsw.IOError) and _lacks_room(problem, system_errno):
        return JournalFull(_FULL.format(place=place))
    for kind, error, sentence in (*(_OPENING if opening else ()), *_TABLE):
        if isinstance(problem, kind):
            return error(sentence.format(place=place, error=str(problem) or type(problem).__name__))
    return None


def _lacks_room(problem: apsw.IOError, system_errno: int) -> bool:
    # The file of the log's index is enlarged in a way that SQLite reports as an I/O error of its own. The stubs of
    # apsw do not know the attribute, which every error has.
    enlarging = getattr(problem, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE
    return enlarging or system_errno in (errno.ENOSPC, errno.EDQUOT)

"""A copy of a journal takes its place, and the journal that was there is kept under another name.

Only while nobody has the journal open: SQLite itself says whether anybody has. At no moment is there no journal, nor
one whose log belongs to another file.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import apsw

from onward.core import limits
from onward.core.errors import JournalBroken, JournalBusy, JournalFull, JournalUnusable
from onward.core.texts import plain
from onward.storage import parts
from onward.storage.migrate import VERSION
from onward.storage.sqlite import files
from onward.storage.sqlite.copies import is_journal, settle, verified
from onward.storage.sqlite.failures import FAILURES, journal_error
from onward.storage.sqlite.turn import Turn

# How long somebody who just looks (`onward status`) may take to go away, in milliseconds.
_LOOKERS_MS: Final = 2_000
_SIDES: Final = ("-wal", "-shm")


def restore(copy: Path, journal: Path) -> Path | None:
    """Put `copy` in the place of `journal`; where the journal is kept that was there, if there was one.

    The copy is checked first and stays where it is. Raises JournalUnusable for what is no copy of a journal,
    JournalBusy for a journal that somebody has open, JournalBroken for a damaged copy, JournalFull; then everything is
    as it was.
    """
    copy, journal = Path(os.path.abspath(copy)), Path(os.path.abspath(journal))
    _refuse_copy(copy, journal)
    created = files.prepare(journal, force_network=False)
    turn = Turn(journal)
    try:
        turn.take(limits.BUSY_S)
        with _speaking(copy, journal), parts.part(journal.parent) as part:
            _bring(copy, part)
            kept = None if created else _set_aside(journal)
            settle(part, journal)
        for side in _SIDES:  # of a damaged journal; others have none left
            files.side(journal, side).unlink(missing_ok=True)
        return kept
    except BaseException:
        if created:
            journal.unlink(missing_ok=True)
        raise
    finally:
        turn.release()
        turn.close()


def moved_to(path: Path) -> str | None:
    """Where a journal that nobody has open says that it was moved to; None as well if it cannot say."""
    try:
        # Immutable: reading writes no file beside it.
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        with closing(apsw.Connection(f"{path.as_uri()}?immutable=1", flags=flags)) as kept:
            found = kept.execute("SELECT value FROM meta WHERE name = 'moved_to'").fetchone()
    except apsw.Error:  # damaged, which may be why it was replaced, or older than that
        return None
    return None if found is None else str(found[0])


def _refuse_copy(copy: Path, journal: Path) -> None:
    if not copy.is_file() or not is_journal(copy):
        raise JournalUnusable(
            f"{plain(str(copy), 1_000)} is no copy of a journal; nothing was changed. Name a file that `onward backup` "
            f"has written."
        )
    if copy.exists() and journal.exists() and copy.samefile(journal):
        raise JournalUnusable(f"{plain(str(copy), 1_000)} is the journal itself; nothing was changed.")


@contextmanager
def _speaking(copy: Path, journal: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise files.unusable(journal, problem) from problem
    except apsw.FullError as problem:
        raise JournalFull(
            f"there is no room on the disk of {journal} for {copy}; the journal is as it was."
        ) from problem
    except FAILURES as problem:
        raise (journal_error(problem, str(copy)) or problem) from problem


def _bring(copy: Path, part: Path) -> None:
    """A checked copy of the copy, beside the journal, as one file."""
    shutil.copyfile(copy, part)
    if files.side(copy, "-wal").exists():  # what was copied was a journal in use
        shutil.copyfile(files.side(copy, "-wal"), files.side(part, "-wal"))
    try:
        found = verified(part)
    except (apsw.CorruptError, apsw.NotADBError) as problem:
        found = str(problem)
    if found != "ok":
        raise JournalBroken(
            f"the copy {copy} is damaged ({found[:200]}); nothing was changed. Take another one."
        )
    with closing(apsw.Connection(str(part))) as opened:
        layout = opened.pragma("user_version")
    if layout > VERSION:
        raise JournalUnusable(
            f"the copy {copy} has layout {layout}, this version of onward knows layouts up to {VERSION}; nothing was "
            f"changed. Update onward here: pip install --upgrade onward"
        )


def _set_aside(journal: Path) -> Path:
    """Give the journal that is there another name, and leave it where it is: the next step replaces it at once."""
    stamp = time.strftime("%Y%m%dT%H%M%S")
    kept = journal.with_name(f"{journal.stem}.replaced-{stamp}-{os.urandom(2).hex()}{journal.suffix}")
    if not _made_one_file(journal):
        # It is damaged, which may be why it is replaced: kept with its log, as it is.
        for side in _SIDES:
            if files.side(journal, side).exists():
                os.link(files.side(journal, side), files.side(kept, side))
    os.link(journal, kept)
    return kept


def _made_one_file(journal: Path) -> bool:
    """Bring the log into the journal and remove it, which SQLite does only if nobody else has it open.

    False for a journal that is too damaged for that.
    """
    try:
        with closing(apsw.Connection(str(journal), flags=apsw.SQLITE_OPEN_READWRITE)) as old:
            old.set_busy_timeout(_LOOKERS_MS)
            return bool(old.pragma("journal_mode", "DELETE") == "delete")
    except (apsw.BusyError, apsw.LockedError) as problem:
        raise JournalBusy(
            f"the journal {journal} is in use; nothing was changed. Stop everything that uses it (`onward status` "
            f"names what runs, `onward watch` uses it too), then repeat."
        ) from problem
    except (apsw.NotADBError, apsw.CorruptError, apsw.IOError):
        return False

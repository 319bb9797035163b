"""Brings a journal to the layout that this version knows, or says why it cannot be used.

One numbered file a version; each is applied in one transaction, and none is ever edited after a release. Programs of
the version before may be at work meanwhile, and be started afterwards: a migration that leaves them their tables and
columns says in `meta` which layout is the `least` that a program must know to use what it makes. One that does not
gives other names to what has changed, so that they fail instead of writing what is no longer meant
(docs/decisions/022-old-and-new-side-by-side.md).
"""

from __future__ import annotations

from typing import Final

import apsw

from onward.core.errors import JournalUnusable
from onward.storage.queries import load, text_of

APPLICATION_ID: Final = 0x6F6E7764  # `onwd`
VERSION: Final = 4
_PACKAGE: Final = "onward.storage.sqlite"
_SQL: Final = load(_PACKAGE)


def migrate(connection: apsw.Connection, place: str) -> None:
    """Make the journal's layout that of VERSION. The caller has the turn to write.

    A newer one stays as it is. Raises JournalUnusable if that must be known to be used, and for a database that is not
    a journal.
    """
    version = _version(connection, place)
    if is_beyond_us(connection):
        raise JournalUnusable(
            f"the journal {place} has layout {version}, this version of onward knows layouts up to {VERSION}; nothing "
            f"was changed. Update onward here (`pip install --upgrade onward`), or choose another journal."
        )
    if connection.pragma("journal_mode") != "wal" and connection.pragma("journal_mode", "WAL") != "wal":
        raise JournalUnusable(
            f"the journal {place} cannot be kept with a write-ahead log on this file system; nothing was changed. "
            f"Choose a local disk with ONWARD_URL."
        )
    for number in range(version + 1, VERSION + 1):
        _apply(connection, number)


def is_beyond_us(connection: apsw.Connection) -> bool:
    """Whether the journal has a newer layout, of which a program must know more than this one does."""
    version = int(connection.pragma("user_version"))
    if version <= VERSION:
        return False
    least = connection.execute(_SQL["least"]).get
    return least is None or int(least) > VERSION


def _version(connection: apsw.Connection, place: str) -> int:
    """The layout's number: 0 for an empty file."""
    application, version = connection.pragma("application_id"), connection.pragma("user_version")
    if application == APPLICATION_ID:
        return int(version)
    empty = connection.execute(_SQL["is_empty"]).get
    if application == 0 and version == 0 and empty:
        return 0
    raise JournalUnusable(
        f"{place} is a database of another program, not a journal; nothing was changed. Choose another place with "
        f"ONWARD_URL."
    )


def _apply(connection: apsw.Connection, number: int) -> None:
    script = text_of(_PACKAGE, f"migrations/{number:04}.sql")
    connection.execute(_SQL["begin"])
    try:
        connection.execute(script)
        connection.execute(_SQL["commit"])
    finally:
        if connection.in_transaction:
            connection.execute(_SQL["rollback"])

"""Brings the journal's schema to the layout that this version knows, or says why it cannot be used.

One numbered file a version; all that are missing are applied in one transaction, by one process at a time, and none is
ever edited after a release. Which programs can use what it makes is said as in `storage/migrate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import psycopg

from onward.core.errors import JournalUnusable
from onward.storage.postgres import locks
from onward.storage.postgres.address import Address
from onward.storage.postgres.failures import first_line
from onward.storage.postgres.link import Link, Row
from onward.storage.postgres.sql import PACKAGE, in_schema
from onward.storage.queries import text_of

VERSION: Final = 3


def migrate(link: Link, address: Address, role: str, *, create: bool) -> bool:
    """Make the layout that of VERSION, or leave a newer one. False if there is no journal, and none is to be created.

    Raises JournalUnusable for a schema that is not a journal's, for a newer layout that must be known to be used, and
    where the role may not do it.
    """
    version = _version(link, address)
    if version == VERSION:
        return True
    if version == 0 and not create:
        return False
    _refuse_newer(link, version, address)
    if version > VERSION:
        return True
    try:
        link.all(("begin", ()), ("hold", (locks.number(address.schema, "layout"),)))
        version = _version(link, address)
        _refuse_newer(link, version, address)
        if version < VERSION:
            _apply(link, address, version)
        link.all(("commit", ()))
    except psycopg.Error as problem:
        raise _refused(problem, address, role, version) from problem
    finally:
        if not link.closed:
            link.rollback()
    return True


def is_beyond_us(rows: Sequence[Row]) -> bool:
    """Whether the journal has a newer layout, of which a program must know more than this one does.

    `rows`: the answer to `layout`.
    """
    found = {name: int(value) for name, value in rows}
    return found.get("least", found.get("version", 0)) > VERSION


def _version(link: Link, address: Address) -> int:
    """The layout's number: 0 for a schema that is empty or not there."""
    journal, taken, _ = link.ask("found", address.schema)[0]
    if journal:
        found: dict[str, str] = dict(link.ask("layout"))
        if all(str(value).isdecimal() for value in found.values()) and "version" in found:
            return int(found["version"])
    elif not taken:
        return 0
    raise JournalUnusable(
        f"the schema `{address.schema}` of {address.place} has tables of another program, not a journal; nothing was "
        f"changed. Choose another schema with ?schema= in the URL."
    )


def _refuse_newer(link: Link, version: int, address: Address) -> None:
    if version > VERSION and is_beyond_us(link.ask("layout")):
        raise JournalUnusable(
            f"the journal {address.place} has layout {version}, this version of onward knows layouts up to {VERSION}; "
            f"nothing was changed. Update onward here (`pip install --upgrade onward`), or choose another journal."
        )


def _apply(link: Link, address: Address, version: int) -> None:
    if not link.ask("found", address.schema)[0][2]:
        link.ask("add_schema")
    for number in range(version + 1, VERSION + 1):
        link.run_script(in_schema(text_of(PACKAGE, f"migrations/{number:04}.sql"), address.schema))
    link.ask("set_layout", str(VERSION))


def _refused(problem: psycopg.Error, address: Address, role: str, version: int) -> JournalUnusable:
    what = f"has layout {version}" if version else "does not exist yet"
    return JournalUnusable(
        f"the journal {address.place} {what}, and the role `{role}` could not bring it to layout {VERSION} "
        f"({first_line(problem)}); nothing was changed. Open it once with a role that may (`onward status` does), or "
        f"let this one: GRANT CREATE ON DATABASE."
    )

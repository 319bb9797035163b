"""The URL of a PostgreSQL journal taken apart: what the driver needs, and what is ours.

    postgresql://user@host/database?schema=onward&pooler=1&…   also postgres:// and postgresql+psycopg://

`schema`: where the journal's tables are. `pooler=1`: a transaction pooler stands in between, which is noticed without
being told; `pooler=0`: none does. Everything else is libpq's (sslmode, target_session_attrs, ...), as are the PG*
variables, the service file and the password file.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from onward.core import limits
from onward.core.errors import JournalUnusable
from onward.storage.urls import has_bare_password, masked

_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
DEFAULT_SCHEMA: Final = "onward"
_UNKNOWN: Final = re.compile(r'invalid URI query parameter: "(\w+)"')

# What libpq is told unless the URL or the environment says otherwise. A peer that is gone is noticed within half a
# minute even while nothing is asked of it.
_DEFAULTS: Final[dict[str, str | int]] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": int(limits.CALL_S * 1_000),
}


@dataclass(frozen=True)
class Address:
    """Where a journal is. `conninfo` may hold a password; `place` never does."""

    conninfo: str
    place: str
    schema: str
    pooler: bool | None  # None: to be found out
    secret: str | None

    def scrubbed(self, text: str) -> str:
        """`text` without the password, should a message of the driver hold it."""
        return text.replace(self.secret, "***") if self.secret else text


def parsed(url: str, *, connect_s: float = limits.CALL_S) -> Address:
    """Raises JournalUnusable with a sentence that shows no password. `connect_s`: how long a connection may take."""
    bare, _, query = re.sub(r"^postgres(ql)?(\+\w+)?:", "postgresql:", url).partition("?")
    ours: dict[str, str] = {}
    theirs: list[tuple[str, str]] = []
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in ("schema", "pooler"):
            ours[name] = value
        else:
            theirs.append((name, value))
    given = _libpq(url, f"{bare}?{urlencode(theirs, quote_via=quote)}" if theirs else bare)
    schema = ours.get("schema", DEFAULT_SCHEMA)
    if not _SCHEMA.fullmatch(schema) or schema.startswith("pg_"):
        raise JournalUnusable(
            f"{masked(url)}: schema={schema[:80]!r} is no name for the journal's schema; nothing was opened. Use small "
            f"letters, digits and `_`, such as ?schema=onward."
        )
    if ours.get("pooler", "0") not in ("0", "1"):
        raise JournalUnusable(f"{masked(url)}: pooler is 1 or 0; nothing was opened")
    secret = given.get("password")
    defaults = dict(_DEFAULTS)
    if "PGAPPNAME" not in os.environ:
        defaults["application_name"] = "onward"
    if "PGCONNECT_TIMEOUT" not in os.environ:
        defaults["connect_timeout"] = max(2, int(connect_s))  # less is none, says libpq
    return Address(
        make_conninfo(**{**defaults, **given}),
        _place(given, schema),
        schema,
        ours["pooler"] == "1" if "pooler" in ours else None,
        str(secret) if secret else None,
    )


def _libpq(url: str, bare: str) -> dict[str, Any]:
    if not bare.startswith("postgresql://"):
        raise JournalUnusable(
            f"{masked(url)!r} names no journal; nothing was opened. Say postgresql://user@host/database."
        )
    try:
        if has_bare_password(url):
            raise ProgrammingError
        return dict(conninfo_to_dict(bare))
    except ProgrammingError as problem:
        # What libpq says may show a part of the password that it took for something else.
        unknown = _UNKNOWN.search(str(problem))
        what = f"`{unknown[1]}` is not understood" if unknown else "it is no URL that libpq understands"
        raise JournalUnusable(
            f"{masked(url)}: {what}; nothing was opened. Say postgresql://user:password@host:port/database, with "
            f"special characters percent-encoded."
        ) from None


def _place(given: dict[str, Any], schema: str) -> str:
    """The URL for people: without the password and what is the same everywhere."""
    user = f"{quote(str(given['user']), safe='')}@" if given.get("user") else ""
    host, port = str(given.get("host") or given.get("hostaddr") or ""), str(given.get("port") or "")
    options = {}
    if host.startswith(("/", "@")):
        options["host"], host = host, ""
    if schema != DEFAULT_SCHEMA:
        options["schema"] = schema
    query = f"?{urlencode(options, safe='/')}" if options else ""
    colon = f":{port}" if port else ""
    return f"postgresql://{user}{host}{colon}/{given.get('dbname') or ''}{query}"

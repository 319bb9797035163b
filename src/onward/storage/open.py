"""From a URL to an open journal.

    sqlite:///journal.db        a file, relative to the working directory; `journal.db` alone says the same
    sqlite:////var/lib/j.db     a file by its full path
    postgresql://user@host/db   a PostgreSQL database, see `postgres/address`; needs the extra onward[postgres]
    memory:                     nothing is kept: a fresh journal for each call
    memory:name                 the journal of that name in this process

A SQLite URL may end in ?force-network=1 (a network file system that only this machine uses) and ?force-sqlite=1.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, unquote
from weakref import WeakValueDictionary

from onward.core.errors import JournalUnusable
from onward.core.lazily import Lazily
from onward.storage import Store
from onward.storage.memory import MemoryStore
from onward.storage.sqlite.connection import Durability
from onward.storage.sqlite.store import SqliteStore
from onward.storage.urls import masked

if TYPE_CHECKING:
    from onward.storage.postgres import store as postgres
else:
    postgres = Lazily("onward.storage.postgres.store")

_POSTGRES: Final = re.compile(r"postgres(ql)?(\+\w+)?:")
_OPTIONS: Final = ("force-network", "force-sqlite")
_shared: WeakValueDictionary[str, MemoryStore] = WeakValueDictionary()
_sharing: Final = threading.Lock()


def open_store(
    url: str,
    *,
    durability: Durability = "machine",
    clock: Callable[[], float] = time.time,
    create: bool = True,
) -> Store:
    """The journal at `url`, created if there is none. Raises JournalUnusable with what to do about it.

    durability: what an acknowledged record survives: the death of the machine, or that of the process only (faster).
    create: if not, a database without a journal raises NoJournal; a file is looked for by whoever asks.
    """
    if _POSTGRES.match(url):
        return _postgres(url, durability, create=create)
    if url.startswith("memory:"):
        return _memory(url, clock)
    address, _, query = url.partition("?") if url.startswith("sqlite:") else (url, "", "")
    options = _options(url, query)
    return SqliteStore(
        _path(url, address),
        durability=durability,
        clock=clock,
        force_network="force-network" in options,
        force_sqlite="force-sqlite" in options,
    )


def _postgres(url: str, durability: Durability, *, create: bool) -> Store:
    try:
        store: Store = postgres.PostgresStore(url, durable=durability == "machine", create=create)
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != "psycopg":
            raise
        raise JournalUnusable(
            f"{masked(url)}: a journal in PostgreSQL needs a driver that is not installed; nothing was opened. Install "
            f'it with: pip install "onward[postgres]"'
        ) from missing
    return store


def _memory(url: str, clock: Callable[[], float]) -> MemoryStore:
    if url == "memory:":
        return MemoryStore(clock=clock)
    with _sharing:
        store = _shared.get(url)
        if store is None:
            store = _shared[url] = MemoryStore(url, clock=clock)
        return store


def _path(url: str, address: str) -> str:
    if address.startswith("sqlite:///"):
        path = unquote(address.removeprefix("sqlite:///"))
    elif not re.match(r"\w+:", address) and address.endswith(".db"):
        path = address
    else:
        path = ""
    if not os.path.basename(path) or not _is_file_name(path):
        raise JournalUnusable(
            f"{masked(url)!r} names no journal; nothing was opened. Say sqlite:///journal.db (here), "
            f"sqlite:////var/lib/journal.db (full path), a path that ends in .db, or memory:."
        )
    return path


def _is_file_name(path: str) -> bool:
    """Whether SQLite can be told this name: it is text, and has no end in the middle."""
    try:
        return b"\0" not in path.encode()
    except UnicodeEncodeError:
        return False


def _options(url: str, query: str) -> frozenset[str]:
    given = parse_qsl(query, keep_blank_values=True)
    for name, value in given:
        if name not in _OPTIONS or value not in ("0", "1"):
            raise JournalUnusable(
                f"{masked(url)}: `{name}` is not understood; nothing was opened. Known are "
                f"{' and '.join(f'{option}=1' for option in _OPTIONS)}."
            )
    return frozenset(name for name, value in given if value == "1")

"""The servers: a PostgreSQL from the wheel for the whole run, a Redis for each measurement that wants one."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from contestants import Contestant
from place import Unavailable, redis_server  # of ../rivals

HERE = Path(__file__).resolve().parent


class Stores:
    """Gives each measurement an empty store of its own; servers are started when the first one asks."""

    def __init__(self) -> None:
        self._servers = ExitStack()
        self._postgres: Any = None
        self._numbers = itertools.count()

    @contextmanager
    def url(self, contestant: Contestant, folder: Path, *, synced: bool) -> Iterator[str]:
        """The URL of the store for one measurement in `folder`. Raises Unavailable."""
        match contestant.store:
            case "SQLite":
                yield f"sqlite:///{folder / 'store.db'}"
            case "PostgreSQL":
                yield self._database()
            case "Redis":
                with redis_server(folder / "redis", synced=synced) as url:
                    yield url

    def _database(self) -> str:
        if self._postgres is None:
            self._postgres = self._started()
        name = f"measurement_{next(self._numbers)}"
        self._postgres.execute(f"CREATE DATABASE {name}")
        return str(self._postgres.url(database=name))

    def _started(self) -> Any:
        try:
            from postgres.server import server
        except ImportError as missing:
            raise Unavailable(f"needs PostgreSQL from the test extra: {missing}") from None
        # Not below a folder that only its owner may enter: the server runs as somebody else.
        folder = Path(self._servers.enter_context(tempfile.TemporaryDirectory(prefix="onward-queues-pg-")))
        folder.chmod(0o755)
        # As it comes, but for the housekeeping that the tests switch off.
        return self._servers.enter_context(server(folder / "server", autovacuum_naptime="1min"))

    def close(self) -> None:
        self._servers.close()

"""The database of the spread-out demo: a real PostgreSQL from the wheel, stopped and started while workers use it."""

from __future__ import annotations

import contextlib
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scene import HERE, Broken


class Database:
    """A server on a port of this machine, as an operator sees it."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.url = str(server.url())

    def crash(self) -> None:
        """End it without a last checkpoint: what was not durable is gone, and every connection is cut."""
        self._server.stop(immediate=True)

    def start(self) -> None:
        """Start it again on the same files; returns when it answers."""
        self._server.start()

    def refuses(self) -> bool:
        """Whether nobody listens there."""
        try:
            socket.create_connection(("127.0.0.1", self._server.port), timeout=5).close()
        except ConnectionRefusedError:
            return True
        return False


@contextlib.contextmanager
def postgres() -> Iterator[Database]:
    """A server with an empty database, gone afterwards."""
    # The one that the tests use; it is not part of the installed package.
    sys.path.append(str(HERE.parents[1] / "tests"))
    try:
        from postgres.server import server
    except ImportError as missing:
        raise Broken(f"PostgreSQL is not installed here ({missing}); `make setup` does it.") from None
    # Not in the demo's folder: the server runs as an unprivileged user, who must be able to reach its files.
    with tempfile.TemporaryDirectory(prefix="onward-cluster-pg-") as folder:
        Path(folder).chmod(0o755)
        with server(Path(folder) / "server") as running:
            yield Database(running)

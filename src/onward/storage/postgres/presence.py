"""Proof of death: how one process can tell that another is gone.

On the same boot of a machine, in the same namespace of process numbers, by the number and start time of its process:
at once. From elsewhere by its session: every owner with a direct connection holds an advisory lock for life, which the
server frees when the connection ends. A session may end while its owner lives (a restart of the server, a connection
that broke): the owner takes the lock again within its next look at the journal. So a lock that is free proves death
only if it stays free for a while, on a server that has been up for a while.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from onward.storage import host

# How long a lock must be free. Owners look at the journal four times a second while they hold runs, and a connection
# takes a fraction of a second.
GRACE_S: Final = 2.0
# How long the server must be up: owners try to come back at least once a second.
UP_S: Final = 10.0
# For how long one look at the sessions is good enough.
_LOOK_S: Final = 0.5


class Traces(NamedTuple):
    """What an owner has left in the journal of how one can tell that it lives."""

    id: str
    host: str
    boot: str
    pid: int
    process: str | None
    session: bool


def process() -> str | None:
    """What tells this process from any other of its boot: its namespace and start; None where that is not known."""
    return _process(os.getpid())


def _process(pid: int) -> str | None:
    started = host.process_start(pid)
    namespace = host.process_namespace()
    return None if started is None or namespace is None else f"{namespace}/{pid}/{started}"


def lives_here(traces: Traces) -> bool | None:
    """Whether the process lives, if it is one of this machine's; None if that cannot be told from here."""
    here = host.boot()
    if here is None or traces.boot != here or traces.process is None:
        return None
    if traces.process.partition("/")[0] != host.process_namespace():
        return None
    return _process(traces.pid) == traces.process


class Absences:
    """Since when the sessions of owners have been seen to be gone."""

    def __init__(self, *, grace_s: float = GRACE_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._grace_s, self._clock = grace_s, clock
        self._since: dict[str, float] = {}
        self._looked_at = float("-inf")
        self._lock = threading.Lock()

    def last(self, owner_id: str, absent: Callable[[], set[str]]) -> bool:
        """Whether the owner has been gone for as long as proves it. `absent`: whose sessions are gone now.

        One look serves all owners, and those who ask in the next moment. The first look proves nothing.
        """
        with self._lock:
            now = self._clock()
            if now - self._looked_at >= _LOOK_S:
                gone = absent()
                self._since = {one: self._since.get(one, now) for one in gone}
                self._looked_at = now
            return self._clock() - self._since.get(owner_id, float("inf")) >= self._grace_s

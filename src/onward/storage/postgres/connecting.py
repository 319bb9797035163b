"""How connections come about: what is asked of the server first, and what it says when it does not let us in."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import psycopg

from onward.core import limits
from onward.core.errors import JournalBusy, JournalError, JournalUnusable
from onward.storage.postgres.address import Address
from onward.storage.postgres.clock import DatabaseClock
from onward.storage.postgres.failures import Lost, first_line
from onward.storage.postgres.link import Link

# Pauses between two tries, doubled from the first to the last, each with some chance in it: a server that comes back is
# not met by all of its clients at once.
_PAUSE_S: Final = 0.05
_PAUSE_MAX_S: Final = 1.0

# What libpq says about a server that is about to be there.
_STARTING: Final = re.compile(r"the database system is (starting up|not yet accepting|in recovery mode)")
# What it says of a server that is away, or has no place for us, for a while: it may let us in a moment later.
_PASSES: Final = re.compile(
    _STARTING.pattern
    + r"|shutting down|[Cc]onnection refused|No such file|timeout|timed out|unreachable|[Nn]o route|Temporary failure"
    r"|too many|remaining connection slots|closed the connection|[Cc]onnection reset"
)
_CURES: Final = (
    (r"password authentication failed|no password supplied", "Check user and password in the URL."),
    (r"database .* does not exist", "Create it (`createdb`), or name another one in the URL."),
    (r"role .* does not exist", "Create the role (`createuser`), or name another one in the URL."),
    (r"pg_hba\.conf|permission denied", "The server's pg_hba.conf or its rights must let this user in."),
    (r"could not translate host name|Name or service|resolve", "Check the host's name in the URL."),
    (
        r"[Cc]onnection refused|No such file|timeout|timed out|unreachable",
        "Check that the server runs there.",
    ),
    (r"too many", "Raise max_connections, or put a pooler in between."),
    (r"certificate|SSL|TLS", "Check sslmode and sslrootcert in the URL."),
)


class Facts(NamedTuple):
    """What a server says of itself when one connects."""

    backend_pid: int
    synchronous_commit: str
    fsync: str
    full_page_writes: str
    reads_only: bool
    encoding: str
    role: str


class Connector:
    """Makes connections to one journal, all set up alike."""

    def __init__(
        self, address: Address, sql: Mapping[str, str], clock: DatabaseClock, *, durable: bool, call_s: float
    ) -> None:
        self.address, self._sql, self._clock = address, sql, clock
        self._durable, self._call_s = durable, call_s
        self.facts: Facts | None = None

    def once(self) -> Link:
        """A new connection, or what the driver raises; Lost if it has gone before it was ready."""
        connection: psycopg.Connection[tuple[object, ...]] = psycopg.connect(
            self.address.conninfo, autocommit=True, prepare_threshold=None
        )
        link = Link(connection, self._sql, schema=self.address.schema, call_s=self._call_s)
        try:
            self._set_up(link)
        except BaseException:
            link.close()
            raise
        return link

    def _set_up(self, link: Link) -> None:
        self.facts = facts = Facts._make(link.all(("begin", ()), ("facts", ()), ("commit", ()))[1][0])
        pooler = self.address.pooler
        if pooler is None:
            # A pooler makes up a number for its client; the server says its own.
            pooler = facts.backend_pid != link.backend_pid
        weak = facts.synchronous_commit == "off"
        if not pooler:
            link.is_ours("session")
            if self._durable and weak:
                link.script("durable")
            elif not self._durable:
                link.script("process_durable")
        elif self._durable and weak:
            link.settings = (*link.settings, "durable_here")
        self._clock.measured(lambda: float(link.ask("clock")[0][0]))

    def patiently(self, until: float, given_up: Callable[[], bool] = lambda: False) -> Link:
        """A new connection, tried for again and again until `until`; JournalBusy if it does not come about."""
        pause_s = _PAUSE_S
        while True:
            try:
                return self.once()
            except (psycopg.Error, Lost) as problem:
                if time.monotonic() + pause_s >= until or given_up():
                    raise self.unreachable(problem) from problem
            time.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(pause_s * 2, _PAUSE_MAX_S)

    def first(self) -> Link:
        """The connection that opens the journal: waits for a server that is starting, and for nothing else."""
        until = time.monotonic() + limits.CALL_S
        while True:
            try:
                return self.once()
            except (psycopg.Error, Lost) as problem:
                if _STARTING.search(str(problem)) is None or time.monotonic() >= until:
                    raise self._not_opened(problem) from problem
            time.sleep(_PAUSE_S)

    def unreachable(self, problem: BaseException) -> JournalBusy:
        return JournalBusy(
            f"the journal {self.address.place} cannot be reached ({self._said(problem)}); nothing was recorded. Repeat "
            f"the call once the server is there."
        )

    def _not_opened(self, problem: BaseException) -> JournalError:
        said = self._said(problem)
        cure = next((cure for what, cure in _CURES if re.search(what, said)), "Check the URL and the server.")
        kind = JournalBusy if _PASSES.search(said) else JournalUnusable
        return kind(
            f"the journal {self.address.place} cannot be opened ({said}); nothing was changed. {cure}"
        )

    def _said(self, problem: BaseException) -> str:
        # Of several tries (addresses, hosts) the last line of each tells why.
        return self.address.scrubbed(first_line(problem))[:500]

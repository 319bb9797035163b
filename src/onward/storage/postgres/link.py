"""One connection to the database: how statements are sent, with a deadline each, directly or through a pooler.

Directly, the session is ours: it is set up once, statements stay prepared, and one statement is a transaction. Through
a transaction pooler nothing may outlive a transaction: then each transaction brings its settings along, in the same
round trip. Every call raises Lost when the connection has gone, and closes it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Final

import psycopg
from psycopg import pq
from psycopg.adapt import Transformer

from onward.core import limits
from onward.storage.postgres.failures import Lost, first_line, is_lost
from onward.storage.postgres.wire import Query, TooLate, Wire, error_of, packed

Row = tuple[Any, ...]
Step = tuple[str, Sequence[object]]

_IDLE: Final = pq.TransactionStatus.IDLE
# Sessions that a forked child has of its parent, kept from the garbage collector.
_abandoned: Final[list[psycopg.Connection[Row]]] = []


class Link:
    """Used by one thread at a time."""

    def __init__(
        self,
        connection: psycopg.Connection[Row],
        sql: Mapping[str, str],
        *,
        schema: str,
        call_s: float = limits.CALL_S,
    ) -> None:
        self._connection, self._sql, self.schema, self.call_s = connection, sql, schema, call_s
        self._pg = connection.pgconn
        self._wire = Wire(self._pg)
        # What the other side says its process is, also when it has gone; a pooler says something else than the server.
        self.backend_pid: int = self._pg.backend_pid
        self.direct = False  # until it is known: what works through a pooler works without one
        self.settings: tuple[str, ...] = ("safe_path", "safe_limits")
        self._within = False  # in a transaction of several calls

    # -- life -------------------------------------------------------------------------------------------

    @property
    def socket(self) -> int | None:
        """Its descriptor, which any thread may poll; None once it is gone."""
        try:
            return self._pg.socket
        except psycopg.Error:
            return None

    def is_ours(self, setting: str) -> None:
        """The session is known to be nobody else's: set it up."""
        self.direct, self.settings = True, ()
        self.script(setting)

    @property
    def closed(self) -> bool:
        return self._connection.closed

    @property
    def usable(self) -> bool:
        """Not known to be gone, and in no transaction."""
        return not self._connection.closed and self._pg.transaction_status == _IDLE

    def close(self) -> None:
        self._within = False
        if not self._connection.closed and self._pg.transaction_status != _IDLE:
            # Not a word to a server that does not listen: saying goodbye would wait for room in the socket's buffer.
            _shut(self._pg.socket)
        self._connection.close()

    def abandon(self) -> None:
        """In a forked child: let go of the parent's session without a word to the server.

        The descriptor is closed, so that the server sees the parent's death, whatever becomes of the child.
        """
        _abandoned.append(self._connection)
        if not self._connection.closed:
            os.close(self._pg.socket)

    # -- asking -----------------------------------------------------------------------------------------

    def script(self, name: str) -> None:
        """Statements without values and answers."""
        self.run_script(self._sql[name])

    def run_script(self, text: str) -> None:
        try:
            self._wire.script(text.encode(), self.call_s)
        except BaseException as problem:
            raise self._failed(problem) from problem

    def alone(self, name: str) -> None:
        """One statement that may be in no transaction, whatever stands in between."""
        self._exchange([(name, ())])

    def ask(self, name: str, *values: object) -> list[Row]:
        """One statement and its rows: a transaction of its own, unless one was begun."""
        if self.direct or self._within:
            return self._rows(self._exchange([(name, values)])[0])
        return self.all(("begin", ()), (name, values), ("commit", ()))[1]

    def all(self, *steps: Step) -> list[list[Row]]:
        """Several statements in one round trip, each with its rows. If one fails, those after it are not executed.

        A `begin` among them begins a transaction that lasts over calls, until one of them ends it.
        """
        every: list[Step] = []
        for step in steps:
            every.append(step)
            if step[0].startswith("begin"):
                self._within = True
                every += [(setting, ()) for setting in self.settings]
        results = self._exchange(every)
        if any(name in ("commit", "rollback") for name, _ in steps):
            self._within = False
        extra = len(self.settings)
        rows = []
        at = 0
        for name, _ in steps:
            rows.append(self._rows(results[at]))
            at += 1 + extra * name.startswith("begin")
        return rows

    def straight(self, name: str, values: Sequence[bytes | None], formats: Sequence[pq.Format]) -> int:
        """One statement by the shortest way, with values in the server's formats; how many rows it touched.

        Only on a direct connection, outside of transactions.
        """
        try:
            result = self._wire.one(name.encode(), self._sql[name], values, formats, self.call_s)
            if (error := error_of(result)) is not None:
                raise error
            return result.command_tuples or 0
        except BaseException as problem:
            raise self._failed(problem) from problem

    def heard(self) -> list[int]:
        """The backends that have notified us since it was last asked; sends nothing, and waits for nothing."""
        try:
            self._pg.consume_input()
        except psycopg.Error as problem:
            raise self._failed(problem) from problem
        return self.overheard()

    def overheard(self) -> list[int]:
        """As `heard`, of what has come with answers."""
        heard = []
        while not self._connection.closed and (notify := self._pg.notifies()) is not None:
            heard.append(notify.be_pid)
        return heard

    def rollback(self) -> None:
        """Take back the transaction that was begun, if one was."""
        if self._within:
            self.all(("rollback", ()))

    # -- inside -------------------------------------------------------------------------------------------

    def _exchange(self, steps: Sequence[Step]) -> list[pq.abc.PGresult]:
        queries = []
        for name, values in steps:
            both = [packed(value) for value in values]
            sql, prepared = self._sql[name].encode(), name.encode() if self.direct else None
            queries.append(Query(sql, [value for value, _ in both], [kind for _, kind in both], prepared))
        try:
            results = self._wire.exchange(queries, self.call_s)
            for (name, _), result in zip(steps, results, strict=True):
                # A commit is one whether or not those who wait could be told of it; they look now and then.
                if name != "notify" and (error := error_of(result)) is not None:
                    raise error
                assert name != "commit" or result.command_status == b"COMMIT", "it was taken back unnoticed"
            return results
        except BaseException as problem:
            raise self._failed(problem) from problem

    def _rows(self, result: pq.abc.PGresult) -> list[Row]:
        if not result.ntuples:
            return []
        transformer = Transformer(self._connection)
        transformer.set_pgresult(result)
        return transformer.load_rows(0, result.ntuples, tuple)

    def _failed(self, problem: BaseException) -> BaseException:
        """What to raise for it. In any doubt about the connection it is closed."""
        settled = self._pg.pipeline_status == pq.PipelineStatus.OFF
        if isinstance(problem, psycopg.Error) and settled and not is_lost(problem, self._connection):
            return problem
        self._within = False
        if not self._connection.closed:
            _shut(self._pg.socket)
            self._connection.close()
        if isinstance(problem, TooLate):
            return Lost(f"no answer within {self.call_s:g} s")
        return Lost(first_line(problem)) if isinstance(problem, psycopg.Error | OSError) else problem


def _shut(descriptor: int) -> None:
    """End a connection at once, in both directions."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as copy:
            copy.shutdown(socket.SHUT_RDWR)
    except OSError:  # it has gone by itself
        return

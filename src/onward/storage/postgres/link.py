"""One connection to the database: how statements are sent, with a deadline each, directly or through a pooler.

Directly, the session is ours: it is set up once, statements stay prepared, and one statement is a transaction. Through
a transaction pooler nothing may outlive a transaction: then each transaction brings its settings along, in the same
round trip. Every call raises Lost when the connection has gone, and closes it.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import psycopg
from psycopg import pq
from psycopg.errors import error_from_result
from psycopg.types.numeric import Int8BinaryDumper

from onward.core import limits
from onward.storage.postgres import watchdog
from onward.storage.postgres.arrays import Packed, PackedDumper
from onward.storage.postgres.failures import Lost, first_line, is_lost

Row = tuple[Any, ...]
Step = tuple[str, Sequence[object]]

_COMMAND_OK: Final = pq.ExecStatus.COMMAND_OK
_OK: Final = pq.ConnStatus.OK
# Sessions that a forked child has of its parent, kept from the garbage collector.
_abandoned: Final[list[psycopg.Connection[Row]]] = []


class Link:
    """Used by one thread at a time."""

    def __init__(
        self, connection: psycopg.Connection[Row], sql: Mapping[str, str], *, call_s: float = limits.CALL_S
    ) -> None:
        self._connection, self._sql, self.call_s = connection, sql, call_s
        self.direct = False  # until it is known: what works through a pooler works without one
        self.settings: tuple[Step, ...] = (("safe_path", ()), ("safe_limits", ()))
        self.due = math.inf
        self.was_cut = False
        self._within = False  # in a transaction of several calls
        self._prepared: set[str] = set()
        connection.prepare_threshold = None
        connection.adapters.register_dumper(Packed, PackedDumper)
        connection.adapters.register_dumper(int, Int8BinaryDumper)
        # A descriptor of our own: the driver closes its own when it likes, and that number may be given again.
        self._socket = socket.socket(fileno=os.dup(connection.fileno()))
        watchdog.watch(self)

    # -- life -------------------------------------------------------------------------------------------

    @property
    def backend_pid(self) -> int:
        """What the other side says its process is; a pooler says something else than the server."""
        return self._connection.pgconn.backend_pid

    def is_ours(self, setting: str) -> None:
        """The session is known to be nobody else's: set it up."""
        self.direct, self.settings = True, ()
        self._connection.prepare_threshold = 0
        self.script(setting)

    def cut(self) -> None:
        """End a call that takes too long; called by the watchdog."""
        self.was_cut, self.due = True, math.inf
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:  # it has gone by itself
            pass

    def close(self) -> None:
        self.due = math.inf
        # Not a word to a server that does not listen: closing would wait for room in the socket's buffer.
        if self.was_cut or self._connection.pgconn.status != _OK:
            self.cut()
        self._connection.close()
        self._socket.close()

    def abandon(self) -> None:
        """In a forked child: let go of the parent's session without a word to the server.

        The descriptors are closed, so that the server sees the parent's death, whatever becomes of the child.
        """
        _abandoned.append(self._connection)
        for descriptor in (self._socket.detach(), self._connection.fileno()):
            try:
                os.close(descriptor)
            except OSError:
                continue

    @property
    def closed(self) -> bool:
        return self._connection.closed

    @property
    def usable(self) -> bool:
        """Not known to be gone, and in no transaction."""
        status = self._connection.pgconn.transaction_status
        return not self._connection.closed and status == pq.TransactionStatus.IDLE

    # -- asking -----------------------------------------------------------------------------------------

    def script(self, name: str) -> None:
        """Statements without values and answers."""
        self.run_script(self._sql[name])

    def run_script(self, text: str) -> None:
        self._timed()
        self._checked(self._connection.pgconn.exec_(text.encode()))

    def ask(self, name: str, *values: object) -> list[Row]:
        """One statement and its rows: a transaction of its own, unless one was begun."""
        if self.direct or self._within:
            self._timed()
            try:
                cursor = self._sent(name, values)
                rows = cursor.fetchall() if cursor.description is not None else []
            except BaseException as problem:
                raise self._failed(problem) from problem
            self.due = math.inf
            return rows
        return self.all(("begin", ()), (name, values), ("commit", ()))[1]

    def alone(self, name: str) -> None:
        """One statement that may be in no transaction, whatever stands in between."""
        self._timed()
        self._checked(self._connection.pgconn.exec_params(self._sql[name].encode(), None))

    def all(self, *steps: Step) -> list[list[Row]]:
        """Several statements in one round trip, each with its rows. If one fails, those after it are not executed.

        A `begin` among them begins a transaction that lasts over calls, until one of them ends it.
        """
        self._timed()
        cursors: list[psycopg.RawCursor[Row]] = []
        try:
            with self._connection.pipeline():
                for name, values in steps:
                    cursors.append(self._sent(name, values))
                    if name.startswith("begin"):
                        self._within = True
                        for setting, nothing in self.settings:
                            self._sent(setting, nothing)
            rows = [[] if c.description is None else c.fetchall() for c in cursors]
        except BaseException as problem:
            raise self._failed(problem) from problem
        self.due = math.inf
        if steps[-1][0] in ("commit", "rollback"):
            self._within = False
        return rows

    def straight(self, name: str, values: Sequence[bytes | None], formats: Sequence[pq.Format]) -> int:
        """One prepared statement by the shortest way, with values in the server's format; how many rows it touched.

        Only on a direct connection, outside of transactions.
        """
        self._timed()
        connection = self._connection.pgconn
        if name not in self._prepared:
            self._checked(connection.prepare(name.encode(), self._sql[name].encode()))
            self._prepared.add(name)
        result = connection.exec_prepared(name.encode(), values, formats)  # type: ignore[arg-type]  # None is NULL
        self._checked(result)
        return result.command_tuples or 0

    def rollback(self) -> None:
        """Take back the transaction that was begun, if one was."""
        if self._within:
            self.all(("rollback", ()))

    # -- inside -------------------------------------------------------------------------------------------

    def _timed(self) -> None:
        self.due = time.monotonic() + self.call_s
        watchdog.look()

    def _sent(self, name: str, values: Sequence[object]) -> psycopg.RawCursor[Row]:
        cursor: psycopg.RawCursor[Row] = psycopg.RawCursor(self._connection)
        return cursor.execute(self._sql[name].encode(), values or None, binary=True)

    def _checked(self, result: pq.abc.PGresult) -> None:
        self.due = math.inf
        if result.status in (_COMMAND_OK, pq.ExecStatus.TUPLES_OK):
            return
        problem = error_from_result(result)
        raise self._failed(problem) from problem

    def _failed(self, problem: BaseException) -> BaseException:
        """What to raise for it. In any doubt about the connection it is closed."""
        self.due = math.inf
        alive = self._connection.pgconn.status == _OK
        if isinstance(problem, psycopg.Error) and alive and not is_lost(problem, self._connection):
            return problem
        self.close()
        if not isinstance(problem, psycopg.Error | OSError):
            return problem  # an interrupt, or a fault of ours
        why = f"no answer within {self.call_s:g} s" if self.was_cut else first_line(problem)
        return Lost(why)

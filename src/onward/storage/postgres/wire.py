"""Statements over libpq: several in one round trip, each wait with an end.

psycopg makes the connection and reads the values; what lies between is done here, because its own calls wait without
end where packets vanish (neither the server's `statement_timeout` nor keepalives help there: measured), and because it
takes statements for prepared whose preparation an earlier error of the same round trip has skipped.
"""

from __future__ import annotations

import select
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from psycopg import pq
from psycopg.errors import Error, OperationalError, error_from_result

from onward.storage.postgres.arrays import Packed

_BINARY, _TEXT = pq.Format.BINARY, pq.Format.TEXT
_GOOD: Final = (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK)
_OK: Final = pq.ConnStatus.OK
_SYNC: Final = pq.ExecStatus.PIPELINE_SYNC
_SKIPPED: Final = pq.ExecStatus.PIPELINE_ABORTED
_READING: Final = select.POLLIN | select.POLLHUP | select.POLLERR


class Query(NamedTuple):
    """A statement, its values in the server's formats, and under which name it is prepared, if it is to be."""

    sql: bytes
    values: Sequence[bytes | None]
    formats: Sequence[pq.Format]
    name: bytes | None


class TooLate(Exception):
    """No answer in time."""


class Wire:
    """What goes to and fro on one connection."""

    def __init__(self, connection: pq.abc.PGconn) -> None:
        self._pg = connection
        self._prepared: set[bytes] = set()
        self._poll = select.poll()
        self._poll.register(connection.socket, _READING)

    def exchange(self, queries: Sequence[Query], within_s: float) -> list[pq.abc.PGresult]:
        """Send them in one go and wait for all answers, one each, in order.

        If one fails, those after it are not executed; `error_of` an answer tells. Raises TooLate, and OperationalError
        if the connection has gone; then, and on any exception, the connection is in no state to be used again.
        """
        until = time.monotonic() + within_s
        if len(queries) == 1 and (queries[0].name is None or queries[0].name in self._prepared):
            self._send(queries[0])
            self._flush(until)
            return self._results(until)
        return self._pipelined(queries, until)

    def one(
        self,
        name: bytes,
        sql: str,
        values: Sequence[bytes | None],
        formats: Sequence[pq.Format],
        within_s: float,
    ) -> pq.abc.PGresult:
        """As `exchange`, for one statement under its name."""
        if name not in self._prepared:
            return self.exchange((Query(sql.encode(), values, formats, name),), within_s)[0]
        until = time.monotonic() + within_s
        pg = self._pg
        pg.send_query_prepared(name, values, formats, _BINARY)
        if pg.flush():
            self._flush(until)
        while pg.is_busy():
            self._wait(until)
            pg.consume_input()
        result = pg.get_result()
        while (
            pg.is_busy()
        ):  # that nothing follows may come in a packet of its own: waited for here, it has an end
            self._wait(until)
            pg.consume_input()
        if result is None or pg.get_result() is not None or pg.status != _OK:
            raise OperationalError(pg.get_error_message())
        return result

    def script(self, text: bytes, within_s: float) -> None:
        """Statements without values and answers."""
        until = time.monotonic() + within_s
        self._pg.send_query(text)
        self._flush(until)
        for result in self._results(until):
            if (error := error_of(result)) is not None:
                raise error

    def _pipelined(self, queries: Sequence[Query], until: float) -> list[pq.abc.PGresult]:
        pg = self._pg
        pg.enter_pipeline_mode()
        prepared: list[bytes | None] = []  # of each answer: the name that it is about, if it is no query's
        for query in queries:
            if query.name is not None and query.name not in self._prepared and query.name not in prepared:
                pg.send_prepare(query.name, query.sql)
                prepared.append(query.name)
            self._send(query)
            prepared.append(None)
        pg.pipeline_sync()
        self._flush(until)
        results = self._results(until, pipelined=True)
        pg.exit_pipeline_mode()
        answers = []
        for name, result in zip(prepared, results, strict=True):
            if name is None:
                answers.append(result)
            elif result.status in _GOOD:
                self._prepared.add(name)
            elif (error := error_of(result)) is not None:
                raise error
        return answers

    def _send(self, query: Query) -> None:
        # The stubs of the driver do not know that a value may be missing, which is NULL.
        values: Any = query.values
        if query.name is not None:
            self._pg.send_query_prepared(query.name, values, query.formats, _BINARY)
        else:
            self._pg.send_query_params(query.sql, values, None, query.formats, _BINARY)

    def _flush(self, until: float) -> None:
        pg = self._pg
        while pg.flush():
            self._poll.modify(pg.socket, _READING | select.POLLOUT)
            self._wait(until)
            self._poll.modify(pg.socket, _READING)
            # The server may be waiting for us to read before it reads on.
            pg.consume_input()

    def _results(self, until: float, *, pipelined: bool = False) -> list[pq.abc.PGresult]:
        pg = self._pg
        results: list[pq.abc.PGresult] = []
        while True:
            while pg.is_busy():
                self._wait(until)
                pg.consume_input()
            result = pg.get_result()
            if result is None:
                if not pipelined:
                    return results
            elif result.status == _SYNC:
                return results
            else:
                results.append(result)
                if pg.status != pq.ConnStatus.OK:
                    raise OperationalError(pg.get_error_message())

    def _wait(self, until: float) -> None:
        left_s = until - time.monotonic()
        if left_s <= 0 or not self._poll.poll(left_s * 1_000):
            raise TooLate


def error_of(result: pq.abc.PGresult) -> Error | None:
    """What the server says instead of an answer; None for an answer, and for what was not executed."""
    return None if result.status in _GOOD or result.status == _SKIPPED else error_from_result(result)


def packed(value: object) -> tuple[bytes | None, pq.Format]:
    """A value in the server's format: texts as they are, which may hold anything; numbers as text."""
    if value is None:
        return None, _TEXT
    if type(value) is str:
        return value.encode(), _BINARY
    if type(value) is Packed:
        return value.data, _BINARY
    if type(value) is bytes:
        return value, _BINARY
    if type(value) is bool:
        return b"t" if value else b"f", _TEXT
    return str(value).encode(), _TEXT

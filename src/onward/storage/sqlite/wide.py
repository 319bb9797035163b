"""Statements that write many rows at once: of what a row costs, a good part less.

Each has a narrow twin of the same name, which writes what is left over; whether one or the other wrote a row does not
show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final

import apsw

from onward.storage.queries import widened

Row = tuple[Any, ...]
# Rows that one statement inserts where there are so many; more bring nothing.
WIDE: Final = 50
_WIDENED: Final = (
    "add_runs",
    "add_entry",
    "end_alone",
    "end_untold",
    "add_lot",
    "add_marks",
    "add_ends",
    "add_guarded",
)


def with_wide(sql: Mapping[str, str]) -> Mapping[str, str]:
    """The statements, and those that write many rows at once."""
    wide = {f"{name} wide": widened(sql[name], WIDE) for name in _WIDENED}
    return {**sql, **wide}


def insert(
    connection: apsw.Connection,
    sql: Mapping[str, str],
    statement: str,
    rows: Sequence[Row],
    *,
    shared: Row = (),
) -> None:
    """Write rows, many by each statement as far as they go; the values that they share come before their own."""
    whole = len(rows) - len(rows) % WIDE
    if whole:
        wide = sql[statement + " wide"]
        connection.executemany(
            wide, ((*shared, *chain.from_iterable(rows[at : at + WIDE])) for at in range(0, whole, WIDE))
        )
    connection.executemany(sql[statement], [(*shared, *row) for row in rows[whole:]])

"""How a store applies the moves of schedules: the same for all stores, inside the transaction that writes them.

What a move is comes from `core.schedules`; a store says what it has (`Rows`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, Protocol

from onward.core.acts import acted
from onward.core.model import ENDED, Applied, Change, Refused, Run
from onward.core.schedules import Move, Schedule

_BY: Final = "its schedule, whose next time had come"


class Rows(Protocol):
    """Schedules and runs within one transaction."""

    @property
    def is_moved(self) -> bool:
        """Whether everything of this journal goes on elsewhere."""
        ...

    def revision(self, name: str) -> int | None:
        """That of the stored schedule, which nobody else changes until the transaction ends; None if there is none."""
        ...

    def put(self, schedule: Schedule) -> None: ...

    def drop(self, name: str) -> None: ...

    def run(self, run_id: str) -> Run | None: ...

    def write(self, change: Change) -> Applied | Refused: ...

    def ask_to_cancel(self, run_no: int) -> None: ...


def apply(rows: Rows, moves: Sequence[Move], now: float) -> list[bool]:
    """Which of the moves were applied."""
    return [_apply(rows, move, now) for move in moves]


def _apply(rows: Rows, move: Move, now: float) -> bool:
    before, after = move.before, move.after
    known = before if before is not None else after
    assert known is not None, "a move is one of some schedule"
    if rows.is_moved or rows.revision(known.name) != (None if before is None else before.revision):
        return False
    if after is None:
        rows.drop(known.name)
    else:
        rows.put(after)
    for start in move.starts:
        assert start.after is not None, "a start says which run"
        if rows.run(start.after.id) is None:
            rows.write(start)
    for run_id in move.cancels:
        _cancel(rows, run_id, now)
    return True


def _cancel(rows: Rows, run_id: str, now: float) -> None:
    run = rows.run(run_id)
    if run is None or run.state in ENDED:
        return
    if run.state == "running":
        rows.ask_to_cancel(run.no)
        return
    change = acted(run, "cancelled", by=_BY, now=now)
    assert change is not None, "every unfinished run can be cancelled"
    rows.write(change)


def row_of(schedule: Schedule) -> tuple[Any, ...]:
    """As it is stored: lists as JSON arrays."""
    return tuple(json.dumps(value) if isinstance(value, tuple) else value for value in schedule)


def schedule_of(row: Sequence[Any]) -> Schedule:
    """As it was stored."""
    # Columns 7, 10 and 11: `paused`, `going` and `backlog`. Most schedules wait for nothing.
    lists = [() if text == "[]" else tuple(json.loads(text)) for text in row[10:12]]
    return Schedule._make((*row[:7], bool(row[7]), *row[8:10], *lists, *row[12:]))

"""Runs, entries and units in flight as rows of the statements in `queries.sql`, and the kinds of their columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from onward.core.model import Begun, Entry, Lot, Run
from onward.core.schedules import Schedule
from onward.storage.postgres.arrays import Packed, blobs, bools, floats, ints, texts
from onward.storage.postgres.link import Row
from onward.storage.postgres.longtext import long, short

Kinds = tuple[Callable[[Any], Packed], ...]

ENTRY: Final[Kinds] = (
    *(ints, ints, texts, texts, texts, texts, blobs, texts, ints, ints, ints, floats, floats),
    texts,
)
BEGUN: Final[Kinds] = (ints, texts, texts, texts, ints, ints, bools, floats, ints, floats, texts)
ENDED: Final[Kinds] = (ints, texts)
NEW_RUN: Final[Kinds] = (
    *(texts, texts, texts, texts, texts, bools, texts, ints, texts, floats, floats, texts, ints, ints, texts),
    *(
        texts,
        texts,
        ints,
        ints,
        ints,
        floats,
        floats,
        texts,
        ints,
        texts,
        texts,
        texts,
        texts,
        ints,
        ints,
        texts,
    ),
)
SET_RUN: Final[Kinds] = (
    *(texts, ints, texts, floats, floats, texts, ints, ints, texts, texts, texts, ints, ints, ints, texts),
    *(floats, ints, texts, texts, ints, ints),
)
STARTS: Final[Kinds] = (texts, texts, floats, ints)
LEASE: Final[Kinds] = (
    *(ints, texts, ints, texts, floats, floats, texts, ints, ints),
    *(texts, texts, floats, ints),
)
ENDS: Final[Kinds] = (ints, ints, ints, texts, texts, floats)
UNTOLD_ENDS: Final[Kinds] = (ints, ints, ints, texts, floats)
ARGS: Final[Kinds] = (ints, texts)
ARRIVALS: Final[Kinds] = (ints, ints, texts, texts, texts, ints, ints, ints)
WAITERS: Final[Kinds] = (texts, ints)
PROGRESS: Final[Kinds] = (ints, ints, ints, ints)


def entry_row(no: int, seq: int, entry: Entry) -> Row:
    return (no, seq, short(entry.key), *entry[1:11], long(entry.key))


def mark_rows(no: int, last: int, marks: Sequence[Entry]) -> list[Row]:
    """The rows of a run's last entries, of which the number of the very last is `last`."""
    return [entry_row(no, seq, mark) for seq, mark in enumerate(marks, last - len(marks) + 1)]


def begun_row(no: int, begun: Begun) -> Row:
    return (no, short(begun.key), *begun[1:], long(begun.key))


def new_run(run: Run, no: int) -> Row:
    return (
        run.id, run.kind, run.name, short(run.identity), run.args, run.direct, run.state, run.fence, run.owner,
        run.lease_until, run.wake_at, run.request, run.stalls, run.leased_seq, run.result, run.error, run.command,
        run.total, run.done, run.counted_seq, run.created_at, run.updated_at, run.queue, run.priority, run.lane,
        run.single, run.tags, run.parent, run.attempt, no, long(run.identity),
    )  # fmt: skip


def lot(lot: Lot, numbers: Sequence[int]) -> tuple[object, ...]:
    """The values of `add_lot`."""
    identities = [lot.prefix + own for own in lot.ids]
    return (
        ints(numbers), texts(lot.ids), texts(lot.args), texts(lot.lanes), texts(lot.singles),
        texts(list(map(short, identities))), texts(list(map(long, identities))), *lot.shared,
    )  # fmt: skip


def set_run(run: Run, no: int) -> Row:
    return (
        run.state, run.fence, run.owner, run.lease_until, run.wake_at, run.request, run.stalls, run.leased_seq,
        run.result, run.error, run.command, run.total, run.done, run.counted_seq, run.args, run.updated_at,
        run.priority, run.single, run.tags, run.attempt, no,
    )  # fmt: skip


def lease(run: Run, no: int, untold: int) -> Row:
    return (
        no, run.state, run.fence, run.owner, run.lease_until, run.wake_at, run.request, run.stalls, run.leased_seq,
        run.error, run.single, run.updated_at, untold,
    )  # fmt: skip


def schedule_row(schedule: Schedule) -> Row:
    return tuple(json.dumps(value) if isinstance(value, tuple) else value for value in schedule)


def schedule_of(row: Row) -> Schedule:
    # Columns 10 and 11: `going` and `backlog`. Most schedules wait for nothing.
    lists = [() if text == "[]" else tuple(json.loads(text)) for text in row[10:12]]
    return Schedule._make((*row[:10], *lists, *row[12:]))


def a_run(row: Sequence[Any]) -> Run:
    return Run._make(row)

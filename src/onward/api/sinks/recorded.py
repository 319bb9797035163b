"""The rows of one sink as the journal has them: by them a file is completed, and a changed one is told."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from onward.core import limits
from onward.runtime.engine import Engine
from onward.runtime.output import rows_of
from onward.runtime.session import Session

# Entries read at a time; the first look backwards is short, since the last rows are nearly always among the last.
_FIRST, _WIDEST = 64, 4_096
# So many rows further back than the place that is looked for nothing is left that belongs behind it.
_FLIPPED = 2 * limits.MAP_CONCURRENCY


class Rows(NamedTuple):
    """What one item has written. Those of one lease stand in the order of `at`, later leases after earlier ones."""

    fence: int
    at: int
    crc: int
    data: bytes

    @property
    def end(self) -> int:
        return self.at + len(self.data)


def latest(engine: Engine, session: Session, name: str) -> Rows | None:
    """The rows that stand last, as far as the last entries tell."""
    for found in _backwards(engine, session, name):
        if found:
            return max(found)
    return None


def following(engine: Engine, session: Session, name: str, size: int) -> list[Rows] | None:
    """The rows behind the first `size` bytes, in order, each continuing the one before; None if that is not so."""
    gathered: list[Rows] = []
    for found in _backwards(engine, session, name):
        gathered += found
        if any(rows.at <= size for rows in found):
            break
    gathered.sort()
    first = max((n for n, rows in enumerate(gathered) if rows.at <= size), default=None)
    if first is None:
        return None
    chain = gathered[first:]
    gapless = all(a.end == b.at for a, b in pairwise(chain))
    return chain if gapless else None


def behind(engine: Engine, session: Session, name: str, upto: tuple[int, ...]) -> list[Rows]:
    """The rows from the place `upto` (fence, at) on, in order."""
    gathered: list[Rows] = []
    passed = 0
    for found in _backwards(engine, session, name):
        gathered += [rows for rows in found if (rows.fence, rows.at) >= upto]
        # Units that ended at the same moment may be recorded in another order than that of their rows.
        passed += len(found) if all((rows.fence, rows.at) <= upto for rows in found) else 0
        if passed > _FLIPPED:
            break
    return sorted(gathered)


def in_order(engine: Engine, session: Session, name: str) -> Iterator[Rows]:
    """All rows, in the order in which they stand. Reads the whole journal of the run twice."""
    places: list[tuple[int, int, int]] = []
    after = -1
    while page := engine.store.entries(session.run.no, after=after, limit=_WIDEST):
        places += [(e.fence, rows["at"], e.seq) for e in page if (rows := rows_of(e).get(name)) is not None]
        after = page[-1].seq
    for fence, _, seq in sorted(places):
        (entry,) = engine.store.entries(session.run.no, after=seq - 1, limit=1)
        yield _rows(fence, rows_of(entry)[name])


def _backwards(engine: Engine, session: Session, name: str) -> Iterator[list[Rows]]:
    """The rows, a stretch of the journal at a time, the latest stretch first."""
    upto, width = engine.store.last_seq(session.run.no), _FIRST
    while upto >= 0:
        after = max(-1, upto - width)
        entries = engine.store.entries(session.run.no, after=after, limit=upto - after)
        yield [_rows(e.fence, rows) for e in entries if (rows := rows_of(e).get(name)) is not None]
        upto, width = after, min(width * 4, _WIDEST)


def _rows(fence: int, rows: dict[str, object]) -> Rows:
    at, crc, text = rows["at"], rows["crc"], rows["text"]
    assert isinstance(at, int)
    assert isinstance(crc, int)
    assert isinstance(text, str)
    return Rows(fence, at, crc, text.encode())

"""The outcomes that a run's journal holds, by key.

A run may have recorded thousands of them, which its next call waits for, and of most of them a replay needs the value
alone: what was read stays as the store gave it, and becomes an Entry when somebody asks for one.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter
from typing import Any, Final

from onward.core.model import Entry, made

_kind: Final = itemgetter(1)


class Recorded:
    """Outcomes by key: at most one of each."""

    __slots__ = ("rows",)

    def __init__(self) -> None:
        # Each an Entry, or the fields of one. Looked at by number only.
        self.rows: dict[str, tuple[Any, ...]] = {}

    def __contains__(self, key: object) -> bool:
        return key in self.rows

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __setitem__(self, key: str, entry: Entry) -> None:
        self.rows[key] = entry

    def __delitem__(self, key: str) -> None:
        del self.rows[key]

    def get(self, key: str) -> Entry | None:
        """What is recorded under the key."""
        row = self.rows.get(key)
        return None if row is None else _entry(row)

    def pop(self, key: str) -> None:
        """Drop what is recorded under the key, if anything is."""
        self.rows.pop(key, None)

    def values(self) -> list[Entry]:
        """All of them, in the order in which they were taken in."""
        return [_entry(row) for row in list(self.rows.values())]

    def items(self) -> list[tuple[str, Entry]]:
        """As `values`, each with its key."""
        return [(key, _entry(row)) for key, row in list(self.rows.items())]

    def count(self, *kinds: str) -> int:
        """How many of them are of these kinds."""
        found = list(map(_kind, list(self.rows.values())))
        return sum(map(found.count, kinds))


def _entry(row: tuple[Any, ...]) -> Entry:
    return row if type(row) is Entry else made(row)

"""What the units of a run write to sinks: rows that are recorded with their unit and put into the file after that.

A unit's rows get their place in the file when its outcome is about to be recorded, and travel in the same commit.
"""

from __future__ import annotations

import threading
import zlib
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from onward.core import codec
from onward.core.decide import Taken, decide
from onward.core.keys import SEPARATOR
from onward.core.model import Change, Entry, Run
from onward.runtime.current import Here
from onward.runtime.outcomes import decoded

ROWS = "rows"


class Part(NamedTuple):
    """The rows that one unit has written to one sink, and where they belong."""

    writer: Writer
    at: int  # in the text of all rows, in bytes
    crc: int  # of everything before `at`
    lines: list[str]
    data: bytes


class Writer(ABC):
    """One sink in one run. Knows how far its rows reach; subclasses know what is done with them.

    Rows end in a line end each. What is handed out by `place` comes back through `append`, in any order, once it is
    recorded, and goes on to `put` in the order of its place.
    """

    def __init__(self, name: str, run: Run, lock: threading.RLock) -> None:
        self.name, self.run, self.lock = name, run, lock
        self.size = self.crc = 0
        self.broken = (
            False  # nothing more is put into the file: the journal has it all, the next pass completes it
        )
        self._waiting: dict[int, Part] = {}
        self._reached = 0

    def stands_at(self, size: int, crc: int) -> None:
        """So many bytes are in their place."""
        self.size = self._reached = size
        self.crc = crc

    def place(self, lines: list[str]) -> Part:
        """Where these rows belong; they are counted as written from now on."""
        with self.lock:
            data = "".join(self.leading(lines)).encode()
            part = Part(self, self.size, self.crc, lines, data)
            self.size += len(data)
            self.crc = zlib.crc32(data, self.crc)
            return part

    def leading(self, lines: list[str]) -> list[str]:
        """The rows, with what has to stand before the first ones."""
        return lines

    def append(self, part: Part) -> None:
        """Put recorded rows into their place, after those that stand before them."""
        with self.lock:
            self._waiting[part.at] = part
            while self._reached in self._waiting and not self.broken:
                part = self._waiting.pop(self._reached)
                try:
                    self.put(part)
                except BaseException:
                    self.broken = True
                    raise
                self._reached += len(part.data)

    @abstractmethod
    def put(self, part: Part) -> None: ...

    @abstractmethod
    def settle(self, *, final: bool) -> None:
        """Make durable what was put; `final` when the loop has come to its end."""


class Output:
    """The sinks of one run."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.writers: dict[str, Writer] = {}
        self.complete = False  # whether all sinks of a continued run are open
        self.writing: dict[str, Here] = {}  # by key: where units that record their outcome themselves write
        self.numbers: dict[str, int] = {}  # by name: the highest number given so far, see `numbered`
        self._placed: dict[str, list[Part]] = {}

    def place(self, rows: dict[Writer, list[str]]) -> list[Part]:
        with self.lock:
            return [writer.place(lines) for writer, lines in rows.items()]

    def with_rows(self, run: Run, change: Change) -> Change:
        """The change that records a unit's outcome, with the rows that its attempt has written."""
        entry = change.entries[0]
        here = self.writing.pop(entry.key, None)
        if here is None or not here.rows or here.attempt != entry.attempt or entry.state != "done":
            return change
        self._placed[entry.key] = parts = self.place(here.rows)
        rows = Taken(entry.key + SEPARATOR + ROWS, "value", ROWS, payload(parts))
        taken = decide(run, rows, now=entry.ended_at)
        return change._replace(entries=(*change.entries, *taken.entries))

    def deliver(self, change: Change) -> None:
        """That change is durable: its rows may go into their files."""
        for part in self._placed.pop(change.entries[0].key, ()):
            part.writer.append(part)

    def settle(self, *, final: bool) -> None:
        for writer in list(self.writers.values()):
            if not writer.broken:
                writer.settle(final=final)


def payload(parts: list[Part]) -> str:
    """What is recorded of rows."""
    rows = {part.writer.name: {"at": part.at, "crc": part.crc, "text": part.data.decode()} for part in parts}
    return codec.encode({ROWS: rows})


def rows_of(entry: Entry) -> dict[str, dict[str, Any]]:
    """The rows that an entry carries, by sink: those of a loop's item are in its own entry."""
    if entry.state != "done" or entry.value is None or not entry.value.startswith('{"rows":{'):
        return {}
    if entry.name != ROWS and not entry.key.rpartition(SEPARATOR)[2].startswith("each"):
        return {}  # the result of something that happens to look like it
    rows = decoded(entry)[ROWS]
    fitting = isinstance(rows, dict) and all(isinstance(r, dict) and "text" in r for r in rows.values())
    return rows if fitting else {}

"""A file of rows as simulated loops write it: the product's own book of a JSON Lines file, on a real file.

Only what a loop does with it is played here: rows are collected when an item ends, recorded with it, and put into the
file once that is durable. Processes can die and stall in between.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

from onward.api.sinks.jsonl import JsonLines
from onward.core.errors import RunConflict
from onward.runtime.output import Part, payload
from simulation.log import Effect
from simulation.usercode import UserCode

NAME = "rows.jsonl"


class Sheet:
    """The rows of one lease."""

    def __init__(self, code: UserCode, book: JsonLines) -> None:
        self._code, self._book = code, book
        self._waiting: list[Part] = []

    def collect(self, effect: Effect) -> str:
        """The row of an item that ends now, as it is recorded; the number in it belongs to this execution alone."""
        effect.value = self._code.world.serial = self._code.world.serial + 1
        part = self._book.place([self._book.line({"key": effect.key, "serial": effect.value})])
        self._waiting.append(part)
        return payload([part])

    def put(self) -> None:
        """The rows of items that are recorded go into the file."""
        waiting, self._waiting = self._waiting, []
        try:
            for part in waiting:
                part.writer.append(part)
        except RunConflict as error:
            self._refused(error)
            raise

    def _refused(self, error: RunConflict) -> None:
        """Only who has lost the run may find the file changed."""
        world, run = self._code.world, self._code.session.run
        if world.held[run.no][1] == run.fence:
            world.log.breaches.append(f"28: the holder of {run.id} was refused its own file: {error}")


def opened(code: UserCode, file: Path) -> Generator[float, None, Sheet]:
    """The file, brought up to what is recorded."""
    session, engine = code.session, code.process.engine
    key = f"sink/{NAME}"
    session.learn(engine.store.scope_entries(session.run.no, key))
    base = {"path": str(file), "mode": "new", "size": 0, "crc": 0}
    recorded = yield from code.drive(session.take(key, "value", "jsonl", lambda now: base))
    book = JsonLines(NAME, recorded, engine, session)
    sheet = Sheet(code, book)
    try:
        book.open()
    except RunConflict as error:
        sheet._refused(error)
        raise
    return sheet


def rows(text: str) -> list[tuple[str, int]]:
    """(key, serial) of each row."""
    return [(row["key"], row["serial"]) for row in map(json.loads, text.splitlines())]

"""`jsonl`: a file whose rows commit with the items that wrote them: none lost, none twice.

The rows of an item are part of its entry in the journal, with the place in the file where they belong and a running
checksum of all that stands before. They are appended to the file after that commit. A file that is behind, because the
process or the machine died in between, is completed from the journal when the loop continues; one that somebody
else has changed is refused.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from onward.api import connect
from onward.core import codec
from onward.core.errors import NotRecordable, RunConflict, UsageError
from onward.core.model import Entry
from onward.runtime import current
from onward.runtime.drive import drive
from onward.runtime.engine import Engine
from onward.runtime.outcomes import decoded
from onward.runtime.session import Session

Mode = Literal["new", "append"]


class Rows(NamedTuple):
    """What one item has written to one sink, and where it belongs."""

    sink: Jsonl
    at: int
    crc: int  # of everything before `at`
    data: bytes


@dataclass
class _Open:
    """A sink in one run: how long the file is, counting rows that are recorded, and its checksum."""

    run_id: str
    size: int
    crc: int


class Jsonl:
    """What `jsonl` returns. `write` in the body of an `onward.each`."""

    def __init__(self, path: str | os.PathLike[str], mode: Mode) -> None:
        if mode not in ("new", "append"):
            raise UsageError(f'mode={mode!r} is not possible: give "new" or "append"')
        self.path, self.mode = Path(path), mode
        self._name = str(path)
        self._open: _Open | None = None

    def write(self, row: Any) -> None:
        """Add one row, any value that JSON can hold exactly; it is in the file once the item is done.

        Raises NotRecordable for other values, UsageError outside the body of an `onward.each`.
        """
        place = current.here()
        if place is None or place.rows is None:
            raise UsageError(
                f"{self._name}: write() belongs into the body of an `onward.each` loop, outside of steps, so "
                "that the row is "
                f"recorded with the item; nothing was written"
            )
        self._ensure(connect.engine(), place.session)
        place.rows.setdefault(self, []).append(_line(row, self._name))

    # -- recording: called by the loop ----------------------------------------------------------------------------

    def collect(self, lines: list[str]) -> Rows:
        """The rows of an item that ends now. They are counted as written: nothing else may come between."""
        assert self._open is not None, "write() has opened it"
        data = "".join(lines).encode()
        rows = Rows(self, self._open.size, self._open.crc, data)
        self._open.size += len(data)
        self._open.crc = zlib.crc32(data, self._open.crc)
        return rows

    def append(self, rows: Rows) -> None:
        """Put recorded rows into the file."""
        with open(self.path, "r+b") as file:
            file.seek(rows.at)
            file.write(rows.data)

    def settle(self) -> None:
        """Make the file durable; the journal no longer has to complete it."""
        with open(self.path, "r+b") as file:
            os.fsync(file.fileno())

    # -- opening and repairing ------------------------------------------------------------------------------------

    def _ensure(self, engine: Engine, session: Session) -> None:
        if self._open is not None and self._open.run_id == session.run.id:
            return
        # The base is what the file held when the run began; recorded once, before the first row.
        key = f"sink/{self._name}"
        session.learn(engine.store.scope_entries(session.run.no, key))
        base = drive(session.take(key, "value", "jsonl", lambda now: self._base()), engine, session)
        last = self._last_rows(engine, session)
        if last is None:
            self._begin(base)
            self._open = _Open(session.run.id, base["size"], base["crc"])
            return
        end, crc = last["at"] + len(last["text"].encode()), zlib.crc32(last["text"].encode(), last["crc"])
        self._repair(engine, session, end)
        if self._checksum(end) != crc:
            raise self._foreign(session, "its content is not what was recorded")
        self._open = _Open(session.run.id, end, crc)

    def _base(self) -> dict[str, Any]:
        base: dict[str, Any] = {"path": str(self.path.absolute()), "mode": self.mode, "size": 0, "crc": 0}
        if self.mode == "append" and self.path.exists():
            base["size"] = self.path.stat().st_size
            base["crc"] = self._checksum(base["size"])
        return base

    def _begin(self, base: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "ab") as file:
            file.truncate(base["size"])
            os.fsync(file.fileno())

    def _repair(self, engine: Engine, session: Session, end: int) -> None:
        size = self.path.stat().st_size if self.path.exists() else 0
        if size > end:
            raise self._foreign(session, f"it has {size - end:,} bytes more than were recorded")
        missing = self._recorded_from(engine, session, size) if size < end else []
        if missing and missing[0]["at"] > size:
            raise self._foreign(session, f"it has only {size:,} bytes")
        if not missing:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "r+b" if self.path.exists() else "w+b") as file:
            for rows in missing:
                file.seek(rows["at"])
                file.write(rows["text"].encode())
            file.flush()
            os.fsync(file.fileno())

    def _last_rows(self, engine: Engine, session: Session) -> dict[str, Any] | None:
        for rows in self._backwards(engine, session):
            return rows
        return None

    def _recorded_from(self, engine: Engine, session: Session, size: int) -> list[dict[str, Any]]:
        """The recorded rows that stand behind the first `size` bytes of the file, in order."""
        found: list[dict[str, Any]] = []
        for rows in self._backwards(engine, session):
            found.append(rows)
            if rows["at"] <= size:
                break
        return found[::-1]

    def _backwards(self, engine: Engine, session: Session) -> Iterator[dict[str, Any]]:
        """What was recorded for this sink, the latest first."""
        upto, width = engine.store.last_seq(session.run.no), 64
        while upto >= 0:
            after = max(-1, upto - width)
            for entry in reversed(engine.store.entries(session.run.no, after=after, limit=upto - after)):
                rows = rows_of(entry)
                if self._name in rows:
                    yield rows[self._name]
            upto, width = after, min(width * 4, 4_096)

    def _checksum(self, size: int) -> int:
        crc = 0
        with open(self.path, "rb") as file:
            while size > 0 and (data := file.read(min(size, 1 << 20))):
                crc = zlib.crc32(data, crc)
                size -= len(data)
        return crc if size == 0 else -1

    def _foreign(self, session: Session, what: str) -> RunConflict:
        return RunConflict(
            session.run.id,
            f"{self._name} was changed by something else since `{session.run.name}` wrote to it: {what}. "
            "Nothing was written. "
            f"Put the file back, or move it away and start afresh with `onward cancel {session.run.id}`.",
        )


def jsonl(path: str | os.PathLike[str], *, mode: Mode = "new") -> Jsonl:
    """A JSON Lines file whose rows commit with the item that writes them: no row is lost, none is there twice.

        out = onward.jsonl("venues.jsonl")
        for venue in onward.each(venues):
            out.write(scrape(venue))

    A new pass begins with an empty file, or with `mode="append"` behind what is there; a continued pass goes on where
    the recorded rows end. The file is completed when the loop continues, and it is durable when the loop has
    finished. One that something else has changed meanwhile is refused with RunConflict.
    """
    return Jsonl(path, mode)


def complete(engine: Engine, session: Session) -> None:
    """Bring the files of a continued loop up to what is recorded, whether or not anything more is written to them."""
    if session.run.fence == 1:
        return
    for entry in engine.store.scope_entries(session.run.no, "sink/"):
        name, base = entry.key.removeprefix("sink/"), decoded(entry)
        sink = Jsonl(base["path"], base["mode"])
        sink._name = name
        sink._ensure(engine, session)


def rows_of(entry: Entry) -> dict[str, Any]:
    """The rows that an item's entry carries, by sink."""
    if entry.kind != "item" or entry.state != "done" or entry.value is None:
        return {}
    value = decoded(entry)
    rows = value.get("rows") if isinstance(value, dict) else None
    return rows if isinstance(rows, dict) else {}


def payload(rows: list[Rows]) -> str | None:
    """What an item's entry says of its rows."""
    if not rows:
        return None
    return codec.encode(
        {"rows": {r.sink._name: {"at": r.at, "crc": r.crc, "text": r.data.decode()} for r in rows}}
    )


def _line(row: Any, name: str) -> str:
    # The same rule as for recorded values: what does not come back exactly is refused, not bent.
    try:
        text = json.dumps(row, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        exact = json.loads(text) == row
    except (TypeError, ValueError) as error:
        raise NotRecordable(
            f"a row of {name}", "$", type(row).__qualname__, f"write plain JSON values ({error})"
        ) from None
    if not exact:
        cure = "write dicts with str keys, lists, str, int, float, bool and None"
        raise NotRecordable(f"a row of {name}", "$", type(row).__qualname__, cure)
    return text + "\n"

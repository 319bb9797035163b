"""`parquet`: a folder of Parquet files whose rows commit with the items that wrote them.

A Parquet file cannot be appended to: its end says what is in it. So rows wait in the journal until there are enough of
them for a file, a *part*, which is then written whole; the last part is written when the loop has ended.
"""

from __future__ import annotations

import datetime as dt
import functools
import os
import re
import zlib
from collections.abc import Mapping
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from onward.api.files import atomic_write
from onward.api.sinks import recorded
from onward.api.sinks.sink import Base, Book, Mode, Sink
from onward.core import codec, limits
from onward.core.codec_files import File
from onward.core.errors import NotRecordable, UsageError
from onward.core.keys import SEPARATOR
from onward.core.lazily import Lazily
from onward.runtime import disk
from onward.runtime.drive import drive
from onward.runtime.engine import Engine
from onward.runtime.outcomes import decoded
from onward.runtime.output import Part
from onward.runtime.session import Session

if TYPE_CHECKING:
    import pyarrow
    from pyarrow import parquet as files
else:
    pyarrow, files = Lazily("pyarrow"), Lazily("pyarrow.parquet")

_PART: Final = re.compile(r"part-(\d{5,})\.parquet")
# Values of which the type alone tells the type of their column.
_SCALARS: Final = frozenset({str, int, float, bool, bytes, dt.date, type(None)})
_OWNER: Final = b"onward"  # in a part's metadata: which run wrote it, and its first row


class Row(NamedTuple):
    """One row, and its place in the journal: the `no`-th of what one item wrote."""

    fence: int
    at: int
    no: int
    line: str


class Parts(Book):
    """A folder of Parquet files in one run. Rows that have no part yet are kept in memory, and in the journal."""

    kind: ClassVar[str] = "parquet"

    def __init__(self, name: str, base: Base, engine: Engine, session: Session) -> None:
        super().__init__(name, base, engine, session)
        self._rows_each: int = base["rows"]
        self._first: int = base["first"]
        given = base["schema"]
        self._fixed = given is not None  # whether parts are written, or a schema was given: then it stands
        self._schema: Any = None if given is None else _schema(given)
        self._shapes: set[frozenset[tuple[str, type]]] = set()
        self._fitting: list[str] = []  # the rows that the schema has to hold when it grows
        self._pending: list[Row] = []
        self._done = 0  # parts that are full, written and recorded

    # -- rows ------------------------------------------------------------------------------------------------------

    def line(self, row: Any) -> str:
        if not isinstance(row, Mapping) or not row or not all(type(key) is str for key in row):
            raise self._odd(row, "write a dict with column names as keys")
        plain = dict(row)
        line = codec.encode(plain, where=f"a row of {self.name}") + "\n"
        with self.lock:
            self._fit(plain)
            if not self._fixed:
                self._fitting.append(line)
        return line

    def _fit(self, row: dict[str, Any]) -> None:
        """See that the row fits into the schema, which grows with the rows as long as no part is written."""
        try:
            if self._fixed:
                unknown = [key for key in row if key not in self._schema.names]
                if unknown:
                    cure = f"there is no column {unknown[0]!r} in its schema; give all with schema="
                    raise self._odd(row, cure)
                pyarrow.Table.from_pylist([row], schema=self._schema)
            else:
                self._grow(row)
        except (pyarrow.ArrowException, TypeError, ValueError, OverflowError) as error:
            cure = f"it does not fit into the columns so far ({error}); give schema= to say what they hold"
            raise self._odd(row, cure) from error

    def _grow(self, row: dict[str, Any]) -> None:
        shape = frozenset((name, type(value)) for name, value in row.items())
        if shape in self._shapes:  # as earlier rows: most are
            pyarrow.Table.from_pylist([row], schema=self._schema)
            return
        found = pyarrow.Table.from_pylist([row]).schema
        known = found if self._schema is None else self._schema
        merged = pyarrow.unify_schemas([known, found], promote_options="permissive")
        pyarrow.Table.from_pylist([row], schema=merged)
        if any(merged.field(f.name).type != f.type and not pyarrow.types.is_null(f.type) for f in known):
            # Such as whole numbers that become fractions, which cannot hold the largest of them.
            pyarrow.Table.from_pylist([codec.decode(line) for line in self._fitting], schema=merged)
        self._schema = merged
        if all(kind in _SCALARS for _, kind in shape):
            self._shapes.add(shape)

    def _odd(self, row: object, cure: str) -> NotRecordable:
        return NotRecordable(f"a row of {self.name}", "$", type(row).__qualname__, cure)

    # -- parts -----------------------------------------------------------------------------------------------------

    def put(self, part: Part) -> None:
        self._take_in(self.run.fence, part.at, part.lines)
        self._write_full()

    def _take_in(self, fence: int, at: int, lines: list[str]) -> None:
        self._pending += [Row(fence, at, no, line) for no, line in enumerate(lines)]

    def _write_full(self) -> None:
        while len(self._pending) >= self._rows_each:
            rows = self._pending[: self._rows_each]
            self._fix(self._columns())
            file = self._write(self._done, [row.line for row in rows])
            schema = self._schema.serialize().to_pybytes() if self._done == 0 else None
            done = {"file": file, "upto": list(rows[-1][:3]), "schema": schema}
            key = f"part/{self.name}{SEPARATOR}{self._done:05d}"
            flow = self.session.take(key, "value", "part", functools.partial(_drawn, done))
            drive(flow, self.engine, self.session)
            self._done += 1
            del self._pending[: self._rows_each]

    def _write(self, number: int, lines: list[str]) -> File:
        schema = self._columns()
        schema = schema.with_metadata({**(schema.metadata or {}), _OWNER: self._owner(number)})
        table = pyarrow.Table.from_pylist([codec.decode(line) for line in lines], schema=schema)
        disk.make_folder(self.path)
        with atomic_write(self._file(number), mode="wb") as out:
            files.write_table(table, out)
        return out.recorded

    def _columns(self) -> Any:
        """The columns as they are written. One that was always empty so far is written as one of text."""
        if self._fixed:
            return self._schema
        return pyarrow.schema(
            [f.with_type(pyarrow.string()) if pyarrow.types.is_null(f.type) else f for f in self._schema]
        )

    def _fix(self, schema: Any) -> None:
        """From now on the columns are these."""
        self._schema, self._fixed = schema, True
        self._fitting.clear()

    def settle(self, *, final: bool) -> None:
        with self.lock:
            if final and self._pending:
                self._write(self._done, [row.line for row in self._pending])

    def _file(self, number: int) -> str:
        return str(self.path / f"part-{self._first + number:05d}.parquet")

    def _owner(self, number: int) -> bytes:
        return f"{self.run.id} {number * self._rows_each}".encode()

    # -- opening ---------------------------------------------------------------------------------------------------

    def open(self) -> None:
        parts = [
            decoded(e) for e in self.engine.store.scope_entries(self.run.no, f"part/{self.name}{SEPARATOR}")
        ]
        found = _parts(self.path, self.name)
        if not parts and recorded.latest(self.engine, self.session, self.name) is None:
            self._begin(found)
            return
        self._done = len(parts)
        if parts:
            self._fix(_schema(parts[0]["schema"]))
        self._check([part["file"] for part in parts], found)
        self._recall(tuple(parts[-1]["upto"]) if parts else (0, 0, -1))
        self._write_full()

    def _begin(self, found: dict[int, str]) -> None:
        """What an earlier pass has left goes, unless it is to be kept."""
        for number, path in sorted(found.items()):
            if number >= self._first:
                os.unlink(path)

    def _check(self, recorded_files: list[File], found: dict[int, str]) -> None:
        """Recorded parts are as they were, or gone and written once more; there is no other part."""
        lost = []
        for number, file in enumerate(recorded_files):
            here = File(self._file(number), file.size, file.checksum)
            if not os.path.exists(here):
                lost.append(number)
            elif problems := disk.altered([here]):
                self.foreign(problems[0])
        for number, path in found.items():
            if number >= self._first + self._done and not self._is_ours(path, number - self._first):
                self.foreign(f"{path} was not written by this pass")
        if lost:
            self._restore(lost)

    def _is_ours(self, path: str, number: int) -> bool:
        try:
            said = (files.read_schema(path).metadata or {}).get(_OWNER)
        except (pyarrow.ArrowException, OSError):
            return False
        return bool(said == self._owner(number))

    def _restore(self, lost: list[int]) -> None:
        """Write parts that are gone once more, from the journal."""
        chunks = recorded.in_order(self.engine, self.session, self.name)
        lines = chain.from_iterable(_lines(rows.data) for rows in chunks)
        for number in range(self._done):
            part = list(islice(lines, self._rows_each))
            if number in lost:
                self._write(number, part)

    def _recall(self, upto: tuple[int, ...]) -> None:
        """The rows that stand in no part yet, and where new ones go."""
        end, crc = 0, 0
        for rows in recorded.behind(self.engine, self.session, self.name, upto[:2]):
            lines = _lines(rows.data)
            self._take_in(rows.fence, rows.at, lines)
            end, crc = rows.end, zlib.crc32(rows.data, rows.crc)
        self._pending = [row for row in self._pending if row[:3] > upto]
        self.stands_at(end, crc)
        for row in self._pending if not self._fixed else ():
            self._fit(codec.decode(row.line))
            self._fitting.append(row.line)


class Parquet(Sink):
    """What `parquet` returns."""

    kind: ClassVar[str] = "parquet"

    def __init__(
        self, path: str | os.PathLike[str], mode: Mode, schema: pyarrow.Schema | None, rows_per_file: int
    ) -> None:
        super().__init__(path, mode)
        if type(rows_per_file) is not int or not 1 <= rows_per_file <= limits.PARQUET_ROWS_MAX:
            raise UsageError(
                f"rows_per_file={rows_per_file!r} is not possible: give a whole number from 1 to "
                f"{limits.PARQUET_ROWS_MAX:,}; nothing was written"
            )
        try:
            if schema is not None and not isinstance(schema, pyarrow.Schema):
                raise UsageError(f"schema= takes a pyarrow.Schema, not a {type(schema).__qualname__}")
            self._schema = None if schema is None else schema.serialize().to_pybytes()
            self._rows = rows_per_file
            _ = files.write_table
        except ImportError as error:
            raise UsageError(
                'onward.parquet writes through pyarrow, which is not installed: pip install "onward[parquet]"'
            ) from error

    def _base(self, row: Any) -> Base:
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(
                f"{self._name} is a file, and onward.parquet writes a folder of Parquet files; nothing was written. "
                "Move it away, or give another path."
            )
        found = _parts(self.path, self._name)
        first = max(found, default=0) + 1 if self.mode == "append" else 1
        path = str(self.path.absolute())
        return {"path": path, "mode": self.mode, "first": first, "rows": self._rows, "schema": self._schema}

    def _unlike(self, base: Base) -> str | None:
        if base.get("rows") == self._rows and base.get("schema") == self._schema:
            return None
        return (
            f", {base.get('rows')} rows a file and {'no' if base.get('schema') is None else 'another'} schema"
        )

    def _book(self, base: Base, engine: Engine, session: Session) -> Book:
        return Parts(self._name, base, engine, session)


def parquet(
    path: str | os.PathLike[str],
    *,
    schema: pyarrow.Schema | None = None,
    rows_per_file: int = limits.PARQUET_ROWS,
    mode: Mode = "new",
) -> Parquet:
    """A folder of Parquet files whose rows commit with the item that writes them: none is lost, none is there twice.

        out = onward.parquet("venues.parquet")           # read it with pandas.read_parquet("venues.parquet")
        for venue in onward.each(venues):
            out.write({"name": venue.name, "opened": venue.opened})

    Rows are dicts of values that the journal can record. They wait in the journal until there are `rows_per_file` of
    them, and are then written whole to `part-00001.parquet` and so on; the last file is written when the loop has
    ended. `schema` (of pyarrow) says what the columns hold; without it, the first file's rows do. A row that does not
    fit is refused with NotRecordable when it is written, before it is recorded. A new pass begins with an empty folder,
    or with `mode="append"` with a further file; a continued pass goes on where the recorded rows end, writes files that
    are gone once more, and refuses with RunConflict those that something else has changed or added.

    Needs pyarrow: `pip install "onward[parquet]"`.
    """
    return Parquet(path, mode, schema, rows_per_file)


def _parts(path: Path, name: str) -> dict[int, str]:
    """The parts in a folder by their numbers. Raises UsageError if readers would find other things in it."""
    found: dict[int, str] = {}
    for entry in sorted(os.listdir(path)) if path.is_dir() else ():
        matched = _PART.fullmatch(entry)
        if matched is not None:
            found[int(matched[1])] = str(path / entry)
        elif not entry.startswith((".", "_")):
            raise UsageError(
                f"{name} holds {entry!r}, which is no part of it and would be read with it; nothing was written. Move "
                "it away, or give another path."
            )
    return found


def _schema(serialized: bytes) -> Any:
    return pyarrow.ipc.read_schema(pyarrow.py_buffer(serialized))


def _drawn(value: Base, now: float) -> Base:
    return value


def _lines(data: bytes) -> list[str]:
    return [line + "\n" for line in data.decode().split("\n")[:-1]]

"""`csv`: a CSV file whose rows commit with the items that wrote them."""

from __future__ import annotations

import csv as formats
import datetime as dt
import decimal
import io
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, NoReturn

from onward.api.sinks.lines import Lines, text_base
from onward.api.sinks.sink import Base, Book, Mode, Sink
from onward.core.errors import NotRecordable, UsageError
from onward.runtime.engine import Engine
from onward.runtime.session import Session

_CELLS: Final = (str, int, float, decimal.Decimal, dt.date, dt.time, dt.timedelta, uuid.UUID, type(None))
_PARTS: Final = (
    "delimiter", "quotechar", "escapechar", "doublequote", "skipinitialspace", "lineterminator", "quoting",
)  # fmt: skip

Dialect = str | type[formats.Dialect] | formats.Dialect


class CsvLines(Lines):
    """A CSV file in one run."""

    kind: ClassVar[str] = "csv"

    def __init__(self, name: str, base: Base, engine: Engine, session: Session) -> None:
        super().__init__(name, base, engine, session)
        self.fields: list[str] | None = base["fields"]
        self.width: int = base["width"]
        self._dialect = _dialect(base["dialect"], name)

    def leading(self, lines: list[str]) -> list[str]:
        """The header stands once, before the first row of the file, and is recorded with it."""
        if self.size or self.fields is None:
            return lines
        return [_text(self.fields, self._dialect), *lines]

    def line(self, row: Any) -> str:
        cells = _cells(row, self.fields, self.name)
        if len(cells) != self.width:
            self._refuse(row, f"it has {len(cells)} cells and the file has {self.width} columns")
        odd = next((n for n, cell in enumerate(cells) if not isinstance(cell, _CELLS)), None)
        if odd is not None:
            path = f"$[{self.fields[odd]!r}]" if self.fields else f"$[{odd}]"
            cure = "a cell holds text, a number, a date or nothing; turn it into text first"
            raise NotRecordable(f"a row of {self.name}", path, type(cells[odd]).__qualname__, cure)
        try:
            line = _text(cells, self._dialect)
            line.encode()
            # What a reader would make of it, now that it can still be refused.
            found = list(formats.reader(io.StringIO(line, newline=""), self._dialect))
        except (formats.Error, UnicodeEncodeError) as error:
            self._refuse(row, f"it cannot be written in this dialect ({error})")
        if "\0" in line:
            self._refuse(row, "it contains a NUL, which many readers take for the end")
        if found != [["" if cell is None else str(cell) for cell in cells]]:
            self._refuse(row, "it would not come back from a file in this dialect as it is")
        return line

    def _refuse(self, row: Any, why: str) -> NoReturn:
        raise NotRecordable(f"a row of {self.name}", "$", type(row).__qualname__, why)


class Csv(Sink):
    """What `csv` returns."""

    kind: ClassVar[str] = "csv"

    def __init__(
        self, path: str | os.PathLike[str], mode: Mode, fields: Sequence[str] | None, dialect: Dialect
    ) -> None:
        super().__init__(path, mode)
        self._fields = None if fields is None else _checked(fields, self._name)
        self._dialect = _parts(dialect, self._name)

    def _base(self, row: Any) -> Base:
        fields = self._fields
        if fields is None and isinstance(row, Mapping):
            fields = _checked(list(row), self._name)
        width = len(fields) if fields is not None else len(_cells(row, None, self._name))
        base = text_base(self.path, self.mode, self._name)
        if base["size"] and fields is not None:
            found = _header(self.path, self._dialect)
            if found != fields:
                raise UsageError(
                    f"{self._name} has the columns {found}, and rows with {fields} were to be appended; nothing was "
                    "written. Give fields= as in the file, or another path."
                )
        return {**base, "fields": fields, "width": width, "dialect": self._dialect}

    def _unlike(self, base: Base) -> str | None:
        if self._fields in (None, base.get("fields")) and self._dialect == base.get("dialect"):
            return None
        return f", the columns {base.get('fields')} and the dialect {base.get('dialect')}"

    def _book(self, base: Base, engine: Engine, session: Session) -> Book:
        return CsvLines(self._name, base, engine, session)


def csv(
    path: str | os.PathLike[str],
    *,
    fields: Sequence[str] | None = None,
    dialect: Dialect = "excel",
    mode: Mode = "new",
) -> Csv:
    """A CSV file whose rows commit with the item that writes them: no row is lost, none is there twice.

        out = onward.csv("venues.csv", fields=["name", "city"])
        for venue in onward.each(venues):
            out.write(scrape(venue))                    # {"name": ..., "city": ...} or (name, city)

    `fields` names the columns; without it they are the keys of the first row, and rows that are sequences get no
    header. The header stands once. A key that a row lacks is an empty cell, one that is no column is refused, and so is
    whatever a reader of the file would not get back as text. Cells hold text, numbers, dates, UUIDs or None (empty).
    `dialect` is one of the standard library's `csv`; UTF-8. In all else it is as `onward.jsonl`.
    """
    return Csv(path, mode, fields, dialect)


def _cells(row: Any, fields: Sequence[str] | None, name: str) -> list[Any]:
    if isinstance(row, Mapping):
        if fields is None:
            raise NotRecordable(
                f"a row of {name}", "$", type(row).__qualname__, "give fields=, or write sequences"
            )
        extra = [key for key in row if key not in fields]
        if extra:
            cure = f"the file has no column for it; the columns are {list(fields)}, name them all in fields="
            raise NotRecordable(
                f"a row of {name}", f"$[{extra[0]!r}]", type(row[extra[0]]).__qualname__, cure
            )
        return [row.get(field) for field in fields]
    if isinstance(row, Sequence) and not isinstance(row, (str, bytes, bytearray)):
        return list(row)
    raise NotRecordable(f"a row of {name}", "$", type(row).__qualname__, "write a dict, a list or a tuple")


def _checked(fields: Sequence[object], name: str) -> list[str]:
    named = [field for field in fields if isinstance(field, str)]
    if isinstance(fields, str) or not fields or len(named) != len(fields) or len(set(named)) != len(named):
        raise UsageError(
            f"{name}: the columns of a CSV file are names, each given once, not {list(fields)[:20]!r}; nothing was "
            "written. Give them as fields=."
        )
    return named


def _text(cells: Sequence[Any], dialect: type[formats.Dialect]) -> str:
    out = io.StringIO(newline="")
    formats.writer(out, dialect).writerow(cells)
    return out.getvalue()


def _header(path: Path, parts: dict[str, Any]) -> list[str]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        return next(formats.reader(file, _dialect(parts, str(path))), [])


# -- dialects, as they are recorded ----------------------------------------------------------------------------


def _parts(dialect: Dialect, name: str) -> dict[str, Any]:
    try:
        found: Any = formats.get_dialect(dialect) if isinstance(dialect, str) else dialect
        formats.writer(io.StringIO(), found)
        return {part: getattr(found, part) for part in _PARTS}
    except (formats.Error, TypeError, AttributeError) as error:
        raise UsageError(
            f"{name}: dialect={dialect!r} is not possible ({error}); there are {', '.join(formats.list_dialects())}, "
            "and csv.register_dialect makes more"
        ) from error


def _dialect(parts: dict[str, Any], name: str) -> type[formats.Dialect]:
    return type("Recorded", (formats.Dialect,), {"_name": name, **parts, "strict": True})

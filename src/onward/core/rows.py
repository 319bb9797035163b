"""What recognises an item of a loop or map: its content, also where it is a row of a database or of a data frame.

Rows come as objects of libraries that the codec does not record. They are known by how they look, and none of those
libraries is imported: a row is as good as the pairs of its columns and values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from onward.core import codec
from onward.core.errors import NotRecordable

# Libraries whose rows have `keys()` and values in that order, but are no mappings.
_DRIVERS: Final = frozenset(("sqlite3", "pysqlite2", "asyncpg", "MySQLdb", "pymssql", "snowflake"))


def recognised(item: object) -> str:
    """The key of an item: `codec.item_key` of it, or of the columns and values of a row.

    Raises NotRecordable, with a cure that fits, when the content cannot be taken.
    """
    try:
        return codec.item_key(item)
    except NotRecordable as refused:
        try:
            row = _pairs(item)
            if row is not None:
                return codec.item_key([type(item).__qualname__, row])
        except NotRecordable as inside:
            raise _cured(refused, item, inside.type_name) from None
        raise _cured(refused, item, refused.type_name) from None


def _pairs(item: Any) -> list[list[object]] | None:
    """The columns and values of a row, in order; None for what is none."""
    if type(item).__name__ == "ndarray":
        return [["rows", item.tolist()]]  # of objects: any other kind of array is recordable
    fields = getattr(item, "_fields", None)
    # Named tuples of classes made at run time (pandas, psycopg), and rows of SQLAlchemy.
    if isinstance(fields, tuple) and (isinstance(item, tuple) or _library(item) == "sqlalchemy"):
        return _zipped(fields, item)
    if isinstance(item, Mapping):
        return [[name, value] for name, value in item.items()]
    if _library(item) in _DRIVERS and callable(getattr(item, "keys", None)):
        return _zipped(item.keys(), item)
    return None


def _zipped(names: Any, values: Any) -> list[list[object]]:
    return [[name, value] for name, value in zip(names, values, strict=True)]


def _library(item: object) -> str:
    return type(item).__module__.partition(".")[0]


def _cured(refused: NotRecordable, item: Any, culprit: str) -> NotRecordable:
    return NotRecordable(refused.where, refused.path, culprit, _cure(item) or refused.cure)


def _cure(item: Any) -> str | None:
    """What to write for kinds of items that are met often."""
    name = type(item).__name__
    if hasattr(item, "_sa_instance_state"):
        return "give key= to say what recognises an item, such as key=lambda it: str(it.id)"
    if _library(item) == "sqlalchemy":
        return "give key= to say what recognises a row, such as key=lambda row: str(row[0].id)"
    if hasattr(item, "pk") and hasattr(item, "_meta"):
        return "give key= to say what recognises an item, such as key=lambda it: str(it.pk)"
    if name == "DirEntry":
        return (
            "give key=lambda entry: entry.path, or loop over onward.files(...), which also sees altered files"
        )
    if isinstance(item, Mapping) and "_id" in item:
        return 'give key= to say what recognises an item, such as key=lambda it: str(it["_id"])'
    return None

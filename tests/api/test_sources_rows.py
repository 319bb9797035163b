"""Rows of databases and data frames as items: recognised after a death, or refused with the cure."""

# Loops and what leaves them are tested here, so they stay as they are.
# ruff: noqa: PLW0108
from __future__ import annotations

import collections
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import onward
from api.sources import continues, walk

# -- rows of databases ------------------------------------------------------------------------------------


class Order(NamedTuple):
    id: int
    city: str


ROWS = [Order(1, "Milano"), Order(2, "Roma"), Order(3, "Bari"), Order(4, "Pisa")]


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE orders (id INTEGER, city TEXT)")
    connection.executemany("INSERT INTO orders VALUES (?, ?)", ROWS)
    yield connection
    connection.close()


SELECT = "SELECT id, city FROM orders ORDER BY id"


def test_a_cursor_of_sqlite3_gives_tuples(database: sqlite3.Connection) -> None:
    assert continues(lambda: database.execute(SELECT)) == [tuple(row) for row in ROWS]


def test_rows_of_sqlite3_are_recognised_by_columns_and_values(database: sqlite3.Connection) -> None:
    database.row_factory = sqlite3.Row
    assert [row["city"] for row in continues(lambda: database.execute(SELECT))] == [r.city for r in ROWS]
    walk(database.execute("SELECT id, city AS town FROM orders"), name="renamed", dies_after=1)
    with pytest.raises(onward.RunConflict, match="this is another list"):
        walk(database.execute(SELECT), name="renamed")


def test_a_cursor_of_apsw() -> None:
    import apsw

    connection = apsw.Connection(":memory:")
    connection.execute("CREATE TABLE orders (id INTEGER, city TEXT)")
    connection.executemany("INSERT INTO orders VALUES (?, ?)", ROWS)
    assert continues(lambda: connection.execute(SELECT)) == [tuple(row) for row in ROWS]


def test_rows_whose_class_is_made_at_run_time_are_recognised() -> None:
    """As those of psycopg's namedtuple_row: each query makes a class of its own."""

    def rows() -> list[Any]:
        kind = collections.namedtuple("Row", ["id", "city"])  # type: ignore[misc]
        return [kind(*row) for row in ROWS]

    assert continues(rows) == [tuple(row) for row in ROWS]


@pytest.fixture
def engine() -> Iterator[Any]:
    import sqlalchemy

    made = sqlalchemy.create_engine("sqlite://")
    with made.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE orders (id INTEGER PRIMARY KEY, city TEXT)"))
        for row in ROWS:
            connection.execute(sqlalchemy.text("INSERT INTO orders VALUES (:id, :city)"), row._asdict())
    yield made
    made.dispose()


@pytest.mark.parametrize("kind", ["rows", "mappings", "scalars"])
def test_results_of_sqlalchemy_core(kind: str, engine: Any) -> None:
    from sqlalchemy import text

    with engine.connect() as connection:

        def result() -> Any:
            found = connection.execute(text(SELECT))
            return found if kind == "rows" else getattr(found, kind)()

        assert len(continues(result)) == 4


def test_objects_of_an_orm_need_a_key_and_the_error_says_which(engine: Any) -> None:
    from sqlalchemy import select
    from sqlalchemy.orm import Session, declarative_base

    base: Any = declarative_base()
    base.metadata.reflect(engine)

    class Stored(base):  # type: ignore[misc]
        __table__ = base.metadata.tables["orders"]

    with Session(engine) as session:
        with pytest.raises(onward.NotRecordable, match=r"key=lambda it: str\(it\.id\)"):
            walk(session.scalars(select(Stored)))
        with pytest.raises(onward.NotRecordable, match=r"key=lambda row: str\(row\[0\]\.id\)"):
            walk(session.execute(select(Stored)))
        found = continues(lambda: session.scalars(select(Stored)), key=lambda it: str(it.id))
        assert [it.city for it in found] == [row.city for row in ROWS]


# -- data frames ------------------------------------------------------------------------------------------


def frame() -> Any:
    import pandas

    return pandas.DataFrame(
        {
            "id": [1, 2, 3, 4],
            "city": ["Milano", None, "Bari", "Pisa"],
            "price": [1.5, float("nan"), 2.0, 3.0],
            "day": pandas.to_datetime(["2026-01-01", None, "2026-01-03", "2026-01-04"]),
        }
    )


@pytest.mark.parametrize(
    "rows",
    [
        lambda: frame().itertuples(),
        lambda: frame().itertuples(index=False),
        lambda: frame().itertuples(index=False, name=None),
        lambda: frame().iterrows(),
        lambda: frame().to_dict("records"),
        lambda: frame()["price"],
        lambda: frame()["day"],
        lambda: frame()["id"].to_numpy(),
        lambda: frame().to_numpy(),
        lambda: frame().groupby("id"),
    ],
    ids=[
        "itertuples",
        "no-index",
        "tuples",
        "iterrows",
        "dicts",
        "series",
        "days",
        "array",
        "matrix",
        "groups",
    ],
)
def test_rows_of_pandas_are_recognised_missing_values_included(rows: Callable[[], Any]) -> None:
    assert len(continues(rows)) == 4


@pytest.mark.parametrize(
    "rows",
    [
        lambda df: df.iter_rows(),
        lambda df: df.iter_rows(named=True),
        lambda df: df.to_dicts(),
        lambda df: df["id"],
        lambda df: df.iter_slices(1),
    ],
    ids=["tuples", "named", "dicts", "series", "slices"],
)
def test_rows_of_polars_are_recognised(rows: Callable[[Any], Any]) -> None:
    import polars

    slices = "iter_slices" in rows.__code__.co_names
    options: Any = {"key": lambda part: str(part["id"][0])} if slices else {}
    df = polars.DataFrame({"id": [1, 2, 3, 4], "city": ["a", None, "c", "d"]})
    assert len(continues(lambda: rows(df), **options)) == 4


def test_a_table_itself_is_refused_with_what_to_write_for_its_rows() -> None:
    import polars

    df = polars.DataFrame({"id": [1]})
    cases = [
        (frame(), r"gives the names of its columns.*onward\.each\(df\.itertuples\(index=False\)\)"),
        (df, r"gives its columns.*onward\.each\(df\.iter_rows\(named=True\)\)"),
        (df.lazy(), r"onward\.each\(df\.collect\(\)\.iter_rows\(named=True\)\)"),
    ]
    for table, says in cases:
        with pytest.raises(onward.UsageError, match=says):
            onward.each(table, name="loop")
    assert walk(frame().columns) == ["id", "city", "price", "day"]


def test_entries_of_a_folder_need_a_key_and_the_error_names_what_is_better(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with (
        os.scandir(tmp_path) as entries,
        pytest.raises(onward.NotRecordable, match=r"onward\.files\(\.\.\.\)"),
    ):
        walk(entries)


def test_documents_with_an_unknown_id_type_are_told_its_key() -> None:
    with pytest.raises(onward.NotRecordable, match=r'key=lambda it: str\(it\["_id"\]\)'):
        walk([{"_id": object()}])

"""`parquet`: rows wait in the journal until a file of them is full; each row stands in one file, each file is whole."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import onward
from api.lives import Fate, Killed, entries, the_run
from onward.core.errors import NotRecordable, RunConflict, UsageError


def parts(path: str = "t.parquet") -> list[str]:
    return sorted(os.listdir(path)) if os.path.exists(path) else []


def rows(path: str = "t.parquet") -> list[dict[str, Any]]:
    return [row for part in parts(path) for row in pq.ParquetFile(f"{path}/{part}").read().to_pylist()]


def write(count: int, fate: Any = lambda: None, *, at: int = -1, each: int = 3, **options: Any) -> None:
    """A pass whose items write a row each; at one of them `fate` strikes after the row was written."""
    out = onward.parquet("t.parquet", rows_per_file=each, **options)
    for x in onward.each(range(count), name="table"):
        out.write({"x": x, "name": f"item {x}" if x % 2 else None})
        if x == at:
            fate()


def whole(count: int) -> list[dict[str, Any]]:
    return [{"x": x, "name": f"item {x}" if x % 2 else None} for x in range(count)]


def die(count: int, at: int, **options: Any) -> None:
    with pytest.raises(Killed):
        write(count, Fate(), at=at, **options)


@pytest.mark.parametrize(("count", "files"), [(1, 1), (3, 1), (4, 2), (9, 3), (10, 4)])
def test_files_are_full_but_for_the_last_one(count: int, files: int) -> None:
    write(count)
    assert parts() == [f"part-{n:05d}.parquet" for n in range(1, files + 1)]
    assert rows() == whole(count)
    assert pq.read_table("t.parquet").num_rows == count


@pytest.mark.parametrize("at", range(10))
def test_a_death_leaves_each_row_in_one_file(at: int) -> None:
    die(10, at)
    write(10)
    assert rows() == whole(10)


@pytest.mark.parametrize("at", [4, 9])
@pytest.mark.parametrize("lost", ["part-00001.parquet", "part-00002.parquet", "all"])
def test_files_that_are_gone_are_written_once_more(at: int, lost: str) -> None:
    die(10, at)
    if lost == "all":
        shutil.rmtree("t.parquet")
    else:
        Path(f"t.parquet/{lost}").unlink(missing_ok=True)
    write(10)
    assert rows() == whole(10)


def test_a_file_that_was_written_but_not_recorded_is_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process died between the two."""
    from onward.api.sinks import parquet

    def dies(flow: Any, engine: Any, session: Any) -> None:
        raise session.unwind(Killed())

    with monkeypatch.context() as patched:
        patched.setattr(parquet, "drive", dies)
        with pytest.raises(Killed):
            write(10)
    assert parts() == ["part-00001.parquet"]
    assert [entry for entry in entries() if entry.name == "part"] == []
    write(10)
    assert rows() == whole(10)


@pytest.mark.parametrize("at", [3, 4, 7])
def test_a_changed_file_is_refused_and_left_alone(at: int) -> None:
    die(10, at)
    path = Path("t.parquet/part-00001.parquet")
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    with pytest.raises(RunConflict, match="has other content than was recorded"):
        write(10)
    assert path.read_bytes() == data
    assert the_run().state == "pending"


@pytest.mark.parametrize("alien", ["table", "text"])
def test_a_file_that_somebody_else_has_added_is_refused(alien: str) -> None:
    die(10, 4)
    path = Path("t.parquet/part-00007.parquet")
    if alien == "table":
        pq.write_table(pa.table({"x": [1]}), path)
    else:
        path.write_text("mine")
    before = path.read_bytes()
    with pytest.raises(RunConflict, match="was not written by this pass"):
        write(10)
    assert path.read_bytes() == before
    path.unlink()
    write(10)
    assert rows() == whole(10)


def test_a_folder_with_other_things_in_it_is_refused() -> None:
    os.mkdir("t.parquet")
    Path("t.parquet/notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"notes\.txt"):
        write(3)
    os.rename("t.parquet/notes.txt", "t.parquet/.notes")
    write(3)
    assert pq.read_table("t.parquet").num_rows == 3


def test_a_file_in_the_place_of_the_folder_is_refused() -> None:
    Path("t.parquet").write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        write(3)
    assert Path("t.parquet").read_text() == "mine"


def test_a_new_pass_begins_with_an_empty_folder_and_an_appending_one_with_a_further_file() -> None:
    write(10)
    write(2)
    assert rows() == whole(2)
    write(4, mode="append")
    assert rows() == whole(2) + whole(4)
    die(7, 4, mode="append")
    write(7, mode="append")
    assert rows() == whole(2) + whole(4) + whole(7)


def test_values_come_back_with_their_types() -> None:
    row = {
        "when": dt.datetime(2024, 5, 1, 12, 30, tzinfo=dt.UTC),
        "day": dt.date(2024, 2, 29),
        "price": Decimal("12.50"),
        "raw": b"\0\xff",
        "tags": ["a", None],
        "place": {"lat": 1.5, "lon": None},
        "ok": True,
        "text": "ü\n\u2028",
    }
    out = onward.parquet("t.parquet")
    for _ in onward.each([0], name="typed"):
        out.write(row)
    assert rows() == [row]


def test_columns_grow_with_the_rows_until_the_first_file_is_written() -> None:
    out = onward.parquet("t.parquet", rows_per_file=3)
    made: list[dict[str, Any]] = [{"a": 1}, {"a": 1.5, "b": None}, {"b": None}, {"b": "x"}]
    for at in onward.each(range(4), name="growing"):
        out.write(made[at])
    assert rows() == [
        {"a": 1.0, "b": None},
        {"a": 1.5, "b": None},
        {"a": None, "b": None},
        {"a": None, "b": "x"},
    ]


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        ({"a": 1}, {"a": "x"}, "does not fit into the columns"),
        ({"a": 1}, {"a": 1, "b": 2}, "no column 'b'"),
        ({"a": None}, {"a": 1}, "does not fit into the columns"),
        ({"a": 1}, {"a": 2**70}, "does not fit into the columns"),
        ({"a": 1}, {1: 1}, "column names"),
        ({"a": 1}, [1], "column names"),
        ({"a": 1}, {}, "column names"),
        ({"a": 1}, {"a": object()}, "cannot be recorded"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_before_it_is_recorded(
    first: dict[str, Any], second: Any, says: str
) -> None:
    """Once recorded it could never be written, and the pass could never end."""

    def run(*given: Any) -> None:
        out = onward.parquet("t.parquet", rows_per_file=1)
        for at in onward.each(range(len(given)), name="refused"):
            out.write(given[at])

    with pytest.raises(NotRecordable, match=says):
        run(first, second)
    run(first, first)
    assert rows() == [first, first]


def test_a_column_does_not_become_one_that_cannot_hold_its_earlier_rows() -> None:
    """2**60 + 1 is no float: the pass could never write what is recorded already."""

    def run(*given: Any) -> None:
        out = onward.parquet("t.parquet")
        for at in onward.each(range(len(given)), name="growing"):
            out.write({"a": given[at]})

    with pytest.raises(NotRecordable, match="does not fit into the columns"):
        run(2**60 + 1, 1.5)
    run(2**60 + 1, 2)
    assert rows() == [{"a": 2**60 + 1}, {"a": 2}]


@pytest.mark.parametrize("at", [3, 4])
def test_columns_that_came_late_survive_the_loss_of_all_files(at: int) -> None:
    def run(fate: Any) -> None:
        out = onward.parquet("t.parquet", rows_per_file=2)
        for x in onward.each(range(5), name="late"):
            out.write({"a": x} if x == 0 else {"a": x, "b": x / 2})
            if x == at:
                fate()

    with pytest.raises(Killed):
        run(Fate())
    shutil.rmtree("t.parquet")
    run(lambda: None)
    assert rows() == [{"a": x, "b": x / 2 if x else None} for x in range(5)]


def test_a_given_schema_decides_from_the_first_row_on_and_over_lives() -> None:
    schema = pa.schema([("x", pa.int16()), ("name", pa.large_string())])
    die(4, 2, schema=schema)
    write(4, schema=schema)
    assert pq.read_schema("t.parquet/part-00001.parquet").field("x").type == pa.int16()
    with pytest.raises(NotRecordable):
        list(onward.map(onward.parquet("u.parquet", schema=schema).write, [{"x": 2**20}], name="wide"))


def test_a_pass_is_not_continued_with_another_size_or_schema() -> None:
    die(10, 4)
    with pytest.raises(RunConflict, match="is something else now"):
        write(10, each=4)
    with pytest.raises(RunConflict, match="is something else now"):
        write(10, schema=pa.schema([("x", pa.int64())]))
    write(10)
    assert rows() == whole(10)


@pytest.mark.parametrize("each", [0, -1, 1.5, True, 10**9])
def test_a_size_that_is_none_is_refused(each: Any) -> None:
    with pytest.raises(UsageError, match="rows_per_file="):
        onward.parquet("t.parquet", rows_per_file=each)


def test_without_pyarrow_the_command_that_brings_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from onward.api.sinks import parquet
    from onward.core.lazily import Lazily

    monkeypatch.setattr(parquet, "pyarrow", Lazily("pyarrow"))
    monkeypatch.setattr(parquet, "files", Lazily("pyarrow.parquet"))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UsageError, match=r'pip install "onward\[parquet\]"'):
        onward.parquet("t.parquet")


@pytest.mark.parametrize("at", [5, 30])
def test_rows_of_a_map_stand_in_one_file_each_over_lives(at: int) -> None:
    out = onward.parquet("t.parquet", rows_per_file=8)
    fate = Fate()

    def convert(x: int) -> int:
        out.write({"x": x})
        if x == at:
            fate()
        return x

    with pytest.raises(Killed):
        list(onward.map(convert, range(50), name="table", concurrency=6))
    assert list(onward.map(convert, range(50), name="table", concurrency=6)) == list(range(50))
    assert sorted(row["x"] for row in rows()) == list(range(50))
    assert len(parts()) == 7


def test_loops_of_a_workflow_write_to_one_folder() -> None:
    fate = Fate()

    @onward.workflow(name="tables")
    def tables() -> None:
        out = onward.parquet("t.parquet", rows_per_file=4)
        for x in onward.each(range(3)):
            out.write({"x": x})
        fate()
        for x in onward.each(range(3, 6)):
            out.write({"x": x})

    with pytest.raises(Killed):
        tables()
    tables()
    assert [row["x"] for row in rows()] == list(range(6))
    assert len(parts()) == 2


def test_parts_are_recorded_once_each() -> None:
    die(10, 7)
    write(10)
    done = [entry.key for entry in entries() if entry.name == "part"]
    assert done == [f"part/t.parquet > {n:05d}" for n in range(3)]

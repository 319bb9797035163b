"""`csv`: one header, cells that come back as they were written, each row once."""

from __future__ import annotations

import csv
import datetime as dt
import os
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import onward
from api.lives import Fate, Killed
from onward.api.sinks.tables import Csv
from onward.core.errors import NotRecordable, RunConflict, UsageError


def table(path: str = "t.csv", **options: Any) -> list[list[str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file, **options))


def write(out: Csv, *rows: Any, name: str = "table") -> None:
    """A pass whose items write these rows."""
    for at in onward.each(range(len(rows)), name=name):
        out.write(rows[at])


def test_the_columns_are_the_keys_of_the_first_row_and_their_header_stands_once() -> None:
    write(onward.csv("t.csv"), {"a": 1, "b": "x"}, {"b": "y"}, {"b": None, "a": 2.5})
    assert table() == [["a", "b"], ["1", "x"], ["", "y"], ["2.5", ""]]


def test_sequences_go_below_the_given_columns_or_without_a_header() -> None:
    write(onward.csv("t.csv", fields=["a", "b"]), (1, 2), [3, 4], {"b": 5})
    write(onward.csv("u.csv"), (1, 2), [3, 4], name="without")
    assert table() == [["a", "b"], ["1", "2"], ["3", "4"], ["", "5"]]
    assert table("u.csv") == [["1", "2"], ["3", "4"]]


@pytest.mark.parametrize("at", range(5))
@pytest.mark.parametrize("keep", [0, 1, 4, 7, None])
def test_a_death_leaves_one_header_and_each_row_once(at: int, keep: int | None) -> None:
    def run(fate: Any) -> None:
        out = onward.csv("t.csv")
        for x in onward.each(range(5), name="table"):
            out.write({"n": x, "text": f'line\r\n"{x}",'})
            if x == at:
                fate()

    with pytest.raises(Killed):
        run(Fate())
    if keep is not None and Path("t.csv").stat().st_size > keep:
        os.truncate("t.csv", keep)
    run(lambda: None)
    assert table() == [["n", "text"], *([str(x), f'line\r\n"{x}",'] for x in range(5))]


TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8
) | st.sampled_from(["\n", "\r", "\r\n", '"', '""', ",", "", " ", "'", "\ufeff", "=1+1"])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4), st.sampled_from(["excel", "excel-tab", "unix"])
)
def test_text_comes_back_whatever_is_in_it(cells: list[tuple[str, str]], dialect: str) -> None:
    write(onward.csv("t.csv", fields=["a", "b"], dialect=dialect), *cells)
    found = table(dialect=dialect)
    assert found == [["a", "b"], *map(list, cells)]


def test_scalars_are_written_as_text() -> None:
    key = uuid.uuid4()
    row = [
        True,
        2**70,
        1.5,
        Decimal("1.10"),
        dt.date(2024, 2, 29),
        dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC),
        key,
        None,
    ]
    write(onward.csv("t.csv"), row)
    assert table() == [
        ["True", str(2**70), "1.5", "1.10", "2024-02-29", "2024-01-01 12:00:00+00:00", str(key), ""]
    ]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"a": 1, "c": 2}, "no column for it"),
        ([1], "1 cells and the file has 2 columns"),
        ([1, [2]], "turn it into text"),
        ({"a": {}}, "turn it into text"),
        ("ab", "a dict, a list or a tuple"),
        (7, "a dict, a list or a tuple"),
        (["\ud800", ""], "cannot be written"),
        (["a\0", ""], "a NUL"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_and_not_recorded(row: Any, says: str) -> None:
    out = onward.csv("t.csv", fields=["a", "b"])
    with pytest.raises(NotRecordable, match=says):
        write(out, (1, 2), row)
    assert table() == [["a", "b"], ["1", "2"]]


class Plain(csv.Dialect):
    """Cannot quote."""

    delimiter, lineterminator, quoting = ";", "\n", csv.QUOTE_NONE


class Bare(csv.Dialect):
    """Ends lines so that a carriage return is not quoted."""

    delimiter, lineterminator, quoting, quotechar = ",", "\n", csv.QUOTE_MINIMAL, '"'


def test_what_a_dialect_cannot_hold_is_refused_instead_of_written_wrong() -> None:
    with pytest.raises(NotRecordable, match="in this dialect"):
        write(onward.csv("t.csv", dialect=Plain), ["a;b"])
    with pytest.raises(NotRecordable, match="in this dialect"):
        write(onward.csv("u.csv", dialect=Plain), ["a\nb"], name="plain")
    write(onward.csv("v.csv", dialect=Bare), ["a", "b"], name="bare")
    assert Path("v.csv").read_bytes() == b"a,b\n"


def test_an_appending_pass_adds_no_header_and_refuses_other_columns() -> None:
    write(onward.csv("t.csv"), {"a": 1, "b": 2})
    write(onward.csv("t.csv", mode="append"), {"a": 3, "b": 4})
    assert table() == [["a", "b"], ["1", "2"], ["3", "4"]]
    with pytest.raises(UsageError, match="has the columns"):
        write(onward.csv("t.csv", mode="append"), {"a": 3, "c": 4})
    assert table() == [["a", "b"], ["1", "2"], ["3", "4"]]


def test_an_appending_pass_on_a_new_file_writes_the_header() -> None:
    write(onward.csv("t.csv", mode="append"), {"a": 1})
    assert table() == [["a"], ["1"]]


@pytest.mark.parametrize("fields", [[], ["a", "a"], [1], "ab", [None]])
def test_columns_that_are_none_are_refused(fields: Any) -> None:
    with pytest.raises(UsageError, match="columns"):
        onward.csv("t.csv", fields=fields)


@pytest.mark.parametrize("dialect", ["none", 7, object])
def test_a_dialect_that_is_none_is_refused(dialect: Any) -> None:
    with pytest.raises(UsageError, match="dialect="):
        onward.csv("t.csv", dialect=dialect)


@pytest.mark.parametrize("change", [{"fields": ["b", "a"]}, {"dialect": "excel-tab"}])
def test_a_pass_is_not_continued_with_other_columns_or_another_dialect(change: dict[str, Any]) -> None:
    with pytest.raises(Killed):
        continued(Fate(), fields=["a", "b"])
    with pytest.raises(RunConflict, match="is something else now"):
        continued(lambda: None, **change)
    continued(lambda: None, fields=["a", "b"])
    assert table() == [["a", "b"], ["0", ""], ["1", ""], ["2", ""]]


def continued(fate: Any, **options: Any) -> None:
    out = onward.csv("t.csv", **options)
    for x in onward.each(range(3), name="table"):
        out.write({"a": x})
        if x == 1:
            fate()


def test_a_file_that_something_else_has_changed_is_refused() -> None:
    with pytest.raises(Killed):
        continued(Fate(), fields=["a", "b"])
    Path("t.csv").write_text(Path("t.csv").read_text().replace("a,b", "A,B"))
    with pytest.raises(RunConflict, match="was changed by something else"):
        continued(lambda: None, fields=["a", "b"])


def test_rows_of_a_map_stand_below_one_header() -> None:
    out = onward.csv("t.csv", fields=["x", "y"])

    def convert(x: int) -> None:
        out.write((x, x * x))

    list(onward.map(convert, range(50), name="table", concurrency=8))
    assert table()[0] == ["x", "y"]
    assert sorted(int(x) for x, _ in table()[1:]) == list(range(50))

"""Commits of a single entry go straight, in one statement; whatever that statement cannot know, the journal decides."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onward.core.model import Applied, Change, Refused, Run
from onward.storage.sqlite.store import SqliteStore
from storage.rows import begun, entry, opened, record, recorded


class Watched:
    """A connection that notes the statements executed on it."""

    def __init__(self, connection: Any) -> None:
        self._connection, self.said = connection, list[str]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def cursor(self) -> Any:
        return self

    def execute(self, statement: str, *values: Any) -> Any:
        self.said.append(statement.split()[0])
        return self._connection.execute(statement, *values)


@pytest.fixture
def watched(sqlite: SqliteStore) -> Watched:
    watched = Watched(sqlite._writer)
    sqlite._write_through(watched)  # type: ignore[arg-type]
    return watched


@pytest.fixture
def other(tmp_path: Path, sqlite: SqliteStore) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "journal.db")
    yield store
    store.close()


def keys(store: SqliteStore, run: Run) -> list[tuple[int, str]]:
    return [(e.seq, e.key) for e in store.entries(run.no)]


def test_the_second_entry_of_a_run_is_one_statement(sqlite: SqliteStore, watched: Watched) -> None:
    run = opened(sqlite)
    recorded(sqlite, run, entry("a"))
    watched.said.clear()
    assert record(sqlite, run, entry("b")) == Applied(run.no, 1, None)
    assert watched.said == ["INSERT"]
    assert keys(sqlite, run) == [(0, "a"), (1, "b")]


def test_a_holder_that_lost_its_lease_inserts_nothing(sqlite: SqliteStore, other: SqliteStore) -> None:
    run = opened(sqlite)
    recorded(sqlite, run, entry("a"))
    later = dataclasses.replace(run, fence=run.fence + 1, leased_seq=0)
    assert isinstance(other.commit([Change(run.no, run.fence, after=later, before=run)])[0], Applied)
    answer = record(sqlite, run, entry("b"))
    assert isinstance(answer, Refused)
    assert answer.reason == "fence"
    assert keys(sqlite, run) == [(0, "a")]


def test_a_request_is_answered_with_the_very_next_entry(sqlite: SqliteStore, other: SqliteStore) -> None:
    run = opened(sqlite)
    recorded(sqlite, run, entry("a"))
    other.request(run.no, "pause")
    assert record(sqlite, run, entry("b")) == Applied(run.no, 1, "pause")


def test_an_entry_that_somebody_else_added_under_the_same_fence_is_counted(
    sqlite: SqliteStore, other: SqliteStore
) -> None:
    run = opened(sqlite)
    recorded(sqlite, run, entry("a"))
    recorded(other, run, entry("skipped"))
    assert record(sqlite, run, entry("b")) == Applied(run.no, 2, None)
    assert keys(sqlite, run) == [(0, "a"), (1, "skipped"), (2, "b")]


def test_a_key_that_is_done_is_refused_and_the_next_entry_goes_through(sqlite: SqliteStore) -> None:
    run = opened(sqlite)
    recorded(sqlite, run, entry("a"))
    answer = record(sqlite, run, entry("a"))
    assert isinstance(answer, Refused)
    assert answer.reason == "key"
    assert record(sqlite, run, entry("b")) == Applied(run.no, 1, None)


def test_a_value_that_no_journal_can_hold_is_refused_alone(sqlite: SqliteStore) -> None:
    run = opened(sqlite)
    recorded(sqlite, run, entry("a"))
    assert isinstance(record(sqlite, run, entry("half \ud800")), Refused)
    assert record(sqlite, run, entry("b")) == Applied(run.no, 1, None)


def test_what_is_more_than_one_entry_takes_the_general_way(sqlite: SqliteStore, watched: Watched) -> None:
    run = opened(sqlite)
    recorded(sqlite, run, entry("a"))
    watched.said.clear()
    record(sqlite, run, entry("b"), begun=(begun("c"),))
    assert watched.said[0] == "BEGIN"
    assert watched.said[-1] == "COMMIT"
    assert [b.key for b in sqlite.begun(run.no)] == ["c"]


def test_a_deleted_run_is_missing(sqlite: SqliteStore) -> None:
    run = opened(sqlite)
    recorded(sqlite, run, entry("a"))
    sqlite.delete(run.no)
    answer = record(sqlite, run, entry("b"))
    assert isinstance(answer, Refused)
    assert answer.reason == "missing"

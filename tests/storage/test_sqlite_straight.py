"""Commits of a single entry go straight, in one statement; whatever that statement cannot know, the journal decides."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onward.core.model import Applied, Change, Refused, Run
from onward.storage.sqlite.store import SqliteStore
from storage.rows import begun, entry, opened, reason, record, recorded


class Watched:
    """A connection that notes the statements executed on it."""

    def __init__(self, connection: Any) -> None:
        self._connection, self.said = connection, list[str]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def cursor(self) -> Any:
        return self

    def executemany(self, statement: str, rows: Any) -> Any:
        self.said.append(f"{statement.split()[0]} many")
        return self._connection.executemany(statement, rows)

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
    later = run._replace(fence=run.fence + 1, leased_seq=0)
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


def test_an_item_that_ends_while_the_next_one_begins_is_four_statements(
    sqlite: SqliteStore, watched: Watched
) -> None:
    run = opened(sqlite)
    record(sqlite, run, begun=(begun("a"),))
    watched.said.clear()
    done = Change(run.no, run.fence, (entry("a"),), ended=("a",))
    answers = sqlite.commit([done, Change(run.no, run.fence, begun=(begun("b"),))])
    assert answers == [Applied(run.no, 0, None)] * 2
    assert watched.said == ["BEGIN", "INSERT many", "UPDATE", "COMMIT"]
    assert [b.key for b in sqlite.begun(run.no)] == ["b"]
    assert keys(sqlite, run) == [(0, "a")]


def test_what_ends_without_a_marker_and_what_begins_are_both_known_afterwards(sqlite: SqliteStore) -> None:
    run = opened(sqlite)
    recorded(sqlite, run, entry("a"))
    record(sqlite, run, entry("b"), begun=(begun("c"),), ended=("b",))
    record(sqlite, run, entry("c"), begun=(begun("d"), begun("e")), ended=("c", "f"))
    assert [b.key for b in sqlite.begun(run.no)] == ["d", "e"]


def test_a_unit_that_begins_and_ends_in_one_batch_leaves_only_its_entry(sqlite: SqliteStore) -> None:
    run = opened(sqlite)
    recorded(sqlite, run, entry("a"))
    began = Change(run.no, run.fence, (entry("b"),), begun=(begun("c"),))
    sqlite.commit([began, Change(run.no, run.fence, (entry("c"),), ended=("c",))])
    assert sqlite.begun(run.no) == []
    assert keys(sqlite, run) == [(0, "a"), (1, "b"), (2, "c")]


@pytest.mark.parametrize(
    ("count", "inserts"), [(3, ["INSERT many"]), (60, ["WITH many", "INSERT many"]), (50, ["WITH many"])]
)
def test_entries_of_many_runs_are_one_transaction_and_nothing_is_read(
    sqlite: SqliteStore, watched: Watched, count: int, inserts: list[str]
) -> None:
    runs = [opened(sqlite, f"r{n}") for n in range(count)]
    watched.said.clear()
    answers = sqlite.commit([Change(run.no, run.fence, (entry("a"), entry("b"))) for run in runs])
    assert answers == [Applied(run.no, 1, None) for run in runs]
    assert watched.said == ["BEGIN", *inserts, "COMMIT"]
    assert [keys(sqlite, run) for run in runs] == [[(0, "a"), (1, "b")]] * count


@pytest.mark.parametrize("company", [0, 60])
@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.parametrize("asked", [0, 1])
def test_of_a_batch_whose_runs_are_not_as_they_were_left_each_change_gets_its_own_answer(
    sqlite: SqliteStore, other: SqliteStore, company: int, lost: int, asked: int
) -> None:
    """Either trouble alone must be seen, whichever statement it meets."""
    runs = [opened(sqlite, f"r{at}") for at in range(2 + company)]
    for run in runs[:lost]:
        later = run._replace(fence=run.fence + 1)
        assert isinstance(other.commit([Change(run.no, run.fence, after=later, before=run)])[0], Applied)
    for run in runs[1 : 1 + asked]:
        other.request(run.no, "pause")
    answers = sqlite.commit([Change(run.no, run.fence, (entry("a"),)) for run in runs])
    assert [reason(answer) for answer in answers[:lost]] == ["fence"] * lost
    wishes = [None, "pause" if asked else None, *([None] * company)]
    told = [Applied(run.no, 0, wish) for run, wish in zip(runs, wishes, strict=True)]
    assert answers[lost:] == told[lost:]
    assert [keys(sqlite, run) for run in runs] == [[]] * lost + [[(0, "a")]] * (len(runs) - lost)


def test_a_beginning_alone_reads_the_guard_because_no_entry_checks_it(
    sqlite: SqliteStore, other: SqliteStore
) -> None:
    run = opened(sqlite)
    recorded(sqlite, run, entry("a"))
    later = run._replace(fence=run.fence + 1, leased_seq=0)
    assert isinstance(other.commit([Change(run.no, run.fence, after=later, before=run)])[0], Applied)
    assert isinstance(record(sqlite, run, begun=(begun("b"),)), Refused)
    assert sqlite.begun(run.no) == []


def test_a_deleted_run_is_missing(sqlite: SqliteStore) -> None:
    run = opened(sqlite)
    recorded(sqlite, run, entry("a"))
    sqlite.delete(run.no)
    answer = record(sqlite, run, entry("b"))
    assert isinstance(answer, Refused)
    assert answer.reason == "missing"

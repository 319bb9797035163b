"""What a run's row tells is not written as an entry, and costs nothing more where it is told later."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from onward.core.claiming import submitted
from onward.core.decide import Returned, Started, decide
from onward.core.errors import JournalBroken
from onward.core.model import Applied, Begun, Change, Claim, Claimed, End, Order, Run
from onward.storage.sqlite.store import SqliteStore
from storage.rows import entry
from storage.test_sqlite_disk import doubt
from storage.test_sqlite_straight import Watched, watched
from storage.test_sqlite_straight_ends import claimed, in_little, queued

__all__ = ["watched"]  # fixture

CLAIM = Claim("me", 30.0, ("job",), (), 200)
KEYS = ["run/submitted", "run/claimed", "run/returned"]


def stored(store: SqliteStore) -> list[tuple[int, str]]:
    """The entries that there are, as (number of the run, key)."""
    connection = apsw.Connection(store.place)
    rows = connection.execute("SELECT run, key FROM entry ORDER BY run, seq").fetchall()
    connection.close()
    return rows


def keys(store: SqliteStore, run: Run) -> list[str]:
    entries = store.entries(run.no)
    assert [one.seq for one in entries] == list(range(len(entries)))
    return [one.key for one in entries]


def step(run: Run, key: str = "s#1") -> Change:
    return Change(run.no, run.fence, (entry(key, kind="step"),))


@pytest.mark.parametrize("limits", ["{}", '{"concurrency": 500}'])
@pytest.mark.parametrize("count", [1, 120])
def test_a_claim_and_a_return_without_a_step_between_them_write_no_entry(
    sqlite: SqliteStore, count: int, limits: str
) -> None:
    sqlite.set_queue("q", declared=limits)
    runs = claimed(sqlite, count)
    assert stored(sqlite) == [(run.no, "run/submitted") for run in runs]
    assert all(keys(sqlite, run) == KEYS[:2] for run in runs)
    assert sqlite.commit(in_little(runs)) == [Applied(run.no, 2, None) for run in runs]
    assert stored(sqlite) == [(run.no, "run/submitted") for run in runs]
    for run in runs:
        claim, end = sqlite.entries(run.no, after=0)
        assert (claim.key, claim.value, claim.ended_at) == ("run/claimed", '"me"', run.updated_at)
        assert (end.key, end.ended_at, end.fence) == ("run/returned", 7.0 + run.no, 1)
        assert sqlite.last_seq(run.no) == 2
    assert list(sqlite.problems()) == []


def test_the_first_step_brings_the_mark_along_without_reading(sqlite: SqliteStore, watched: Watched) -> None:
    (run,) = claimed(sqlite, 1)
    watched.said.clear()
    assert sqlite.commit([step(run)]) == [Applied(run.no, 2, None)]
    assert watched.said == ["BEGIN", "UPDATE", "INSERT many", "COMMIT"]
    watched.said.clear()
    assert sqlite.commit([step(run, "s#2")]) == [Applied(run.no, 3, None)]
    assert watched.said == ["INSERT"]
    assert sqlite.commit(in_little([run])) == [Applied(run.no, 4, None)]
    assert [key for _, key in stored(sqlite)] == [*KEYS[:2], "s#1", "s#2", KEYS[2]] == keys(sqlite, run)


def test_a_run_whose_mark_was_told_the_general_way_goes_straight_again(
    sqlite: SqliteStore, watched: Watched
) -> None:
    runs = claimed(sqlite, 2)
    sqlite.commit(
        [decide(runs[0], Started(Begun("s#1", "step", "s")), now=2.0), step(runs[0])._replace(before=runs[0])]
    )
    watched.said.clear()
    assert sqlite.commit(in_little(runs)) == [Applied(runs[0].no, 3, None), Applied(runs[1].no, 2, None)]
    assert watched.said.count("SELECT") == 1  # whether anybody waits for a run at all
    assert [key for no, key in stored(sqlite) if no == runs[1].no] == KEYS[:1]


def test_that_a_unit_begins_tells_nothing(sqlite: SqliteStore) -> None:
    (run,) = claimed(sqlite, 1)
    assert sqlite.commit([decide(run, Started(Begun("s#1", "step", "s")), now=2.0)]) == [
        Applied(run.no, 1, None)
    ]
    assert [key for _, key in stored(sqlite)] == KEYS[:1]
    assert sqlite.commit(in_little([run])) == [Applied(run.no, 2, None)]
    assert keys(sqlite, run) == KEYS


def test_an_end_at_length_is_stored_at_length_and_reads_the_same(sqlite: SqliteStore) -> None:
    runs = claimed(sqlite, 2)
    change = decide(runs[0], Returned("0"), now=7.0)
    orders: list[Order] = [change._replace(before=runs[0]), End(runs[1], "0", 7.0)]
    sqlite.commit(orders)
    assert [no for no, _ in stored(sqlite)].count(runs[0].no) == 3
    one, other = (
        [each._replace(value=None, checksum=None) for each in sqlite.entries(run.no)] for run in runs
    )
    assert one == other


@pytest.mark.parametrize("commits", [True, False])
@pytest.mark.parametrize("what", ["claim", "ends", "step", "all"])
def test_of_a_commit_without_an_entry_it_is_found_out_whether_it_happened(
    sqlite: SqliteStore, what: str, commits: bool
) -> None:
    runs = claimed(sqlite, 3)
    queued_later = [Run(f"l{n}", "workflow", "job", f"l{n}", args="[[],{}]", queue="q") for n in range(2)]

    sqlite.commit([submitted(run, now=1.0) for run in queued_later])
    orders: dict[str, list[Order]] = {
        "claim": [CLAIM],
        "ends": [*in_little(runs)],
        "step": [step(runs[0])],
        "all": [*in_little(runs), CLAIM],
    }
    before = {run.id: (sqlite.run(run.id), keys(sqlite, run)) for run in sqlite.runs(limit=-1)}
    doubt(sqlite, commits=commits)
    if not commits:
        with pytest.raises(JournalBroken):
            sqlite.commit(orders[what])
        assert before == {run.id: (sqlite.run(run.id), keys(sqlite, run)) for run in sqlite.runs(limit=-1)}
        return
    answers = sqlite.commit(orders[what])
    if what in ("claim", "all"):
        last = answers.pop()
        assert isinstance(last, Claimed)
        assert [run.id for run, _ in last.runs] == ["l0", "l1"]
    assert answers == [Applied(run.no, 2, None) for run in runs][: len(answers)]
    assert list(sqlite.problems()) == []


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE run SET claimed_by = NULL",
        "UPDATE run SET claimed_at = NULL",
        "UPDATE run SET untold = 1",
        "UPDATE run SET untold = 3",
        "UPDATE run SET claimed_seq = claimed_seq + 1",
        "DELETE FROM entry",
    ],
)
def test_a_row_that_tells_what_cannot_be_is_found(sqlite: SqliteStore, damage: str) -> None:
    sqlite.commit(in_little(claimed(sqlite, 1)))
    assert list(sqlite.problems()) == []
    connection = apsw.Connection(sqlite.place)
    connection.execute(damage)
    connection.close()
    (problem,) = sqlite.problems()
    assert "run r0 is done and tells of" in problem


def test_a_journal_of_the_layout_before_keeps_its_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was claimed then, and one that had returned, go on and are read as they were."""
    path = tmp_path / "journal.db"
    store = SqliteStore(path)
    queued(store, 3)
    store.close()
    connection = apsw.Connection(str(path))
    for script in _UNDONE.split(";"):
        connection.execute(script)
    connection.close()
    store = SqliteStore(path)
    assert store._writer.pragma("user_version") == 4
    first, second, third = store.runs(limit=-1)[::-1]
    assert [keys(store, run) for run in (first, second, third)] == [KEYS, KEYS[:2], KEYS[:1]]
    taken = store.commit([decide(second, Returned("2"), now=9.0)])
    assert taken == [Applied(second.no, 2, None)]
    assert keys(store, second) == KEYS
    (answer,) = store.commit([CLAIM])
    assert isinstance(answer, Claimed)
    assert [run.id for run, _ in answer.runs] == [third.id]
    assert list(store.problems()) == []
    store.close()


# Back to layout 3, where the first run has returned and the second one is being executed.
_UNDONE = """
ALTER TABLE run RENAME COLUMN claimed_seq TO leased_seq;
ALTER TABLE run DROP COLUMN untold;
ALTER TABLE run DROP COLUMN claimed_by;
ALTER TABLE run DROP COLUMN claimed_at;
UPDATE run SET fence = 1, leased_seq = 1, state = 'running', owner = 'old', lease_until = 9.0 WHERE no < 3;
UPDATE run SET state = 'done', owner = NULL, lease_until = NULL, result = '1' WHERE no = 1;
INSERT INTO entry (run, seq, key, kind, state, name, value, checksum, attempt, fence, ended_at)
    SELECT no, 1, 'run/claimed', 'mark', 'mark', 'claimed', NULL, NULL, 1, 1, 2.0 FROM run WHERE no < 3;
INSERT INTO entry (run, seq, key, kind, state, name, attempt, fence, ended_at)
    VALUES (1, 2, 'run/returned', 'mark', 'mark', 'returned', 1, 1, 3.0);
PRAGMA user_version = 3
"""

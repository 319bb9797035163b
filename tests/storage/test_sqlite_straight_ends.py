"""How runs have ended goes straight to the disk, many by one statement, and with the next claim in one transaction."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from onward.core.claiming import submitted
from onward.core.decide import Released, Returned, decide
from onward.core.model import Answered, Applied, Change, Claim, Claimed, End, Order, Refused, Run
from onward.storage.sqlite.store import SqliteStore
from onward.storage.sqlite.straight import Straight
from storage.test_sqlite_straight import Watched, other, watched

__all__ = ["other", "watched"]  # fixtures

CLAIM = Claim("me", 30.0, ("job",), (), 200)


def queued(store: SqliteStore, count: int, **fields: Any) -> None:
    runs = [
        Run(f"r{n}", "workflow", "job", f"q{n}", args="[[],{}]", queue="q", **fields) for n in range(count)
    ]
    for answer in store.commit([submitted(run, now=1.0) for run in runs]):
        assert isinstance(answer, Applied)


def claimed(store: SqliteStore, count: int, **fields: Any) -> list[Run]:
    queued(store, count, **fields)
    (answer,) = store.commit([CLAIM])
    assert isinstance(answer, Claimed)
    return [run for run, _ in answer.runs]


def ends(runs: Sequence[Run]) -> list[Change]:
    return [decide(run, Returned(f"{run.no}"), now=7.0 + run.no) for run in runs]


def in_little(runs: Sequence[Run]) -> list[End]:
    return [End(run, f"{run.no}", 7.0 + run.no) for run in runs]


def rows(store: SqliteStore) -> list[Any]:
    return [(run, store.entries(run.no)) for run in store.runs(limit=-1)]


@pytest.mark.parametrize("count", [1, 3, 120])
@pytest.mark.parametrize("tell", [ends, in_little])
def test_nothing_is_read_before_they_are_written(
    sqlite: SqliteStore, watched: Watched, count: int, tell: Callable[[Sequence[Run]], Sequence[Order]]
) -> None:
    runs = claimed(sqlite, count)
    watched.said.clear()
    answers = sqlite.commit(tell(runs))
    assert answers == [Applied(run.no, 2, None) for run in runs]
    assert set(watched.said) <= {"BEGIN", "WITH many", "INSERT many", "SELECT", "COMMIT"}
    assert watched.said.count("SELECT") == 1  # whether anybody waits for a run at all
    for run, entries in rows(sqlite):
        assert (run.state, run.result, run.owner, run.updated_at) == ("done", f"{run.no}", None, 7.0 + run.no)
        assert [entry.key for entry in entries] == ["run/submitted", "run/claimed", "run/returned"]


@pytest.mark.parametrize("single", [None, "k", "end:k", "start:k"])
def test_what_is_stored_is_what_the_general_way_writes(
    sqlite: SqliteStore, monkeypatch: pytest.MonkeyPatch, single: str | None
) -> None:
    """Also of runs that have lasted: of theirs the row is as its holder knows it."""
    found = []
    for straight in (True, False):
        with monkeypatch.context() as patch:
            if not straight:
                patch.setattr(Straight, "commit", lambda straight, changes: None)
            sqlite.renew("me", 99.0)
            (run,) = claimed(sqlite, 1, single=single, tags='["t"]', lane="l", priority=3)
            (answer,) = sqlite.commit(ends([run])[:1])
            assert isinstance(answer, Applied)
            ((stored, entries),) = rows(sqlite)
            # The clock of the claim is the store's.
            found.append((stored._replace(no=0, result=None, updated_at=0.0), [one.key for one in entries]))
            sqlite.delete(run.no)
    assert found[0] == found[1]


def test_the_next_claim_rides_with_them_and_sees_what_they_have_freed(
    sqlite: SqliteStore, watched: Watched
) -> None:
    sqlite.set_queue("q", declared='{"concurrency": 2}')
    queued(sqlite, 3)
    (first,) = sqlite.commit([CLAIM])
    assert isinstance(first, Claimed)
    runs = [run for run, _ in first.runs]
    assert len(runs) == 2
    watched.said.clear()
    *answers, second = sqlite.commit([*ends(runs), CLAIM])
    assert isinstance(second, Claimed)
    assert [type(answer) for answer in answers] == [Applied] * 2
    assert len(second.runs) == 1
    assert (watched.said.count("BEGIN"), watched.said.count("COMMIT")) == (1, 1)
    (last,) = sqlite.commit(ends([second.runs[0][0]]))
    assert isinstance(last, Applied)
    assert {run.state for run in sqlite.runs(limit=-1)} == {"done"}


def test_of_many_the_one_that_lost_its_lease_writes_nothing(sqlite: SqliteStore, other: SqliteStore) -> None:
    runs = claimed(sqlite, 60)
    lost = runs[7]
    taken = Change(lost.no, lost.fence, after=lost._replace(fence=2, owner="other"), before=lost)
    assert isinstance(other.commit([taken])[0], Applied)
    before = other.entries(lost.no)
    answers: list[Answered] = sqlite.commit(ends(runs))
    refused = answers.pop(7)
    assert isinstance(refused, Refused)
    assert refused.reason == "fence"
    assert {type(answer) for answer in answers} == {Applied}
    assert sqlite.entries(lost.no) == before
    found = sqlite.run(lost.id)
    assert found is not None
    assert (found.state, found.owner, found.result) == ("running", "other", None)


def test_a_request_that_came_meanwhile_is_answered_by_the_end(
    sqlite: SqliteStore, other: SqliteStore
) -> None:
    runs = claimed(sqlite, 2)
    other.request(runs[0].no, "cancel")
    answers = sqlite.commit(ends(runs))
    assert {type(answer) for answer in answers} == {Applied}
    assert {(run.state, run.request) for run in sqlite.runs(limit=-1)} == {("done", None)}


def test_who_waits_for_one_of_them_is_due(sqlite: SqliteStore) -> None:
    runs = claimed(sqlite, 2)
    waits = decide(runs[0], Released("suspended", None, None, (runs[1].id,)), now=2.0)
    orders: list[Order] = [waits]
    assert isinstance(sqlite.commit(orders)[0], Applied)
    sqlite.commit(ends(runs[1:]))
    found = sqlite.run(runs[0].id)
    assert found is not None
    assert (found.state, found.wake_at is not None) == ("waiting", True)

"""What a claim leases beside ends is read when it is durable: the next process need not wait for that."""

from collections.abc import Callable, Sequence
from typing import Any

import apsw
import pytest

from onward.core.claiming import submitted
from onward.core.decide import Released, Returned, decide
from onward.core.errors import OutcomeUnknown
from onward.core.model import Answered, Applied, Change, Claim, Claimed, Order, Run
from onward.storage.sqlite.store import SqliteStore
from onward.storage.sqlite.straight import _READ_FIRST, Straight
from onward.storage.sqlite.turn import Turn
from storage.test_sqlite_straight import Watched, watched
from storage.test_sqlite_straight_ends import in_little, rows

__all__ = ["watched"]  # fixture

CLAIM = Claim("me", 30.0, ("job",), (), 3)


def add(store: SqliteStore, *ids: str, **fields: Any) -> None:
    runs = [Run(one, "workflow", "job", f"queued:{one}", args="[[],{}]", queue="q", **fields) for one in ids]
    assert all(
        isinstance(answer, Applied) for answer in store.commit([submitted(run, now=1.0) for run in runs])
    )


def held(answer: Answered) -> list[Run]:
    assert isinstance(answer, Claimed)
    return [run for run, _ in answer.runs]


def ended_and_claimed(store: SqliteStore, runs: Sequence[Run], claim: Claim = CLAIM) -> Claimed:
    orders: list[Order] = [*in_little(runs), claim]
    *applied, answer = store.commit(orders)
    assert applied == [Applied(run.no, 2, None) for run in runs]
    assert isinstance(answer, Claimed)
    return answer


def test_they_are_leased_in_their_order_and_answered_as_they_are_stored(sqlite: SqliteStore) -> None:
    add(sqlite, "a", "b", "c")
    first = held(sqlite.commit([CLAIM])[0])
    add(sqlite, "d", "e", tags='["t"]', lane="l", parent="a")
    add(sqlite, "f", "g", priority=5)
    answer = ended_and_claimed(sqlite, first)
    assert [run.id for run in held(answer)] == ["f", "g", "d"]
    for run, last_seq in answer.runs:
        assert (run, last_seq) == (sqlite.run(run.id), 1)
        assert (run.state, run.fence, run.owner, run.leased_seq) == ("running", 1, "me", 1)
    # What was leased so ends as straight as anything else.
    assert [run.id for run in held(ended_and_claimed(sqlite, held(answer)))] == ["e"]


def test_what_is_stored_is_what_the_general_way_writes(
    sqlite: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "now", lambda: 5.0)
    sqlite._straight._now = lambda: 5.0
    found = []
    for straight in (True, False):
        with monkeypatch.context() as patch:
            if not straight:
                patch.setattr(Straight, "commit", lambda straight, plan: None)
            add(sqlite, "a", "b", "c", "d", "e")
            answer = ended_and_claimed(sqlite, held(sqlite.commit([CLAIM])[0]))
            stored = [
                (run._replace(no=0), entries) for run, entries in rows(sqlite) if run.state == "running"
            ]
            found.append((stored, [(run._replace(no=0), seq) for run, seq in answer.runs]))
            for run in sqlite.runs(limit=-1):
                sqlite.delete(run.no)
    assert len(found[0][0]) == 2
    assert found[0] == found[1]


def test_nothing_of_them_is_read_while_this_process_has_its_turn(
    sqlite: SqliteStore, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(sqlite, *"abcdef")
    first = held(sqlite.commit([CLAIM])[0])
    release = Turn.release
    monkeypatch.setattr(Turn, "release", lambda turn: (watched.said.append("free"), release(turn))[1])
    watched.said.clear()
    ended_and_claimed(sqlite, first)
    assert watched.said[-3:] == ["COMMIT", "free", "SELECT"]


@pytest.mark.parametrize("other", ["single", "released"])
def test_beside_a_run_that_is_not_new_all_are_read_first(sqlite: SqliteStore, other: str) -> None:
    add(sqlite, "a", "b", "c")
    first = held(sqlite.commit([CLAIM])[0])
    if other == "single":
        add(sqlite, "d", single="k")
    else:
        add(sqlite, "d")
        (run,) = held(sqlite.commit([CLAIM])[0])
        assert isinstance(sqlite.commit([decide(run, Released("released"), now=2.0)])[0], Applied)
    add(sqlite, "e")
    answer = ended_and_claimed(sqlite, first)
    assert [(run.id, run.fence) for run in held(answer)] == [("d", 1 if other == "single" else 2), ("e", 1)]
    for run in held(answer):
        assert run == sqlite.run(run.id)


def test_after_a_claim_that_was_taken_back_for_nothing_many_read_first(
    sqlite: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken_back: list[str] = []
    write = Straight._write

    def counted(straight: Straight, plan: Any) -> Any:
        transaction = write(straight, plan)
        if transaction is None:
            taken_back.append("once")
        return transaction

    monkeypatch.setattr(Straight, "_write", counted)
    for n in range(_READ_FIRST + 3):
        add(sqlite, f"r{n}", single=f"k{n}")
    one = CLAIM._replace(limit=1)
    runs = held(sqlite.commit([one])[0])
    for _ in range(_READ_FIRST + 1):
        runs = held(ended_and_claimed(sqlite, runs, one))
        assert len(runs) == 1
    assert taken_back == ["once"]
    ended_and_claimed(sqlite, runs, one)
    assert taken_back == ["once", "once"]


def test_a_lease_that_was_lost_before_it_was_read_is_not_answered(
    sqlite: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process has stood still between its commit and the reading, and another one has taken over."""
    add(sqlite, *"abcdef")
    first = held(sqlite.commit([CLAIM])[0])
    completed = SqliteStore._completed

    def later(store: SqliteStore, plan: Any, answers: list[Answered]) -> list[Answered]:
        store._writer.execute("UPDATE run SET fence = 2, owner = 'other' WHERE id = 'e'")
        return completed(store, plan, answers)

    monkeypatch.setattr(SqliteStore, "_completed", later)
    assert [run.id for run in held(ended_and_claimed(sqlite, first))] == ["d", "f"]


def test_what_cannot_be_read_leaves_the_ends_recorded_and_says_so(
    sqlite: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(sqlite, *"abcdef")
    first = held(sqlite.commit([CLAIM])[0])

    def fails(*_: Any) -> Any:
        raise apsw.BusyError("database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(Straight, "completed", fails)
        with pytest.raises(
            OutcomeUnknown, match="is durable, but what was claimed with it could not be read"
        ):
            ended_and_claimed(sqlite, first)
    assert [run.state for run, _ in rows(sqlite)][::-1] == ["done"] * 3 + ["running"] * 3
    # As the holder gives back what it does not know of.
    assert {run.id for run in sqlite.runs_held("me", limit=9)} == {"d", "e", "f"}


def test_an_empty_queue_gives_nothing(sqlite: SqliteStore) -> None:
    add(sqlite, "a", "b", "c")
    answer = ended_and_claimed(sqlite, held(sqlite.commit([CLAIM])[0]))
    assert answer == Claimed(())


def test_the_decision_is_the_cores(sqlite: SqliteStore) -> None:
    """The row that the statement writes is the one that `core.decide` goes on from."""
    add(sqlite, *"abcd")
    (run,) = held(ended_and_claimed(sqlite, held(sqlite.commit([CLAIM])[0])))
    end: Callable[[Run], Change] = lambda run: decide(run, Returned("7"), now=9.0)  # noqa: E731
    assert isinstance(sqlite.commit([end(run)])[0], Applied)
    assert sqlite.run("d") == end(run).after

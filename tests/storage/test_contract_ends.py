"""The port's promise about ends of runs: one that is told in little is written as if it had been told at length."""

from __future__ import annotations

from typing import Any

import pytest

from onward.core.decide import Released, decide, returned
from onward.core.model import Applied, Change, Claimed, End, Entry, Order, Refused, Request, Run
from onward.storage import Store
from storage.rows import reason
from storage.test_contract_claims import add, an_order, claim, held, queued

# More than SQLite writes by one statement, and no multiple of it.
MANY = 123


def leased(store: Store, count: int, **fields: Any) -> list[Run]:
    add(store, *(queued(f"r{at:03}", **fields) for at in range(count)))
    return held(claim(store, count))


def at_length(end: End) -> Change:
    return returned(end.run, end.value, now=end.at)


def stored(store: Store, run: Run) -> tuple[Run, list[Entry]]:
    found = store.run(run.id)
    assert found is not None
    return found, list(store.entries(run.no))


@pytest.mark.parametrize("single", [None, "k", "end:k", "start:k"])
def test_an_end_is_stored_as_the_change_that_says_the_same(store: Store, single: str | None) -> None:
    found = []
    for tell in (lambda end: end, at_length):
        (run,) = leased(store, 1, single=single, lane="l", tags='["t"]', priority=3)
        assert store.commit([tell(End(run, "17", 7.0))]) == [Applied(run.no, 2, None)]
        row, entries = stored(store, run)
        found.append((row._replace(no=0, created_at=0.0), entries[2]))
        store.delete(run.no)
    assert found[0] == found[1]


def test_of_many_ends_each_is_its_own(store: Store) -> None:
    runs = leased(store, MANY)
    ends = [End(run, f"{at}", 100.0 + at) for at, run in enumerate(runs)]
    assert store.commit(ends) == [Applied(run.no, 2, None) for run in runs]
    for at, run in enumerate(runs):
        row, entries = stored(store, run)
        assert (row.state, row.result, row.updated_at, row.owner) == ("done", f"{at}", 100.0 + at, None)
        assert [(one.key, one.ended_at) for one in entries[2:]] == [("run/returned", 100.0 + at)]


def test_an_end_of_a_lease_that_is_over_is_refused_and_the_others_stand(store: Store) -> None:
    runs = leased(store, 3)
    released = decide(runs[1], Released("released"), now=store.now())
    assert isinstance(store.commit([released])[0], Applied)
    (again,) = held(claim(store, 1, owner="other"))
    ends: list[Order] = [End(run, "1", 7.0) for run in runs]
    first, refused, last = store.commit(ends)
    assert isinstance(first, Applied)
    assert isinstance(last, Applied)
    assert isinstance(refused, Refused)
    assert reason(refused) == "fence"
    assert stored(store, again)[0].owner == "other"


def test_an_end_answers_a_wish_that_came_meanwhile(store: Store) -> None:
    runs = leased(store, 2)
    store.request(runs[0].no, "cancel")
    assert all(isinstance(one, Applied) for one in store.commit([End(run, "1", 7.0) for run in runs]))
    assert {(stored(store, run)[0].state, stored(store, run)[0].request) for run in runs} == {("done", None)}


def test_ends_and_a_claim_that_sees_what_they_have_freed(store: Store) -> None:
    store.set_queue("q", declared='{"concurrency": 2}')
    add(store, *(queued(f"r{at}") for at in range(3)))
    runs = held(claim(store))
    assert len(runs) == 2
    orders: list[Order] = [*(End(run, "1", 7.0) for run in runs), an_order()]
    *answers, last = store.commit(orders)
    assert all(isinstance(one, Applied) for one in answers)
    assert isinstance(last, Claimed)
    assert [run.id for run, _ in last.runs] == ["r2"]


def test_ends_among_other_changes_are_written_in_their_order(store: Store) -> None:
    ended, goes_on = leased(store, 2)
    entry = Entry("s#1", "step", "done", "s", value="1", fence=goes_on.fence, ended_at=6.0)
    orders: list[Order] = [
        Change(goes_on.no, goes_on.fence, (entry,)),
        End(ended, None, 7.0),
        End(goes_on, "2", 8.0),
    ]
    assert store.commit(orders) == [
        Applied(goes_on.no, 2, None),
        Applied(ended.no, 2, None),
        Applied(goes_on.no, 3, None),
    ]
    assert [one.key for one in stored(store, goes_on)[1]][2:] == ["s#1", "run/returned"]


def test_of_ends_around_a_claim_each_has_its_own_answer(store: Store) -> None:
    runs = leased(store, 3)
    add(store, queued("next"))
    orders: list[Order] = [End(runs[2], "1", 7.0), an_order(), End(runs[0], "2", 8.0), End(runs[1], "3", 9.0)]
    first, got, *others = store.commit(orders)
    assert [first, *others] == [Applied(runs[at].no, 2, None) for at in (2, 0, 1)]
    assert isinstance(got, Claimed)
    assert [run.id for run in held(got)] == ["next"]
    assert [stored(store, run)[0].result for run in runs] == ["2", "3", "1"]


def test_what_waits_for_an_ended_run_is_claimed_in_the_same_commit(store: Store) -> None:
    (child,) = leased(store, 1)
    add(store, queued("parent"), queued("other"))
    parent, _ = held(claim(store, 2))
    store.commit([decide(parent, Released("suspended", None, None, (child.id,)), now=store.now())])
    ended, got = store.commit([End(child, "1", 7.0), an_order()])
    assert ended == Applied(child.no, 2, None)
    assert isinstance(got, Claimed)
    assert [(run.id, run.fence) for run in held(got)] == [("parent", 2)]
    assert stored(store, got.runs[0][0])[0] == got.runs[0][0]


def test_a_lease_that_is_over_takes_neither_the_other_ends_nor_the_claim_with_it(store: Store) -> None:
    runs = leased(store, 3)
    store.commit([decide(runs[1], Released("released"), now=store.now())])
    (again,) = held(claim(store, 1, owner="other"))
    add(store, queued("next"))
    first, refused, last, got = store.commit([*(End(run, "1", 7.0) for run in runs), an_order()])
    assert (first, last) == (Applied(runs[0].no, 2, None), Applied(runs[2].no, 2, None))
    assert isinstance(refused, Refused)
    assert reason(refused) == "fence"
    assert isinstance(got, Claimed)
    assert [run.id for run in held(got)] == ["next"]
    assert stored(store, again)[0] == again
    assert list(store.problems()) == []


@pytest.mark.parametrize("wish", ["pause", "cancel"])
def test_an_end_answers_a_wish_and_its_claim_is_made(store: Store, wish: Request) -> None:
    runs = leased(store, 2)
    add(store, queued("next"))
    store.request(runs[1].no, wish)
    *ended, got = store.commit([*(End(run, "1", 7.0) for run in runs), an_order()])
    assert ended == [Applied(run.no, 2, None) for run in runs]
    assert isinstance(got, Claimed)
    assert [run.id for run in held(got)] == ["next"]
    assert {(stored(store, run)[0].state, stored(store, run)[0].request) for run in runs} == {("done", None)}


def test_a_value_that_no_journal_can_hold_spoils_its_own_end_alone(store: Store) -> None:
    runs = leased(store, 3)
    add(store, queued("next"))
    values = ["1", "half \ud800", "3"]
    *ended, got = store.commit([*(End(run, v, 7.0) for run, v in zip(runs, values, strict=True)), an_order()])
    if isinstance(ended[1], Applied):
        pytest.skip("this store holds any text")
    assert [isinstance(one, Applied) for one in ended] == [True, False, True]
    assert isinstance(got, Claimed)
    assert [run.id for run in held(got)] == ["next"]
    assert stored(store, runs[1])[0].state == "running"

"""What every store promises about runs that take many items: each is in exactly one run, and the claim freezes it."""

from __future__ import annotations

from typing import Any

from onward.core import codec, limits
from onward.core.acts import acted
from onward.core.model import Arrival, Arrived, Claim, Claimed, Refused, Run
from onward.storage import Store
from storage.conftest import Clock


def arrival(
    item: Any, *, at_most: int = 3, key: str | None = None, run: str = "b1", **fields: Any
) -> Arrival:
    given: dict[str, Any] = {"queue": "q", "single": "batch:load:", "wake_at": 1_005.0, **fields}
    return Arrival(Run(run, "workflow", "load", f"queued:{run}", **given), codec.encode(item), at_most, key)


def arrive(store: Store, *arrivals: Arrival) -> list[Any]:
    return list(store.commit(arrivals))


def claim(store: Store) -> list[Run]:
    [answer] = store.commit([Claim("me", 30.0, ("load",), (), 10)])
    assert isinstance(answer, Claimed)
    return [run for run, _ in answer.runs]


def items(run: Run) -> Any:
    assert run.args is not None
    args, kwargs = codec.decode(run.args)
    assert kwargs == {}
    return args[0]


def test_items_gather_in_one_run_until_its_time_has_come(store: Store, clock: Clock) -> None:
    answers = arrive(store, arrival("a"), arrival({"b": 1}, run="b2"))
    assert [(one.run_id, one.new) for one in answers] == [("b1", True), ("b1", True)]
    assert claim(store) == []
    clock.at = 1_005.0
    [run] = claim(store)
    assert (run.id, items(run)) == ("b1", ["a", {"b": 1}])
    assert store.run("b1") == run
    assert list(store.problems()) == []


def test_a_full_run_is_due_at_once_and_the_next_item_opens_another(store: Store) -> None:
    answers = arrive(store, *(arrival(n, run=f"b{n}") for n in range(7)))
    assert [one.run_id for one in answers] == ["b0", "b0", "b0", "b3", "b3", "b3", "b6"]
    runs = claim(store)
    assert [(run.id, items(run)) for run in runs] == [("b0", [0, 1, 2]), ("b3", [3, 4, 5])]


def test_what_comes_after_the_claim_is_for_the_next_run(store: Store, clock: Clock) -> None:
    arrive(store, arrival("a"))
    clock.at = 1_005.0
    order = [Claim("me", 30.0, ("load",), (), 10), arrival("b", run="b2", wake_at=1_010.0)]
    claimed, arrived = store.commit(order)
    assert isinstance(claimed, Claimed)
    assert isinstance(arrived, Arrived)
    assert (items(claimed.runs[0][0]), arrived.run_id) == (["a"], "b2")
    clock.at = 1_010.0
    assert [items(run) for run in claim(store)] == [["b"]]


def test_an_item_with_a_key_joins_once_even_after_its_run_has_begun(store: Store, clock: Clock) -> None:
    first, again = arrive(store, arrival("a", key="id:1"), arrival("a", key="id:1", run="b2"))
    assert (first.new, again) == (True, first._replace(new=False))
    clock.at = 1_005.0
    assert [items(run) for run in claim(store)] == [["a"]]
    assert arrive(store, arrival("a", key="id:1", run="b3")) == [again]
    # Of another workflow it is another key.
    other = arrival("a", key="id:1", run="c1", single="batch:other:")
    [answer] = store.commit([other._replace(run=other.run._replace(name="other"))])
    assert isinstance(answer, Arrived)
    assert (answer.run_id, answer.new) == ("c1", True)


def test_another_item_under_a_key_that_is_taken_is_refused_alone(store: Store, clock: Clock) -> None:
    answers = arrive(store, arrival("a", key="id:1"), arrival("x", key="id:1"), arrival("b"))
    assert isinstance(answers[1], Refused)
    assert answers[1].reason == "key"
    clock.at = 1_005.0
    assert [items(run) for run in claim(store)] == [["a", "b"]]


def test_items_that_are_too_much_together_begin_another_run(store: Store) -> None:
    text = "x" * (limits.BATCH_CHARS // 2)
    answers = arrive(store, *(arrival(text, run=f"b{n}") for n in range(3)))
    assert [one.run_id for one in answers] == ["b0", "b1", "b2"]
    assert [run.id for run in claim(store)] == ["b0", "b1"]


def test_items_go_with_a_run_that_is_cancelled_and_the_next_one_opens_another(
    store: Store, clock: Clock
) -> None:
    arrive(store, arrival("a"))
    run = store.run("b1")
    assert run is not None
    change = acted(run, "cancelled", by="me", now=1_001.0)
    assert change is not None
    store.commit([change])
    [answer] = arrive(store, arrival("b", run="b2"))
    assert answer.run_id == "b2"
    clock.at = 1_005.0
    assert [items(run) for run in claim(store)] == [["b"]]


def test_a_paused_run_still_takes_items(store: Store, clock: Clock) -> None:
    arrive(store, arrival("a"))
    run = store.run("b1")
    assert run is not None
    paused = acted(run, "paused", by="me", now=1_001.0)
    assert paused is not None
    store.commit([paused])
    [answer] = arrive(store, arrival("b", run="b2"))
    assert answer.run_id == "b1"
    run = store.run("b1")
    assert run is not None
    resumed = acted(run, "resumed", by="me", now=1_002.0)
    assert resumed is not None
    store.commit([resumed])
    clock.at = 1_005.0
    assert [items(run) for run in claim(store)] == [["a", "b"]]


def test_a_deleted_run_takes_its_items_and_their_keys_along(store: Store) -> None:
    [answer] = arrive(store, arrival("a", key="id:1"))
    store.delete(answer.run_no)
    assert list(store.problems()) == []
    [answer] = arrive(store, arrival("b", key="id:1", run="b2"))
    assert (answer.run_id, answer.new) == ("b2", True)

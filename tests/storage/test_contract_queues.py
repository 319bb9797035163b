"""What every store promises about queued runs beside claims: who waits for whom, who works, what many items make."""

from __future__ import annotations

from typing import Any

import pytest

from onward.core.acts import acted
from onward.core.claiming import submitted
from onward.core.decide import Released, Returned, decide
from onward.core.flow import Limits, Quota, text_of
from onward.core.model import Applied, Arrival, Arrived, Change, Claim, Claimed, Owner, Run, WorkerRow
from onward.storage import Store
from storage.conftest import Clock
from storage.rows import entry, opened, reason


def queued(store: Store, run_id: str, **fields: Any) -> Run:
    """A run that waits in the queue `q` for a worker."""
    change = _submitting(store, run_id, **fields)
    assert isinstance(store.commit([change])[0], Applied)
    return stored(store, run_id)


def _submitting(store: Store, run_id: str, **fields: Any) -> Change:
    given: dict[str, Any] = {
        "kind": "workflow",
        "name": "work",
        "identity": run_id,
        "args": "[[],{}]",
        **fields,
    }
    given.setdefault("queue", "q")
    return submitted(Run(run_id, **given), now=store.now())


def stored(store: Store, run_id: str) -> Run:
    run = store.run(run_id)
    assert run is not None
    return run


def claim(store: Store, limit: int = 1, owner: str = "w", **fields: Any) -> Claimed:
    given: dict[str, Any] = {"names": ("work",), "queues": (), **fields}
    [answer] = store.commit([Claim(owner, 30.0, limit=limit, **given)])
    assert isinstance(answer, Claimed)
    return answer


def claimed(store: Store, limit: int = 1, **fields: Any) -> list[str]:
    return [run.id for run, _ in claim(store, limit, **fields).runs]


def finish(store: Store, run_id: str) -> None:
    [answer] = store.commit([decide(stored(store, run_id), Returned(None), now=store.now())])
    assert isinstance(answer, Applied)


def test_a_refused_change_beside_a_claim_spoils_nothing(store: Store) -> None:
    queued(store, "a")
    run = opened(store, "direct")
    store.commit([Change(run.no, 1, (entry("k"),))])
    again, got = store.commit([Change(run.no, 1, (entry("k"),)), Claim("w", 30.0, ("work",), (), 2)])
    assert reason(again) == "key"  # type: ignore[arg-type]
    assert isinstance(got, Claimed)
    assert [(run.id, seq) for run, seq in got.runs] == [("a", 1)]
    assert stored(store, "a").owner == "w"


def test_queues_are_known_from_their_first_run_or_limits_on(store: Store) -> None:
    assert store.queues() == []
    queued(store, "a", queue="late")
    store.set_queue("early", paused=True, declared=text_of({"rate": Quota(3, 4.5)}))
    queued(store, "b", queue="early")
    early, late = store.queues()
    assert (early.limits, late.limits) == (Limits("early", True, rate=Quota(3, 4.5)), Limits("late"))


# -- waiting for others ----------------------------------------------------------------------------------


def suspend(store: Store, run_id: str, *awaits: str, wake_at: float | None = None) -> Change:
    return decide(stored(store, run_id), Released("suspended", None, wake_at, awaits), now=store.now())


def resume(store: Store, run_id: str) -> None:
    change = acted(stored(store, run_id), "resumed", by="me", now=store.now())
    assert change is not None
    assert isinstance(store.commit([change])[0], Applied)


def test_a_run_that_awaits_another_is_due_when_that_has_ended(store: Store, clock: Clock) -> None:
    for run_id in ("parent", "child", "other"):
        queued(store, run_id)
    assert claimed(store, 3) == ["parent", "child", "other"]
    store.commit([suspend(store, "parent", "child", "other")])
    assert claim(store) == Claimed(())
    clock.at += 7
    finish(store, "child")
    assert stored(store, "parent").wake_at == clock.at
    assert claimed(store) == ["parent"]


@pytest.mark.parametrize("first", ["child", "parent"])
def test_nobody_waits_for_ever_for_what_ends_in_the_same_batch(
    store: Store, clock: Clock, first: str
) -> None:
    queued(store, "parent")
    queued(store, "child")
    claim(store, 2)
    both = [decide(stored(store, "child"), Returned(None), now=clock.at), suspend(store, "parent", "child")]
    store.commit(both if first == "child" else both[::-1])
    assert stored(store, "parent").wake_at == clock.at


def test_what_has_ended_already_or_is_not_there_is_not_waited_for(store: Store, clock: Clock) -> None:
    for run_id in ("one", "two", "child"):
        queued(store, run_id)
    claim(store, 3)
    finish(store, "child")
    store.commit([suspend(store, "one", "child")])
    store.commit([suspend(store, "two", "nobody")])
    assert [stored(store, run_id).wake_at for run_id in ("one", "two")] == [clock.at, clock.at]


def test_whoever_waits_twice_for_the_same_is_woken_once(store: Store, clock: Clock) -> None:
    """Named twice in one wait, and waited for again after a timer had come first."""
    for run_id in ("parent", "child"):
        queued(store, run_id)
    claim(store, 2)
    store.commit([suspend(store, "parent", "child", "child", wake_at=clock.at + 5)])
    clock.at += 5
    assert claimed(store) == ["parent"]
    store.commit([suspend(store, "parent", "child")])
    assert claimed(store) == []
    finish(store, "child")
    assert claimed(store) == ["parent"]
    store.commit([suspend(store, "parent")])
    assert stored(store, "parent").wake_at is None  # nothing of the first wait is left to wake it
    assert claimed(store) == []


def test_a_wake_up_that_came_meanwhile_is_not_undone_by_who_has_not_seen_it(
    store: Store, clock: Clock
) -> None:
    """A person paused a run just as what it waited for had ended; resumed, it slept for ever."""
    for run_id in ("parent", "child"):
        queued(store, run_id)
    claim(store, 2)
    store.commit([suspend(store, "parent", "child")])
    pause = acted(stored(store, "parent"), "paused", by="me", now=clock.at)
    assert pause is not None
    clock.at += 1
    finish(store, "child")
    woken_at = clock.at
    clock.at += 1
    assert isinstance(store.commit([pause])[0], Applied)
    assert (stored(store, "parent").state, stored(store, "parent").wake_at) == ("paused", woken_at)
    resume(store, "parent")
    assert claimed(store) == ["parent"]


def test_a_wake_up_reaches_a_paused_run(store: Store, clock: Clock) -> None:
    for run_id in ("parent", "child"):
        queued(store, run_id)
    claim(store, 2)
    store.commit([suspend(store, "parent", "child")])
    pause = acted(stored(store, "parent"), "paused", by="me", now=clock.at)
    assert pause is not None
    store.commit([pause])
    finish(store, "child")
    assert stored(store, "parent").state == "paused"
    assert stored(store, "parent").wake_at == clock.at
    assert claimed(store) == []
    resume(store, "parent")
    assert claimed(store) == ["parent"]


def test_a_timer_that_comes_first_is_not_put_off(store: Store, clock: Clock) -> None:
    at = clock.at
    queued(store, "parent")
    queued(store, "child")
    claim(store, 2)
    store.commit([suspend(store, "parent", "child", wake_at=at + 5)])
    clock.at = at + 10
    finish(store, "child")
    assert stored(store, "parent").wake_at == at + 5


# -- who works ----------------------------------------------------------------------------------------


def test_of_one_single_there_is_one_run(store: Store) -> None:
    queued(store, "a", single="end:daily")
    again = _submitting(store, "b", single="end:daily")
    assert reason(store.commit([again])[0]) == "exists"  # type: ignore[arg-type]
    found = store.single_run("end:daily")
    assert found is not None
    assert found.id == "a"
    claim(store)
    finish(store, "a")
    assert store.single_run("end:daily") is None
    assert isinstance(store.commit([again])[0], Applied)


def test_a_single_that_was_given_up_is_not_taken_again(store: Store) -> None:
    """By a change that was decided before: the next run of it may be there already."""
    run = queued(store, "a", single="end:daily")
    store.commit([Change(run.no, run.fence, after=run._replace(single=None))])
    assert store.single_run("end:daily") is None
    late = Change(run.no, run.fence, after=run._replace(priority=5))
    assert isinstance(store.commit([late])[0], Applied)
    assert (stored(store, "a").priority, stored(store, "a").single) == (5, None)
    queued(store, "b", single="end:daily")
    found = store.single_run("end:daily")
    assert found is not None
    assert found.id == "b"


def test_workers_are_listed_until_their_owner_is_forgotten(store: Store) -> None:
    store.register(Owner("w", "here", "boot", 1, "onward worker", 1.0))
    one = WorkerRow("w", ("a", "b"), (), 10, "working", 5.0)
    two = WorkerRow("v", ("a",), ("q",), 1, "draining", 6.0)
    store.announce(one)
    store.announce(two)
    store.announce(replace_seen(one, 7.0))
    assert store.workers() == [replace_seen(one, 7.0), two]
    store.unregister("w")
    assert store.workers() == [two]


def replace_seen(worker: WorkerRow, at: float) -> WorkerRow:
    return worker._replace(seen_at=at)


def test_what_has_waited_for_its_time_waits_for_a_worker_then(store: Store, clock: Clock) -> None:
    at = clock.at
    queued(store, "a", name="work")
    for run_id, name, wake_at in [
        ("b", "work", 5.0),
        ("c", "work", 50.0),
        ("d", "late", 5.0),
        ("e", "never", 50.0),
    ]:
        queued(store, run_id, name=name, wake_at=at + wake_at)
    assert store.ready(now=at + 4.9, at_most=100) == [("q", "work", 1, at)]
    assert store.ready(now=at + 5, at_most=100) == [("q", "late", 1, at), ("q", "work", 2, at)]
    assert store.ready(now=at + 60, at_most=100) == [
        ("q", "late", 1, at),
        ("q", "never", 1, at),
        ("q", "work", 3, at),
    ]


def test_what_waits_and_who_holds_is_told(store: Store, clock: Clock) -> None:
    at = clock.at
    for run_id, name in [("a", "work"), ("b", "work"), ("c", "other")]:
        queued(store, run_id, name=name)
    clock.at += 5
    queued(store, "d", name="other")
    assert store.ready(now=clock.at, at_most=100) == [("q", "other", 2, at), ("q", "work", 2, at)]
    claim(store, 1)
    clock.at += 5
    claim(store, 1)
    assert store.ready(now=clock.at, at_most=100) == [("q", "other", 2, at)]
    assert store.holders() == [("w", at + 35.0)]
    assert [run.id for run in store.runs_held("w", limit=9)] == ["a", "b"]
    assert [run.id for run in store.runs_held("w", limit=1)] == ["a"]
    assert store.runs_held("nobody", limit=9) == []


def test_a_claim_and_limits_change_the_version(store: Store) -> None:
    queued(store, "a")
    seen = [store.version()]
    for write in (lambda: store.set_queue("q", declared=text_of({"concurrency": 3})), lambda: claim(store)):
        write()
        assert store.version() not in seen
        seen.append(store.version())


# -- moved away, and many items in one run ----------------------------------------------------------------


def test_a_journal_that_was_moved_takes_no_new_runs_until_that_is_taken_back(store: Store) -> None:
    queued(store, "a")
    store.set_moved("postgresql://there/app")
    assert store.moved_to() == "postgresql://there/app"
    for orders in (
        [_submitting(store, "b")],
        [_submitting(store, "b"), _submitting(store, "c")],
        [_item("1")],
    ):
        assert {reason(answer) for answer in store.commit(orders)} == {"moved"}  # type: ignore[arg-type]
    assert claimed(store) == ["a"]
    store.set_moved(None)
    assert store.moved_to() is None
    queued(store, "b")


def _item(item: str, key: str | None = None, at_most: int = 3, number: int = 0) -> Arrival:
    run = Run(
        f"batch-{item}-{number}", "workflow", "work", "i", queue="q", single="batch:work", wake_at=5_000.0
    )
    return Arrival(run, item, at_most, key)


def test_items_join_the_run_that_has_not_begun_until_it_is_full(store: Store, clock: Clock) -> None:
    answers = store.commit([_item(str(number)) for number in range(7)])
    assert all(isinstance(answer, Arrived) and answer.new for answer in answers)
    assert [answer.run_id for answer in answers] == [  # type: ignore[union-attr]
        *["batch-0-0"] * 3,
        *["batch-3-0"] * 3,
        "batch-6-0",
    ]
    assert claimed(store, 9) == ["batch-0-0", "batch-3-0"]
    assert [stored(store, run_id).args for run_id in ("batch-0-0", "batch-3-0")] == [
        "[[[0,1,2]],{}]",
        "[[[3,4,5]],{}]",
    ]
    [answer] = store.commit([_item("7")])
    assert isinstance(answer, Arrived)
    assert answer.run_id == "batch-6-0"
    clock.at = 5_000.0
    [(run, _)] = claim(store).runs
    assert run == stored(store, "batch-6-0")
    assert run.args == "[[[6,7]],{}]"
    [answer] = store.commit([_item("8")])
    assert isinstance(answer, Arrived)
    assert answer.run_id == "batch-8-0"


def test_an_item_with_a_key_arrives_once(store: Store) -> None:
    first, again, other = store.commit([_item('"a"', "k"), _item('"a"', "k"), _item('"b"', "k")])
    assert isinstance(first, Arrived)
    assert again == first._replace(new=False)
    assert reason(other) == "key"  # type: ignore[arg-type]
    assert store.commit([_item('"a"', "k", number=1)]) == [again]
    store.commit([_item('"c"', at_most=2)])
    assert claimed(store) == [first.run_id]
    # Also when the run has begun.
    assert store.commit([_item('"a"', "k", number=2)]) == [again]
    store.delete(first.run_no)
    [fresh] = store.commit([_item('"a"', "k", number=3)])
    assert isinstance(fresh, Arrived)
    assert fresh.new


def test_a_run_for_workers_is_read_back_as_it_was_given(store: Store) -> None:
    given = Run(
        "r", "workflow", "work", "i", direct=False, queue="q", priority=-3, lane="l", single="s", tags='["t"]',
        parent="p", attempt=2,
    )  # fmt: skip
    store.commit([Change(0, 0, after=given, create=True)])
    run = stored(store, "r")
    assert run == given._replace(no=run.no)
    store.commit(
        [Change(run.no, 0, after=run._replace(priority=9, single=None, tags=None, attempt=0, queue="x"))]
    )
    assert stored(store, "r") == run._replace(priority=9, single=None, tags=None, attempt=0)

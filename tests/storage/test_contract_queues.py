"""What every store promises about queued runs: who claims them, in which order, within which limits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from onward.core.decide import Released, Returned, decide, submitted
from onward.core.flow import Limits
from onward.core.model import Applied, Change, Claim, Claimed, Owner, Run, WorkerRow
from onward.storage import Store
from storage.conftest import Clock
from storage.rows import entry, opened, reason


def queued(store: Store, run_id: str, **fields: Any) -> Run:
    """A run that waits in the queue `q` for a worker."""
    change = _submitting(store, run_id, **fields)
    assert isinstance(store.commit([change])[0], Applied)
    return stored(store, run_id)


def _submitting(store: Store, run_id: str, **fields: Any) -> Change:
    given: dict[str, Any] = {"kind": "workflow", "name": "work", "identity": run_id, "queue": "q", **fields}
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


def test_what_is_claimed_is_leased_and_nobody_elses(store: Store, clock: Clock) -> None:
    queued(store, "a")
    [(run, last_seq)] = claim(store).runs
    assert run == stored(store, "a")
    assert (run.state, run.owner, run.fence, run.lease_until) == ("running", "w", 1, clock.at + 30.0)
    assert last_seq == store.last_seq(run.no) == run.leased_seq
    assert [e.name for e in store.entries(run.no)] == ["submitted", "claimed"]
    assert claimed(store, 9) == []
    finish(store, "a")
    assert claimed(store, 9) == []


def test_runs_are_claimed_by_priority_and_then_in_the_order_they_came(store: Store) -> None:
    for run_id, priority in [("a", 0), ("b", 5), ("c", 0), ("d", 5), ("e", -1)]:
        queued(store, run_id, priority=priority)
    assert claimed(store, 2) == ["b", "d"]
    assert claimed(store, 9) == ["a", "c", "e"]


def test_only_workflows_and_queues_that_are_named_are_claimed(store: Store) -> None:
    queued(store, "a", name="other")
    queued(store, "b", queue="p")
    queued(store, "c")
    opened(store, "direct", name="work", state="pending", owner=None, lease_until=None)
    assert claimed(store, 9, queues=("p", "missing")) == ["b"]
    assert claimed(store, 9, names=()) == []
    assert claimed(store, 9, names=("work", "other")) == ["a", "c"]


def test_a_run_with_a_delay_is_claimed_when_its_time_has_come_and_not_before(
    store: Store, clock: Clock
) -> None:
    at = clock.at
    queued(store, "late", wake_at=at + 10)
    queued(store, "early", wake_at=at + 5)
    assert claim(store) == Claimed((), at + 5)
    clock.at = at + 5
    assert claimed(store, 9) == ["early"]
    clock.at = at + 20
    queued(store, "fresh")
    assert claimed(store, 9) == ["late", "fresh"]


def test_a_claim_sees_what_stands_before_it_in_its_batch(store: Store) -> None:
    answers = store.commit(
        [_submitting(store, "a"), Claim("w", 30.0, ("work",), (), 9), _submitting(store, "b")]
    )
    assert isinstance(answers[1], Claimed)
    assert [run.id for run, _ in answers[1].runs] == ["a"]
    assert stored(store, "b").state == "pending"
    store.set_limits(Limits("q", concurrency=1))
    ending = decide(stored(store, "a"), Returned(None), now=store.now())
    answers = store.commit([ending, Claim("w", 30.0, ("work",), (), 9)])
    assert isinstance(answers[1], Claimed)
    assert [run.id for run, _ in answers[1].runs] == ["b"]


def test_two_claims_in_one_batch_never_get_the_same_run(store: Store) -> None:
    for run_id in "abc":
        queued(store, run_id)
    order = Claim("w", 30.0, ("work",), (), 2)
    first, second = store.commit([order, order])
    assert isinstance(first, Claimed)
    assert isinstance(second, Claimed)
    assert [[run.id for run, _ in one.runs] for one in (first, second)] == [["a", "b"], ["c"]]


def test_a_refused_change_beside_a_claim_spoils_nothing(store: Store) -> None:
    queued(store, "a")
    run = opened(store, "direct")
    store.commit([Change(run.no, 1, (entry("k"),))])
    again, got = store.commit([Change(run.no, 1, (entry("k"),)), Claim("w", 30.0, ("work",), (), 2)])
    assert reason(again) == "key"  # type: ignore[arg-type]
    assert isinstance(got, Claimed)
    assert [(run.id, seq) for run, seq in got.runs] == [("a", 1)]
    assert stored(store, "a").owner == "w"


# -- limits -------------------------------------------------------------------------------------------


def test_a_queue_executes_as_many_as_its_concurrency_allows(store: Store) -> None:
    store.set_limits(Limits("q", concurrency=2))
    for run_id in "abc":
        queued(store, run_id)
    assert claimed(store, 9) == ["a", "b"]
    assert claimed(store, 9) == []
    finish(store, "a")
    assert claimed(store, 9) == ["c"]


def test_a_lane_that_is_full_lets_others_pass(store: Store) -> None:
    store.set_limits(Limits("q", per_key=1))
    for run_id, lane in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("free", None)]:
        queued(store, run_id, lane=lane)
    assert claimed(store, 9) == ["a1", "b1", "free"]
    assert claimed(store, 9) == []
    finish(store, "a1")
    assert claimed(store, 9) == ["a2"]


def test_a_rate_counts_what_begins_within_its_window(store: Store, clock: Clock) -> None:
    at = clock.at
    store.set_limits(Limits("q", rate=2, window_s=10.0))
    for run_id in "abcd":
        queued(store, run_id)
    assert claimed(store, 9) == ["a", "b"]
    clock.at = at + 9.9
    assert claimed(store, 9) == []
    clock.at = at + 10.0
    assert claimed(store, 1) == ["c"]
    assert claimed(store, 9) == ["d"]


def test_a_run_that_goes_on_is_not_held_back_by_the_rate(store: Store, clock: Clock) -> None:
    store.set_limits(Limits("q", rate=1, window_s=10.0))
    queued(store, "a")
    assert claimed(store) == ["a"]
    waiting = decide(stored(store, "a"), Released("suspended", None, clock.at + 1), now=clock.at)
    store.commit([waiting])
    queued(store, "b")
    clock.at += 1
    assert claimed(store, 9) == ["a"]


def test_nothing_of_a_paused_queue_is_claimed(store: Store) -> None:
    queued(store, "a")
    store.set_limits(Limits("q", paused=True))
    assert claim(store, 9) == Claimed(())
    store.set_limits(Limits("q"))
    assert claimed(store, 9) == ["a"]


def test_queues_are_known_from_their_first_run_or_limits_on(store: Store) -> None:
    assert store.queues() == []
    queued(store, "a", queue="late")
    limits = Limits("early", True, 1, 2, 3, 4.5)
    store.set_limits(limits)
    queued(store, "b", queue="early")
    assert store.queues() == [limits, Limits("late")]


# -- waiting for others ----------------------------------------------------------------------------------


def suspend(store: Store, run_id: str, *awaits: str, wake_at: float | None = None) -> Change:
    return decide(stored(store, run_id), Released("suspended", None, wake_at, awaits), now=store.now())


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


def test_what_waits_and_who_holds_is_told(store: Store, clock: Clock) -> None:
    at = clock.at
    for run_id, name in [("a", "work"), ("b", "work"), ("c", "other")]:
        queued(store, run_id, name=name)
    clock.at += 5
    queued(store, "d", name="other")
    assert store.pending(at_most=100) == [("q", "other", 2, at), ("q", "work", 2, at)]
    claim(store, 1)
    clock.at += 5
    claim(store, 1)
    assert store.pending(at_most=100) == [("q", "other", 2, at)]
    assert store.holders() == [("w", at + 35.0)]
    assert [run.id for run in store.runs_held("w", limit=9)] == ["a", "b"]
    assert [run.id for run in store.runs_held("w", limit=1)] == ["a"]
    assert store.runs_held("nobody", limit=9) == []


def test_a_claim_and_limits_change_the_version(store: Store) -> None:
    queued(store, "a")
    seen = [store.version()]
    for write in (lambda: store.set_limits(Limits("q", concurrency=3)), lambda: claim(store)):
        write()
        assert store.version() not in seen
        seen.append(store.version())


def test_a_run_for_workers_is_read_back_as_it_was_given(store: Store) -> None:
    given = Run(
        "r", "workflow", "work", "i", direct=False, queue="q", priority=-3, lane="l", single="s", tags='["t"]',
        parent="p", attempt=2,
    )  # fmt: skip
    store.commit([Change(0, 0, after=given, create=True)])
    run = stored(store, "r")
    assert run == replace(given, no=run.no)
    store.commit(
        [Change(run.no, 0, after=replace(run, priority=9, single=None, tags=None, attempt=0, queue="x"))]
    )
    assert stored(store, "r") == replace(run, priority=9, single=None, tags=None, attempt=0)

"""What every store promises about claims: order, limits, and what they cost."""

from __future__ import annotations

from typing import Any

import pytest

from onward.core.claiming import put_off, submitted
from onward.core.decide import Released, Returned, decide
from onward.core.flow import Quota, text_of
from onward.core.model import Applied, Change, Claim, Claimed, Refused, Run
from onward.storage import Store, claims
from storage.conftest import Clock
from storage.rows import opened


def queued(run_id: str, **fields: Any) -> Run:
    given: dict[str, Any] = {"args": "[[],{}]", "queue": "q", "name": "job"}
    name = fields.pop("name", given.pop("name"))
    return Run(run_id, "workflow", name, f"queued:{run_id}", **{**given, **fields})


def add(store: Store, *runs: Run) -> None:
    answers = store.commit([submitted(run, now=store.now()) for run in runs])
    assert all(isinstance(one, Applied) for one in answers), answers


def claim(store: Store, limit: int = 100, *, owner: str = "me", **fields: Any) -> Claimed:
    [answer] = store.commit([an_order(limit, owner=owner, **fields)])
    assert isinstance(answer, Claimed)
    return answer


def an_order(limit: int = 100, *, owner: str = "me", **fields: Any) -> Claim:
    return Claim(owner, 30.0, fields.pop("names", ("job",)), fields.pop("queues", ()), limit)


def ids(claimed: Claimed) -> list[str]:
    return [run.id for run, _ in claimed.runs]


def declare(store: Store, queue: str = "q", **limits: Any) -> None:
    store.set_queue(queue, declared=text_of(limits))


def end(store: Store, *runs: Run) -> None:
    answers = store.commit([decide(run, Returned("1"), now=store.now()) for run in runs])
    assert all(isinstance(one, Applied) for one in answers), answers


def held(claimed: Claimed) -> list[Run]:
    return [run for run, _ in claimed.runs]


# -- order ----------------------------------------------------------------------------------------------


def test_runs_are_claimed_by_priority_then_in_the_order_in_which_they_came(store: Store) -> None:
    add(store, queued("a"), queued("b", priority=-1), queued("c", priority=5), queued("d"))
    assert ids(claim(store, 2)) == ["c", "a"]
    assert ids(claim(store)) == ["d", "b"]
    assert claim(store) == Claimed(())


def test_a_claimed_run_is_leased_and_says_so_in_its_journal(store: Store, clock: Clock) -> None:
    add(store, queued("a", single="start:job:k", tags='["x"]'))
    clock.at = 2_000.0
    [(run, last_seq)] = claim(store).runs
    assert run == store.run("a")
    assert (run.state, run.fence, run.owner, run.lease_until) == ("running", 1, "me", 2_030.0)
    assert (run.single, run.tags, run.args) == (None, '["x"]', "[[],{}]")
    entries = store.entries(run.no)
    assert [entry.key for entry in entries] == ["run/submitted", "run/claimed"]
    assert (last_seq, run.leased_seq, entries[-1].fence) == (1, 1, 1)
    assert list(store.problems()) == []


def test_what_has_waited_for_its_time_goes_before_equals(store: Store, clock: Clock) -> None:
    add(store, queued("late", wake_at=1_010.0), queued("new"), queued("urgent", priority=1))
    clock.at = 1_010.0
    assert ids(claim(store)) == ["urgent", "late", "new"]


def test_only_known_workflows_of_served_queues_are_claimed(store: Store) -> None:
    add(store, queued("a"), queued("b", name="other"), queued("c", queue="elsewhere"))
    assert ids(claim(store, names=("other", "unheard"))) == ["b"]
    assert ids(claim(store, queues=("elsewhere",))) == ["c"]
    assert ids(claim(store)) == ["a"]


def test_several_claims_in_one_commit_never_get_the_same_run(store: Store) -> None:
    add(store, *(queued(f"r{n}") for n in range(5)))
    one, two, three = store.commit([an_order(2), an_order(2, owner="you"), an_order(2)])
    assert isinstance(one, Claimed)
    assert isinstance(two, Claimed)
    assert isinstance(three, Claimed)
    assert (ids(one), ids(two), ids(three)) == (["r0", "r1"], ["r2", "r3"], ["r4"])


def test_over_queues_and_workflows_runs_are_claimed_by_priority_then_in_the_order_in_which_they_came(
    store: Store,
) -> None:
    add(store, queued("a"), queued("b", queue="r"), queued("c", name="other", priority=2), queued("d"))
    add(store, queued("e", queue="r", name="other"), queued("f", queue="r", priority=2))
    assert ids(claim(store, 4, names=("job", "other"))) == ["c", "f", "a", "b"]
    assert ids(claim(store, 4, names=("job", "other"))) == ["d", "e"]


@pytest.mark.parametrize("beside", ["leased before", "single", "limited", "due", "paused"])
def test_what_was_never_leased_is_claimed_the_same_way_beside_anything_else(
    store: Store, clock: Clock, beside: str
) -> None:
    """A claim of nothing but such runs may be written in another way than one of others."""
    fields: dict[str, Any] = {"single": {"single": "k"}, "due": {"wake_at": 1_001.0}}.get(beside, {})
    add(store, queued("it", priority=1, queue="other" if beside in ("limited", "paused") else "q", **fields))
    if beside == "leased before":
        (it,) = held(claim(store, 1))
        store.commit([decide(it, Released("released"), now=store.now())])
    if beside == "limited":
        declare(store, "other", concurrency=1)
    if beside == "paused":
        store.set_queue("other", paused=True)
    clock.at += 2
    add(store, queued("a"), queued("b"), queued("c"))
    got = claim(store, 3)
    assert ids(got) == (["a", "b", "c"] if beside == "paused" else ["it", "a", "b"])
    for run, seq in got.runs:
        assert (run, seq) == (store.run(run.id), store.last_seq(run.no))
        assert (run.state, run.owner, run.lease_until) == ("running", "me", clock.at + 30.0)
        assert run.fence == (2 if run.id == "it" and beside == "leased before" else 1)
    assert list(store.problems()) == []


def test_a_claim_says_when_the_next_run_is_due_that_waits(store: Store, clock: Clock) -> None:
    add(store, queued("a"), queued("later", wake_at=1_020.0), queued("soon", wake_at=1_010.0))
    add(
        store, queued("strange", name="unknown", wake_at=1_005.0), queued("off", queue="off", wake_at=1_006.0)
    )
    store.set_queue("off", paused=True)
    assert claim(store).next_at == 1_010.0
    clock.at = 1_010.0
    got = claim(store)
    assert (ids(got), got.next_at) == (["soon"], 1_020.0)
    assert claim(store, queues=("off",)) == Claimed(())


def test_a_claim_sees_what_stands_before_it_in_its_commit(store: Store) -> None:
    declare(store, concurrency=1)
    add(store, queued("a"), queued("b"))
    [a] = held(claim(store))
    freed, claimed = store.commit([decide(a, Returned("1"), now=store.now()), an_order()])
    assert isinstance(freed, Applied)
    assert isinstance(claimed, Claimed)
    assert ids(claimed) == ["b"]
    # And its last entry, which the store may not have written yet:
    [b] = held(claimed)
    released, again = store.commit([decide(b, Released("released"), now=store.now()), an_order()])
    assert isinstance(released, Applied)
    assert isinstance(again, Claimed)
    assert [seq for _, seq in again.runs] == [3]
    assert [e.seq for e in store.entries(b.no)] == [0, 1, 2, 3]


def test_the_time_of_a_run_that_has_never_begun_may_be_put_off(store: Store, clock: Clock) -> None:
    add(store, queued("a", wake_at=1_010.0))
    waiting = store.run("a")
    assert waiting is not None
    change = put_off(waiting, queued("b", args="[[2],{}]", wake_at=1_030.0), now=1_005.0, at_most_s=15.0)
    [answer] = store.commit([change])
    assert isinstance(answer, Applied)
    clock.at = 1_014.0
    assert claim(store) == Claimed((), 1_015.0)
    clock.at = 1_015.0
    [(run, _)] = claim(store).runs
    assert (run.id, run.args) == ("a", "[[2],{}]")
    # Once it has been claimed it is not to be had any more.
    assert isinstance(store.commit([change])[0], Refused)


# -- limits -----------------------------------------------------------------------------------------------


def test_no_more_runs_are_executed_at_once_than_a_queue_allows(store: Store) -> None:
    declare(store, concurrency=2)
    add(store, *(queued(f"r{n}") for n in range(5)))
    first = claim(store)
    assert ids(first) == ["r0", "r1"]
    assert ids(claim(store, owner="you")) == []
    end(store, held(first)[0])
    assert ids(claim(store, owner="you")) == ["r2"]


def test_several_claims_in_one_commit_share_a_limit(store: Store) -> None:
    declare(store, concurrency=3)
    add(store, *(queued(f"r{n}") for n in range(9)))
    answers = store.commit([an_order(2, owner=str(n)) for n in range(4)])
    assert [ids(one) for one in answers if isinstance(one, Claimed)] == [["r0", "r1"], ["r2"], [], []]


def test_a_limit_counts_what_all_workers_hold(store: Store) -> None:
    declare(store, concurrency=5, per_key=3)
    add(store, *(queued(f"r{at}", lane="ab"[at % 2]) for at in range(12)))
    held_by = {owner: held(claim(store, 2, owner=owner)) for owner in ("zoe", "me", "adam", "bob")}
    assert {owner: len(runs) for owner, runs in held_by.items()} == {"zoe": 2, "me": 2, "adam": 1, "bob": 0}
    assert sorted(run.lane or "" for runs in held_by.values() for run in runs) == ["a", "a", "a", "b", "b"]
    end(store, *held_by["me"])
    assert [run.lane for run in held(claim(store, 9, owner="bob"))] == ["b", "a"]
    assert held(claim(store, 9, owner="zoe")) == []


def test_an_owner_renews_and_is_asked_of_all_that_it_holds(store: Store) -> None:
    """What it called itself, and what it claimed."""
    direct = opened(store, owner="me")
    add(store, queued("q"), queued("other"))
    ((own, _),) = claim(store, 1).runs
    claim(store, 1, owner="other")
    store.request(own.no, "pause")
    assert sorted(store.renew("me", 5_000.0)) == sorted([(direct.no, None), (own.no, "pause")])
    assert store.requests("me") == [(own.no, "pause")]
    found = [store.run(one) for one in ("r", "q", "other")]
    assert [run and run.lease_until == 5_000.0 for run in found] == [True, True, False]


def test_each_queue_has_its_own_limits_within_one_claim(store: Store) -> None:
    declare(store, "one", concurrency=1)
    declare(store, "two", concurrency=2)
    add(store, *(queued(f"{queue}{n}", queue=queue) for n in range(3) for queue in ("one", "two", "free")))
    assert sorted(ids(claim(store))) == ["free0", "free1", "free2", "one0", "two0", "two1"]


def test_a_worker_executes_no_more_of_a_queue_than_is_allowed_per_worker(store: Store) -> None:
    declare(store, per_worker=2)
    add(store, *(queued(f"r{n}") for n in range(5)))
    assert ids(claim(store)) == ["r0", "r1"]
    assert ids(claim(store)) == []
    assert ids(claim(store, owner="you")) == ["r2", "r3"]


def test_no_more_of_a_lane_are_executed_at_once_than_is_allowed_per_key(store: Store) -> None:
    declare(store, per_key=1)
    add(store, queued("a1", lane="a"), queued("a2", lane="a"), queued("b1", lane="b"), queued("none"))
    first = claim(store)
    assert ids(first) == ["a1", "b1", "none"]
    end(store, held(first)[0])
    assert ids(claim(store)) == ["a2"]


def test_a_suspended_run_holds_no_place(store: Store) -> None:
    declare(store, concurrency=1, per_key=1)
    add(store, queued("a", lane="x"), queued("b", lane="x"))
    [a] = held(claim(store))
    store.commit([decide(a, Released("suspended", None, 5_000.0), now=store.now())])
    assert ids(claim(store)) == ["b"]


def test_a_paused_queue_gives_nothing_until_it_is_resumed(store: Store) -> None:
    add(store, queued("a"), queued("b", wake_at=1_500.0))
    store.set_queue("q", paused=True)
    assert claim(store) == Claimed(())
    store.set_queue("q", paused=False)
    assert claim(store) == Claimed(tuple(claim_of(store, "a")), 1_500.0)


def claim_of(store: Store, run_id: str) -> list[tuple[Run, int]]:
    run = store.run(run_id)
    assert run is not None
    return [(run, store.last_seq(run.no))]


def test_limits_hold_for_the_next_claim_whoever_sets_them(store: Store) -> None:
    add(store, *(queued(f"r{n}") for n in range(6)))
    declare(store, concurrency=1)
    assert ids(claim(store)) == ["r0"]
    store.set_queue("q", chosen=text_of({"concurrency": 3}))
    assert ids(claim(store)) == ["r1", "r2"]
    declare(store, concurrency=2)  # a process starts that declares its own again
    assert ids(claim(store)) == []
    store.set_queue("q", chosen=text_of({"concurrency": None}))
    assert ids(claim(store)) == ["r3", "r4", "r5"]
    [settings] = store.queues()
    assert (settings.name, settings.paused, settings.declared) == ("q", False, '{"concurrency": 2}')


# -- rates ------------------------------------------------------------------------------------------------


def test_no_more_runs_begin_within_a_window_than_the_rate_allows(store: Store, clock: Clock) -> None:
    declare(store, rate=Quota(2, 10.0))
    add(store, *(queued(f"r{n}") for n in range(9)))
    assert ids(claim(store, 1)) == ["r0"]
    clock.at = 1_004.0
    assert ids(claim(store)) == ["r1"]
    clock.at = 1_009.9
    assert ids(claim(store)) == []
    clock.at = 1_010.0
    assert ids(claim(store)) == ["r2"]
    assert ids(claim(store)) == []
    clock.at = 1_014.0
    assert ids(claim(store)) == ["r3"]


def test_a_rate_counts_runs_that_have_ended_too(store: Store) -> None:
    declare(store, rate=Quota(1, 10.0))
    add(store, queued("a"), queued("b"))
    end(store, *held(claim(store)))
    assert ids(claim(store)) == []


def test_a_claim_says_when_a_rate_has_room_again(store: Store, clock: Clock) -> None:
    declare(store, rate=Quota(1, 10.0))
    add(store, queued("a"), queued("b"), queued("later", wake_at=5_000.0))
    at = claim(store).next_at
    assert at == pytest.approx(1_010.0, abs=0.01)
    assert at is not None
    clock.at = at
    assert ids(claim(store)) == ["b"]
    # Nothing is held back any more: what comes next is the delayed one.
    assert claim(store).next_at == 5_000.0


def test_each_lane_has_its_own_rate(store: Store, clock: Clock) -> None:
    declare(store, key_rate=Quota(1, 10.0))
    add(store, *(queued(f"{lane}{n}", lane=lane) for n in range(2) for lane in "ab"), queued("c0", lane="c"))
    assert ids(claim(store, 2)) == ["a0", "b0"]
    clock.at = 1_005.0
    claimed = claim(store)
    assert ids(claimed) == ["c0"]
    assert claimed.next_at == pytest.approx(1_010.0, abs=0.01)
    clock.at = 1_010.0
    assert ids(claim(store)) == ["a1", "b1"]


def test_several_claims_in_one_commit_share_a_rate(store: Store) -> None:
    declare(store, rate=Quota(3, 10.0))
    add(store, *(queued(f"r{n}") for n in range(9)))
    answers = store.commit([an_order(2) for _ in range(3)])
    assert [ids(one) for one in answers if isinstance(one, Claimed)] == [["r0", "r1"], ["r2"], []]


def test_a_delayed_start_counts_for_the_rate_and_a_run_that_goes_on_does_not(
    store: Store, clock: Clock
) -> None:
    declare(store, rate=Quota(1, 10.0))
    add(store, queued("a"), queued("delayed", wake_at=1_001.0), queued("b"))
    [a] = held(claim(store))
    store.commit([decide(a, Released("suspended", None, 1_002.0), now=store.now())])
    clock.at = 1_003.0
    assert ids(claim(store)) == ["a"]
    clock.at = 1_010.0
    assert ids(claim(store)) == ["delayed"]


def test_a_large_rate_is_exact_too(store: Store, clock: Clock) -> None:
    declare(store, rate=Quota(1_500, 60.0))
    add(store, *(queued(f"r{n}") for n in range(1_600)))
    got = 0
    for at in range(30):
        clock.at = 1_000.0 + at
        got += len(claim(store, 100).runs)
    assert got == 1_500
    clock.at = 1_059.9
    assert ids(claim(store)) == []
    clock.at = 1_061.0
    assert len(claim(store).runs) == 100


# -- lanes that hide others -----------------------------------------------------------------------------------


def test_many_runs_of_a_full_lane_hide_no_other_lane(store: Store) -> None:
    declare(store, per_key=1)
    hidden = claims.PASSED_OVER + 50
    add(
        store,
        *(queued(f"a{n}", lane="a") for n in range(hidden)),
        queued("b", lane="b"),
        queued("c", lane="c"),
    )
    assert ids(claim(store, 1)) == ["a0"]
    assert ids(claim(store, 1)) == ["b"]
    assert ids(claim(store, 5)) == ["c"]
    assert ids(claim(store, 5)) == []


def test_many_due_runs_of_a_full_lane_hide_no_other_lane(store: Store, clock: Clock) -> None:
    declare(store, per_key=1)
    hidden = claims.PASSED_OVER + 50
    add(
        store,
        *(queued(f"a{n}", lane="a", wake_at=1_001.0) for n in range(hidden)),
        queued("b", lane="b", wake_at=1_002.0),
        queued("not due", lane="c", wake_at=1_500.0),
    )
    clock.at = 1_003.0
    claimed = claim(store, 5)
    assert (ids(claimed), claimed.next_at) == (["a0", "b"], 1_500.0)


def test_many_runs_of_a_lane_that_its_rate_holds_back_hide_no_other_lane(store: Store, clock: Clock) -> None:
    declare(store, key_rate=Quota(2, 10.0))
    hidden = claims.PASSED_OVER + 50
    add(store, *(queued(f"a{n}", lane="a") for n in range(hidden)), queued("b", lane="b"))
    assert ids(claim(store, 5)) == ["a0", "a1", "b"]
    clock.at = 1_010.0
    assert ids(claim(store, 5)) == ["a2", "a3"]


def test_behind_a_full_lane_the_order_is_by_priority_and_age_again(store: Store) -> None:
    declare(store, per_key=1)
    hidden = claims.PASSED_OVER + 50
    add(store, *(queued(f"a{n}", lane="a", priority=9) for n in range(hidden)))
    add(store, queued("z", lane="z"), queued("m", lane="m", priority=1), queued("b", lane="b"))
    assert ids(claim(store, 1)) == ["a0"]
    assert ids(claim(store, 10)) == ["m", "z", "b"]


def test_of_very_many_lanes_none_waits_for_ever(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """All lanes are looked at in turn where they are too many for one claim."""
    monkeypatch.setattr(claims, "LANES", 4)
    declare(store, per_key=1)
    hidden = claims.PASSED_OVER + 50
    add(store, *(queued(f"a{n}", lane="a") for n in range(hidden)))
    claim(store, 1)
    add(store, *(queued(f"{lane}{n}", lane=lane) for lane in "bcdefghij" for n in range(5)))
    got: list[str] = []
    while len(got) < 45:
        claimed = claim(store, 2)
        assert claimed.runs  # no place stays empty while there is something to do
        got += ids(claimed)
        end(store, *held(claimed))
    assert sorted(got) == sorted(f"{lane}{n}" for lane in "bcdefghij" for n in range(5))


# -- arriving -------------------------------------------------------------------------------------------------


def test_many_new_runs_at_once_are_each_refused_or_added_alone(store: Store) -> None:
    add(store, queued("b"), queued("x", single="end:job:k"))
    new = [queued("a"), queued("b"), queued("c"), queued("c"), queued("d", single="end:job:k"), queued("e")]
    answers = store.commit([submitted(run, now=store.now()) for run in new])
    assert [isinstance(one, Applied) for one in answers] == [True, False, True, False, False, True]
    assert {one.reason for one in answers if isinstance(one, Refused)} == {"exists"}
    assert [run.id for run in reversed(store.runs())] == ["b", "x", "a", "c", "e"]
    for answer, run in zip(answers, new, strict=True):
        if isinstance(answer, Applied):
            stored = store.run(run.id)
            assert stored is not None
            assert (stored.no, answer.seq) == (answer.run_no, 0)
            assert [entry.key for entry in store.entries(stored.no)] == ["run/submitted"]
    assert list(store.problems()) == []


def test_one_run_that_no_journal_can_hold_is_refused_alone_among_many(store: Store) -> None:
    new = [queued("a"), queued("b", args='"\ud800"'), queued("c")]
    answers = store.commit([submitted(run, now=store.now()) for run in new[:1] + new[2:]])
    assert all(isinstance(one, Applied) for one in answers)
    changes = [submitted(queued("d"), now=1.0), Change(0, 0, after=new[1], create=True)]
    if not isinstance(store.commit(changes)[1], Refused):
        pytest.skip("this store holds any text")
    assert store.run("d") is not None
    assert store.run("b") is None


# -- what is shown --------------------------------------------------------------------------------------------


def test_runs_of_a_queue_are_counted_by_state_up_to_a_bound(store: Store, clock: Clock) -> None:
    add(store, *(queued(f"r{n}", priority=n % 2) for n in range(7)), queued("later", wake_at=9_000.0))
    add(store, queued("elsewhere", queue="other"))
    claim(store, 2, queues=("q",))
    clock.at = 1_100.0
    add(store, queued("young", priority=7))
    counts = store.queue_counts("q", at_most=100)
    assert counts == (6, 1, 2, 0, 1_000.0)
    assert store.queue_counts("q", at_most=3)[:3] == (3, 1, 2)
    assert store.queue_counts("nowhere", at_most=3) == (0, 0, 0, 0, None)


def test_failed_runs_of_a_queue_are_listed_newest_first(store: Store) -> None:
    add(store, *(queued(f"r{n}") for n in range(5)), queued("else", queue="other"))
    runs = held(claim(store))
    store.commit([Change(run.no, run.fence, after=failed(run)) for run in runs])
    found = store.dead_runs("q", limit=3)
    assert [run.id for run in found] == ["r4", "r3", "r2"]
    assert [run.id for run in store.dead_runs("q", limit=3, before_no=found[-1].no)] == ["r1", "r0"]
    assert store.queue_counts("q", at_most=10).failed == 5


def failed(run: Run) -> Run:
    return run._replace(state="failed", owner=None, lease_until=None, error='"no"')

"""What every store promises of schedules: a move is written as a whole on top of what was read, or not at all."""

import threading
from typing import Any

import pytest

from onward.core.claiming import submitted
from onward.core.model import Change, Claim, Claimed, Run
from onward.core.nominal import advanced
from onward.core.schedules import Move, Schedule, Spec, declared, tail_of
from onward.core.when import Timing
from onward.storage import Store
from storage.rows import opened

pytestmark = pytest.mark.important

SPEC = Spec("job", '[["caffè"],{}]', Timing("* * * * *", tz="Europe/Rome"))


def row(name: str = "nightly", revision: int = 1, **fields: Any) -> Schedule:
    return Schedule(name, SPEC.text, revision, 1_000.0, **{"last": 1_000.0, **fields})


def stored(store: Store, one: Schedule) -> Schedule:
    assert store.move_schedules([Move(None, one)]) == [True]
    return one


def start(tail: str, name: str = "nightly", **fields: Any) -> Change:
    own = f"{name}@{tail}"
    return submitted(Run(own, "workflow", "job", f"schedule:{own}", queue="default", **fields), now=1_000.0)


def test_a_schedule_comes_back_as_it_was_stored(store: Store) -> None:
    full = row(
        next_at=1_020.0, due_at=1_021.5, paused=True, declarer="me", declared_at=2.5, going=("a", "ö"),
        backlog=(tail_of(60.0), tail_of(120.0, "ab12")), latest="a", started=3, skipped=2, missed=1, note="caffè",
    )  # fmt: skip
    stored(store, full)
    stored(store, row("another"))
    assert store.schedules() == [row("another"), full]


def test_a_move_on_top_of_what_was_read_is_written(store: Store) -> None:
    before = stored(store, row())
    after = row(revision=2, last=1_020.0)
    assert store.move_schedules([Move(before, after, (start("t1"),))]) == [True]
    assert store.schedules() == [after]
    run = store.run("nightly@t1")
    assert run is not None
    assert (run.state, run.direct, run.created_at) == ("pending", False, 1_000.0)
    assert [entry.name for entry in store.entries(run.no)] == ["submitted"]
    assert [queue.name for queue in store.queues()] == ["default"]


@pytest.mark.parametrize("before", [None, row(revision=2), row("other")])
def test_a_move_on_top_of_anything_else_leaves_no_trace(store: Store, before: Schedule | None) -> None:
    stored(store, row(revision=1))
    after = row(revision=3) if before is None or before.name == "nightly" else row("other", 3)
    assert store.move_schedules([Move(before, after, (start("t1"),))]) == [False]
    assert store.schedules() == [row(revision=1)]
    assert store.run("nightly@t1") is None


def test_each_move_of_a_call_stands_alone(store: Store) -> None:
    one, other = stored(store, row("a")), stored(store, row("b"))
    moves = [
        Move(one, row("a", 2), (start("t", "a"),)),
        Move(row("b", 7), row("b", 8), (start("t", "b"),)),
        Move(row("a", 2), row("a", 3), (start("u", "a"),)),  # it sees what the first one has written
        Move(one, row("a", 9)),
    ]
    assert store.move_schedules(moves) == [True, False, True, False]
    assert store.schedules() == [row("a", 3), other]
    assert [store.run(f"{run}") is not None for run in ("a@t", "b@t", "a@u")] == [True, False, True]


def test_a_run_whose_id_is_taken_is_passed_over_and_the_move_goes_on(store: Store) -> None:
    before = stored(store, row())
    store.commit([start("t1", args='"the first"')])
    starts = (start("t1", args='"the second"'), start("t2"), start("t2"))
    assert store.move_schedules([Move(before, row(revision=2), starts)]) == [True]
    first = store.run("nightly@t1")
    assert first is not None
    assert first.args == '"the first"'
    assert len(store.runs(name="job")) == 2


def test_a_removed_schedule_is_gone_and_its_runs_stay(store: Store) -> None:
    before = stored(store, row())
    store.commit([start("t1")])
    assert store.move_schedules([Move(before._replace(revision=5), None)]) == [False]
    assert store.move_schedules([Move(before, None)]) == [True]
    assert store.schedules() == []
    assert len(store.runs()) == 1
    assert store.move_schedules([Move(before, row(revision=2))]) == [False]
    stored(store, row(revision=9))


def test_runs_that_nobody_executes_are_cancelled_and_the_holders_of_others_are_asked(store: Store) -> None:
    before = stored(store, row())
    held = opened(store, "held", kind="workflow", direct=False, queue="default")
    store.commit([start("pending"), start("slept", wake_at=2_000.0)])
    done = opened(store, "done")
    store.commit([Change(done.no, 1, after=done._replace(state="done", owner=None, lease_until=None))])
    cancels = ("held", "nightly@pending", "nightly@slept", "done", "never was")
    assert store.move_schedules([Move(before, row(revision=2), cancels=cancels)]) == [True]
    states = {run.id: (run.state, run.request) for run in store.runs()}
    assert states == {
        "held": ("running", "cancel"),
        "nightly@pending": ("cancelled", None),
        "nightly@slept": ("cancelled", None),
        "done": ("done", None),
    }
    assert store.requests("me") == [(held.no, "cancel")]


def test_a_cancelled_run_wakes_those_that_wait_for_it(store: Store) -> None:
    before = stored(store, row())
    store.commit([start("t1")])
    waiting = opened(store, "waits", kind="workflow", direct=False, queue="default")
    asleep = waiting._replace(state="waiting", owner=None, lease_until=None)
    store.commit([Change(waiting.no, 1, after=asleep, awaits=("nightly@t1",))])
    store.move_schedules([Move(before, row(revision=2), cancels=("nightly@t1",))])
    woken = store.run("waits")
    assert woken is not None
    assert woken.wake_at == store.now()


def test_unfinished_runs_are_told_from_those_that_have_ended_or_never_were(store: Store) -> None:
    store.commit([start("t1"), start("t2")])
    done = opened(store, "done")
    store.commit([Change(done.no, 1, after=done._replace(state="failed", owner=None, lease_until=None))])
    asked = ["nightly@t2", "done", "never", "nightly@t1", 'it\'s \\ "odd" \x01']
    assert sorted(store.unfinished(asked)) == ["nightly@t1", "nightly@t2"]
    assert store.unfinished([]) == []


def test_the_runs_of_a_schedule_come_by_their_nominal_times(store: Store) -> None:
    times = [tail_of(60.0), tail_of(180.0), tail_of(120.0, "ab12"), tail_of(120.0)]
    store.commit([start(tail) for tail in times])
    store.commit(
        [start(tail_of(300.0), name) for name in ("nightl", "nightly2", "nightly A", "Nightly", "nightlyz")]
    )
    opened(
        store, f"nightly@{times[0]} by hand", direct=False, queue="default"
    )  # whose id only looks like one
    found = store.runs_of_schedule("nightly", limit=99)
    assert [run.id for run in found] == [f"nightly@{times[at]}" for at in (1, 2, 3, 0)]
    assert store.runs_of_schedule("nightly", limit=2) == found[:2]
    assert store.runs_of_schedule("night", limit=9) == []


def test_a_move_changes_the_version_that_waiters_watch(store: Store) -> None:
    before = store.version()
    one = stored(store, row())
    between = store.version()
    store.move_schedules([Move(one, row(revision=2))])
    assert len({str(before), str(between), str(store.version())}) == 3


def test_a_claim_finds_what_a_schedule_has_started(store: Store) -> None:
    one = stored(store, row())
    store.move_schedules([Move(one, row(revision=2), (start("t1"),))])
    [claimed] = store.commit([Claim("me", 30.0, ("job",))])
    assert isinstance(claimed, Claimed)
    assert [run.id for run, _ in claimed.runs] == ["nightly@t1"]


def test_of_many_that_follow_one_schedule_at_once_each_time_is_started_by_one(
    store: Store, clock: Any
) -> None:
    """Sixteen threads decide the same from what they read, again and again; each time starts one run all the same."""
    spec = SPEC._replace(overlap="allow", catch_up="all")
    first = declared(None, "nightly", spec, declarer="me", began_at=0.0, now=clock())
    assert store.move_schedules([first]) == [True]
    clock.at += 60.0 * 40
    wins: list[int] = []
    barrier = threading.Barrier(16)

    def follow() -> None:
        won = 0
        barrier.wait()
        while True:
            [schedule] = store.schedules()
            move = advanced(schedule, spec, now=schedule.last + 121.0, unfinished=())
            if schedule.last >= clock():
                break
            if move is not None:
                won += store.move_schedules([move])[0]
        wins.append(won)

    threads = [threading.Thread(target=follow) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [schedule] = store.schedules()
    runs = store.runs_of_schedule("nightly", limit=999)
    assert len(runs) == schedule.started
    assert schedule.revision == 1 + sum(wins)
    assert schedule.missed == schedule.skipped == 0

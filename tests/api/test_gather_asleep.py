"""Branches of a gather in a worker: when all of them rest the run is a row, and wakes when the first of them is due."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

import onward
from api.steps import calls, note, note_async
from api.working import burst, settle, stored
from onward.api import connect
from onward.core import limits

pytestmark = pytest.mark.important


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SUSPEND_S", 0.05)


@onward.step
def work(name: str, seconds: float) -> str:
    calls.append(name)
    time.sleep(seconds)
    return name


def drip(name: str, *sleeps: float) -> list[str]:
    """Steps with sleeps in between."""
    got = [note(f"{name}0")]
    for at, seconds in enumerate(sleeps, 1):
        onward.sleep(seconds)
        got.append(note(f"{name}{at}"))
    return got


async def drip_async(name: str, *sleeps: float) -> list[str]:
    got = [await note_async(f"{name}0")]
    for at, seconds in enumerate(sleeps, 1):
        await onward.aio.sleep(seconds)
        got.append(await note_async(f"{name}{at}"))
    return got


@onward.workflow
def both() -> list[list[str]]:
    return onward.gather(lambda: drip("a", 0.2, 0.6), lambda: drip("b", 0.4))


@onward.workflow
async def both_async() -> list[list[str]]:
    return await onward.aio.gather(drip_async("a", 0.2, 0.6), drip_async("b", 0.4))


@onward.workflow
def hours() -> list[list[str]]:
    return onward.gather(lambda: drip("a", 7_200), lambda: drip("b", 3_600))


@onward.workflow
async def hours_async() -> list[list[str]]:
    return await onward.aio.gather(drip_async("a", 7_200), drip_async("b", 3_600))


@pytest.mark.parametrize("kind", [hours, hours_async], ids=["sync", "async"])
def test_a_run_whose_branches_all_sleep_is_a_row_until_the_first_of_them_wakes(kind: Any) -> None:
    """They held a thread each, and the run a hand of its worker, for as long as they slept."""
    run = kind.start()
    began_at = time.time()
    (only,) = burst()
    row = stored(run.id)
    assert (only.how, row.state) == ("waiting", "waiting")
    assert 3_600 <= (row.wake_at or 0) - began_at < 3_700
    assert sorted(calls) == ["a0", "b0"]
    assert not [t for t in threading.enumerate() if "gather" in t.name]


@pytest.mark.parametrize("kind", [both, both_async], ids=["sync", "async"])
def test_branches_go_on_where_they_slept_and_nothing_is_done_twice(kind: Any) -> None:
    run = kind.start()
    ended = settle()
    assert run.result() == [["a0", "a1", "a2"], ["b0", "b1"]]
    assert sorted(calls) == ["a0", "a1", "a2", "b0", "b1"]
    assert [one.how for one in ended][-1] == "done"
    assert sum(one.how == "waiting" for one in ended) <= 3


def test_a_branch_that_sleeps_beside_one_that_works_is_awake_in_time() -> None:
    seen: list[str] = []

    def sleeper() -> None:
        onward.sleep(0.2)
        seen.append("woke")

    def worker() -> None:
        work("long", 2.0)
        seen.append("worked")

    @onward.workflow(name="mixed")
    def mixed() -> None:
        onward.gather(sleeper, worker)

    mixed.start()
    (only,) = settle()
    assert seen == ["woke", "worked"]
    assert only.how == "done"


def test_when_the_last_that_works_has_ended_the_run_is_given_back() -> None:
    """Whoever slept first did not look again whether anybody was still at work."""

    @onward.workflow(name="mixed")
    def mixed() -> list[str]:
        return onward.gather(lambda: drip("a", 3_600)[-1], lambda: work("b", 0.2))

    run = mixed.start()
    (first,) = burst()
    assert (first.how, run.state) == ("waiting", "waiting")
    assert sorted(calls) == ["a0", "b"]


def test_gathers_in_branches_are_given_back_with_the_run_around_them() -> None:
    @onward.workflow(name="nested")
    def nested() -> Any:
        def inner() -> Any:
            note("inner")
            return onward.gather(lambda: drip("x", 0.3), lambda: drip("y", 0.5))

        return onward.gather(inner, lambda: drip("z", 0.4))

    run = nested.start()
    ended = settle()
    assert run.result() == [[["x0", "x1"], ["y0", "y1"]], ["z0", "z1"]]
    assert sorted(calls) == ["inner", "x0", "x1", "y0", "y1", "z0", "z1"]
    assert sum(one.how == "waiting" for one in ended) >= 1


def test_an_error_of_one_branch_is_raised_when_the_others_have_woken_and_ended() -> None:
    @onward.workflow(name="failing")
    def failing() -> str:
        try:
            onward.gather(work_badly, lambda: drip("a", 0.3))
        except ConnectionError:
            return note("caught")
        return "nothing"

    @onward.step
    def work_badly() -> None:
        calls.append("bad")
        raise ConnectionError("no")

    run = failing.start()
    settle()
    assert run.result() == "caught"
    assert sorted(calls) == ["a0", "a1", "bad", "caught"]
    assert calls[-1] == "caught"


def test_branches_that_wait_for_other_runs_wake_when_one_of_those_ends() -> None:
    @onward.workflow(name="child")
    def child(n: int) -> int:
        return n

    @onward.workflow(name="parent")
    def parent() -> list[int]:
        first, second = child.start(1), child.options(delay=0.3).start(2)
        return onward.gather(first.result, second.result)

    run = parent.start()
    burst(names=["parent"])
    assert stored(run.id).state == "waiting"
    assert stored(run.id).wake_at is None
    settle()
    assert run.result() == [1, 2]


def test_a_step_with_branches_that_sleep_is_not_cut_off() -> None:
    @onward.step
    def outer() -> list[str]:
        calls.append("outer")
        return onward.gather(lambda: drip("a", 0.2)[-1], lambda: drip("b", 0.1)[-1])

    @onward.workflow(name="stepping")
    def stepping() -> list[str]:
        return outer()

    run = stepping.start()
    (only,) = settle()
    assert (run.result(), only.how) == (["a1", "b1"], "done")
    assert calls.count("outer") == 1


def test_a_map_beside_a_branch_that_sleeps_keeps_the_run_in_its_worker() -> None:
    @onward.workflow(name="mapping")
    def mapping() -> Any:
        return onward.gather(
            lambda: list(onward.map(slowly, [1, 2, 3], concurrency=2)), lambda: drip("a", 0.1)[-1]
        )

    run = mapping.start()
    (only,) = settle()
    assert (run.result(), only.how) == ([[1, 2, 3], "a1"], "done")


def slowly(n: int) -> int:
    time.sleep(0.1)
    return n


@pytest.mark.parametrize(("act", "state"), [("cancel", "cancelled"), ("pause", "paused")])
def test_a_gather_that_sleeps_in_its_worker_hears_what_is_asked_of_it(act: str, state: str) -> None:
    entered = threading.Event()

    def ask() -> None:
        entered.wait(5)
        getattr(run, act)()

    @onward.workflow(name="asked")
    def asked() -> None:
        def works() -> None:
            entered.set()
            work("b", 0.6)
            note("never")

        onward.gather(lambda: onward.sleep(60), works)

    run = asked.start()
    asker = threading.Thread(target=ask)
    asker.start()
    burst()
    asker.join()
    assert run.state == state
    assert "never" not in calls


def test_a_gather_that_is_cancelled_lets_its_run_sleep_again() -> None:
    """A branch that never began was counted as one that goes on: its run held a hand for as long as it slept."""

    @onward.workflow(name="cut")
    async def cut() -> str:
        try:
            async with onward.timeout(0.3):
                await onward.aio.gather(drip_async("a", 60), drip_async("b", 60))
        except TimeoutError:
            await onward.aio.sleep(0.3)
        return "done"

    run = cut.start()
    ended = settle()
    assert run.result() == "done"
    assert [one.how for one in ended] == ["waiting", "waiting", "done"]
    assert connect.engine().sessions == {}

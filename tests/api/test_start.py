"""Runs that are started, and executed by a worker of this process: queued, suspended, awaited, attempted again."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import onward
from api.steps import calls
from api.working import until
from onward.api import connect
from onward.api.journal import Journal
from onward.core import limits
from onward.core.model import Run
from onward.runtime.worker import Ended, Worker

pytestmark = pytest.mark.important


def burst(**options: object) -> list[Ended]:
    """Be a worker until nothing is ready; what it executed."""
    told: list[Ended] = []
    worker = Worker(connect.engine(), told=told.append, **options)  # type: ignore[arg-type]
    worker.run(burst=True)
    assert worker.rest(5) == 0
    return told


def settle(**options: object) -> list[Ended]:
    """Be a worker until nothing is queued any more and nothing sleeps."""
    told = burst(**options)
    while connect.engine().store.runs(states=["pending", "waiting"], limit=1):
        time.sleep(0.01)
        told += burst(**options)
    return told


@pytest.fixture
def working() -> Iterator[Callable[..., Worker]]:
    """Starts workers that go on in the background, and ends them."""
    workers: list[tuple[Worker, threading.Thread]] = []

    def start(**options: object) -> Worker:
        worker = Worker(connect.engine(), **options)  # type: ignore[arg-type]
        thread = threading.Thread(target=worker.run, name="test-worker")
        thread.start()
        workers.append((worker, thread))
        return worker

    yield start
    for worker, thread in workers:
        worker.drain()
        thread.join(10)
        worker.rest(0)


def stored(run: onward.Handle[object]) -> Run:
    found = connect.engine().store.run(run.id)
    assert found is not None
    return found


@onward.step
def fetch(what: str) -> str:
    calls.append(what)
    return what.upper()


@onward.workflow
def job(what: str, *, twice: bool = False) -> str:
    return fetch(what) * (2 if twice else 1)


@onward.workflow
async def async_job(what: str) -> str:
    await asyncio.sleep(0)
    return fetch(what)


# -- starting -----------------------------------------------------------------------------------------


def test_a_started_run_is_executed_by_a_worker_and_gives_its_result() -> None:
    run = job.start("a", twice=True)
    assert (run.state, calls) == ("pending", [])
    burst()
    assert run.result() == "AA"
    assert onward.Handle[str](run.id).result() == "AA"
    assert calls == ["a"]


def test_an_async_workflow_is_executed_in_an_event_loop() -> None:
    runs = async_job.start_many(["a", "b", "c"])
    burst()
    assert [run.result() for run in runs] == ["A", "B", "C"]


def test_the_same_id_is_the_same_run() -> None:
    one = job.options(id="order-{what}").start("a")
    assert job.options(id="order-{what}").start("a") == one
    burst()
    assert job.options(id="order-a").start("a").result() == "A"
    assert job.options(id="order-a")("a") == "A"  # a direct call gives what is recorded
    assert calls == ["a"]


def test_an_id_of_other_work_is_refused_and_replaced_on_request() -> None:
    job.options(id="order").start("a")
    with pytest.raises(onward.RunConflict, match="other arguments; nothing was started"):
        job.options(id="order").start("b")
    run = job.options(id="order", replace=True).start("b")
    burst()
    assert (run.result(), calls) == ("B", ["b"])


def test_a_direct_call_does_not_execute_what_is_queued() -> None:
    job.options(id="order").start("a")
    with pytest.raises(onward.AlreadyRunning, match="queue"):
        job.options(id="order")("a")


def test_arguments_that_cannot_be_recorded_start_nothing() -> None:
    with pytest.raises(onward.NotRecordable):
        job.start(threading.Lock())  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        job.start()  # type: ignore[call-arg]
    assert connect.engine().store.runs() == []


def test_many_are_started_in_their_order() -> None:
    runs = job.start_many(str(n) for n in range(2_500))
    assert len({run.id for run in runs}) == 2_500
    burst(concurrency=1)
    assert calls == [str(n) for n in range(2_500)]


@pytest.mark.parametrize(
    "options",
    [
        {"delay": -1},
        {"delay": "soon"},
        {"at": dt.datetime(2030, 1, 1)},  # noqa: DTZ001
        {"priority": 1.5},
        {"key": ""},
        {"unique": "ever"},
        {"tags": "one"},
        {"queue": "a\nb"},
    ],
)
def test_options_that_cannot_be_are_refused_with_a_sentence(options: dict[str, object]) -> None:
    with pytest.raises(onward.UsageError, match=r"takes|printable"):
        job.options(**options)  # type: ignore[arg-type]


# -- order and time -----------------------------------------------------------------------------------


def test_higher_priorities_are_executed_first_and_equals_in_their_order() -> None:
    for what, priority in [("a", 0), ("b", 5), ("c", 0), ("d", 5), ("e", -1)]:
        job.options(priority=priority).start(what)
    burst(concurrency=1)
    assert calls == ["b", "d", "a", "c", "e"]


def test_a_delayed_run_is_not_executed_before_its_time() -> None:
    began = time.monotonic()
    late = job.options(delay=0.4).start("late")
    assert stored(late).state == "waiting"
    soon = job.start("soon")
    burst()
    assert calls == ["soon", "late"]
    assert late.result() == "LATE"
    assert soon.result() == "SOON"
    assert time.monotonic() - began >= 0.4


def test_a_worker_serves_the_queues_that_it_is_told_to() -> None:
    job.options(queue="slow").start("a")
    job.start("b")
    burst(queues=["slow"])
    assert calls == ["a"]


def test_what_a_worker_does_not_know_is_left_to_others() -> None:
    run = job.start("a")
    burst(names=["other"])
    assert run.state == "pending"


# -- unique keys --------------------------------------------------------------------------------------


def test_while_a_run_of_a_key_is_queued_or_executed_no_second_one_is_added() -> None:
    once = job.options(key="venue-17")
    first = once.start("a")
    assert once.start("b") == first
    burst()
    second = once.start("c")
    assert second != first
    burst()
    assert calls == ["a", "c"]


def test_a_key_that_is_held_while_queued_is_free_once_the_run_begins(working: Callable[..., Worker]) -> None:
    begun, go_on = threading.Event(), threading.Event()

    @onward.workflow(name="holding")
    def holding(what: str) -> str:
        begun.set()
        go_on.wait(100)
        return what

    once = holding.options(key="k", unique="queued")
    first = once.start("a")
    assert once.start("b") == first
    working(names=["holding"])
    assert begun.wait(100)
    second = once.start("c")
    go_on.set()
    assert second != first
    assert (first.result(10), second.result(10)) == ("a", "c")


def test_a_key_that_is_held_for_a_time_is_free_after_it() -> None:
    throttled = job.options(key="k", unique=0.3)
    first = throttled.start("a")
    burst()
    assert throttled.start("b") == first
    time.sleep(0.3)
    assert throttled.start("c") != first


# -- suspension ---------------------------------------------------------------------------------------


@onward.workflow
def sleeper(what: str) -> str:
    first = fetch(what)
    onward.sleep(1.0)  # long beside what the disk may take until it is asked whether to wait in place
    return first + fetch(what + "2")


def test_a_run_that_sleeps_is_a_row_and_not_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SUSPEND_S", 0.05)
    runs = sleeper.start_many(str(n) for n in range(30))
    ended = settle(concurrency=2)
    assert [run.result() for run in runs] == [f"{n}{n}2" for n in range(30)]
    assert sorted(calls) == sorted([str(n) for n in range(30)] + [f"{n}2" for n in range(30)])
    assert sum(one.how == "waiting" for one in ended) == 30


def test_a_step_that_will_be_repeated_later_frees_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SUSPEND_S", 0.05)

    @onward.step(max_attempts=2, backoff=0.3, jitter=False)
    def flaky() -> int:
        calls.append("flaky")
        if len(calls) == 1:
            raise ValueError("not yet")
        return len(calls)

    @onward.workflow(name="flaking")
    def flaking() -> int:
        return flaky()

    run = flaking.start()
    ended = settle()
    assert run.result() == 2
    assert [one.how for one in ended] == ["waiting", "done"]


@onward.workflow
def parent(count: int) -> list[str]:
    return [run.result() for run in [job.start(str(n)) for n in range(count)]]


def test_a_run_that_awaits_others_is_given_back_and_due_when_they_have_ended() -> None:
    run = parent.start(3)
    burst(concurrency=1)  # one at a time: who waits must not be in the way of whom it waits for
    assert run.result() == ["0", "1", "2"]
    assert sorted(calls) == ["0", "1", "2"]
    children = [one for one in connect.engine().store.runs() if one.name == "job"]
    assert {child.parent for child in children} == {run.id}
    assert len(children) == 3


def test_the_error_of_an_awaited_run_is_the_error_of_the_call() -> None:
    @onward.workflow(name="failing")
    def failing() -> None:
        raise ValueError("no such venue")

    @onward.workflow(name="asking")
    def asking() -> str:
        try:
            failing.start().result()
        except ValueError as error:
            return str(error)
        return "nothing"

    run = asking.start()
    burst()
    assert run.result() == "no such venue"


def test_awaiting_within_a_time_gives_up_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SUSPEND_S", 0.05)

    @onward.workflow(name="impatient")
    def impatient() -> str:
        run = job.options(delay=3_600).start("a")
        try:
            return run.result(timeout=0.3)
        except TimeoutError:
            return "late"

    run = impatient.start()
    while run.state != "done":
        burst()
    assert run.result() == "late"


def test_a_result_is_awaited_for_so_long_and_no_longer() -> None:
    run = job.start("a")
    with pytest.raises(TimeoutError, match="it goes on"):
        run.result(timeout=0.05)
    with pytest.raises(TimeoutError):
        asyncio.run(run.result_async(timeout=0.05))
    burst()
    assert asyncio.run(run.result_async()) == "A"


# -- failure ------------------------------------------------------------------------------------------


def test_the_error_of_a_run_carries_nothing_of_how_it_was_awaited() -> None:
    """Its traceback began with `StopIteration: Run(id=...)` and all that is stored of the run."""

    @onward.workflow(name="refused")
    def refused() -> None:
        raise ValueError("no such card")

    run = refused.start()
    burst()
    with pytest.raises(ValueError, match="no such card") as met:
        run.result()
    assert met.value.__context__ is None
    with pytest.raises(ValueError, match="no such card") as met:
        asyncio.run(run.result_async())
    assert met.value.__context__ is None


def test_a_failed_run_is_attempted_again_as_a_whole_and_keeps_what_succeeded() -> None:
    @onward.workflow(name="unsteady", max_attempts=3, backoff=0.01)
    def unsteady() -> str:
        first = fetch("first")
        calls.append("body")
        if calls.count("body") < 3:
            raise ConnectionError("down")
        return first

    run = unsteady.start()
    ended = burst()
    assert run.result() == "FIRST"
    assert calls == ["first", "body", "body", "body"]
    assert [one.how for one in ended] == ["failed", "failed", "done"]


def test_a_burst_goes_on_with_a_run_that_ended_just_after_a_claim_had_looked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_again, turns = threading.Event(), iter(range(1_000))

    @onward.workflow(name="ends_late", max_attempts=2, backoff=0.01)
    def ends_late() -> int:
        assert looked_again.wait(10)
        calls.append("body")
        if len(calls) < 2:
            raise ConnectionError("down")
        return len(calls)

    def turn() -> Any:
        answer = ask()
        if next(turns) == 1:
            looked_again.set()
            until(lambda: worker.active == 0)
        return answer

    run = ends_late.start()
    worker = Worker(connect.engine())
    ask = worker.turn
    monkeypatch.setattr(worker, "turn", turn)
    worker.run(burst=True)
    assert worker.rest(5) == 0
    assert run.state == "done"


def test_a_run_that_fails_for_good_is_a_dead_letter_until_it_is_retried() -> None:
    broken = [True]

    @onward.step(name="mendable")
    def mendable() -> str:
        calls.append("mendable")
        if broken[0]:
            raise ValueError("broken")
        return "mended"

    @onward.workflow(name="mending")
    def mending() -> str:
        return fetch("once") + mendable()

    run = mending.start()
    burst()
    with pytest.raises(ValueError, match="broken"):
        run.result()
    assert run.state == "failed"
    broken[0] = False
    run.retry()
    assert run.state == "pending"
    burst()
    assert run.result() == "ONCEmended"
    assert calls == ["once", "mendable", "mendable"]


# -- acts ---------------------------------------------------------------------------------------------


def test_a_queued_run_is_cancelled_and_never_executed() -> None:
    run = job.start("a")
    run.cancel()
    burst()
    assert calls == []
    with pytest.raises(onward.RunCancelled):
        run.result()


def test_a_queued_run_is_paused_and_goes_on_when_it_is_resumed() -> None:
    run = job.start("a")
    run.pause()
    burst()
    assert (run.state, calls) == ("paused", [])
    run.resume()
    burst()
    assert run.result() == "A"


@pytest.mark.parametrize(("act", "state"), [("cancel", "cancelled"), ("pause", "paused")])
def test_a_run_that_is_executed_stops_at_its_next_step(
    act: str, state: str, working: Callable[..., Worker]
) -> None:
    inside, go_on = threading.Event(), threading.Event()

    @onward.step(name="long one")
    def long_one() -> None:
        inside.set()
        go_on.wait(100)

    @onward.workflow(name="two steps")
    def two_steps() -> None:
        long_one()
        fetch("after")

    run = two_steps.start()
    working()
    assert inside.wait(100)
    getattr(run, act)()
    go_on.set()
    deadline = time.monotonic() + 10
    while run.state != state:
        assert time.monotonic() < deadline, run.state
        time.sleep(0.01)
    assert calls == []
    timeline = Journal().timeline(run.id)
    assert [unit.state for unit in timeline.units if unit.name == "long one"] == ["done"]


def test_a_sleeping_run_is_cancelled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SUSPEND_S", 0.05)

    @onward.workflow(name="long sleeper")
    def long_sleeper() -> None:
        onward.sleep(days=3)

    run = long_sleeper.start()
    burst()
    assert run.state == "waiting"
    run.cancel()
    assert run.state == "cancelled"


# -- drains -------------------------------------------------------------------------------------------


def test_a_worker_that_is_drained_lets_what_it_executes_come_to_its_next_step() -> None:
    inside, go_on = threading.Event(), threading.Event()

    @onward.step(name="slow one")
    def slow_one() -> str:
        inside.set()
        go_on.wait(100)
        calls.append("slow")
        return "slow"

    @onward.workflow(name="drained")
    def drained() -> str:
        return slow_one() + fetch("after")

    run = drained.start()
    waiting = job.start("b")
    worker = Worker(connect.engine(), concurrency=1)
    thread = threading.Thread(target=worker.run)
    thread.start()
    assert inside.wait(100)
    worker.drain()
    thread.join(10)
    threading.Timer(0.1, go_on.set).start()
    assert worker.rest(0) == 0
    assert (run.state, waiting.state) == ("pending", "pending")
    assert calls == ["slow"]
    burst()
    assert (run.result(), waiting.result()) == ("slowAFTER", "B")
    assert calls == ["slow", "after", "b"] or calls == ["slow", "b", "after"]

"""Time, chance, branches and facts: recorded or derived once, so that every life of a run sees the same."""

# Loops are what is tested here, so they stay loops.
# ruff: noqa: PERF401, PT012
from __future__ import annotations

import asyncio
import datetime as dt
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

import onward
from api.lives import Killed, die, entries, outcomes, runs, the_run
from onward.api import connect

calls: list[Any] = []


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    calls.clear()


@onward.step
def note(what: Any) -> Any:
    calls.append(what)
    return what


@onward.step
async def note_async(what: Any) -> Any:
    calls.append(what)
    await asyncio.sleep(0)
    return what


def seen_twice(look: Callable[[], Any], *, asynchronous: bool = False) -> list[Any]:
    """What `look` sees in a run that dies after it, and what it sees in the next life."""
    seen: list[Any] = []

    @onward.workflow(name="job")
    def job() -> None:
        seen.append(look())
        if len(seen) == 1:
            die()

    @onward.workflow(name="job")
    async def job_async() -> None:
        seen.append(await look())
        if len(seen) == 1:
            die()

    for _ in range(2):
        try:
            if asynchronous:
                asyncio.run(job_async())
            else:
                job()
        except Killed:
            continue
    return seen


# -- time and chance ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "look",
    [
        onward.now,
        onward.uuid4,
        lambda: [onward.uuid4(), onward.uuid4()],
        lambda: onward.rng().random(),
        lambda: [onward.rng().sample(range(100), 5), onward.rng().random()],
        onward.idempotency_key,
        onward.current,
        lambda: note(onward.uuid4()),
    ],
)
def test_every_life_sees_the_same(look: Callable[[], Any]) -> None:
    first, second = seen_twice(look)
    assert first == second


def test_every_life_of_an_async_workflow_sees_the_same_time() -> None:
    first, second = seen_twice(onward.aio.now, asynchronous=True)
    assert first == second
    assert first.tzinfo is dt.UTC


def test_each_call_draws_anew_and_so_does_each_run() -> None:
    drawn: list[Any] = []

    @onward.workflow
    def job() -> None:
        drawn.extend([onward.uuid4(), onward.uuid4(), onward.rng().random(), onward.rng().random()])

    job()
    job()
    assert len(set(drawn)) == 8
    assert drawn[0].version == 4


def test_outside_of_a_run_they_are_what_they_are_in_python() -> None:
    before = dt.datetime.now(dt.UTC)
    assert before <= onward.now() <= dt.datetime.now(dt.UTC)
    assert onward.uuid4() != onward.uuid4()
    assert onward.rng().random() != onward.rng().random()
    assert onward.current() is None
    assert onward.idempotency_key() != onward.idempotency_key()
    onward.sleep(0)
    onward.progress(1, 2)
    assert onward.gather(lambda: 1, lambda: 2) == [1, 2]
    assert onward.gather() == []
    assert runs() == []


# -- sleep --------------------------------------------------------------------------------------------


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were slept through; they do not pass, the journal's clock is put forward instead."""
    waited: list[float] = []
    engine = connect.engine()
    real = engine.store.now

    async def nap_async(woken: object, seconds: float) -> bool:
        waited.append(seconds)
        return False

    monkeypatch.setattr(engine.store, "now", lambda: real() + sum(waited))
    monkeypatch.setattr(engine, "nap", lambda woken, seconds: waited.append(seconds) or False)
    monkeypatch.setattr(engine, "nap_async", nap_async)
    return waited


def test_a_sleep_that_was_cut_short_goes_on_for_the_rest_only(slept: list[float]) -> None:
    dies = True

    @onward.workflow
    def job() -> None:
        onward.sleep(minutes=1)

    def die_in_sleep(woken: object, seconds: float) -> bool:
        (session,) = connect.engine().sessions.values()
        raise session.unwind(Killed())

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(connect.engine(), "nap", die_in_sleep)
        job()
    slept.append(45.0)  # the machine was off
    assert dies
    job()
    assert sum(slept) == pytest.approx(60, abs=0.5)


def test_a_sleep_that_is_over_is_not_slept_again(slept: list[float]) -> None:
    seen_twice(lambda: onward.sleep(hours=1))
    assert sum(slept) == pytest.approx(3_600, abs=1)


def test_a_sleep_in_async_code_is_durable_too(slept: list[float]) -> None:
    seen_twice(lambda: onward.aio.sleep(minutes=5), asynchronous=True)
    assert sum(slept) == pytest.approx(300, abs=1)


def test_sleep_until_a_time(slept: list[float]) -> None:
    when = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=90)
    seen_twice(lambda: onward.sleep_until(when))
    assert sum(slept) == pytest.approx(90, abs=1)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_an_impossible_length_of_time_is_refused(seconds: float) -> None:
    with pytest.raises(onward.UsageError, match="a number of seconds from 0 on"):
        onward.sleep(seconds)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(onward.UsageError, match="with a time zone"):
        onward.sleep_until(dt.datetime(2030, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("call", "instead"),
    [
        (lambda: onward.sleep(1), "await onward.aio.sleep"),
        (lambda: onward.sleep_until(dt.datetime.now(dt.UTC)), "await onward.aio.sleep_until"),
        (lambda: onward.gather(lambda: note(1)), "await onward.aio.gather"),
        (lambda: list(onward.map(note, [1], name="m")), "async for result in onward.map"),
    ],
)
def test_a_blocking_call_in_an_event_loop_names_the_one_to_await(
    call: Callable[[], Any], instead: str
) -> None:
    async def main() -> None:
        call()

    with pytest.raises(
        onward.UsageError, match="would block the running event loop; nothing was done"
    ) as refused:
        asyncio.run(main())
    assert instead in str(refused.value)
    assert calls == []


# -- branches -----------------------------------------------------------------------------------------


def test_branches_name_their_steps_apart_so_their_order_never_matters() -> None:
    slow_first = True

    def branch(name: str, slow: bool) -> list[Any]:
        time.sleep(0.01 * slow)
        return [note(name + "1"), note(name + "2")]

    def look() -> list[Any]:
        nonlocal slow_first
        slow_first = not slow_first
        return onward.gather(lambda: branch("a", slow_first), lambda: branch("b", not slow_first))

    assert seen_twice(look) == [[["a1", "a2"], ["b1", "b2"]]] * 2
    assert sorted(calls) == ["a1", "a2", "b1", "b2"]
    assert sorted(outcomes()) == [f"gather#1/{branch} > note#{call}" for branch in (0, 1) for call in (1, 2)]


def test_async_branches_name_their_steps_apart() -> None:
    async def branch(name: str) -> list[Any]:
        return [await note_async(name + "1"), await note_async(name + "2")]

    first, second = seen_twice(lambda: onward.aio.gather(branch("a"), branch("b")), asynchronous=True)
    assert first == second == [["a1", "a2"], ["b1", "b2"]]
    assert sorted(calls) == ["a1", "a2", "b1", "b2"]


def test_async_steps_are_gathered_as_they_are() -> None:
    first, second = seen_twice(lambda: onward.aio.gather(note_async("a"), note_async("b")), asynchronous=True)
    assert first == second == ["a", "b"]
    assert sorted(calls) == ["a", "b"]


def test_all_branches_come_to_rest_before_the_first_error_is_raised() -> None:
    def bad() -> None:
        raise ConnectionError("first in order")

    def worse() -> None:
        raise KeyError("second in order")

    def slow() -> Any:
        time.sleep(0.02)
        return note("slow")

    @onward.workflow
    def job() -> None:
        onward.gather(slow, bad, worse)

    with pytest.raises(ConnectionError, match="first in order"):
        job()
    assert calls == ["slow"]


def test_async_branches_come_to_rest_before_the_first_error_is_raised() -> None:
    async def bad() -> None:
        raise ConnectionError("first in order")

    async def slow() -> None:
        await asyncio.sleep(0.02)
        await note_async("slow")

    @onward.workflow
    async def job() -> None:
        await onward.aio.gather(slow(), bad())

    with pytest.raises(ConnectionError, match="first in order"):
        asyncio.run(job())
    assert calls == ["slow"]


def test_branches_inside_branches() -> None:
    def look() -> Any:
        return onward.gather(
            lambda: onward.gather(lambda: note(1), lambda: note(2)), lambda: onward.gather(lambda: note(3))
        )

    assert seen_twice(look) == [[[1, 2], [3]]] * 2
    assert sorted(calls) == [1, 2, 3]


def test_gather_takes_functions_and_its_async_twin_takes_awaitables() -> None:
    with pytest.raises(onward.UsageError, match=r"onward\.gather takes functions: onward\.gather\(lambda"):
        onward.gather(note(1))

    async def main() -> None:
        await onward.aio.gather(lambda: 1)  # type: ignore[arg-type]

    with pytest.raises(onward.UsageError, match="takes awaitables"):
        asyncio.run(main())


# -- facts --------------------------------------------------------------------------------------------


def test_current_says_where_the_code_stands() -> None:
    stood: list[Any] = []

    @onward.step
    def step() -> None:
        stood.append(onward.current())

    @onward.workflow(name="job")
    def job() -> None:
        stood.append(onward.current())
        step()

    job()
    run = the_run()
    assert stood == [onward.Current(run.id, "job", "", 1), onward.Current(run.id, "job", "step#1", 1)]


def test_an_idempotency_key_is_the_same_in_every_attempt_and_life_and_different_for_every_step() -> None:
    keys: list[str] = []

    @onward.step(max_attempts=2, backoff=0)
    def pay(amount: int) -> None:
        keys.append(onward.idempotency_key())
        if len(keys) == 1:
            raise ConnectionError
        if len(keys) == 2:
            die()

    @onward.workflow
    def job() -> None:
        pay(1)
        pay(1)

    with pytest.raises(Killed):
        job()
    job()
    assert keys[0] == keys[1] == keys[2] != keys[3]
    job()
    assert len(set(keys)) == 4


def test_the_key_of_a_loops_item_is_the_same_in_every_pass_that_tries_it() -> None:
    keys = []
    for _ in range(2):
        for _ in onward.each("ab", name="loop"):
            keys.append(onward.idempotency_key())
            break
    for _ in onward.each("ab", name="loop"):
        keys.append(onward.idempotency_key())
    assert keys[0] == keys[1] == keys[2] != keys[3]


def test_progress_is_kept_with_the_run() -> None:
    @onward.workflow
    def job() -> None:
        for done in range(1, 4):
            note(done)
            onward.progress(done, 10)

    job()
    entries()
    assert (the_run().done, the_run().total) == (3, 10)


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "onward.run"]


def test_the_logger_is_silent_while_it_replays_and_speaks_from_then_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What was recorded inside a finished step is never visited again; the logger waited for it for ever."""
    caplog.set_level(logging.INFO)

    @onward.step
    def outer() -> None:
        note("inner")

    def look() -> None:
        onward.logger.info("begin")
        outer()
        onward.logger.info("after outer")
        onward.gather(lambda: note("a"), lambda: note("b"))
        onward.logger.info("after gather")
        for item in onward.each("xy"):
            onward.logger.info("item %s", item)
            note(item)
        onward.logger.info("after loop")
        note("last")
        if len(lives) == 2:
            note("new")
            onward.logger.info("end")

    lives: list[int] = []
    seen_twice(lambda: lives.append(1) or look())
    once = ["begin", "after outer", "after gather", "item x", "item y", "after loop"]
    assert lines_of(caplog) == [*once, "end"]


def test_the_logger_adds_the_run_to_its_records(caplog: pytest.LogCaptureFixture) -> None:
    @onward.step
    def step() -> None:
        onward.logger.warning("in %s", "step", extra={"own": 1})

    @onward.workflow(name="job")
    def job() -> None:
        step()

    job()
    (record,) = [record for record in caplog.records if record.name == "onward.run"]
    said = vars(record)
    assert [said[name] for name in ("run_id", "workflow", "step", "attempt", "own")] == [
        the_run().id,
        "job",
        "step#1",
        1,
        1,
    ]

"""Time, chance, branches and facts: recorded or derived once, so that every life of a run sees the same."""

# Loops are what is tested here, so they stay loops.
# ruff: noqa: PT012

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

import onward
from api.lives import Killed, runs, seen_twice
from api.steps import calls, note
from onward.api import connect

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

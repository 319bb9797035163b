"""Attempts: how often and how fast a step is repeated, over any number of lives, and what ends it."""

# Loops are what is tested here, so they stay loops.
# ruff: noqa: PT012
from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

import onward
from api.lives import Killed, die, entries, outcomes
from api.steps import calls
from onward.api import connect


@onward.step
def fetch(what: str, page: int = 1) -> str:
    calls.append(what)
    return what.upper()


class Busy(Exception):
    """A server that asks for patience."""

    def __init__(self, retry_after: object) -> None:
        super().__init__("busy")
        self.retry_after = retry_after


def failing(times: int, error: BaseException, **options: Any) -> onward.Workflow[[], int]:
    """A workflow of one step that fails so many times; `calls` gets its attempts."""

    @onward.step(name="flaky", **options)
    def flaky() -> int:
        here = onward.current()
        assert here is not None
        calls.append(here.attempt)
        if len(calls) <= times:
            raise error
        return here.attempt

    @onward.workflow(name="flaky-job")
    def job() -> int:
        return flaky()

    return job


def test_by_default_an_exception_is_final_as_in_a_plain_call() -> None:
    job = failing(1, ConnectionError("no route"))
    with pytest.raises(ConnectionError, match="no route"):
        job()
    assert outcomes() == {"flaky#1": "failed"}


def test_a_step_is_attempted_as_often_as_asked() -> None:
    assert failing(2, ConnectionError(), max_attempts=3, backoff=0)() == 3
    assert calls == [1, 2, 3]
    assert [e.state for e in entries() if e.kind == "step"] == ["retry", "retry", "done"]


def test_retry_on_and_give_up_on_choose_the_exceptions() -> None:
    with pytest.raises(KeyError):
        failing(1, KeyError("k"), max_attempts=3, backoff=0, retry_on=ConnectionError)()
    with pytest.raises(ConnectionResetError):
        failing(9, ConnectionResetError(), max_attempts=3, backoff=0, give_up_on=(ConnectionResetError,))()
    assert calls == [1, 1]


def test_attempts_are_counted_over_deaths_of_the_process() -> None:
    @onward.step(max_attempts=3, backoff=0)
    def flaky() -> None:
        here = onward.current()
        assert here is not None
        calls.append(here.attempt)
        if len(calls) == 2:
            die()
        raise ConnectionError(f"attempt {here.attempt}")

    @onward.workflow
    def job() -> None:
        flaky()

    with pytest.raises(Killed):
        job()
    with pytest.raises(ConnectionError, match="attempt 3"):
        job()
    assert calls == [1, 2, 2, 3]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that flows wait, which do not pass: the store's clock is put forward instead."""
    waited: list[float] = []
    store = connect.engine().store
    real = store.now
    monkeypatch.setattr(store, "now", lambda: real() + sum(waited))
    monkeypatch.setattr(connect.engine(), "nap", lambda woken, seconds: waited.append(seconds) or False)
    return waited


@pytest.mark.parametrize(
    "asked",
    [
        5,
        timedelta(seconds=5),
        "5",
    ],
)
def test_the_pause_that_a_server_asks_for_is_kept(asked: object, waits: list[float]) -> None:
    assert failing(1, Busy(asked), max_attempts=2)() == 2
    assert sum(waits) == pytest.approx(5, abs=0.5)


def test_the_pause_may_be_a_date(waits: list[float]) -> None:
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=9), usegmt=True)
    assert failing(1, Busy(when), max_attempts=2)() == 2
    assert sum(waits) == pytest.approx(9, abs=1.5)


def test_pauses_grow_to_their_bound(waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    job = failing(5, ConnectionError(), max_attempts=6, backoff=1, backoff_max=5, jitter=False)
    assert job() == 6
    assert sum(waits) == pytest.approx(1 + 2 + 4 + 5 + 5, abs=0.5)


def test_a_pause_goes_on_after_a_death(waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    job = failing(1, Busy(60), max_attempts=2)

    def die_instead(woken: object, seconds: float) -> bool:
        (leased,) = connect.engine().sessions.values()
        raise leased.unwind(Killed())

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(connect.engine(), "nap", die_instead)
        job()
    waits.append(20.0)  # the time between the two lives
    assert job() == 2
    assert sum(waits) == pytest.approx(60, abs=0.5)


def test_a_step_is_parked_after_its_third_death() -> None:
    @onward.step
    def poison() -> None:
        calls.append(1)
        # A death is counted where its start was written: here, because earlier ones left no other trace.
        die()

    @onward.workflow
    def job() -> str:
        try:
            poison()
        except onward.StepCrashed:
            return "caught"
        return "never"

    result = None
    while result is None and len(calls) < 20:
        try:
            result = job()
        except Killed:
            continue
    assert result == "caught"
    assert len(calls) <= 6


def test_a_result_that_cannot_be_recorded_fails_the_step_with_path_and_cure_and_is_not_repeated() -> None:
    @onward.step(max_attempts=5, backoff=0)
    def open_page() -> object:
        calls.append(1)
        return {"pages": [1, threading.Lock()]}

    @onward.workflow
    def job() -> None:
        open_page()

    for _ in range(2):
        with pytest.raises(
            onward.NotRecordable, match=r"result of step `open_page`: `\$\.pages\[1\]` is a `_thread.lock`"
        ):
            job()
    assert calls == [1, 1]

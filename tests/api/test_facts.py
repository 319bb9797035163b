"""What code is told about where it stands, and what it tells: keys, progress, log lines."""

# Loops are what is tested here, so they stay loops.
# ruff: noqa: PERF401
from __future__ import annotations

import logging
from typing import Any

import pytest

import onward
from api.lives import Killed, die, entries, seen_twice, the_run
from api.steps import note


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

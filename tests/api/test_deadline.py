"""Deadlines of async code: `timeout=` of a step, and `onward.timeout` around several, live and on replay."""

# Loops are what is tested here, so they stay loops; and a test waits by looking.
# ruff: noqa: ASYNC110
from __future__ import annotations

import asyncio
from typing import Any

import pytest

import onward
from api.lives import Fate, Killed, entries, finish_writing, outcomes, the_run
from api.times import Times
from onward.api import connect, deadline

calls: list[Any] = []
# A busy machine may take as long as it likes for what is in time: an hour passes only where a test says so.
HOUR = 3_600
times: Times


@pytest.fixture(autouse=True)
def _begin(monkeypatch: pytest.MonkeyPatch) -> None:
    global times
    calls.clear()
    times = Times(monkeypatch)


@onward.step
async def quick(what: Any) -> Any:
    calls.append(what)
    return what


@onward.step
async def slow(what: Any) -> Any:
    """Takes longer than any deadline here."""
    calls.append(what)
    times.leap(HOUR)
    await asyncio.sleep(24 * HOUR)
    return what


# -- timeout= of a step -------------------------------------------------------------------------------


def test_an_async_step_is_cancelled_when_its_time_is_over_and_that_is_an_attempt() -> None:
    @onward.step(timeout=0.05, max_attempts=2, backoff=0)
    async def call() -> str:
        calls.append(1)
        await asyncio.sleep(60 if len(calls) == 1 else 0)
        return "second"

    @onward.workflow(name="job")
    async def job() -> str:
        return await call()

    assert times.run(job()) == "second"
    assert [e.state for e in entries() if e.kind == "step"] == ["retry", "done"]


def test_its_error_is_the_same_live_and_on_replay() -> None:
    caught: list[str] = []

    @onward.step(timeout=0.02)
    async def call() -> None:
        await asyncio.sleep(60)

    @onward.workflow(name="job")
    async def job() -> None:
        try:
            await call()
        except TimeoutError as error:
            caught.append(repr(error))
        raise ValueError("again")

    for _ in range(2):
        with pytest.raises(ValueError, match="again"):
            times.run(job())
    assert caught[0] == caught[1]
    assert "StepTimeout" in caught[0]


def test_a_timeout_error_of_the_steps_own_stays_what_it_is() -> None:
    @onward.step(timeout=5)
    async def call() -> None:
        raise TimeoutError("of the socket")

    @onward.workflow(name="job")
    async def job() -> None:
        await call()

    with pytest.raises(TimeoutError, match="of the socket") as caught:
        times.run(job())
    assert type(caught.value) is TimeoutError


# -- onward.timeout, live -----------------------------------------------------------------------------


def block(seconds: float, *parts: Any, after: Any = None) -> onward.Workflow[[], Any]:
    """A workflow with a block that awaits the parts (functions), and says whether it ended in time."""

    @onward.workflow(name="job")
    async def job() -> Any:
        got: list[Any] = []
        try:
            async with onward.timeout(seconds):
                for part in parts:
                    value = await part()
                    got += [value]
        except TimeoutError:
            got.append("over")
        if after is not None:
            got.append(await quick("after"))
            after()
        return got

    return job


def test_a_block_that_ends_in_time_is_left_alone() -> None:
    assert times.run(block(60, lambda: quick(1), lambda: quick(2))()) == [1, 2]
    assert outcomes() == {"timeout#1": "done", "quick#1": "done", "quick#2": "done", "timeout#1/end": "done"}


def test_a_block_whose_time_is_over_is_ended_and_what_was_cut_off_has_no_outcome() -> None:
    assert times.run(block(HOUR, lambda: quick(1), lambda: slow(2))()) == [1, "over"]
    assert "slow#1" not in outcomes()
    assert connect.engine().store.begun(the_run().no) == []


def test_an_error_of_the_block_passes_through() -> None:
    async def fail() -> None:
        raise KeyError("k")

    with pytest.raises(KeyError):
        times.run(block(60, fail)())


def test_after_its_deadline_nothing_new_begins_in_the_block_even_if_it_never_awaited() -> None:
    async def busy() -> None:
        times.leap(HOUR)

    assert times.run(block(HOUR, busy, lambda: quick(1))()) == [None, "over"]
    assert calls == []


def test_durable_sleeps_and_gathers_are_ended_too() -> None:
    assert times.run(block(0.05, lambda: onward.aio.sleep(60))()) == ["over"]

    async def both() -> list[Any]:
        return await onward.aio.gather(quick(1), slow(2))

    @onward.workflow(name="other")
    async def other() -> Any:
        try:
            async with onward.timeout(HOUR):
                return await both()
        except TimeoutError:
            return "over"

    assert times.run(other()) == "over"


def test_blocks_in_blocks_end_by_the_deadline_that_is_over() -> None:
    @onward.workflow(name="job")
    async def job(outer: int, inner: int) -> list[str]:
        said: list[str] = []
        try:
            async with onward.timeout(outer):
                try:
                    async with onward.timeout(inner):
                        await slow(1)
                except TimeoutError:
                    said.append("inner")
                    await quick(1)
        except TimeoutError:
            said.append("outer")
        return said

    assert times.run(job(9 * HOUR, HOUR)) == ["inner"]
    assert times.run(job(HOUR, 9 * HOUR)) == ["outer"]


def test_outside_of_any_run_it_is_a_plain_timeout() -> None:
    async def main() -> None:
        async with onward.timeout(0.01):
            await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        times.run(main())
    assert connect.engine().store.runs() == []


def test_sync_code_is_told_what_to_do() -> None:
    with pytest.raises(onward.UsageError, match=r"isolate=True, timeout="), onward.timeout(3):  # type: ignore[attr-defined]
        pytest.fail("entered")
    with pytest.raises(onward.UsageError):
        onward.timeout(-1)


def test_a_cancellation_from_outside_passes_through_and_is_no_end_of_the_block() -> None:
    job = block(60, lambda: slow(1))

    async def main() -> None:
        task = asyncio.ensure_future(job())
        while not calls:
            await asyncio.sleep(0.001)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        times.run(main())
    assert "timeout#1/end" not in outcomes()


# -- onward.timeout, on replay ------------------------------------------------------------------------


def twice(job: onward.Workflow[[], Any]) -> Any:
    """The result of a workflow that dies once."""
    with pytest.raises(Killed):
        times.run(job())
    finish_writing()
    calls.append("again")
    return times.run(job())


def test_a_block_that_ended_in_time_does_so_in_a_replay_long_after_its_deadline() -> None:
    fate = Fate(1)

    def after() -> None:
        times.leap(HOUR)
        fate()

    async def both() -> list[Any]:
        return await onward.aio.gather(quick(1), quick(2))

    assert twice(block(HOUR, both, lambda: quick(3), after=after)) == [[1, 2], 3, "after"]
    assert calls == [1, 2, 3, "after", "again"]


def test_a_block_that_was_ended_ends_at_the_same_place_in_a_replay() -> None:
    async def both() -> list[Any]:
        return await onward.aio.gather(quick(1), quick(2))

    job = block(HOUR, both, lambda: quick(3), lambda: slow(4), lambda: quick(5), after=Fate(1))
    assert twice(job) == [[1, 2], 3, "over", "after"]
    assert calls == [1, 2, 3, 4, "after", "again"], "what was cut off is not begun again"


def test_a_plain_await_that_was_ended_ends_in_a_replay_too() -> None:
    async def plain() -> None:
        calls.append("plain")
        times.leap(HOUR)
        await asyncio.sleep(24 * HOUR)

    assert twice(block(HOUR, lambda: quick(1), plain, after=Fate(1))) == [1, "over", "after"]
    assert calls == [1, "plain", "after", "again", "plain"]


def test_a_program_killed_in_the_block_has_only_the_rest_of_its_time() -> None:
    fate = Fate(1)

    async def die_once() -> str:
        calls.append("die")
        fate()
        return "lived"

    job = block(HOUR, lambda: quick(1), onward.step(name="die_once")(die_once), lambda: quick(2))
    with pytest.raises(Killed):
        times.run(job())
    times.leap(HOUR)
    assert times.run(job()) == [1, "over"]
    assert calls == [1, "die"]


def test_a_program_killed_in_the_block_goes_on_in_it_while_there_is_time() -> None:
    fate = Fate(1)

    async def die_once() -> str:
        fate()
        return "lived"

    job = block(60, lambda: quick(1), onward.step(name="die_once")(die_once), lambda: quick(2))
    assert twice(job) == [1, "lived", 2]
    assert calls == [1, "again", 2]


def test_an_inner_block_that_the_outer_one_ended_does_not_end_by_itself_in_a_replay() -> None:
    fate = Fate(1)

    @onward.workflow(name="job")
    async def job() -> list[str]:
        said: list[str] = []
        try:
            async with onward.timeout(HOUR):
                try:
                    async with onward.timeout(2 * HOUR):
                        await quick(1)
                        await slow(2)
                except TimeoutError:
                    said.append("inner")
        except TimeoutError:
            said.append("outer")
        await quick("after")
        times.leap(HOUR)  # both deadlines are over in the replay
        fate()
        return said

    assert twice(job) == ["outer"]


def test_changed_code_that_asks_no_more_for_what_was_recorded_still_comes_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deadline, "_PATIENCE_S", 0.1)
    asked = [lambda: quick(1), lambda: quick(2)]

    async def plain() -> None:
        times.leap(HOUR)
        await asyncio.sleep(24 * HOUR)

    fate = Fate(1)

    @onward.workflow(name="job")
    async def job() -> Any:
        try:
            async with onward.timeout(HOUR):
                for part in asked:
                    await part()
                await plain()
        except TimeoutError:
            await quick.options(key="after")("after")
            fate()
            return "over"

    with pytest.raises(Killed):
        times.run(job())
    asked.pop()
    assert times.run(job()) == "over"

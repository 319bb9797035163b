"""A process that has lost its run ends quickly, records nothing more, and cannot be talked out of it."""

# Loops are what is tested here, so they stay loops.
# ruff: noqa: PT012
from __future__ import annotations

import asyncio
from typing import Any

import pytest

import onward
from api.lives import entries, taken_over, the_run
from api.steps import calls


@onward.step
def work(what: Any) -> Any:
    calls.append(what)
    return what


@onward.step
def lose(what: str = "") -> str:
    """During this step another process takes the run over."""
    taken_over(the_run().id)
    return "result of a lost lease"


def assert_only_the_new_holder_wrote() -> None:
    run = the_run()
    assert (run.state, run.fence) == ("running", 2)
    assert entries()[-1].key == "run/claimed"


def test_code_that_catches_exceptions_cannot_carry_on() -> None:
    @onward.workflow
    def job() -> str:
        work("before")
        for attempt in range(3):
            try:
                lose()
            except Exception:
                calls.append("caught")
            work(f"after {attempt}")
        return "done"

    with pytest.raises(
        onward.RunError, match=r"was taken over.*what it had recorded is kept and the new holder"
    ) as lost:
        job()
    assert lost.value.run_id == the_run().id
    assert calls == ["before"]
    assert_only_the_new_holder_wrote()


def test_code_that_catches_everything_records_nothing_more_and_its_result_is_discarded() -> None:
    @onward.workflow
    def job() -> str:
        try:
            lose()
        except BaseException:
            calls.append("caught")
        for durable in (lambda: work("after"), onward.now, lambda: onward.sleep(0)):
            try:
                durable()
            except BaseException:
                calls.append("refused")
        return "done"

    with pytest.raises(onward.RunError, match="was taken over"):
        job()
    assert calls == ["caught", "refused", "refused", "refused"]
    assert_only_the_new_holder_wrote()


def test_an_async_workflow_ends_too() -> None:
    @onward.workflow
    async def job() -> None:
        try:
            lose()
        except Exception:
            calls.append("caught")
        work("after")

    with pytest.raises(onward.RunError, match="was taken over"):
        asyncio.run(job())
    assert calls == []
    assert_only_the_new_holder_wrote()


def test_a_loop_hands_nothing_more_out() -> None:
    with pytest.raises(onward.RunError, match="was taken over"):
        for item in onward.each("abc", name="loop"):
            calls.append(item)
            if item == "b":
                taken_over(the_run().id)
    assert calls == ["a", "b"]
    assert "each/b" not in [entry.key for entry in entries() if entry.state == "done"]


def test_a_map_begins_nothing_more() -> None:
    def each_one(number: int) -> int:
        calls.append(number)
        if number == 1:
            taken_over(the_run().id)
        return number

    with pytest.raises(onward.RunError, match="was taken over"):
        list(onward.map(each_one, range(100), name="m", concurrency=1))
    assert calls == [0, 1]
    assert_only_the_new_holder_wrote()


def test_branches_of_a_gather_end_too() -> None:
    @onward.workflow
    def job() -> None:
        onward.gather(lambda: [lose(), work("after")], lambda: [work("other")])

    with pytest.raises(onward.RunError, match="was taken over"):
        job()
    assert "after" not in calls


def test_what_was_recorded_before_is_kept_for_the_new_holder() -> None:
    @onward.workflow
    def job() -> None:
        work("before")
        lose()

    with pytest.raises(onward.RunError):
        job()
    assert [entry.key for entry in entries() if entry.state == "done"] == ["work#1"]

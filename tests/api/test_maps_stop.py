"""When everything fails a map stops early; when one item fails, those in flight come to rest and are not done twice."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

import onward
from api.lives import outcomes, python, the_run, told, write_script
from onward.core import limits

AT_ONCE, LATER = limits.MAP_STOP_AT_ONCE, limits.MAP_STOP_AFTER
calls: list[int] = []


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    calls.clear()


def down(number: int) -> int:
    calls.append(number)
    raise ConnectionError("no route to host")


def tried(fn: Any, items: Any, **options: Any) -> list[Any]:
    return list(onward.map(fn, items, name="m", on_error="continue", concurrency=2, **options))


# -- everything fails -----------------------------------------------------------------------------------


@pytest.mark.parametrize("in_loop", [False, True])
def test_a_map_in_which_everything_fails_stops_says_why_and_keeps_its_place(in_loop: bool) -> None:
    async def main() -> list[Any]:
        mapped = onward.map(down, range(500), name="m", on_error="continue", concurrency=2)
        return [result async for result in mapped]

    with pytest.raises(onward.TooManyFailures) as caught:
        asyncio.run(main()) if in_loop else tried(down, range(500))
    assert str(caught.value).startswith(
        f"`m` stopped early: the last {AT_ONCE} items in a row failed and none succeeded in between, all of them with "
        "ConnectionError: no route to host. 0 of 500 are done and kept. The others were not begun."
    )
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert AT_ONCE <= len(calls) <= AT_ONCE + 4
    assert set(outcomes().values()) == {"failed"}
    assert the_run().state == "failed"


def test_the_next_call_goes_on_where_it_stopped() -> None:
    with pytest.raises(onward.TooManyFailures):
        tried(down, range(200))
    assert tried(str, range(200)) == [str(n) for n in range(200)]
    assert the_run().state == "done"


def test_an_outage_in_the_middle_stops_later_as_a_list_may_hold_a_stretch_of_bad_rows() -> None:
    def work(number: int) -> int:
        # What fails while one of the good ones is still on its way to the disk is not in a row with what follows.
        while number >= 10 and not calls and list(outcomes().values()).count("done") < 10:
            time.sleep(0.001)
        return down(number) if number >= 10 else number

    with pytest.raises(onward.TooManyFailures, match=f"the last {LATER} items .* 10 of 500 are done"):
        tried(work, range(500))
    assert LATER <= len(calls) <= LATER + 4


def test_a_list_with_some_bad_rows_is_done_to_its_end() -> None:
    def work(number: int) -> int:
        if number % 3 == 0 or 100 <= number < 180:
            raise ValueError(number)
        return number

    results = tried(work, range(300))
    assert len(results) == 300
    assert sum(isinstance(r, onward.Failure) for r in results) > 100


def test_a_list_that_begins_with_bad_rows_gets_on_with_every_call() -> None:
    """The rows that failed before say nothing new: the map must not stop at the same place for ever."""

    def work(number: int) -> int:
        if number < 50:
            raise ValueError("bad row")
        return number

    ended, passes = None, 0
    while ended is None:
        passes += 1
        assert passes < 5
        try:
            ended = tried(work, range(120))
        except onward.TooManyFailures:
            continue
    assert [r for r in ended if not isinstance(r, onward.Failure)] == list(range(50, 120))


@pytest.mark.parametrize(("stop_after", "calls_at_most"), [(1, 5), (7, 11), (60, 64)])
def test_how_many_failures_are_too_many_can_be_said(stop_after: int, calls_at_most: int) -> None:
    with pytest.raises(
        onward.TooManyFailures, match="the last item" if stop_after == 1 else f"the last {stop_after} items"
    ):
        tried(down, range(500), stop_after=stop_after)
    assert stop_after <= len(calls) <= calls_at_most


def test_it_can_be_switched_off() -> None:
    assert len(tried(down, range(300), stop_after=None)) == 300


def test_with_on_error_raise_the_first_failure_ends_it_anyway() -> None:
    with pytest.raises(ConnectionError):
        list(onward.map(down, range(100), name="m"))


def test_inside_a_workflow_failures_are_left_to_the_workflow() -> None:
    @onward.workflow
    def flow(**options: Any) -> int:
        return len(tried(down, range(LATER + 50), **options))

    assert flow() == LATER + 50
    with pytest.raises(onward.UsageError, match="stop_after= is for a map that is a run of its own"):
        flow(stop_after=3)


def test_the_program_ends_with_the_sentence_and_another_exit_code(tmp_path: Path) -> None:
    script = write_script(
        tmp_path,
        """
        import onward

        def work(number):
            raise PermissionError("the key is not valid")

        for _ in onward.map(work, range(100), on_error="continue"):
            pass
        """,
    )
    ended = python(script, cwd=tmp_path)
    assert ended.returncode == 1
    assert "job.py` stopped early: the last 20 items in a row failed" in told(ended)
    assert "PermissionError: the key is not valid" in ended.stderr
    assert "Traceback" not in ended.stderr


# -- one fails ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["loop-thread", "tasks", "threads-in-loop", "aclosing"])
def test_those_in_flight_come_to_rest_when_another_one_fails(way: str) -> None:
    """They used to be cancelled in an event loop, and were done a second time by the next call."""
    begun, ended, cancelled = list[int](), list[int](), list[int]()

    async def others_begin() -> None:
        for _ in range(1_000):
            if len(begun) >= 3:
                return
            await asyncio.sleep(0.005)

    async def fetch(number: int) -> int:
        begun.append(number)
        try:
            if number == 0:
                await others_begin()
                if way == "aclosing":
                    return number
                raise ConnectionError("no route")
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise
        ended.append(number)
        return number

    def work(number: int) -> int:
        return asyncio.run(fetch(number))

    fn = work if way == "threads-in-loop" else fetch

    async def main() -> None:
        async with aclosing(onward.map(fn, range(50), name="m", concurrency=3).__aiter__()) as results:  # type: ignore[type-var]
            async for _ in results:
                if way == "aclosing":
                    raise ConnectionError("no route")

    with pytest.raises(ConnectionError):
        list(onward.map(fn, range(50), name="m", concurrency=3)) if way == "loop-thread" else asyncio.run(
            main()
        )
    assert cancelled == []
    assert sorted([0, *ended]) == sorted(begun)
    done = [0, *ended] if way == "aclosing" else ended  # threads may note their ends in another order
    assert sorted(k for k, state in outcomes().items() if state == "done") == sorted(f"map/{n}" for n in done)
    before = list(begun)
    begun.clear()
    list(onward.map(str, range(50), name="m"))
    assert len(before) == len(set(before))


def test_a_cancelled_task_does_not_wait_for_items_in_flight_but_what_they_recorded_stays() -> None:
    release = threading.Event()

    async def fetch(number: int) -> int:
        if number:
            await asyncio.sleep(60)
        release.set()
        return number

    async def main() -> None:
        async for _ in onward.map(fetch, range(5), name="m", concurrency=3):
            asyncio.current_task().cancel()  # type: ignore[union-attr]

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert outcomes() == {"map/0": "done"}
    assert the_run().state == "pending"

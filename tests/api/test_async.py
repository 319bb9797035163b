"""Async workflows and loops keep the same promises."""

# Loops are what is tested here, so they stay loops.
# ruff: noqa: PERF401
from __future__ import annotations

import asyncio

import pytest

import onward
from api.lives import Fate, Killed, outcomes, runs, the_run
from api.steps import calls, fetch


def test_an_async_workflow_continues_after_its_last_recorded_step() -> None:
    fate = Fate()

    @onward.step
    async def pull(what: str) -> str:
        calls.append(what)
        await asyncio.sleep(0)
        return what.upper()

    @onward.workflow
    async def job() -> list[str]:
        got = [await pull("a")]
        async for item in onward.each("bc"):
            got.append(await pull(item))
        fate()
        return [*got, fetch("sync in async")]

    with pytest.raises(Killed):
        asyncio.run(job())
    assert asyncio.run(job()) == ["A", "B", "C", "<sync in async>"]
    assert calls == ["a", "b", "c", "sync in async"]


def test_an_async_loop_is_left_by_break_at_once() -> None:
    async def main() -> list[str]:
        async for item in onward.each("abc", name="loop"):
            if item == "b":
                break
        assert the_run().state == "pending"
        rest = []
        async for item in onward.each("abc", name="loop"):
            rest.append(item)
        return rest

    assert asyncio.run(main()) == ["b", "c"]


def test_many_async_workflows_run_at_once() -> None:
    @onward.step
    async def pull(number: int) -> int:
        await asyncio.sleep(0)
        return number

    @onward.workflow
    async def job(number: int) -> int:
        return await pull(number) + await pull(number)

    async def main() -> list[int]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(job(number)) for number in range(50)]
        return [task.result() for task in tasks]

    assert asyncio.run(main()) == [2 * number for number in range(50)]
    assert {run.state for run in runs()} == {"done"}


def test_a_cancelled_await_is_no_outcome() -> None:
    slow, begun = True, asyncio.Event()

    @onward.step(name="pull")
    async def pull() -> str:
        calls.append("pull")
        begun.set()
        if slow:
            await asyncio.sleep(30)
        return "done"

    @onward.workflow
    async def job() -> str:
        return await pull()

    async def cancelled() -> None:
        task = asyncio.create_task(job())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert (outcomes(), the_run().state) == ({}, "pending")
    slow = False
    assert asyncio.run(job()) == "done"
    assert calls == ["pull", "pull"]


def test_a_call_that_is_cancelled_while_its_run_is_opened_gives_the_run_back() -> None:
    """Nobody held the lease of such a run and nobody gave it back, so the next call found it `already running`."""

    @onward.workflow
    async def job() -> str:
        return fetch("a")

    async def main() -> str:
        for lease in range(1, 4):
            task = asyncio.create_task(job())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            while [(run.fence, run.state) for run in runs()] != [(lease, "pending")]:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        return await job()

    assert asyncio.run(main()) == "<a>"
    assert calls == ["a"]


def test_tasks_of_one_event_loop_wait_for_each_other() -> None:
    bodies = 0

    @onward.workflow
    async def job() -> str:
        nonlocal bodies
        bodies += 1
        await asyncio.sleep(0.03)
        return "shared"

    async def main() -> list[str]:
        return await asyncio.gather(*(job.options(if_running="wait")() for _ in range(4)))

    assert asyncio.run(main()) == ["shared"] * 4
    assert bodies == 1


def test_a_failed_async_map_raises_the_first_error() -> None:
    async def work(number: int) -> int:
        if number == 1:
            raise ConnectionError("no route")
        return number

    async def main() -> None:
        async for _ in onward.map(work, range(3), name="m", concurrency=1):
            pass

    with pytest.raises(ConnectionError, match="no route"):
        asyncio.run(main())
    assert (outcomes()["map/1"], the_run().state) == ("failed", "failed")

"""Where steps may be called: anywhere else they would go unrecorded, so they are refused."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import onward
from api.lives import outcomes, the_run
from api.steps import calls


@onward.step
def fetch(what: str, page: int = 1) -> str:
    calls.append(what)
    return what.upper()


def refusal_in(call: Any) -> str:
    """What a workflow hears when it calls a step through `call`."""

    @onward.workflow
    def job() -> str:
        with pytest.raises(onward.UsageError) as refused:
            call(lambda: fetch("stray"))
        return str(refused.value)

    said: str = job()
    assert calls == []
    assert outcomes() == {}
    return said


def test_a_step_called_from_a_bare_thread_pool_is_refused() -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()  # its thread is older than the run
        said = refusal_in(lambda work: pool.submit(work).result())
    assert "Use onward.gather or onward.map for parallel work" in said


def test_a_step_called_from_a_new_thread_is_refused() -> None:
    def in_thread(work: Any) -> None:
        caught: list[BaseException] = []

        def run() -> None:
            try:
                work()
            except BaseException as error:
                caught.append(error)

        thread = threading.Thread(target=run, name="mine")
        thread.start()
        thread.join()
        raise caught[0]

    assert "was called from thread mine" in refusal_in(in_thread)


async def refusal_in_task(call: Any) -> str:
    @onward.step
    async def pull() -> None:
        calls.append(1)

    async def branch() -> None:
        await pull()

    @onward.workflow
    async def job() -> str:
        try:
            await call(branch)
        except onward.UsageError as refused:
            return str(refused)
        except BaseExceptionGroup as group:
            return str(group.exceptions[0])
        return "not refused"

    said: str = await job()
    assert calls == []
    return said


async def in_task_group(branch: Any) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(branch(), name="bare")


async def in_thread_of_asyncio(branch: Any) -> None:
    await asyncio.to_thread(fetch, "stray")


@pytest.mark.parametrize(
    ("call", "where"),
    [(in_task_group, "task bare"), (in_thread_of_asyncio, "thread asyncio_")],
)
def test_a_step_called_from_a_task_or_thread_of_asyncio_is_refused(call: Any, where: str) -> None:
    said = asyncio.run(refusal_in_task(call))
    assert where in said
    assert "nothing was executed. Use onward.gather or onward.map" in said


def test_a_workflow_called_inside_a_step_is_refused() -> None:
    @onward.workflow
    def child() -> None:
        calls.append("child")

    @onward.step
    def step() -> None:
        child()

    @onward.workflow
    def job() -> None:
        step()

    with pytest.raises(
        onward.UsageError, match="was called inside step `step#1`; nothing of it was executed"
    ):
        job()
    assert calls == []


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_cannot_record() -> None:
    @onward.workflow
    def job() -> int:
        child = os.fork()
        if child == 0:
            try:
                fetch("in the child")
            except onward.UsageError as refused:
                os._exit(7 if "a fork of the one that holds the run" in str(refused) else 8)
            os._exit(9)
        fetch("in the parent")
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert job() == 7
    assert outcomes() == {"fetch#1": "done"}
    assert the_run().state == "done"


def test_nesting_without_end_is_stopped() -> None:
    @onward.step
    def deeper(level: int) -> None:
        deeper(level + 1)

    @onward.workflow
    def job() -> None:
        deeper(0)

    with pytest.raises(onward.UsageError, match="nested more than 50 deep"):
        job()

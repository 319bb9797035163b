"""Awaits that are cancelled: what was recorded meanwhile stays, and nobody is blamed for what was left."""

# Loops are what is tested here, so they stay loops; and a test waits by looking.
from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

import onward
from api.lives import Fate, Killed, entries, finish_writing, outcomes
from onward.api import connect
from onward.storage import ticket as ticket_module

calls: list[Any] = []


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    calls.clear()


@onward.step
async def quick(what: Any) -> Any:
    calls.append(what)
    return what


@onward.step
async def slow(what: Any) -> Any:
    calls.append(what)
    await asyncio.sleep(60)
    return what


def twice(job: onward.Workflow[[], Any]) -> Any:
    """The result of a workflow that dies once."""
    with pytest.raises(Killed):
        asyncio.run(job())
    finish_writing()
    calls.append("again")
    return asyncio.run(job())


def test_a_step_that_was_recorded_while_it_was_cancelled_gives_its_value_and_the_next_await_is_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A cancellation during the commit dropped the outcome live, and a replay had it: the two went different ways."""
    got: list[Any] = []

    @onward.workflow(name="job")
    async def job() -> None:
        got.append(await quick("one"))
        got.append(await quick("two"))

    engine = connect.engine()
    submit = engine.committer.submit

    async def main() -> None:
        task = asyncio.ensure_future(job())

        def submitted(changes: Any, *others: Any) -> Any:
            if any(entry.key == "quick#1" for change in changes for entry in change.entries):
                others[0].call_soon(task.cancel)
                time.sleep(0.01)
            return submit(changes, *others)

        monkeypatch.setattr(engine.committer, "submit", submitted)
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert got == ["one"]
    assert outcomes() == {"quick#1": "done"}


def test_a_step_whose_outcome_came_in_the_moment_of_its_cancellation_gives_its_value_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Answered and then cancelled before it went on, it was cancelled live, and a replay had its value."""
    got: list[Any] = []
    running: list[asyncio.Task[Any]] = []

    @onward.workflow(name="job")
    async def job() -> None:
        got.append(await quick("one"))
        got.append(await quick("two"))

    notify = ticket_module._notify

    def answered(tickets: Any) -> None:
        notify(tickets)
        if any(e.key == "quick#1" for ticket in tickets for c in ticket.changes for e in c.entries):
            running[0].cancel()

    monkeypatch.setattr(ticket_module, "_notify", answered)

    async def main() -> None:
        running.append(asyncio.ensure_future(job()))
        await running[0]

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert got == ["one"]
    assert outcomes() == {"quick#1": "done"}
    asyncio.run(job())
    assert got == ["one", "one", "two"]
    assert calls == ["one", "two"]


def test_a_cancelled_step_is_not_blamed_for_a_later_death() -> None:
    """Its start marker stayed, so a kill hours later convicted a step that had long been left."""
    fate = Fate(1)

    @onward.workflow(name="job")
    async def job() -> str:
        try:
            async with onward.timeout(0.05):
                await slow(1)
        except TimeoutError:
            pass
        assert [one.in_flight() for one in connect.engine().sessions.values()] == [[]]
        fate()
        return "done"

    assert twice(job) == "done"
    assert "crashed" not in [entry.state for entry in entries()]

"""Code that outlives its run or its journal: it records nothing more, least of all in a run of somebody else."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

import onward
from api.lives import entries, outcomes, runs, the_run
from api.steps import calls, fetch
from onward.api import connect
from onward.core.errors import JournalError, Stopped


@pytest.mark.important
def test_a_run_whose_journal_was_exchanged_writes_into_no_run_of_the_other_one(tmp_path: Path) -> None:
    """Its steps went on in the new journal, under the number and the fence that a stranger's run has there."""
    other = tmp_path / "other.db"

    @onward.workflow
    def stranger() -> None:
        fetch("stranger")
        raise ValueError

    @onward.workflow
    def job() -> None:
        fetch("rome")
        onward.connect(other)
        fetch("milan")

    onward.connect(other)
    with pytest.raises(ValueError):
        stranger()
    before = entries()

    onward.connect(tmp_path / "journal.db")
    with pytest.raises(JournalError, match=r"closed in this process while it executed run job-.*Call it"):
        job()
    assert entries() == before
    assert calls == ["stranger", "rome"]
    onward.connect(tmp_path / "journal.db")
    assert outcomes() == {"fetch#1": "done"}


def test_a_run_that_another_thread_executes_when_its_journal_is_closed_is_given_back(tmp_path: Path) -> None:
    """Its process ended cleanly, and what it had in flight was taken for what had killed it."""
    begun, closed = threading.Event(), threading.Event()
    ended: list[BaseException] = []

    @onward.step
    def long() -> None:
        begun.set()
        assert closed.wait(100)

    @onward.workflow
    def job() -> None:
        long()

    def execute() -> None:
        try:
            job()
        except JournalError as error:
            ended.append(error)

    thread = threading.Thread(target=execute)
    thread.start()
    assert begun.wait(100)
    connect.disconnect()
    closed.set()
    thread.join(20)
    assert len(ended) == 1
    assert (the_run().state, the_run().owner) == ("pending", None)

    onward.connect(tmp_path / "journal.db")
    job()
    assert "crashed" not in [entry.state for entry in entries()]


def test_a_loop_that_was_left_in_a_workflow_writes_nothing_into_it_after_its_end() -> None:
    """Its items were recorded behind the entry that says how the run ended."""
    left = []

    @onward.workflow
    def job() -> str:
        left.append(iter(onward.each(["a", "b", "c"])))
        return next(left[0])

    assert job() == "a"
    before = entries()
    with pytest.raises(Stopped, match=r"run job-.* is over in this process"):
        next(left[0])
    left[0].close()  # type: ignore[attr-defined]
    assert entries() == before
    assert [run.state for run in runs()] == ["done"]
    assert onward.current() is None  # and nothing that follows is taken for a part of it


def test_tasks_that_wait_for_a_run_leave_the_threads_to_it() -> None:
    """As many callers as the loop has threads waited in them, and the run they waited for never got one: a hang."""
    taken: list[int] = []

    @onward.step
    async def work() -> int:
        await asyncio.sleep(0.2)
        return await asyncio.to_thread(lambda: 7)

    @onward.workflow
    async def job() -> int:
        taken.append(1)
        return await work()

    async def main() -> list[int]:
        waiting = [job.options(if_running="wait")() for _ in range(40)]
        return await asyncio.wait_for(asyncio.gather(*waiting), 60)

    assert asyncio.run(main()) == [7] * 40
    assert taken == [1]

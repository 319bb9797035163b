"""Heartbeats: recorded in order, all of them, and given to the next attempt, in this life or another."""

# Loops are what is tested here, so they stay loops; and a test waits by looking.
# ruff: noqa: PT012
from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest

import onward
from api import isolated
from api.lives import Fate, entries, outcomes, python, the_run, two_lives, write_script
from onward.api import connect
from onward.core import codec, limits
from onward.core.errors import JournalBusy
from onward.core.model import Run
from onward.storage.committer import Committer


def beats(run: Run | None = None) -> list[Any]:
    """The details of all recorded heartbeats, in the order of the journal."""
    return [codec.decode(entry.value or "") for entry in entries(run) if entry.kind == "beat"]


def latest() -> Any:
    here = onward.current()
    assert here is not None
    return here.heartbeat


# -- attempts -----------------------------------------------------------------------------------------


def test_the_next_attempt_has_what_the_last_one_said_and_all_of_it_is_recorded() -> None:
    seen: list[Any] = []

    @onward.step(max_attempts=3, backoff=0)
    def copy() -> Any:
        seen.append(latest())
        for _ in range(3):
            onward.heartbeat({"at": (latest() or {"at": 0})["at"] + 1})
        if len(seen) < 3:
            raise ConnectionError("lost")
        return latest()

    @onward.workflow(name="job")
    def job() -> Any:
        return copy()

    assert job() == {"at": 9}
    assert seen == [None, {"at": 3}, {"at": 6}]
    assert beats() == [{"at": n} for n in range(1, 10)]
    assert [e.attempt for e in entries() if e.kind == "beat"] == [1] * 3 + [2] * 3 + [3] * 3


def test_the_next_life_has_it_too() -> None:
    fate, seen = Fate(1), []

    @onward.step
    def copy() -> str:
        seen.append(latest())
        onward.heartbeat("half", wait=True)
        fate()
        return "whole"

    @onward.workflow(name="job")
    def job() -> str:
        return copy()

    assert two_lives(job) == "whole"
    assert seen == [None, "half"]
    assert beats() == ["half", "half"]


@pytest.mark.parametrize("flush_ms", [0, 5])
def test_items_of_a_loop_say_how_far_they_are(flush_ms: int) -> None:
    fate, seen = Fate(1), []

    def job() -> None:
        for item in onward.each(["a", "b", "c"], name="loop", flush_ms=flush_ms):
            seen.append((item, latest()))
            onward.heartbeat(f"in {item}", wait=True)
            if item == "b":
                fate()

    two_lives(job)
    assert ("b", "in b") in seen
    assert ("c", None) in seen
    assert the_run().state == "done"


def test_items_of_a_map_and_steps_in_items_too() -> None:
    seen: list[Any] = []
    fate = Fate(1)

    @onward.step
    def part() -> None:
        seen.append(latest())
        onward.heartbeat("deep", wait=True)
        fate()

    def convert(item: int) -> int:
        part()
        return item

    assert two_lives(lambda: list(onward.map(convert, [1], name="map"))) == [1]
    assert seen == [None, "deep"]


def test_a_long_loop_keeps_no_heartbeats_of_items_that_ended() -> None:
    for _ in onward.each(range(20), name="loop"):
        onward.heartbeat("here")
        [session] = connect.engine().sessions.values()
        assert len(session.beats) == 1


def test_a_heartbeat_is_no_outcome_and_a_body_without_steps_is_not_repeated_for_it() -> None:
    done, broken = [], True

    @onward.workflow(name="job")
    def job() -> None:
        for item in onward.each([1, 2]):
            done.append(item)
            onward.heartbeat(item)
        if broken:
            raise ValueError("later")

    with pytest.raises(ValueError, match="later"):
        job()
    broken = False
    job()
    assert done == [1, 2]
    assert the_run().state == "done"


# -- promises -----------------------------------------------------------------------------------------


def test_with_wait_it_is_durable_when_the_call_returns() -> None:
    found: list[Any] = []

    @onward.step
    def copy() -> None:
        onward.heartbeat("kept", wait=True)
        found.extend(connect.engine().store.entries(the_run().no))

    @onward.workflow(name="job")
    def job() -> None:
        copy()

    job()
    assert [e.kind for e in found] == ["mark", "mark", "beat"]


def test_without_it_the_caller_waits_for_nothing_and_none_is_lost() -> None:
    @onward.step
    def copy() -> None:
        for number in range(5_000):
            onward.heartbeat(number)

    @onward.workflow(name="job")
    def job() -> None:
        copy()

    job()
    assert beats() == list(range(5_000))


def test_no_more_of_them_than_the_bound_wait_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BEATS_AHEAD", 3)
    ahead: list[int] = []

    @onward.step
    def copy() -> None:
        [session] = connect.engine().sessions.values()
        for number in range(50):
            onward.heartbeat(number)
            ahead.append(len(session.beats_ahead))

    @onward.workflow(name="job")
    def job() -> None:
        copy()

    job()
    assert max(ahead) <= 3
    assert beats() == list(range(50))


def test_from_the_first_heartbeat_on_a_death_counts_against_the_step() -> None:
    """Else a step that dies within its first second leaves no trace, and the death is charged by guess."""

    @onward.step(max_crashes=1)
    def copy() -> None:
        onward.heartbeat("begun", wait=True)
        Fate(1)()

    @onward.workflow(name="job")
    def job() -> None:
        copy()

    with pytest.raises(onward.StepCrashed):
        two_lives(job)
    assert outcomes()["copy#1"] == "failed"


def test_a_heartbeat_that_the_journal_did_not_take_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Committer.wait_for

    def refuse(self: Committer, ticket: Any) -> Any:
        if any(e.kind == "beat" for change in ticket.changes for e in change.entries):
            raise JournalBusy("the journal is locked")
        return real(self, ticket)

    @onward.step
    def copy() -> None:
        onward.heartbeat("one", wait=True)

    @onward.workflow(name="job")
    def job() -> None:
        copy()

    with monkeypatch.context() as patch, pytest.raises(JournalBusy):
        patch.setattr(Committer, "wait_for", refuse)
        job()


def test_async_code_says_it_without_waiting_or_awaits_that_it_is_durable() -> None:
    @onward.step
    async def copy() -> Any:
        onward.heartbeat(1)
        with pytest.raises(onward.OnwardError, match=r"await onward\.aio\.heartbeat"):
            onward.heartbeat(2, wait=True)
        await onward.aio.heartbeat(3)
        return await asyncio.to_thread(_from_a_thread)

    def _from_a_thread() -> Any:
        onward.heartbeat(4)
        return latest()

    @onward.workflow(name="job")
    async def job() -> Any:
        return await copy()

    assert asyncio.run(job()) == 4
    assert beats() == [1, 3, 4]


def test_an_isolated_step_says_it_across_processes_and_its_next_attempt_has_it() -> None:
    @onward.workflow(name="job")
    def job() -> Any:
        return isolated.beats(300), isolated.beats(2, wait=True)

    assert job() == ({"at": 300}, {"at": 2})
    assert beats() == [{"at": n} for n in [*range(1, 301), 1, 2]]

    @onward.workflow(name="async job")
    async def async_job() -> Any:
        return await isolated.beats_async()

    assert asyncio.run(async_job()) == "two"


def test_what_was_said_survives_a_kill(tmp_path: Path) -> None:
    script = write_script(
        tmp_path,
        """
        import os, signal, onward

        @onward.step
        def copy():
            at = onward.current().heartbeat or 0
            print("from", at, flush=True)
            for at in range(at + 1, 6):
                onward.heartbeat(at, wait=True)
                if at == 3 and not os.path.exists("died"):
                    open("died", "w").close()
                    os.kill(os.getpid(), signal.SIGKILL)
            return at

        @onward.workflow
        def job():
            return copy()

        print(job())
        """,
    )
    first = python(script, cwd=tmp_path)
    assert (first.returncode, first.stdout) == (-signal.SIGKILL, "from 0\n")
    assert python(script, cwd=tmp_path).stdout == "from 3\n5\n"

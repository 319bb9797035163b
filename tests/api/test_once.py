"""At-most-once steps: what was begun and has no outcome is never executed again by itself."""

# Loops are what is tested here, so they stay loops; and a test waits by looking.
# ruff: noqa: ASYNC110, PT012
from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import onward
from api import isolated
from api.charges import calls, charging, job_of
from api.isolated import logged
from api.lives import Fate, Killed, entries, outcomes, the_run, two_lives
from onward.api import connect
from onward.core.errors import JournalBusy
from onward.core.model import Change


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    calls.clear()


# -- without a death ----------------------------------------------------------------------------------


def test_it_is_executed_and_recorded_like_any_step_and_its_start_is_durable_first() -> None:
    begun: list[int] = []

    def look() -> None:
        begun.append(len(connect.engine().store.begun(the_run().no)))

    assert job_of(charging(look))() == ["receipt 1", "shipped"]
    assert begun == [1]
    assert outcomes() == {"charge#1": "done"}


def test_an_exception_is_an_outcome_and_is_retried_as_the_policy_says() -> None:
    def refuse() -> None:
        if len(calls) < 3:
            raise ConnectionError("refused")

    assert job_of(charging(refuse, max_attempts=3, backoff=0))() == ["receipt 3", "shipped"]
    calls.clear()

    @onward.workflow(name="other")
    def other() -> Any:
        return charging(refuse)(1)

    with pytest.raises(ConnectionError):
        other()
    assert calls == [1]


# -- in doubt -----------------------------------------------------------------------------------------


def test_after_a_death_in_it_the_run_is_stuck_and_nothing_is_executed_again() -> None:
    job = job_of(charging(Fate(1)))
    with pytest.raises(onward.InDoubt) as caught:
        two_lives(job)
    assert calls == [5]
    run = the_run()
    assert run.state == "stuck"
    assert f"onward skip {run.id} 'charge#1' --value JSON" in str(caught.value)
    assert f"onward retry {run.id} 'charge#1'" in str(caught.value)
    with pytest.raises(onward.InDoubt):
        job()
    assert calls == [5]


def test_a_ctrl_c_in_it_leaves_it_in_doubt_too() -> None:
    def interrupt() -> None:
        if len(calls) == 1:
            raise KeyboardInterrupt

    job = job_of(charging(interrupt))
    with pytest.raises(KeyboardInterrupt):
        job()
    with pytest.raises(onward.InDoubt):
        job()
    assert calls == [5]


def test_an_outcome_that_could_not_be_recorded_leaves_it_in_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    committer = connect.engine().committer
    real = committer.commit

    def refused(*changes: Change) -> Any:
        if any(entry.state == "done" for change in changes for entry in change.entries):
            raise JournalBusy("the journal is locked")
        return real(*changes)

    job = job_of(charging(lambda: None))
    with monkeypatch.context() as patch, pytest.raises(JournalBusy):
        patch.setattr(committer, "commit", refused)
        job()
    with pytest.raises(onward.InDoubt):
        job()
    assert calls == [5]


def test_a_cancelled_async_step_is_in_doubt() -> None:
    @onward.step(at_most_once=True)
    async def charge() -> None:
        calls.append(1)
        await asyncio.sleep(60)

    @onward.workflow(name="job")
    async def job() -> None:
        await charge()

    async def main() -> None:
        task = asyncio.ensure_future(job())
        while not calls:
            await asyncio.sleep(0.001)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    with pytest.raises(onward.InDoubt):
        asyncio.run(job())
    assert calls == [1]


def test_a_timed_out_attempt_is_in_doubt_at_once() -> None:
    @onward.step(at_most_once=True, timeout=0.05, max_attempts=5)
    async def charge() -> None:
        calls.append(1)
        await asyncio.sleep(60)

    @onward.workflow(name="job")
    async def job() -> None:
        await charge()

    with pytest.raises(onward.InDoubt, match="took longer than its timeout"):
        asyncio.run(job())
    assert calls == [1]
    assert the_run().state == "stuck"


def test_an_isolated_one_whose_process_dies_is_in_doubt_at_once(tmp_path: Path) -> None:
    step = isolated.dies.options(at_most_once=True)
    with pytest.raises(onward.InDoubt, match="killed by SIGSEGV"):
        job_of(lambda _: step(str(tmp_path / "log"), "segfault"))()
    assert len(logged(tmp_path / "log")) == 1
    assert [e.state for e in entries() if e.kind == "step"] == ["crashed"]


def test_a_step_that_was_in_flight_beside_others_is_in_doubt() -> None:
    """Several in flight are suspects, not convicts; for this step that makes no difference."""
    charge = charging(Fate(1))

    @onward.step
    def other() -> int:
        return 1

    @onward.workflow(name="job")
    def job() -> Any:
        return onward.gather(lambda: charge(1), other)

    with pytest.raises(Killed):
        job()
    with pytest.raises(onward.InDoubt):
        job()
    assert calls == [1]


# -- probes -------------------------------------------------------------------------------------------


def probed(answer: Callable[[], Any], *, fate: Callable[[], None] | None = None) -> onward.Workflow[[], Any]:
    asked: list[int] = []

    def probe(cents: int) -> Any:
        asked.append(cents)
        assert asked[-1] == 5
        return answer()

    return job_of(charging(fate or Fate(1), probe=probe))


def test_a_probe_that_knows_the_value_settles_it() -> None:
    job = probed(lambda: onward.Done("receipt of the first"))
    assert two_lives(job) == ["receipt of the first", "shipped"]
    assert calls == [5]
    assert outcomes()["charge#1"] == "done"


def test_a_probe_that_knows_it_was_not_done_lets_it_be_executed() -> None:
    assert two_lives(probed(onward.NotDone)) == ["receipt 2", "shipped"]
    assert calls == [5, 5]


def test_a_probe_is_asked_only_in_doubt() -> None:
    job = probed(lambda: pytest.fail("asked"), fate=lambda: None)
    assert job() == ["receipt 1", "shipped"]


def test_a_death_while_the_probe_is_asked_leaves_the_doubt() -> None:
    fate = Fate(1)

    def answer() -> Any:
        fate()
        return onward.Done("found")

    job = probed(answer)
    for _ in range(2):
        with pytest.raises(Killed):
            job()
    assert job() == ["found", "shipped"]
    assert calls == [5]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda: None, r"its probe returned None, not Done\(\.\.\.\) or NotDone\(\)"),
        (lambda: onward.Done, "not Done"),
        (lambda: {}["missing"], "its probe raised KeyError"),
        (lambda: onward.Done(object()), "cannot be recorded"),
    ],
)
def test_a_probe_without_an_answer_leaves_the_run_stuck(answer: Callable[[], Any], says: str) -> None:
    with pytest.raises(onward.InDoubt, match=says):
        two_lives(probed(answer))
    assert calls == [5]
    assert the_run().state == "stuck"


def test_crashes_and_attempts_still_end_it_when_the_probe_says_that_it_was_not_done(tmp_path: Path) -> None:
    path = tmp_path / "log"
    step = isolated.dies.options(at_most_once=True, probe=lambda *_: onward.NotDone(), max_crashes=2)
    with pytest.raises(onward.StepCrashed, match="2 times"):
        job_of(lambda _: step(str(path), "exit"))()
    assert len(logged(path)) == 2

    slow = isolated.hangs.options(
        at_most_once=True, probe=lambda *_: onward.NotDone(), max_attempts=2, timeout=0.1, backoff=0
    )

    @onward.workflow(name="slow")
    def slowly() -> None:
        slow(str(tmp_path / "slow"), "sleep")

    with pytest.raises(onward.StepTimeout):
        slowly()
    assert len(logged(tmp_path / "slow")) == 2


def _sync_probe() -> onward.Done:
    return onward.Done("found")


async def _async_probe() -> onward.Done:
    await asyncio.sleep(0)
    return onward.Done("found")


@pytest.mark.parametrize("probe", [_sync_probe, _async_probe])
def test_the_probe_of_an_async_step_may_be_sync_or_async(probe: Callable[[], Any]) -> None:
    fate = Fate(1)

    @onward.step(at_most_once=True, probe=probe)
    async def charge() -> str:
        calls.append(1)
        fate()
        return "executed again"

    @onward.workflow(name="job")
    async def job() -> str:
        return await charge()

    with pytest.raises(Killed):
        asyncio.run(job())
    assert asyncio.run(job()) == "found"
    assert calls == [1]


def test_an_async_probe_of_a_sync_step_is_refused() -> None:
    with pytest.raises(onward.UsageError, match="make both the same"):
        charging(lambda: None, probe=_async_probe)

"""The same call twice at the same time: one of them has the run, the other is told or waits."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from time import sleep
from types import SimpleNamespace
from typing import Any

import pytest

import onward
from api.dying import dying_workflow
from api.lives import Killed, runs, the_run
from api.steps import calls as fetched
from onward.api import connect, opening


class Gate:
    """A workflow that waits inside until it is opened."""

    def __init__(self) -> None:
        self.entered, self.opened, self.calls = threading.Event(), threading.Event(), 0

        @onward.workflow(name="gated")
        def gated() -> str:
            self.calls += 1
            self.entered.set()
            assert self.opened.wait(5)
            if self.calls == 1 and self.fails:
                raise ConnectionError("no route")
            return "through"

        self.fails = False
        self.workflow = gated


def test_the_same_call_at_the_same_time_is_refused_and_told_who_has_it() -> None:
    gate = Gate()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(gate.workflow)
        assert gate.entered.wait(5)
        try:
            with pytest.raises(
                onward.AlreadyRunning, match=r"already running \(this process, since .*nothing was"
            ):
                gate.workflow()
        finally:
            gate.opened.set()
        assert first.result() == "through"
    assert gate.calls == 1


@pytest.mark.parametrize("fails", [False, True])
def test_a_waiting_caller_gets_what_the_other_one_got(fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, looked = Gate(), threading.Event()
    gate.fails = fails
    monkeypatch.setattr(opening, "time", SimpleNamespace(sleep=lambda _: looked.set() or sleep(0.001)))
    waiting = gate.workflow.options(if_running="wait")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(gate.workflow)
        assert gate.entered.wait(5)
        second = pool.submit(waiting)
        assert looked.wait(5)
        gate.opened.set()
        for one in (first, second):
            if fails:
                with pytest.raises(ConnectionError, match="no route"):
                    one.result(5)
            else:
                assert one.result(5) == "through"
    assert gate.calls == 1


def test_a_run_that_is_just_being_opened_is_not_taken_for_a_dead_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the commit that opens a run and its entry among the sessions, a second thread used to claim it."""
    engine = connect.engine()
    hold, refused = engine._hold, []

    def slowly(*given: Any) -> Any:
        monkeypatch.setattr(engine, "_hold", hold)
        with ThreadPoolExecutor(1) as pool:
            refused.append(pool.submit(job, "rome").exception())
        return hold(*given)

    job = dying_workflow(deaths=0)
    monkeypatch.setattr(engine, "_hold", slowly)
    assert job("rome") == "ROME"
    assert isinstance(refused[0], onward.AlreadyRunning)
    assert (the_run().fence, fetched) == (1, ["rome"])


def test_waiting_for_a_dead_run_is_continuing_it() -> None:
    job = dying_workflow()
    with pytest.raises(Killed):
        job("rome")
    assert job.options(if_running="wait")("rome") == "ROME"
    assert fetched == ["rome"]


def test_many_runs_are_executed_at_once_by_threads_of_the_program() -> None:
    """The second thread used to be taken for a lost part of the first one's run."""
    together = threading.Barrier(3)

    @onward.workflow
    def one(number: int) -> int:
        together.wait(5)
        return number

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(one, range(3))) == [0, 1, 2]
    assert [run.state for run in runs()] == ["done"] * 3


def test_if_running_takes_two_words() -> None:
    with pytest.raises(onward.UsageError, match='give "raise" or "wait"'):
        dying_workflow().options(if_running="queue")("rome")  # type: ignore[arg-type]

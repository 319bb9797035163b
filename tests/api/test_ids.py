"""Runs with an id of their own: begun once, continued, joined, and never mixed up."""

from __future__ import annotations

from typing import Any

import pytest

import onward
from api.dying import dying_workflow, fetch
from api.lives import Killed, runs, the_run
from api.steps import calls as fetched
from onward.api import connect


def test_the_same_id_returns_the_recorded_result() -> None:
    job = dying_workflow(deaths=0).options(id="order-1")
    assert [job("rome"), job("rome")] == ["ROME", "ROME"]
    assert fetched == ["rome"]
    assert the_run().id == "order-1"


def test_the_same_id_continues_an_interrupted_run() -> None:
    job = dying_workflow().options(id="order-1")
    with pytest.raises(Killed):
        job("rome")
    assert job("rome") == "ROME"
    assert fetched == ["rome"]


def test_an_id_is_made_of_arguments() -> None:
    job = dying_workflow(deaths=0).options(id="job-{what}")
    assert [job("rome"), job(what="milan"), job("rome")] == ["ROME", "MILAN", "ROME"]
    assert [run.id for run in runs()] == ["job-rome", "job-milan"]
    with pytest.raises(onward.UsageError, match="not an argument of job"):
        job.options(id="{town}")("rome")


def test_options_given_one_after_the_other_add_up() -> None:
    job = dying_workflow(deaths=0).options(id="order-1").options(if_running="wait")
    job("rome")
    assert the_run().id == "order-1"


def test_the_same_id_with_other_arguments_is_refused() -> None:
    job = dying_workflow(deaths=0).options(id="order-1")
    job("rome")
    with pytest.raises(onward.RunConflict, match="was begun with other arguments; nothing was started"):
        job("milan")
    assert job.options(replace=True)("milan") == "MILAN"
    assert the_run().args == '[["milan"],{}]'


def test_the_id_of_another_workflow_is_refused() -> None:
    dying_workflow(deaths=0).options(id="order-1")("rome")

    @onward.workflow
    def other(what: str) -> None:
        fetch(what)

    with pytest.raises(onward.RunConflict, match="belongs to `job`"):
        other.options(id="order-1")("rome")


def test_a_cancelled_id_stays_cancelled() -> None:
    job = dying_workflow().options(id="order-1")
    with pytest.raises(Killed):
        job("rome")
    onward.Journal().cancel("order-1")
    with pytest.raises(onward.RunCancelled):
        job("rome")


@pytest.mark.parametrize("cancelled_before", [False, True])
def test_a_reset_id_begins_afresh(cancelled_before: bool) -> None:
    """`onward reset` said "start afresh with: ...", and that command raised RunCancelled for ever."""
    job = dying_workflow().options(id="order-1")
    with pytest.raises(Killed):
        job("rome")
    if cancelled_before:
        onward.Journal().cancel("order-1")
    onward.Journal().reset("order-1")
    assert the_run().state == "cancelled"
    assert job("rome") == "ROME"
    assert [run.state for run in runs()] == ["done"]
    assert fetched == ["rome", "rome"]


@pytest.mark.parametrize("mark", ["--fresh", "replace=True"])
def test_an_id_is_not_lost_when_the_process_dies_while_it_is_set_aside(mark: str) -> None:
    """Between the cancellation of the old run and the begin of the new one the id belonged to a cancelled run."""
    job = dying_workflow().options(id="order-1")
    with pytest.raises(Killed):
        job("rome")
    onward.Journal().cancel("order-1", by=mark)
    assert job("rome") == "ROME"


@pytest.mark.parametrize("bad", ["", "a/b", "x" * 500, "line\nbreak"])
def test_an_impossible_id_is_refused(bad: str) -> None:
    with pytest.raises(onward.UsageError, match="an id has 1 to"):
        dying_workflow().options(id=bad)("rome")
    assert runs() == []


def test_a_run_that_somebody_continues_in_this_moment_is_not_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was deleted under the process that had just claimed it."""
    job = dying_workflow().options(id="order-1")
    with pytest.raises(Killed):
        job("rome")
    engine = connect.engine()
    run, continuing = the_run(), []
    commit = engine.committer.commit

    def after_another(*changes: Any) -> Any:
        if not continuing:
            continuing.append(None)
            continuing.append(engine.claim(run))
        return commit(*changes)

    monkeypatch.setattr(engine.committer, "commit", after_another)
    with pytest.raises(onward.RunConflict, match="running with other arguments"):
        job.options(id="order-1", replace=True)("milan")
    assert [run.state for run in runs()] == ["running"]
    engine.let_go(continuing[1])

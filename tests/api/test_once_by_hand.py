"""At-most-once steps in doubt, and steps that failed, settled by a person."""

# Loops are what is tested here, so they stay loops; and a test waits by looking.
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import onward
from api.charges import calls, charging, job_of
from api.lives import Fate, the_run, two_lives
from onward.api import doubts
from onward.api.journal import Journal
from onward.cli import main


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    calls.clear()


def stuck() -> onward.Workflow[[], Any]:
    job = job_of(charging(Fate(1)))
    with pytest.raises(onward.InDoubt):
        two_lives(job)
    return job


def test_a_person_says_what_it_returned() -> None:
    job = stuck()
    doubts.settle(Journal(), the_run().id, "charge#1", '"receipt by hand"')
    assert the_run().state == "pending"
    assert job() == ["receipt by hand", "shipped"]
    assert calls == [5]


def test_a_person_says_that_it_was_not_executed() -> None:
    job = stuck()
    doubts.free(Journal(), the_run().id, "charge#1")
    assert job() == ["receipt 2", "shipped"]
    assert calls == [5, 5]


def test_what_a_person_says_holds_for_one_attempt_only() -> None:
    job = job_of(charging(Fate(2)))
    with pytest.raises(onward.InDoubt):
        two_lives(job)
    doubts.free(Journal(), the_run().id, "charge#1")
    with pytest.raises(onward.InDoubt):
        two_lives(job)
    assert calls == [5, 5]


def test_retry_of_the_whole_run_does_not_execute_it(monkeypatch: pytest.MonkeyPatch) -> None:
    job = stuck()
    Journal().retry(the_run().id)
    with pytest.raises(onward.InDoubt):
        job()
    assert calls == [5]


def test_the_commands_that_the_error_names_do_what_it_says(
    monkeypatch: pytest.MonkeyPatch, journal: Path
) -> None:
    monkeypatch.setenv("ONWARD_URL", str(journal))
    job, run_id = stuck(), the_run().id
    runner = CliRunner()
    for bad, says in (
        (["skip", run_id, "charge#1"], "--value null"),
        (["skip", run_id, "charge#1", "--value", "{"], "not JSON"),
        (["skip", run_id, "charge#2", "--value", "1"], "Did you mean `charge#1`"),
        (["retry", run_id, "charge#7"], "charge#7"),
    ):
        refused = runner.invoke(main, bad)
        assert refused.exit_code == 2, refused.output
        assert says in refused.output
    assert the_run().state == "stuck"
    told = runner.invoke(main, ["skip", run_id, "charge#1", "--value", '{"id": 7}'])
    assert told.exit_code == 0, told.output
    assert "is done with that value. Continue the run with:" in told.output
    assert job() == [{"id": 7}, "shipped"]


def test_a_step_that_failed_can_be_given_its_value(tmp_path: Path) -> None:
    @onward.step
    def broken() -> int:
        raise ValueError("no")

    @onward.workflow(name="job")
    def job() -> int:
        return broken() + 1

    with pytest.raises(ValueError, match="no"):
        job()
    run = the_run().id
    with pytest.raises(onward.UsageError, match="not in doubt"):
        doubts.free(Journal(), run, "broken#1")
    doubts.settle(Journal(), run, "broken#1", "41")
    assert job() == 42


def test_what_is_shown_of_a_stuck_run_names_both_commands(
    monkeypatch: pytest.MonkeyPatch, journal: Path
) -> None:
    monkeypatch.setenv("ONWARD_URL", str(journal))
    stuck()
    run_id, runner = the_run().id, CliRunner()
    for words in (["status"], ["show", run_id]):
        shown = runner.invoke(main, words).output
        assert f"onward skip {run_id} 'charge#1' --value JSON" in shown
        assert f"if not: onward retry {run_id} 'charge#1'" in shown
    assert f"\n    if not: onward retry {run_id}" in runner.invoke(main, ["status"]).output, (
        "as wide as what is above"
    )
    assert "an at-most-once step is in doubt" in runner.invoke(main, ["show", run_id]).output
    whole = runner.invoke(main, ["retry", run_id])
    assert whole.exit_code == 2
    assert "nothing was changed: step `charge#1`" in whole.output
    assert the_run().state == "stuck"

"""Which run a call means: continued while it is unfinished, begun afresh after that, one for each id."""

# Loops are what is tested here, so they stay loops.
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import pytest

import onward
from api.dying import dying_workflow, fetch
from api.lives import Killed, die, runs, the_run
from api.steps import calls as fetched
from onward.api import connect


def test_an_interrupted_workflow_continues_after_its_last_recorded_step(
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = dying_workflow()
    with pytest.raises(Killed):
        job("rome")
    assert job("rome") == "ROME"
    assert fetched == ["rome"]
    assert the_run().state == "done"
    assert "continuing job" in capsys.readouterr().err


def test_a_finished_workflow_starts_afresh() -> None:
    job = dying_workflow(deaths=0)
    assert [job("rome"), job("rome")] == ["ROME", "ROME"]
    assert fetched == ["rome", "rome"]
    assert [run.state for run in runs()] == ["done", "done"]


def test_other_arguments_are_another_run() -> None:
    job = dying_workflow()
    with pytest.raises(Killed):
        job("rome")
    assert job("milan") == "MILAN"
    assert [run.state for run in runs()] == ["running", "done"]


def test_an_argument_given_by_name_or_left_at_its_default_means_the_same_run() -> None:
    @onward.workflow
    def ship(order: int, express: bool = False, *, notes: str = "") -> None:
        raise ConnectionError

    calls: list[Callable[[], None]] = [
        lambda: ship(1),
        lambda: ship(order=1),
        lambda: ship(1, False),
        lambda: ship(express=False, order=1),
        lambda: ship(1, notes=""),
    ]
    for call in calls:
        with pytest.raises(ConnectionError):
            call()
    assert the_run().args == "[[1],{}]"


def test_a_call_that_does_not_fit_the_function_begins_no_run() -> None:
    job = dying_workflow()
    with pytest.raises(TypeError, match="unexpected keyword argument 'town'"):
        job("rome", town="milan")  # type: ignore[call-arg]
    assert runs() == []


def test_a_failed_workflow_counts_as_unfinished_and_a_cancelled_one_does_not() -> None:
    broken = True

    @onward.workflow
    def job() -> str:
        got = fetch("rome")
        if broken:
            raise ConnectionError("no route")
        return got

    with pytest.raises(ConnectionError):
        job()
    failed = the_run()
    assert failed.state == "failed"
    broken = False
    assert job() == "ROME"
    assert (the_run().id, fetched) == (failed.id, ["rome"])
    broken = True
    with pytest.raises(ConnectionError):
        job()
    onward.Journal().cancel(runs()[-1].id)
    broken = False
    assert job() == "ROME"
    assert [run.state for run in runs()] == ["done", "cancelled", "done"]


def test_arguments_that_cannot_be_recorded_need_an_id() -> None:
    @onward.workflow
    def use(client: object) -> str:
        return fetch("with client")

    with pytest.raises(onward.NotRecordable, match=r"or name the run: use\.options\(id=\.\.\.\)"):
        use(object())
    assert runs() == []
    assert use.options(id="first")(object()) == "WITH CLIENT"


@dataclass
class Shop:
    city: str
    closed: ClassVar[bool] = False

    @onward.workflow
    def open(self) -> str:
        return die() if self.closed else fetch(self.city)


def test_a_method_is_recognised_by_its_object_too() -> None:
    Shop.closed = True
    with pytest.raises(Killed):
        Shop("rome").open()
    Shop.closed = False
    assert Shop("milan").open() == "MILAN"
    assert Shop("rome").open() == "ROME"
    assert [run.state for run in runs()] == ["done", "done"]


def test_a_method_of_an_object_that_cannot_be_recorded_needs_an_id() -> None:
    class Client:
        @onward.workflow
        def pull(self) -> str:
            return fetch("x")

    with pytest.raises(onward.NotRecordable, match="Client"):
        Client().pull()
    assert Client().pull.options(id="pull-1")() == "X"


# -- old and fresh ------------------------------------------------------------------------------------


def test_fresh_sets_the_unfinished_run_aside() -> None:
    job = dying_workflow()
    with pytest.raises(Killed):
        job("rome")
    assert job.options(fresh=True)("rome") == "ROME"
    assert fetched == ["rome", "rome"]
    assert [run.state for run in runs()] == ["cancelled", "done"]


def test_a_run_with_an_id_begins_afresh_under_the_same_id() -> None:
    """A fresh start used to look for ever for a free id, because the run it had set aside still held it."""
    job = dying_workflow().options(id="order-1")
    with pytest.raises(Killed):
        job("rome")
    assert job.options(fresh=True)("rome") == "ROME"
    assert fetched == ["rome", "rome"]
    assert the_run().id == "order-1"


def test_the_variable_onward_fresh_applies_once_to_each_run(monkeypatch: pytest.MonkeyPatch) -> None:
    job = dying_workflow(deaths=2)
    with pytest.raises(Killed):
        job("rome")
    monkeypatch.setenv("ONWARD_FRESH", "1")
    with pytest.raises(Killed):
        job("rome")
    assert job("rome") == "ROME"
    assert fetched == ["rome", "rome"]
    assert [run.state for run in runs()] == ["cancelled", "done"]


def test_max_age_refuses_to_continue_an_older_run(monkeypatch: pytest.MonkeyPatch) -> None:
    job = dying_workflow()
    with pytest.raises(Killed):
        job("rome")
    store = connect.engine().store
    later = store.now() + 7_200
    monkeypatch.setattr(store, "now", lambda: later)
    with pytest.raises(onward.RunConflict, match=r"was begun 2 h ago, which is more than max_age=1 h"):
        job.options(max_age=3_600)("rome")
    assert job.options(max_age=10_000)("rome") == "ROME"
    assert fetched == ["rome"]

"""Which run a call means: continued while it is unfinished, begun afresh after that, one for each id."""

# Loops are what is tested here, so they stay loops.
# ruff: noqa: PERF402, PT012
from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import sleep
from types import SimpleNamespace
from typing import Any, ClassVar, TypeVar

import pytest

import onward
from api.lives import Killed, die, entries, outcomes, runs, the_run
from onward.api import connect, opening

T = TypeVar("T")
fetched: list[str] = []


@onward.step
def fetch(what: str) -> str:
    fetched.append(what)
    return what.upper()


@pytest.fixture(autouse=True)
def _nothing_fetched() -> None:
    fetched.clear()


def dying_workflow(deaths: int = 1) -> onward.Workflow[[str], str]:
    """A workflow whose first lives end after its step."""
    lives = iter(range(100))

    @onward.workflow(name="job")
    def job(what: str) -> str:
        got = fetch(what)
        if next(lives) < deaths:
            die()
        return got

    return job


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


# -- id= ----------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("bad", ["", "a/b", "x" * 500, "line\nbreak"])
def test_an_impossible_id_is_refused(bad: str) -> None:
    with pytest.raises(onward.UsageError, match="an id has 1 to"):
        dying_workflow().options(id=bad)("rome")
    assert runs() == []


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


# -- at the same time ---------------------------------------------------------------------------------


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


# -- loops --------------------------------------------------------------------------------------------


def test_a_loop_is_recognised_by_its_name_and_not_by_its_items() -> None:
    for _ in onward.each(["a", "b"], name="letters"):
        break
    seen = list_of(onward.each(["b", "c", "a"], name="letters"))
    assert seen == ["b", "c", "a"]
    assert the_run().state == "done"


def test_a_second_unnamed_loop_in_one_function_is_refused() -> None:
    for _ in onward.each(["a"]):
        pass
    with pytest.raises(onward.UsageError, match=r"two onward\.each in .*Give the second one a name"):
        onward.each(["b"])
    assert list_of(onward.each(["b"], name="second")) == ["b"]


def test_the_same_unnamed_loop_may_be_passed_through_again() -> None:
    for _ in range(2):
        for _ in onward.each(["a"]):
            pass
    assert [run.state for run in runs()] == ["done", "done"]


def test_another_list_under_the_name_of_an_unfinished_loop_is_refused_before_anything_is_done() -> None:
    for item in onward.each(range(5), name="numbers"):
        if item == 3:
            break
    before = entries()
    touched = []
    with pytest.raises(onward.RunConflict, match=r"this is another list\. Nothing was begun"):
        for item in onward.each(range(1_000, 2_000), name="numbers"):
            touched.append(item)
    assert touched == []
    assert [e for e in entries() if e.kind == "item"] == [e for e in before if e.kind == "item"]
    assert list_of(onward.each(range(5), name="numbers")) == [3, 4]


def test_an_old_list_with_many_new_items_in_front_is_the_same_list() -> None:
    for item in onward.each(range(5), name="numbers"):
        if item == 3:
            break
    longer = [*range(100, 150), *range(5)]
    assert list_of(onward.each(longer, name="numbers")) == [*range(100, 150), 3, 4]


def test_a_shorter_list_of_strangers_is_refused_too() -> None:
    for item in onward.each(range(5), name="numbers"):
        if item == 3:
            break
    with pytest.raises(onward.RunConflict, match="another list"):
        list_of(onward.each([77], name="numbers"))
    assert list(outcomes()) == ["each/0", "each/1", "each/2"]


def list_of(loop: Iterable[T]) -> list[T]:
    """What a loop hands out; by hand, because `list` is refused."""
    seen: list[T] = []
    for item in loop:
        seen.append(item)
    return seen

"""Failures of steps and workflows: the same live and on replay, and retried only where they came from."""

from __future__ import annotations

import pytest

import onward
from api.lives import Fate, the_run, two_lives
from api.steps import calls, fetch


class Refused(Exception):
    """An error of the program with fields of its own."""

    def __init__(self, code: int, body: dict[str, str]) -> None:
        super().__init__(f"code {code}")
        self.code, self.body = code, body


def caught_in_both_lives(error: BaseException) -> list[BaseException]:
    """What a workflow catches when a step raises `error`: live, and on replay."""
    fate, caught = Fate(), []

    @onward.step(name="bad")
    def bad() -> None:
        calls.append("bad")
        raise error

    @onward.workflow(name="catching")
    def job() -> None:
        try:
            bad()
        except Exception as one:
            caught.append(one)
        fate()

    two_lives(job)
    assert calls == ["bad"]
    return caught


@pytest.mark.parametrize(
    "error",
    [
        ValueError("text", 3),
        Refused(404, {"why": "gone"}),
        FileNotFoundError(2, "No such file", "page.html"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        KeyError("k"),
        ConnectionResetError(104, "reset"),
        AssertionError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_is_the_same_on_replay_as_live(error: Exception) -> None:
    live, replayed = caught_in_both_lives(error)
    assert live is error
    assert type(replayed) is type(error)
    assert (str(replayed), replayed.args) == (str(error), error.args)
    if isinstance(error, Refused):
        assert isinstance(replayed, Refused)
        assert (replayed.code, replayed.body) == (404, {"why": "gone"})


def test_an_exception_that_cannot_come_back_as_itself_is_stepfailed_both_times() -> None:
    class Local(Exception):
        """Nobody finds this class by its name."""

    for error in (Local("hidden"), ExceptionGroup("several", [ValueError("one")])):
        calls.clear()
        live, replayed = caught_in_both_lives(error)
        assert type(live) is type(replayed) is onward.StepFailed
        assert str(live) == str(replayed)
        assert live.__cause__ is error


def test_a_failed_workflow_retried_executes_only_what_its_error_came_from() -> None:
    broken = True

    @onward.step
    def optional() -> None:
        calls.append("optional")
        raise KeyError("not there")

    @onward.step
    def needed() -> str:
        calls.append("needed")
        if broken:
            raise ConnectionError("no route")
        return "got it"

    @onward.workflow
    def job() -> tuple[str, bool, str]:
        first = fetch("a")
        try:
            optional()
            found = True
        except KeyError:
            found = False
        return first, found, needed()

    with pytest.raises(ConnectionError):
        job()
    broken = False
    assert job() == ("<a>", False, "got it")
    assert calls == ["a", "optional", "needed", "needed"]


def test_the_culprit_is_found_behind_the_exception_that_took_its_place() -> None:
    broken = True

    @onward.step
    def needed() -> int:
        calls.append("needed")
        if broken:
            raise ConnectionError("no route")
        return 7

    @onward.workflow
    def job() -> int:
        try:
            return needed()
        except ConnectionError as error:
            raise RuntimeError("job is broken") from error

    with pytest.raises(RuntimeError, match="job is broken"):
        job()
    broken = False
    assert job() == 7
    assert calls == ["needed", "needed"]


def test_the_culprit_inside_a_child_is_executed_again_and_the_rest_of_it_is_kept() -> None:
    broken = True

    @onward.step
    def needed() -> str:
        calls.append("needed")
        if broken:
            raise ConnectionError("no route")
        return "!"

    @onward.workflow(name="child")
    def child() -> str:
        return fetch("a") + needed()

    @onward.workflow
    def job() -> str:
        return fetch("before") + child()

    with pytest.raises(ConnectionError):
        job()
    broken = False
    assert job() == "<before><a>!"
    assert calls == ["before", "a", "needed", "needed"]


def test_a_failure_in_a_loop_of_a_workflow_is_tried_again_at_its_item() -> None:
    broken = True

    @onward.workflow
    def job() -> list[str]:
        got = []
        for item in onward.each("abc"):
            if item == "b" and broken:
                raise ConnectionError
            got.append(fetch(item))
        return got

    with pytest.raises(ConnectionError):
        job()
    broken = False
    assert job() == ["<a>", "<b>", "<c>"]
    assert calls == ["a", "b", "c"]


def test_a_failure_in_a_map_of_a_workflow_is_tried_again_and_the_others_are_kept() -> None:
    broken = True

    def work(item: str) -> str:
        if item == "b" and broken:
            raise ConnectionError
        return fetch(item)

    @onward.workflow
    def job() -> list[str]:
        return list(onward.map(work, "abc", concurrency=1))

    with pytest.raises(ConnectionError):
        job()
    broken = False
    assert job() == ["<a>", "<b>", "<c>"]
    assert sorted(calls) == ["a", "b", "c"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_and_sys_exit_leave_the_run_unfinished(error: type[BaseException]) -> None:
    interrupted = True

    @onward.workflow
    def job() -> str:
        got = fetch("a")
        if interrupted:
            raise error
        return got

    for _ in range(5):
        with pytest.raises(error):
            job()
        assert the_run().state == "pending"
    interrupted = False
    assert job() == "<a>"
    assert calls == ["a"]


def test_a_result_that_cannot_be_recorded_fails_the_run() -> None:
    """Such a run used to stay `running`, held by nobody, and each new call was counted as a crash."""
    result: object = object()

    @onward.workflow
    def job() -> object:
        fetch("a")
        return result

    for _ in range(5):
        with pytest.raises(onward.NotRecordable, match="the result"):
            job()
        assert the_run().state == "failed"
    result = "fine"
    assert job() == "fine"
    assert calls == ["a"]


def test_a_cancelled_run_stops_before_its_next_step() -> None:
    @onward.workflow
    def job() -> None:
        fetch("a")
        onward.Journal().cancel(the_run().id)
        fetch("b")
        fetch("c")

    with pytest.raises(onward.RunCancelled, match="what it had recorded is kept"):
        job()
    assert the_run().state == "cancelled"
    assert "c" not in calls

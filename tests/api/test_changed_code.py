"""A run whose code has changed: what stops it, what does not, and how it goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import onward
from api.lives import Fate, Killed, entries, the_run
from api.steps import calls, fetch, save


class Code:
    """A workflow whose source changes between two lives."""

    def __init__(self, before: Callable[[], Any], after: Callable[[], Any]) -> None:
        self.fate, self.bodies = Fate(), [before, after]

        @onward.workflow(name="job")
        def job() -> Any:
            result = self.bodies[0]()
            self.fate()
            return result

        self.job = job
        with pytest.raises(Killed):
            job()
        self.bodies.pop(0)


def test_another_argument_for_a_recorded_step_stops_the_run_before_anything_is_done() -> None:
    code = Code(lambda: fetch("a"), lambda: (fetch("b"), save("x")))
    with pytest.raises(onward.Diverged) as diverged:
        code.job()
    said = str(diverged.value)
    assert (
        "recorded was step `fetch` with other arguments, the code now asks for step `fetch` with these"
        in said
    )
    assert "Nothing more was executed and nothing is lost" in said
    assert "key=" in said
    assert (calls, the_run().state) == (["a"], "stuck")


def test_code_that_catches_exceptions_cannot_go_on_after_a_divergence() -> None:
    def after() -> None:
        for _ in range(3):
            try:
                fetch("b")
            except Exception:
                save("carried on")

    code = Code(lambda: fetch("a"), after)
    with pytest.raises(onward.Diverged):
        code.job()
    assert (calls, the_run().state) == (["a"], "stuck")


def test_putting_the_old_call_back_frees_a_stuck_run() -> None:
    code = Code(lambda: fetch("a"), lambda: fetch("b"))
    with pytest.raises(onward.Diverged):
        code.job()
    code.bodies[0] = lambda: fetch("a")
    assert code.job() == "<a>"
    assert (calls, the_run().state) == (["a"], "done")


@pytest.mark.parametrize(
    "after",
    [
        lambda: [save("new"), fetch("a"), fetch("b")],
        lambda: [fetch("a"), save("new"), fetch("b")],
        lambda: [fetch("a"), fetch("b"), save("new")],
    ],
)
def test_inserting_another_step_is_no_divergence(after: Callable[[], Any]) -> None:
    code = Code(lambda: [fetch("a"), fetch("b")], after)
    assert "<a>" in code.job()
    assert calls == ["a", "b", ("save", "new")]


def test_inserting_a_call_of_the_same_step_in_front_is_a_divergence() -> None:
    code = Code(lambda: fetch("a"), lambda: [fetch("new"), fetch("a")])
    with pytest.raises(onward.Diverged, match=r"`fetch#1`"):
        code.job()
    code.bodies[0] = lambda: [fetch.options(key="new")("new"), fetch("a")]
    assert code.job() == ["<new>", "<a>"]


def test_a_removed_step_is_reported_and_does_not_stop_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    code = Code(lambda: [save("old"), fetch("a")], lambda: fetch("a"))
    assert code.job() == "<a>"
    assert "1 recorded steps were not used by the present code, first `save#1`" in capsys.readouterr().err


def test_a_step_that_turned_into_something_else_is_a_divergence() -> None:
    code = Code(lambda: fetch.options(name="thing")("a"), onward.workflow(name="thing")(lambda: 1))
    with pytest.raises(
        onward.Diverged, match="recorded was step `thing`, the code now asks for child `thing`"
    ):
        code.job()


def test_the_argument_of_a_failed_step_may_be_corrected() -> None:
    @onward.step
    def divide(by: int) -> float:
        calls.append(by)
        return 12 / by

    by = 0

    @onward.workflow
    def job() -> float:
        return divide(by)

    with pytest.raises(ZeroDivisionError):
        job()
    by = 3
    assert job() == 4
    assert calls == [0, 3]
    assert [e.state for e in entries() if e.kind == "step"] == ["failed", "reopened", "done"]

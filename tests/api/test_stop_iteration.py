"""StopIteration, which no generator lets pass: steps and workflows raise it as what it is."""

# Loops are what is tested here, so they stay loops; and a test waits by looking.
from __future__ import annotations

from typing import Any

import pytest

import onward
from api.lives import the_run


def test_a_stop_iteration_of_a_step_reaches_the_caller_as_itself_live_and_on_replay() -> None:
    """It surfaced as `RuntimeError: generator raised StopIteration`, from inside of onward."""
    caught: list[BaseException] = []

    @onward.step
    def first(items: list[int]) -> int:
        return next(iter(items))

    @onward.workflow(name="job")
    def job() -> str:
        try:
            first([])
        except StopIteration as error:
            caught.append(error)
        raise ValueError("again")

    for _ in range(2):
        with pytest.raises(ValueError, match="again"):
            job()
    assert [type(error) for error in caught] == [StopIteration, StopIteration]


def test_a_stop_iteration_of_a_workflow_reaches_its_caller() -> None:
    @onward.workflow(name="job")
    def job() -> int:
        return next(iter(()))  # type: ignore[call-overload,no-any-return]

    for _ in range(2):
        with pytest.raises(StopIteration):
            job()
    assert the_run().state == "failed"


def test_a_runtime_error_of_the_users_own_generator_stays_one() -> None:
    def broken() -> Any:
        yield next(iter(()))

    @onward.step
    def first() -> Any:
        return next(broken())

    @onward.workflow(name="job")
    def job() -> Any:
        return first()

    for _ in range(2):
        with pytest.raises(RuntimeError, match="generator raised StopIteration"):
            job()

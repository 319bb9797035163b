"""Steps in an executor: the function runs in other processes, its outcome is recorded here, a worker may die."""

from __future__ import annotations

import os
import threading
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import onward
from api import abroad
from api.lives import entries, the_run, two_lives
from api.working import until


def test_the_function_runs_in_another_process_knows_where_it_belongs_and_is_recorded_once() -> None:
    @onward.workflow(name="job", max_crashes=3)
    def job() -> list[Any]:
        return [abroad.where(1), abroad.where(2, note="x")]

    first, second = job()
    assert os.getpid() not in (first[0], second[0])
    assert [first[1:5], second[1:5]] == [["where#1", 1, 1, ""], ["where#2", 1, 2, "x"]]
    assert first[5] != second[5]
    assert [e.state for e in entries() if e.kind == "step"] == ["done", "done"]


def test_what_is_recorded_is_not_executed_again_in_the_next_life() -> None:
    from api.lives import Fate

    fate = Fate()

    @onward.workflow(name="job")
    def job() -> Any:
        pid = abroad.where(1)[0]
        fate()
        return pid

    two_lives(job)
    assert [e.key for e in entries() if e.kind == "step"] == ["where#1"]


def test_an_error_comes_home_as_itself_and_attempts_follow_the_policy() -> None:
    @onward.workflow(name="job")
    def job() -> None:
        abroad.wrong(4)

    with pytest.raises(ValueError, match="no 4") as caught:
        job()
    assert 'raise ValueError(f"no {number}")' in str(caught.value.__cause__)
    assert [e.state for e in entries() if e.kind == "step"] == ["retry", "failed"]


def test_a_step_that_kills_its_worker_is_parked_and_its_neighbours_are_not_to_blame(tmp_path: Path) -> None:
    """`patient` may not crash once: that it stood beside the deadly one is not counted against it."""
    log = str(tmp_path / "log")

    @onward.workflow(name="job")
    def job() -> list[Any]:
        def die() -> str:
            try:
                abroad.deadly(log, 1, ["patient-2"])
            except onward.StepCrashed:
                return "parked"
            return "survived"

        return onward.gather(die, lambda: abroad.patient(log, 2), lambda: abroad.patient(log, 3))

    assert job() == ["parked", 2, 3]
    counts = Counter(Path(log).read_text().split())
    assert 3 <= counts.pop("deadly-1") <= 4
    assert set(counts) == {"patient-2", "patient-3"}
    states = Counter(e.state for e in entries() if "deadly" in e.key)
    assert states == {"crashed": 3, "failed": 1}


def test_an_at_most_once_step_beside_a_deadly_one_is_in_doubt_and_not_executed_again(tmp_path: Path) -> None:
    log = str(tmp_path / "log")

    def later() -> int:
        # A pool notices the death of a worker that it has just started only with its next event (its watcher waits for
        # those it knew before), so the deadly one goes first.
        until(lambda: Path(log).exists())
        return abroad.once(log, 2)

    @onward.workflow(name="job")
    def job() -> list[Any]:
        return onward.gather(lambda: abroad.deadly(log, 1, ["once-2"]), later)

    with pytest.raises((onward.InDoubt, onward.RunStuck)):
        job()
    assert Counter(Path(log).read_text().split())["once-2"] == 1
    assert the_run().state == "stuck"


def test_a_broken_executor_of_the_callers_fails_the_step_and_says_the_cure() -> None:
    given = ThreadPoolExecutor(1)
    given.shutdown()

    @onward.workflow(name="job")
    def job() -> Any:
        return abroad.where.options(executor=given)(1)

    with pytest.raises(onward.ExecutorBroken, match=r"executor=lambda: ProcessPoolExecutor\(4\)"):
        job()


def test_durable_calls_in_the_executor_are_refused() -> None:
    @onward.workflow(name="job")
    def job() -> None:
        abroad.calls_a_step()

    with pytest.raises(onward.UsageError, match=r"a worker of an executor .* nothing was executed"):
        job()


def test_what_cannot_be_sent_fails_its_step_with_a_sentence() -> None:
    @onward.workflow(name="job")
    def job() -> None:
        abroad.where(threading.Lock())  # type: ignore[arg-type]

    with pytest.raises(onward.NotRecordable, match="cannot be sent to another process"):
        job()


def test_steps_of_one_executor_share_one_pool() -> None:
    made: list[ThreadPoolExecutor] = []

    def make() -> ThreadPoolExecutor:
        made.append(ThreadPoolExecutor(2))
        return made[-1]

    double = onward.step(executor=make)(_double)
    triple = onward.step(executor=make)(_triple)
    assert made == [], "nothing is made before it is needed"

    @onward.workflow(name="job")
    def job(number: int) -> int:
        return double(number) + triple(number)

    assert [job(1), job(2)] == [5, 10]
    assert len(made) == 1


def _double(number: int) -> int:
    return number * 2


def _triple(number: int) -> int:
    return number * 3


def test_outside_of_any_run_it_is_a_plain_call() -> None:
    assert onward.step(executor=abroad.processes)(_double)(4) == 8


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"executor": 4}, r"executor= takes a concurrent\.futures\.Executor"),
        ({"executor": abroad.processes, "isolate": True}, "leave isolate= or executor= out"),
        ({"executor": abroad.processes, "timeout": 3}, "timeout= of `_double` cannot be kept"),
    ],
)
def test_what_cannot_be_is_refused_where_it_is_written(options: Any, sentence: str) -> None:
    with pytest.raises(onward.UsageError, match=sentence):
        onward.step(**options)(_double)


def test_an_async_step_cannot_leave_its_loop() -> None:
    async def fetch() -> int:
        return 1

    with pytest.raises(onward.UsageError, match="executor= is for sync steps"):
        onward.step(executor=abroad.processes)(fetch)


def test_a_function_that_a_process_could_not_find_fails_the_step_with_a_sentence() -> None:
    def local() -> int:
        return 1

    @onward.workflow(name="job")
    def job() -> int:
        return onward.step(executor=lambda: ProcessPoolExecutor(1))(local)()

    with pytest.raises(onward.UsageError, match="a module's top level"):
        job()

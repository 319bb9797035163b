"""Isolated steps: a process of their own, which may hang, crash and leak without the run."""

# Loops are what is tested here, so they stay loops; and a test waits by looking.
from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any, TypeVar

import pytest

import onward
from api import isolated
from api.isolated import ran
from api.lives import entries, outcomes, the_run
from onward.runtime import wardens

T = TypeVar("T")
TESTS = Path(__file__).resolve().parents[1]


# -- what comes back ----------------------------------------------------------------------------------


def test_an_isolated_step_is_executed_in_another_process_and_its_value_is_recorded_once() -> None:
    @onward.workflow(name="job")
    def job() -> Any:
        return isolated.process_of(), isolated.double(isolated.Order(4))

    where, doubled = job()
    assert where["pid"] != os.getpid()
    assert doubled == isolated.Order(8)
    assert outcomes() == {"process_of#1": "done", "double#1": "done"}


def test_a_replay_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = True

    @onward.workflow(name="job")
    def job() -> Any:
        value = isolated.double(isolated.Order(1))
        if broken:
            raise ValueError("after it")
        return value

    with pytest.raises(ValueError, match="after it"):
        job()
    broken = False
    monkeypatch.setattr(wardens, "take", lambda: pytest.fail("a process was started"))
    assert job() == isolated.Order(2)


def test_the_process_stands_where_the_call_stands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ONWARD_TEST_VARIABLE", "set after the first process was started")

    def call() -> Any:
        (tmp_path / "deep").mkdir()
        os.chdir(tmp_path / "deep")
        return isolated.process_of()

    here = ran(call)
    assert here["key"] == "process_of#1"
    assert here["run"] == the_run().id
    assert here["attempt"] == 1
    assert here["cwd"] == str(tmp_path / "deep")
    assert here["variable"] == "set after the first process was started"


def test_the_idempotency_key_is_that_of_the_step_in_any_process() -> None:
    given = ran(isolated.process_of)["idempotency"]
    assert given == _seeded(the_run().id, "idempotency/process_of#1")


def _seeded(run_id: str, key: str) -> str:
    return hashlib.blake2b(f"{run_id}\0{key}".encode(), digest_size=16).hexdigest()


def test_async_steps_and_methods_are_isolated_too() -> None:
    @onward.workflow(name="job")
    async def job() -> Any:
        return await onward.aio.gather(isolated.double_async(3), isolated.double_async(4))

    assert asyncio.run(job()) == [6, 8]
    assert ran(lambda: isolated.Shop.Till(5).take(2)) == 7
    assert ran(lambda: isolated.Shop.price("abc")) == 3


def test_an_error_comes_back_as_itself_with_the_traceback_of_its_own_process() -> None:
    caught: list[isolated.Refused] = []

    @onward.workflow(name="job")
    def job() -> None:
        try:
            isolated.fails("not today")
        except isolated.Refused as error:
            caught.append(error)
        raise RuntimeError("again")

    for _ in range(2):
        with pytest.raises(RuntimeError):
            job()
    live, replayed = caught
    assert live.args == replayed.args == ("not today", 17)
    assert live.code == replayed.code == 17
    assert "isolated.py" in str(live.__cause__)
    [failed] = [e for e in entries() if e.state == "failed"]
    assert "isolated.py" in (failed.value or "")


def test_nothing_large_values_and_what_cannot_be_recorded() -> None:
    assert ran(lambda: isolated.returns("nothing")) is None
    assert len(ran(lambda: isolated.returns("big"))) == 3_000_000
    with pytest.raises(onward.NotRecordable, match="the result of step `returns`"):
        ran(lambda: isolated.returns("object"))


def test_outside_of_any_run_an_isolated_step_is_a_plain_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wardens, "take", lambda: pytest.fail("a process was started"))
    assert isolated.double(isolated.Order(2)) == isolated.Order(4)


def test_what_the_process_prints_is_seen(capfd: pytest.CaptureFixture[str]) -> None:
    ran(isolated.prints)
    out, err = capfd.readouterr()
    assert "to stdout\n" in out
    assert "to stderr\n" in err


# -- refusals -----------------------------------------------------------------------------------------


def test_a_function_inside_a_function_is_refused_where_it_is_decorated() -> None:
    with pytest.raises(
        onward.UsageError, match=r"defined inside a function\. Define it at the top of a module"
    ):

        @onward.step(isolate=True)
        def local() -> None: ...


def test_a_name_that_stands_for_something_else_is_refused_before_anything_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step = isolated.double
    monkeypatch.setattr(isolated, "double", None)
    with pytest.raises(onward.UsageError, match="stands for something else now"):
        ran(lambda: step(isolated.Order(1)))
    assert outcomes() == {}


def test_arguments_that_cannot_be_recorded_are_refused_before_anything_begins() -> None:
    with pytest.raises(onward.NotRecordable, match="go to another process"):
        ran(lambda: isolated.double(object()))  # type: ignore[arg-type]
    assert outcomes() == {}


@pytest.mark.parametrize("step", [isolated.calls_a_step, isolated.loops])
def test_durable_calls_inside_an_isolated_step_are_refused(step: Any) -> None:
    with pytest.raises(onward.UsageError, match="its process holds no journal"):
        ran(step)


def test_progress_inside_an_isolated_step_is_refused() -> None:
    with pytest.raises(onward.UsageError, match=r"Use onward\.heartbeat"):
        ran(isolated.says_progress)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"timeout": 1}, "Add isolate=True"),
        ({"memory": "1GB"}, "add isolate=True"),
        ({"probe": print}, "add at_most_once=True"),
        ({"isolate": 1}, "isolate= is True or False"),
        ({"isolate": True, "timeout": 0}, "above 0"),
        ({"isolate": True, "timeout": float("nan")}, "above 0"),
        ({"isolate": True, "memory": "12 apples"}, "such as"),
        ({"isolate": True, "memory": 1024}, "at least"),
        ({"at_most_once": True, "probe": 3}, "takes a function"),
    ],
)
def test_options_that_cannot_be_kept_are_refused_where_they_are_given(options: Any, says: str) -> None:
    with pytest.raises(onward.UsageError, match=says):
        onward.step(**options)(isolated.log)
    with pytest.raises(onward.UsageError, match=says):
        onward.step(isolated.log).options(**options)


def test_memory_may_be_written_as_people_do() -> None:
    sizes = {"64MB": 64_000_000, "64 MiB": 64 * 2**20, "0.5GB": 500_000_000, 10**8: 10**8}
    for given, means in sizes.items():
        step = onward.step(isolate=True, memory=given)(isolated.log)
        assert step.manner is not None
        assert step.manner.memory_bytes == means


# -- many at once -------------------------------------------------------------------------------------


def test_many_isolated_steps_at_once_and_none_is_left() -> None:
    @onward.workflow(name="job")
    def job() -> list[Any]:
        return onward.gather(*[lambda n=n: isolated.double(isolated.Order(n)) for n in range(12)])  # type: ignore[misc]

    assert [order.number for order in job()] == [2 * n for n in range(12)]
    assert len(wardens.idle) <= 4


def test_a_warden_that_was_killed_is_replaced() -> None:
    ran(lambda: isolated.returns("nothing"))
    for warden in wardens.idle:
        warden._process.kill()
        warden._process.wait()
    assert ran(lambda: isolated.double(isolated.Order(1))) == isolated.Order(2)


def test_a_forked_child_uses_processes_of_its_own() -> None:
    ran(lambda: isolated.returns("nothing"))
    assert wardens.idle
    pid = os.fork()
    if pid == 0:
        os._exit(len(wardens.idle))
    assert os.waitpid(pid, 0)[1] == 0
    assert ran(lambda: isolated.double(isolated.Order(1))) == isolated.Order(2)


@pytest.mark.parametrize("step", [isolated.doubled, isolated.doubled_async])
def test_a_map_over_an_isolated_step_executes_each_item_in_another_process(step: Any) -> None:
    results = list(onward.map(step, [1, 2, 3], name="map", concurrency=3))
    assert [value for value, _ in results] == [2, 4, 6]
    assert os.getpid() not in {pid for _, pid in results}
    done = {entry.key for entry in entries() if entry.kind == "step"}
    assert done == {f"map/{n} > {step.name}#1" for n in (1, 2, 3)}

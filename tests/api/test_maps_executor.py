"""A map over an executor: the function runs in other processes, its outcomes are recorded here, a worker may die."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

import onward
from api import mapped
from api.lives import entries, outcomes, python, runs, the_run, write_script


def processes(workers: int = 2) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=get_context("forkserver"))


@pytest.fixture(scope="module")
def pool() -> Any:
    with processes() as made:
        yield made


def test_the_function_runs_in_other_processes_and_its_outcomes_are_recorded_here(pool: Executor) -> None:
    seen = list(onward.map(mapped.where, range(6), name="m", executor=pool))
    assert os.getpid() not in {pid for pid, *_ in seen}
    assert [key for _, key, *_ in seen] == [f"map/{n}" for n in range(6)]
    assert len({key for _, _, key, _ in seen}) == 6
    assert outcomes() == {f"map/{n}": "done" for n in range(6)}
    assert the_run().state == "done"


def test_results_come_in_order_in_an_event_loop_too(pool: Executor) -> None:
    async def main() -> list[int]:
        return [result async for result in onward.map(mapped.square, range(9), name="m", executor=pool)]

    assert asyncio.run(main()) == [n * n for n in range(9)]


def test_an_interrupted_pass_does_only_the_rest(pool: Executor, tmp_path: Path) -> None:
    items = [(str(tmp_path / "log"), number) for number in range(8)]
    for _ in onward.map(mapped.noted, items, name="m", executor=pool, concurrency=1):
        break
    assert list(onward.map(mapped.noted, items, name="m", executor=pool)) == list(range(8))
    assert sorted((tmp_path / "log").read_text().split()) == [str(n) for n in range(8)]


def test_the_callers_executor_is_left_as_it_is_and_one_that_was_made_for_the_map_is_shut_down() -> None:
    made: list[ThreadPoolExecutor] = []

    def make() -> ThreadPoolExecutor:
        made.append(ThreadPoolExecutor(2))
        return made[-1]

    with ThreadPoolExecutor(2) as given:
        assert list(onward.map(mapped.square, [2], name="a", executor=given)) == [4]
        assert list(onward.map(mapped.square, [3], name="b", executor=make)) == [9]
        assert given.submit(int, 7).result() == 7
    with pytest.raises(RuntimeError):
        made[0].submit(int)


def test_no_more_than_concurrency_items_are_in_the_executor_at_once() -> None:
    lock, inside, most = threading.Lock(), 0, 0

    class Counting(ThreadPoolExecutor):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            nonlocal inside, most
            with lock:
                inside += 1
                most = max(most, inside)
            future = super().submit(fn, *args, **kwargs)
            future.add_done_callback(left)
            return future

    def left(_: object) -> None:
        nonlocal inside
        with lock:
            inside -= 1

    with Counting(8) as counting:
        list(onward.map(mapped.square, range(50), name="m", executor=counting, concurrency=3))
    assert most == 3


# -- errors -----------------------------------------------------------------------------------------


def test_an_error_comes_home_as_itself_with_the_traceback_of_the_worker(pool: Executor) -> None:
    with pytest.raises(mapped.Wrong, match="no 4") as caught:
        list(onward.map(mapped.wrong, [4], name="m", executor=pool))
    assert caught.value.number == 4
    assert 'raise Wrong("no", number)' in str(caught.value.__cause__)
    assert 'raise Wrong(\\"no\\", number)' in (entries()[-2].value or "")
    assert pool.submit(int, 1).result() == 1


def test_attempts_are_repeated_as_the_policy_says_and_are_told_their_number(pool: Executor) -> None:
    with pytest.raises(mapped.Wrong):
        list(onward.map(mapped.wrong, [1], name="m", executor=pool, max_attempts=3, backoff=0))
    assert [e.state for e in entries() if e.kind == "item"] == ["retry", "retry", "failed"]
    assert [n for *_, n in onward.map(mapped.where, [1], name="w", executor=pool)] == [1]


def test_the_wish_of_a_server_is_heard_from_afar(pool: Executor) -> None:
    with pytest.raises(mapped.Slow):
        list(onward.map(mapped.slow, [1], name="m", executor=pool, max_attempts=2, backoff=60))
    retried, failed = (e for e in entries() if e.kind == "item")
    assert failed.begun_at is not None
    assert 0.05 <= failed.begun_at - retried.ended_at < 20


def test_the_function_behind_a_step_is_found_by_its_name_and_keeps_its_policy(pool: Executor) -> None:
    assert list(onward.map(mapped.decorated, [1, 2], name="m", executor=pool)) == [-1, -2]


@pytest.mark.parametrize("fn", [mapped.calls_a_step, mapped.maps, mapped.says_progress])
def test_durable_calls_in_a_worker_are_refused_as_nobody_would_record_them(
    pool: Executor, fn: Callable[[int], Any]
) -> None:
    with pytest.raises(onward.UsageError, match=r"a worker of an executor .* nothing was executed"):
        list(onward.map(fn, [1], name="m", executor=pool))


def test_a_heartbeat_in_a_worker_is_refused_too(pool: Executor) -> None:
    with pytest.raises(onward.UsageError, match="nothing was recorded"):
        list(onward.map(mapped.beats, [1], name="m", executor=pool))


def test_the_logger_works_in_a_worker(pool: Executor) -> None:
    assert list(onward.map(mapped.logs, [1], name="m", executor=pool)) == [True]


def test_what_a_process_can_never_find_is_refused_before_anything_is_started(pool: Executor) -> None:
    def local(number: int) -> int:
        return number

    for fn in (local, lambda n: n, partial(local)):
        with pytest.raises(onward.UsageError, match=r"a module's top level.* nothing was started"):
            list(onward.map(fn, [1], name="m", executor=pool))
    assert runs() == []


@pytest.mark.parametrize(("fn", "item"), [(mapped.lock, 3), (mapped.square, threading.Lock())])
def test_what_cannot_be_sent_fails_its_item_with_a_sentence_and_not_the_pool(
    pool: Executor, fn: Callable[[Any], Any], item: Any
) -> None:
    with pytest.raises(onward.NotRecordable, match="cannot be sent to another process"):
        list(onward.map(fn, [item], name="m", key=lambda _: "x", executor=pool))
    assert pool.submit(int, 1).result() == 1


@pytest.mark.parametrize("executor", ["processes", 4, object()])
def test_what_is_no_executor_is_refused(executor: Any) -> None:
    with pytest.raises(onward.UsageError, match=r"executor= takes a concurrent\.futures\.Executor"):
        onward.map(mapped.square, [1], name="m", executor=executor)


def test_what_makes_something_else_is_refused_before_anything_is_started() -> None:
    with pytest.raises(onward.UsageError, match=r"executor= made a int"):
        list(onward.map(mapped.square, [1], name="m", executor=lambda: 4))  # type: ignore[arg-type,return-value]
    assert runs() == []


def test_an_async_function_cannot_leave_its_loop(pool: Executor) -> None:
    async def fetch(number: int) -> int:
        return number

    with pytest.raises(onward.UsageError, match="executor= is for sync functions"):
        onward.map(fetch, [1], name="m", executor=pool)


def test_an_executor_that_was_shut_down_ends_the_map_and_not_its_items() -> None:
    given = ThreadPoolExecutor(1)
    given.shutdown()
    with pytest.raises(onward.ExecutorBroken, match="cannot schedule new futures after shutdown"):
        list(onward.map(mapped.square, range(3), name="m", executor=given, on_error="continue"))
    assert "failed" not in outcomes().values()


# -- workers that die ----------------------------------------------------------------------------------


def executions(log: Path) -> Counter[str]:
    return Counter(log.read_text().split())


@pytest.mark.parametrize("in_loop", [False, True])
def test_a_deadly_item_is_parked_and_all_others_are_done(
    tmp_path: Path, in_loop: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    items = [(str(tmp_path / "log"), number) for number in range(8)]
    options: dict[str, Any] = {"name": "m", "executor": processes, "concurrency": 3, "on_error": "continue"}

    async def gathered() -> list[Any]:
        return [result async for result in onward.map(mapped.deadly, items, **options)]

    results = asyncio.run(gathered()) if in_loop else list(onward.map(mapped.deadly, items, **options))
    failure = results[3]
    assert [r for r in results if r is not failure] == [0, 1, 2, 4, 5, 6, 7]
    assert isinstance(failure, onward.Failure)
    assert isinstance(failure.error, onward.StepCrashed)
    counts = executions(tmp_path / "log")
    assert 3 <= counts.pop("3") <= 4
    # Whoever was in flight with it at its first death is a suspect and executed again, alone.
    assert max(counts.values()) <= 2
    assert list(counts.values()).count(2) <= 2
    assert "parked after repeated crashes" in capsys.readouterr().err
    states = Counter(e.state for e in entries() if e.key == failure_key(failure))
    assert (states["crashed"], states["failed"]) in {(3, 1), (4, 1)}


def failure_key(failure: onward.Failure[Any]) -> str:
    return f"map/{failure.key}"


def test_a_worker_that_dies_once_costs_no_item(tmp_path: Path) -> None:
    items = [(str(tmp_path / "log"), number) for number in range(6)]
    results = list(onward.map(mapped.deadly_once, items, name="m", executor=processes, concurrency=2))
    assert results == list(range(6))
    assert the_run().state == "done"


def test_the_callers_broken_executor_cannot_be_replaced_so_the_map_stops_and_keeps_its_place(
    tmp_path: Path,
) -> None:
    items = [(str(tmp_path / "log"), number) for number in range(8)]
    with (
        processes(1) as given,
        pytest.raises(onward.ExecutorBroken, match=r"executor=lambda: ProcessPoolExecutor\(4\)"),
    ):
        list(onward.map(mapped.deadly, items, name="m", executor=given, concurrency=1, on_error="continue"))
    assert outcomes()["map/" + key_of(items[2])] == "done"
    assert outcomes()["map/" + key_of(items[3])] == "crashed"
    # The conviction is in the journal: another pass needs two more deaths, whatever process it runs in.
    results = list(onward.map(mapped.deadly, items, name="m", executor=processes, on_error="continue"))
    assert [type(r) for r in results].count(onward.Failure) == 1
    assert executions(tmp_path / "log")["3"] == 3


def key_of(item: object) -> str:
    from onward.core.codec import item_key

    return item_key(item)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_workers_end_when_the_process_that_feeds_them_is_killed(tmp_path: Path, method: str) -> None:
    """Also those of a fork server, which are no children of it."""
    script = write_script(
        tmp_path,
        f"""
        import multiprocessing, os, signal, time
        from concurrent.futures import ProcessPoolExecutor
        import onward

        context = multiprocessing.get_context({method!r})

        def work(number):
            with open(f"worker-{{os.getpid()}}", "w"):
                pass
            time.sleep(0.1)
            if number == 5:
                os.kill(multiprocessing.parent_process().pid, signal.SIGKILL)
                time.sleep(60)
            return number

        if __name__ == "__main__":
            list(onward.map(work, range(6), name="m", executor=lambda: ProcessPoolExecutor(2, context), concurrency=2))
        """,
    )
    assert python(script, cwd=tmp_path).returncode == -9
    workers = [int(path.name.partition("-")[2]) for path in tmp_path.glob("worker-*")]
    assert len(workers) == 2
    for _ in range(100):
        if not any(alive(pid) for pid in workers):
            return
        threading.Event().wait(0.1)
    raise AssertionError("orphans are still there after ten seconds")


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False

"""A map: each item recorded once, results in order, failures kept apart, and whatever was interrupted done again."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

import onward
from api.lives import Killed, die, outcomes, runs, the_run
from api.steps import calls
from onward.api.crew import Threads


def double(number: int) -> int:
    calls.append(number)
    return 2 * number


async def double_async(number: int) -> int:
    calls.append(number)
    await asyncio.sleep(0)
    return 2 * number


@pytest.mark.parametrize("fn", [double, double_async])
@pytest.mark.parametrize("concurrency", [1, 3])
def test_results_come_in_input_order(fn: object, concurrency: int) -> None:
    assert list(onward.map(fn, range(20), name="m", concurrency=concurrency)) == list(range(0, 40, 2))  # type: ignore[call-overload]
    assert sorted(calls) == list(range(20))


@pytest.mark.parametrize("fn", [double, double_async])
def test_results_come_in_input_order_in_an_event_loop(fn: object) -> None:
    async def main() -> list[int]:
        return [result async for result in onward.map(fn, range(20), name="m")]  # type: ignore[call-overload]

    assert asyncio.run(main()) == list(range(0, 40, 2))


def test_as_completed_hands_results_out_as_they_come() -> None:
    slow_may_end = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert slow_may_end.wait(5)
        return number

    seen = []
    for result in onward.map(work, range(3), name="m", concurrency=3, as_completed=True):
        seen.append(result)
        if len(seen) == 2:
            slow_may_end.set()
    assert (sorted(seen[:2]), seen[2]) == ([1, 2], 0)


def test_no_more_than_concurrency_items_run_at_once() -> None:
    lock, running, most = threading.Lock(), 0, 0

    def work(number: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.002)
        with lock:
            running -= 1

    list(onward.map(work, range(20), name="m", concurrency=3))
    assert most == 3


def test_an_interrupted_map_gives_all_results_and_does_only_the_rest() -> None:
    def work(number: int) -> int:
        if number == 3 and dies:
            die()
        return double(number)

    dies = True
    with pytest.raises(Killed):
        list(onward.map(work, range(6), name="m", concurrency=1))
    assert calls == [0, 1, 2]
    dies = False
    assert list(onward.map(work, range(6), name="m", concurrency=1)) == list(range(0, 12, 2))
    assert calls == list(range(6))


def test_a_result_is_on_disk_before_it_is_handed_out() -> None:
    for number, _ in enumerate(onward.map(double, range(5), name="m", concurrency=1)):
        assert outcomes()[f"map/{number}"] == "done"


def test_the_first_failure_is_raised_when_those_in_flight_have_come_to_rest() -> None:
    ended = []
    both, failed = threading.Barrier(2), threading.Event()

    def work(number: int) -> None:
        both.wait(5)
        if number == 0:
            failed.set()
            raise ConnectionError("no route")
        assert failed.wait(5)
        ended.append(number)

    with pytest.raises(ConnectionError, match="no route"):
        list(onward.map(work, range(2), name="m", concurrency=2))
    assert ended == [1]
    assert outcomes() == {"map/0": "failed", "map/1": "done"}
    assert the_run().state == "failed"


def test_with_on_error_continue_a_failure_stands_in_its_place() -> None:
    def work(number: int) -> int:
        if number == 1:
            raise ConnectionError("no route")
        return number

    results = list(onward.map(work, range(3), name="m", on_error="continue"))
    failure = results[1]
    assert results == [0, failure, 2]
    assert isinstance(failure, onward.Failure)
    assert (failure.item, failure.key, repr(failure.error)) == (1, "1", "ConnectionError('no route')")
    assert the_run().state == "failed"


@pytest.mark.parametrize("on_error", ["raise", "continue"])
def test_a_failed_pass_retries_only_what_failed(on_error: str) -> None:
    def work(number: int) -> int:
        calls.append(number)
        if number == 1 and broken:
            raise ConnectionError
        return number

    broken = True
    try:
        list(onward.map(work, range(3), name="m", concurrency=1, on_error=on_error))  # type: ignore[call-overload]
    except ConnectionError:
        assert on_error == "raise"
    done_at_first = set(calls) - {1}
    broken = False
    calls.clear()
    assert list(onward.map(work, range(3), name="m", concurrency=1)) == [0, 1, 2]
    assert set(calls) == {0, 1, 2} - done_at_first
    assert the_run().state == "done"


def test_failures_of_an_interrupted_pass_are_kept_with_on_error_continue() -> None:
    def work(number: int) -> int:
        calls.append(number)
        if number == 0:
            raise ConnectionError("no route")
        return die() if dies else number

    dies = True
    with pytest.raises(Killed):
        list(onward.map(work, range(2), name="m", concurrency=1, on_error="continue"))
    dies = False
    failure, one = onward.map(work, range(2), name="m", concurrency=1, on_error="continue")
    assert isinstance(failure, onward.Failure)
    assert (type(failure.error), one) == (ConnectionError, 1)
    assert calls == [0, 1, 1]


def test_an_item_that_somebody_declared_as_done_has_no_result() -> None:
    """Its result was a note of who had said so, which no program expects."""

    def work(number: int) -> int:
        if number == 1:
            raise ConnectionError
        return number

    assert isinstance(list(onward.map(work, range(3), name="m", on_error="continue"))[1], onward.Failure)
    onward.Journal().skip(the_run().id, "1", by="ann")
    assert list(onward.map(work, range(3), name="m")) == [0, None, 2]
    assert the_run().state == "done"


def test_an_attempt_is_repeated_as_often_as_asked() -> None:
    def work(number: int) -> int:
        calls.append(onward.current().attempt)  # type: ignore[union-attr]
        if len(calls) < 3:
            raise ConnectionError
        return number

    assert list(onward.map(work, [7], name="m", max_attempts=3, backoff=0)) == [7]
    assert calls == [1, 2, 3]


def test_the_policy_of_a_step_holds_for_its_map_too() -> None:
    @onward.step(max_attempts=2, backoff=0)
    def fragile(number: int) -> int:
        calls.append(number)
        if len(calls) < 2:
            raise ConnectionError
        return number

    assert list(onward.map(fragile, [7], name="m")) == [7]
    assert list(outcomes()) == ["map/7"]


def test_equal_items_are_done_as_often_as_they_occur_and_each_has_its_result() -> None:
    assert list(onward.map(double, [1, 1, 1], name="m", concurrency=3)) == [2, 2, 2]
    assert sorted(outcomes()) == ["map/1", "map/1~2", "map/1~3"]
    assert calls == [1, 1, 1]


@pytest.mark.parametrize("concurrency", [1, 4])
def test_with_key_equal_ones_are_done_once_and_the_result_stands_at_every_position(concurrency: int) -> None:
    results = list(onward.map(double, [1, 2, 1, 1], name="m", key=str, concurrency=concurrency))
    assert results == [2, 4, 2, 2]
    assert sorted(calls) == [1, 2]


def test_the_item_left_by_break_was_done_and_the_rest_comes_again() -> None:
    for _ in onward.map(double, range(50), name="m", concurrency=1):
        break
    assert the_run().state == "pending"
    begun = list(calls)
    assert list(onward.map(double, range(50), name="m")) == list(range(0, 100, 2))
    assert sorted(calls) == list(range(50))
    assert len(begun) < 10


@pytest.mark.parametrize("fn", [double, double_async])
def test_a_map_left_by_break_in_async_code_can_be_begun_again_at_once(fn: object) -> None:
    """The generator behind it used to linger, and the next call found the map `already running`."""

    async def main() -> list[int]:
        async for _ in onward.map(fn, range(20), name="m"):  # type: ignore[call-overload]
            break
        assert the_run().state == "pending"
        return [result async for result in onward.map(fn, range(20), name="m")]  # type: ignore[call-overload]

    assert asyncio.run(main()) == list(range(0, 40, 2))
    assert the_run().state == "done"


def test_steps_in_the_function_belong_to_the_item() -> None:
    @onward.step
    def fetch(number: int) -> int:
        calls.append(number)
        return number

    def work(number: int) -> int:
        got = fetch(number)
        return die() if dies and number == 2 else got + fetch(number)

    dies = True
    with pytest.raises(Killed):
        list(onward.map(work, [1, 2], name="m", concurrency=1))
    dies = False
    assert list(onward.map(work, [1, 2], name="m")) == [2, 4]
    assert calls == [1, 1, 2, 2]
    assert {key for key in outcomes() if key.startswith("map/2 ")} == {"map/2 > fetch#1", "map/2 > fetch#2"}


def test_any_callable_is_mapped() -> None:
    class Adder:
        def __call__(self, number: int) -> int:
            return number + 1

    assert list(onward.map(int, ["1"], name="class")) == [1]
    assert list(onward.map(partial(pow, 2), [3], name="partial")) == [8]
    assert list(onward.map(Adder(), [1], name="object")) == [2]
    assert list(onward.map(lambda n: n, [1], name="lambda")) == [1]


def test_a_poisonous_item_is_parked_and_the_others_are_done(capsys: pytest.CaptureFixture[str]) -> None:
    def work(number: int) -> int:
        if number == 1:
            deaths.append(number)
            die()
        return number

    deaths: list[int] = []
    results: list[object] = []
    while not results and len(deaths) < 20:
        try:
            results = list(onward.map(work, range(3), name="m", concurrency=3, on_error="continue"))
        except Killed:
            continue
    failure = results[1]
    assert results == [0, failure, 2]
    assert isinstance(failure, onward.Failure)
    assert isinstance(failure.error, onward.StepCrashed)
    assert len(deaths) <= 6
    assert "parked after repeated crashes" in capsys.readouterr().err


def test_items_may_come_from_an_asynchronous_source() -> None:
    async def source() -> AsyncIterator[int]:
        for number in range(3):
            yield number

    async def main() -> list[int]:
        return [result async for result in onward.map(double_async, source(), name="m")]

    assert asyncio.run(main()) == [0, 2, 4]
    with pytest.raises(onward.UsageError, match=r"use `async for result in onward\.map"):
        list(onward.map(double_async, source(), name="m"))


def test_a_result_that_cannot_be_recorded_fails_its_item_and_is_not_repeated() -> None:
    def work(number: int) -> object:
        calls.append(number)
        return {"page": [object()]}

    with pytest.raises(onward.NotRecordable, match=r"the result of item .*`\$\.page\[0\]` is a `object`"):
        list(onward.map(work, [1], name="m", max_attempts=5, backoff=0))
    assert (calls, the_run().state) == ([1], "failed")


def test_a_map_that_nobody_iterates_over_says_that_nothing_was_done(
    capsys: pytest.CaptureFixture[str],
) -> None:
    onward.map(double, [1], name="m")
    assert "was never iterated over, so nothing was done" in capsys.readouterr().err
    assert runs() == []


def test_a_waiting_map_does_not_pretend_to_have_no_results() -> None:
    """What another process did meanwhile is in the journal; an empty result would be wrong."""
    inside, go_on = threading.Event(), threading.Event()
    first: list[int] = []

    def work(number: int) -> int:
        inside.set()
        assert go_on.wait(5)
        return double(number)

    thread = threading.Thread(target=lambda: first.extend(onward.map(work, range(3), name="m")))
    thread.start()
    assert inside.wait(5)
    threading.Timer(0.02, go_on.set).start()
    assert list(onward.map(work, range(3), name="m", if_running="wait")) == [0, 2, 4]
    thread.join()
    assert first == [0, 2, 4]
    assert sorted(calls) == [0, 1, 2]


def test_results_that_are_dropped_before_the_first_was_asked_for_do_not_keep_the_run() -> None:
    """`zip([], onward.map(...))` asks for an iterator and never for a result: the run was leased for that iterator and
    stayed so until the process ended, so that the next call got AlreadyRunning.
    """
    results = onward.map(double, [1, 2], name="m")
    assert list(zip([], results, strict=False)) == []
    assert list(onward.map(double, [1, 2], name="m")) == [2, 4]


def test_interrupted_once_more_while_it_waits_a_map_gives_its_run_back_when_all_has_come_to_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A second Ctrl-C ended the wait for the threads and with it the way to the end of the lease: in a notebook the
    run was AlreadyRunning until the kernel was restarted.
    """
    may_end, in_body = threading.Event(), threading.Event()
    stop, interruptions = Threads.stop, [KeyboardInterrupt()]

    def interrupted(crew: Threads, *, at_once: bool) -> None:
        if interruptions:
            raise interruptions.pop()
        stop(crew, at_once=at_once)

    def work(number: int) -> int:
        if number:
            in_body.set()
            assert may_end.wait(100)
        return number

    monkeypatch.setattr(Threads, "stop", interrupted)
    results: Any = iter(onward.map(work, range(2), name="m", concurrency=2))
    assert (next(results), in_body.wait(100)) == (0, True)
    with pytest.raises(KeyboardInterrupt):
        results.throw(KeyboardInterrupt())
    with pytest.raises(onward.AlreadyRunning):
        list(onward.map(work, range(2), name="m"))
    may_end.set()
    (rest,) = [thread for thread in threading.enumerate() if thread.name == "onward-rest"]
    rest.join(10)
    assert list(onward.map(double, range(2), name="m")) == [0, 1], "both were done by then"

"""How many hands of a worker are at work: as many as help, and never fewer than it takes to get on."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from onward.core.model import Run
from onward.runtime.hands import Hands, Work
from onward.runtime.registry import Job
from storage.conftest import Clock

COUNT = 6
WITHIN_S = 20


@pytest.fixture
def clock() -> Clock:
    """Time passes where a work says so: what this machine does beside does not make a work long."""
    return Clock()


@pytest.fixture
def hands(clock: Clock) -> Iterator[Hands]:
    hands = Hands(COUNT, lambda work: work.run.args(), clock=clock)  # type: ignore[misc]
    yield hands
    hands.close()


def work(call: Callable[[], Any], *, is_async: bool = False) -> Work:
    run, job = SimpleNamespace(args=call), SimpleNamespace(is_async=is_async)
    return Work(cast("Run", run), cast("Job", job), 0, 0.0)


def execute(hands: Hands, *calls: Callable[[], None]) -> None:
    """Execute all of them, and wait for the last one to end."""
    left = [len(calls)]
    done, lock = threading.Event(), threading.Lock()

    def counted(call: Callable[[], None]) -> Callable[[], None]:
        def counting() -> None:
            call()
            with lock:
                left[0] -= 1
                if left[0] == 0:
                    done.set()

        return counting

    hands.begin(*(work(counted(call)) for call in calls))
    assert done.wait(WITHIN_S), f"{left[0]} works have not ended"


def short(hands: Hands, count: int = 500) -> list[int]:
    """Execute short works; in which thread each was."""
    threads: list[int] = []
    execute(hands, *[lambda: threads.append(threading.get_ident())] * count)
    return threads


def meeting(count: int) -> list[Callable[[], None]]:
    """Works of which none ends before all have begun."""
    barrier = threading.Barrier(count)
    return [lambda: barrier.wait(WITHIN_S) and None] * count


def test_what_has_just_begun_is_executed_by_all_hands(hands: Hands) -> None:
    execute(hands, *meeting(COUNT))


def test_what_is_short_is_executed_by_one_hand_after_the_other(hands: Hands) -> None:
    short(hands)
    assert len(set(short(hands)[-400:])) == 1


def test_many_at_once_begin_where_what_is_short_was_executed_before(hands: Hands) -> None:
    """Each waits for all others: a hand less and none would end."""
    short(hands)
    execute(hands, *meeting(COUNT))
    short(hands)
    execute(hands, *meeting(COUNT), *meeting(COUNT))


def test_what_lasts_keeps_nothing_short_waiting(hands: Hands) -> None:
    """Every hand but one is kept by a work that ends when the short ones behind it have."""
    short(hands)
    gone_on = threading.Semaphore(0)
    kept: list[Callable[[], None]] = [lambda: gone_on.acquire(timeout=WITHIN_S) and None] * (COUNT - 1)
    execute(hands, *kept, *[gone_on.release] * 300)
    assert len(set(short(hands)[-400:])) == 1


class Waiting:
    """A work that waits for something; counts how many do so at once."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._now = self.most = 0

    def __call__(self) -> None:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(0.001)
        with self._lock:
            self._clock.at += 0.001
            self._now -= 1


def test_works_that_wait_for_something_are_executed_side_by_side(hands: Hands, clock: Clock) -> None:
    """They come to be as many at once as there are hands, and no more."""
    short(hands)
    waits = Waiting(clock)
    execute(hands, *[waits] * 200)
    assert waits.most == COUNT
    for _ in range(10):
        execute(hands, *[waits] * 40, *[lambda: None] * 100, *[waits] * 40)
    assert waits.most == COUNT
    assert _comes(lambda: (hands._busy, hands._plain) == (0, 0))


def test_async_works_beside_short_ones_begin_at_once(hands: Hands) -> None:
    short(hands)
    begun, met = [0], asyncio.Event()

    async def waits() -> None:
        begun[0] += 1
        if begun[0] == COUNT:
            met.set()
        await met.wait()

    hands.begin(*[work(waits, is_async=True)] * COUNT)
    assert _comes(met.is_set)
    assert _comes(lambda: hands._busy == 0)
    short(hands)


def _comes(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + WITHIN_S
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)
    return condition()

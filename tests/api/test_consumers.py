"""Consumers that would mark items done too early are refused before anything is started."""

# Every way to take items is what is tested here.
# ruff: noqa: C400, C416, PERF401, B905
from __future__ import annotations

import asyncio
import collections
import functools
import gc
import heapq
import itertools
import multiprocessing.pool
import random
import sqlite3
import statistics
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import onward
from api.lives import outcomes, runs


def items() -> Any:
    return onward.each([3, 1, 2], name="n")


def unpack() -> None:
    _a, _b, _c = items()


def unpack_rest() -> None:
    _a, *_rest = items()


def extend() -> None:
    found: list[int] = []
    found += items()


AT_ONCE: dict[str, Callable[[], Any]] = {
    "list": lambda: list(items()),
    "tuple": lambda: tuple(items()),
    "set": lambda: set(items()),
    "frozenset": lambda: frozenset(items()),
    "sorted": lambda: sorted(items()),
    "sum": lambda: sum(items()),
    "min": lambda: min(items()),
    "any": lambda: any(items()),
    "dict": lambda: dict(items()),
    "fromkeys": lambda: dict.fromkeys(items()),
    "zip": lambda: list(zip(items(), "abc")),
    "zip of two": lambda: list(zip("abc", items())),
    "map": lambda: list(map(str, items())),
    "star list": lambda: [*items()],
    "star set": lambda: {*items()},
    "star call": lambda: print(*items()),
    "in": lambda: 7 in items(),
    "unpack": unpack,
    "unpack rest": unpack_rest,
    "extend": lambda: [].extend(items()),
    "join": lambda: ",".join(items()),
    "deque": lambda: collections.deque(items()),
    "Counter": lambda: collections.Counter(items()),
    "pairwise": lambda: list(itertools.pairwise(items())),
    "product": lambda: itertools.product(items(), items()),
    "combinations": lambda: itertools.combinations(items(), 2),
    "tee": lambda: itertools.tee(items()),
    "nlargest": lambda: heapq.nlargest(2, items()),
    "mean": lambda: statistics.mean(items()),
    "writelines": lambda: open("x.txt", "w").writelines(items()),  # noqa: SIM115
}


@pytest.mark.parametrize("consume", AT_ONCE.values(), ids=AT_ONCE)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_who_takes_everything_at_once_is_refused(consume: Callable[[], Any]) -> None:
    with pytest.raises(onward.UsageError, match=r"all at once.*nothing was started"):
        consume()
    assert runs() == []


@pytest.mark.parametrize("consume", AT_ONCE.values(), ids=AT_ONCE)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_code_that_has_become_warm_is_refused_as_well(consume: Callable[[], Any]) -> None:
    """A function called for the ninth time has other instructions, in which `list(...)` was not recognised."""
    for _ in range(20):
        with pytest.raises(onward.UsageError, match=r"all at once.*nothing was started"):
            consume()


def test_adding_to_a_list_is_refused_too() -> None:
    with pytest.raises(onward.UsageError, match="all at once"):
        extend()


@pytest.mark.parametrize(
    "make",
    [
        lambda df: df.DataFrame(items()),
        lambda df: df.Series(items()),
    ],
    ids=["DataFrame", "Series"],
)
def test_data_frames_are_not_made_of_a_loop(make: Callable[[Any], Any]) -> None:
    import pandas

    with pytest.raises(onward.UsageError, match="all at once"):
        make(pandas)
    assert runs() == []


def test_a_database_does_not_take_a_loop_as_its_rows_and_the_cure_is_batch() -> None:
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE t (a)")
    with pytest.raises(onward.UsageError, match="batch=n"):
        database.executemany("INSERT INTO t VALUES (?)", items())
    database.close()


def test_random_sample_and_friends_ask_for_a_list_and_begin_nothing() -> None:
    for take in (lambda: random.sample(items(), 2), lambda: random.choice(items())):
        with pytest.raises((TypeError, onward.UsageError)):
            take()
    assert runs() == []


def batched(source: Any, n: int) -> Iterator[list[int]]:
    """As more_itertools and itertools have it."""
    iterator = iter(source)
    while batch := list(itertools.islice(iterator, n)):
        yield batch


def test_what_stops_short_is_refused_with_where_to_put_it() -> None:
    with pytest.raises(
        onward.UsageError, match=r"the last one it took .* onward\.each\(islice\(items, \.\.\.\)\)"
    ):
        for _ in itertools.islice(items(), 2):
            pass
    assert [n for n in onward.each(itertools.islice([1, 2, 3], 2), name="inside")] == [1, 2]


# -- pools -----------------------------------------------------------------------------------------------


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


def test_pools_are_refused_also_behind_a_generator_expression(pool: ThreadPoolExecutor) -> None:
    with multiprocessing.pool.ThreadPool(2) as other:
        ways: list[Callable[[], Any]] = [
            lambda: list(pool.map(str, items())),
            lambda: list(pool.map(str, (n for n in items()))),
            lambda: [pool.submit(str, n) for n in items()],
            lambda: {n: pool.submit(str, n) for n in items()},
            lambda: list(pool.submit(str, n) for n in items()),
            lambda: other.map(str, items()),
            lambda: other.map(str, (n for n in items())),
            lambda: list(other.imap_unordered(str, items())),
        ]
        for way in ways:
            with pytest.raises(onward.UsageError, match=r"all at once.*onward\.map"):
                way()
    assert runs() == []


def test_gather_over_a_loop_is_refused() -> None:
    async def work(n: int) -> int:
        return n

    async def star() -> None:
        await asyncio.gather(*(work(n) for n in items()))

    async def tasks() -> None:
        await asyncio.gather(*[asyncio.create_task(work(n)) for n in items()])

    for way in (star, tasks):
        with pytest.raises(onward.UsageError, match=r"all at once.*onward\.map"):
            asyncio.run(way())
    assert runs() == []


def test_a_body_that_hands_its_items_on_is_told_so(
    pool: ThreadPoolExecutor, capsys: pytest.CaptureFixture[str]
) -> None:
    futures = []
    for n in items():
        futures.append(pool.submit(str, n))
    said = capsys.readouterr().err
    assert "hands its items to submit(...): they count as done when the next one is asked for" in said
    for n in onward.each([1], name="waits"):
        assert pool.submit(str, n).result() == "1"
    assert "hands its items" not in capsys.readouterr().err
    assert len(futures) == 3


# -- what is fine ------------------------------------------------------------------------------------------


def bar(them: Any) -> Iterator[int]:
    for one in them:  # noqa: UP028  (as a progress bar does)
        yield one


FINE: dict[str, Callable[[], Any]] = {
    "for": lambda: [n for n in items()],
    "enumerate": lambda: [n for _, n in enumerate(items())],
    "comprehension": lambda: [work for work in items()],
    "bar": lambda: list(bar(items())),
    "generator expression": lambda: list(n for n in items()),
    "sum of work": lambda: [sum(n for n in items())] and [3, 1, 2],
    "chain": lambda: [n for n in itertools.chain(items(), [])],
    "reduce": lambda: functools.reduce(lambda found, n: [*found, n], items(), []),
    "filter": lambda: [n for n in filter(None, items())],
}


@pytest.mark.parametrize("consume", FINE.values(), ids=FINE)
def test_who_hands_items_on_one_by_one_is_not(consume: Callable[[], Any]) -> None:
    assert consume() == [3, 1, 2]
    assert list(outcomes().values()) == ["done"] * 3


def test_an_iterator_by_hand_is_fine() -> None:
    iterator = iter(items())
    assert next(iterator) == 3
    iterator.close()
    assert outcomes() == {}


def step_once() -> None:
    iterator = iter(items())
    assert next(iterator) == 3


def step_once_behind_another() -> None:
    numbered = enumerate(items())
    assert next(numbered) == (0, 3)


def step_and_leave_a_loop() -> None:
    iterator = iter(items())
    assert next(iterator) == 3
    for item in iterator:
        assert item == 1
        return


@pytest.mark.parametrize("step", [step_once, step_once_behind_another, step_and_leave_a_loop])
def test_an_iterator_by_hand_that_is_dropped_leaves_its_item_at_once(step: Callable[[], None]) -> None:
    """It held the frame of the function, whose variable held it: the item stayed open until both were collected, and
    other loops of the program stood inside of it meanwhile."""
    gc.collect()
    gc.disable()
    try:
        step()
        assert onward.current() is None
        assert [run.state for run in runs()] == ["pending"]
    finally:
        gc.enable()
    left = [1, 2] if step is step_and_leave_a_loop else [3, 1, 2]
    assert [n for n in items()] == left
    assert list(outcomes().values()) == ["done"] * 3


def test_an_asynchronous_iterator_by_hand_that_is_dropped_leaves_its_item_at_once() -> None:
    async def step() -> None:
        iterator = aiter(items())
        assert await anext(iterator) == 3

    async def main() -> None:
        await step()
        assert onward.current() is None
        assert [run.state for run in runs()] == ["pending"]

    gc.collect()
    gc.disable()
    try:
        asyncio.run(main())
    finally:
        gc.enable()


def test_a_pool_that_waits_in_a_comprehension_is_fine(pool: ThreadPoolExecutor) -> None:
    assert [pool.submit(str, n).result() for n in items()] == ["3", "1", "2"]

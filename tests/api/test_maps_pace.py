"""A map under a rate, with keys that hold up no others, and with servers that ask for a pause."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, pairwise
from typing import Any

import pytest

import onward
from api.lives import Killed, die, entries, outcomes, runs, the_run
from api.times import Times
from onward.core import limits

starts: list[tuple[float, Any]] = []
lock = threading.Lock()


@pytest.fixture(autouse=True)
def _no_starts() -> None:
    starts.clear()


def begin(item: Any) -> Any:
    with lock:
        starts.append((time.monotonic(), item))
    return item


async def begin_async(item: Any) -> Any:
    begin(item)
    await asyncio.sleep(0)
    return item


def gaps() -> list[float]:
    return [later - earlier for (earlier, _), (later, _) in pairwise(sorted(starts))]


def collect(fn: Any, items: Any, in_loop: bool, **options: Any) -> list[Any]:
    """The results of a map, consumed with `for` or with `async for`."""
    if not in_loop:
        return list(onward.map(fn, items, **options))

    async def main() -> list[Any]:
        return [result async for result in onward.map(fn, items, **options)]

    return asyncio.run(main())


def first(count: int, fn: Any, items: Any, in_loop: bool, **options: Any) -> list[Any]:
    """The first results of a map that is dropped then."""
    if not in_loop:
        return list(islice(onward.map(fn, items, **options), count))

    async def main() -> list[Any]:
        got: list[Any] = []
        async for result in onward.map(fn, items, **options):
            got.append(result)
            if len(got) == count:
                break
        return got

    return asyncio.run(main())


everywhere = pytest.mark.parametrize(
    ("fn", "in_loop"),
    [(begin, False), (begin, True), (begin_async, False), (begin_async, True)],
    ids=["threads", "threads-in-loop", "loop-thread", "tasks"],
)


# -- rate -------------------------------------------------------------------------------------------


@everywhere
def test_items_start_at_the_rate(fn: Any, in_loop: bool) -> None:
    before = time.monotonic()
    assert collect(fn, range(8), in_loop, name="m", rate="50/s") == list(range(8))
    # Not from the first one's own note: it may have been written late, and the next one then looks early.
    assert max(starts)[0] - before >= 7 * 0.02
    assert Counter(outcomes().values()) == {"done": 8}


@everywhere
def test_a_burst_may_start_at_once(fn: Any, in_loop: bool) -> None:
    """At an even pace the second one would be due in an hour."""
    begun_at = time.monotonic()
    assert first(5, fn, range(6), in_loop, name="m", rate="1/h burst 5") == list(range(5))
    assert sorted(item for _, item in starts) == list(range(5))
    starts.clear()
    collect(fn, range(6), in_loop, name="n", rate="10/s burst 5")
    assert max(starts)[0] - begun_at >= 0.1


def test_further_attempts_are_paced_too() -> None:
    def work(number: int) -> int:
        begin(number)
        raise ConnectionError

    before = time.monotonic()
    with pytest.raises(ConnectionError):
        list(onward.map(work, [1], name="m", rate="20/s", max_attempts=4, backoff=0))
    assert len(starts) == 4
    assert starts[-1][0] - before >= 3 * 0.05


@pytest.mark.parametrize("dies", [True, False])
def test_a_restart_is_no_burst(dies: bool) -> None:
    """However the pass before it ended: the first start waits for what is left of the pace."""

    def work(number: int) -> int:
        begin(number)
        return die() if dies and number == 1 and len(starts) == 2 else number

    options: dict[str, Any] = {"name": "m", "rate": "4/s", "concurrency": 1}
    if dies:
        with pytest.raises(Killed):
            list(onward.map(work, range(3), **options))
    else:
        for number in onward.map(work, range(3), **options):
            if number == 1:
                break
    began = list(starts)
    # The pace counts from what the journal says: a note may have been written late.
    last_start = max(entry.begun_at or 0.0 for entry in entries())
    before, wall = time.monotonic(), time.time()
    assert list(onward.map(work, range(3), **options)) == [0, 1, 2]
    later = starts[len(began)]
    assert later[0] - before >= 0.25 - (wall - last_start) - 0.001


def test_a_restart_long_after_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"name": "m", "rate": "1/h", "concurrency": 1}
    assert first(1, begin, range(50), False, **options) == [0]
    Times(monkeypatch).leap(3_600)
    assert first(2, begin, range(50), False, **options) == [0, 1]


def test_a_map_that_waits_for_its_pace_stops_when_it_is_asked_to() -> None:
    """Nothing begins for an hour; the request must not wait as long."""
    threading.Timer(0.3, lambda: onward.Journal().cancel("m")).start()
    with pytest.raises(onward.RunCancelled):
        list(onward.map(begin, range(3), name="m", rate="1/h"))
    assert [item for _, item in starts] == [0]


def test_a_map_left_by_break_while_others_wait_for_their_turn_ends_at_once() -> None:
    for _ in onward.map(begin, range(5), name="m", rate="1/h"):
        break
    assert the_run().state == "pending"


@pytest.mark.parametrize(
    "options",
    [
        {"rate": "fast"},
        {"rate": 5},
        {"per_key": str, "per_key_rate": "1"},
        {"per_key": str, "per_key_concurrency": 0},
        {"per_key_concurrency": 2},
        {"per_key_rate": "1/s"},
        {"per_key": "host"},
        {"stop_after": 0},
        {"stop_after": True},
        {"rates": "5/s"},
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_is_started(options: dict[str, Any]) -> None:
    with pytest.raises(onward.UsageError, match=r"nothing was started|there is no option rates"):
        onward.map(begin, [1], name="m", **options)
    assert runs() == []


# -- keys -------------------------------------------------------------------------------------------


def host(item: str) -> str:
    return item[0]


class Flights:
    """Counts how many of each key are in flight."""

    def __init__(self) -> None:
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    def __call__(self, item: str) -> str:
        with lock:
            self.now[item[0]] += 1
            self.most[item[0]] = max(self.most[item[0]], self.now[item[0]])
        time.sleep(0.003)
        with lock:
            self.now[item[0]] -= 1
        return item


@pytest.mark.parametrize("width", [1, 2])
def test_no_more_of_a_key_are_in_flight_than_allowed_and_results_stay_in_order(width: int) -> None:
    items = [f"{key}{n}" for n in range(10) for key in "abc"]
    flights = Flights()
    options: dict[str, Any] = {"name": "m", "per_key": host, "concurrency": 6, "per_key_concurrency": width}
    assert list(onward.map(flights, items, **options)) == items
    assert flights.most == {"a": width, "b": width, "c": width}


def test_a_slow_key_holds_up_no_other_one() -> None:
    """Two hundred items of a host that does not answer stand before those of the others."""
    others_done = threading.Event()
    items = [f"a{n}" for n in range(200)] + [f"b{n}" for n in range(20)]
    done = []

    def work(item: str) -> str:
        if item == "a0":
            assert others_done.wait(100), "the others were held up"
        return item

    for item in onward.map(work, items, name="m", per_key=host, concurrency=4, as_completed=True):
        done.append(item)
        if item == "b19":
            others_done.set()
    assert sorted(done) == sorted(items)
    assert done.index("b19") < done.index("a1")


def test_the_look_ahead_has_an_end_and_the_source_is_not_read_further() -> None:
    others_done, read = threading.Event(), 0

    def source() -> Iterator[str]:
        nonlocal read
        for number in range(100_000):
            read += 1
            yield f"a{number}"

    def work(item: str) -> str:
        assert others_done.wait(100)
        return item

    results = iter(onward.map(work, source(), name="m", per_key=host, concurrency=2))
    threading.Timer(0.5, others_done.set).start()
    assert next(results) == "a0"
    assert read <= 2 * 2 + limits.MAP_BUFFER
    results.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("in_loop", [False, True])
def test_items_without_a_key_are_free(in_loop: bool) -> None:
    barrier = threading.Barrier(3, timeout=10)

    def work(number: int) -> int:
        barrier.wait()
        return number

    assert collect(work, range(3), in_loop, name="m", per_key=lambda _: None, concurrency=3) == [0, 1, 2]


def test_each_key_has_its_own_pace() -> None:
    items = ["a1", "b1", "c1", "a2", "b2", "c2"]
    got = first(3, begin, items, False, name="hourly", per_key=host, per_key_rate="1/h")
    assert got == [item for _, item in sorted(starts)] == ["a1", "b1", "c1"], "one key waited for another"
    starts.clear()
    before = time.monotonic()
    list(onward.map(begin, items, name="m", per_key=host, per_key_rate="5/s"))
    assert min(at for at, item in starts if item.endswith("2")) - before >= 0.2


def test_what_the_key_function_raises_comes_out() -> None:
    def broken(item: str) -> str:
        raise LookupError(item)

    with pytest.raises(LookupError):
        list(onward.map(begin, ["a"], name="m", per_key=broken))
    assert the_run().state == "failed"


def test_a_key_that_cannot_be_compared_is_refused() -> None:
    with pytest.raises(onward.UsageError, match="per_key= gave a list"):
        list(onward.map(begin, ["a"], name="m", per_key=lambda item: [item]))


@pytest.mark.parametrize("executor", [False, True])
def test_everything_together_does_each_item_once(executor: bool) -> None:
    items = [f"{key}{n}" for n in range(15) for key in "abcd"]
    options: dict[str, Any] = {
        "name": "m",
        "per_key": host,
        "per_key_concurrency": 2,
        "per_key_rate": "500/s burst 5",
        "rate": "500/s burst 20",
        "concurrency": 5,
    }
    with ThreadPoolExecutor(4) as pool:
        if executor:
            options["executor"] = pool
        assert list(onward.map(begin, items, **options)) == items
    assert sorted(item for _, item in starts) == sorted(items)


# -- servers that ask for a pause ------------------------------------------------------------------------


class TooManyRequests(Exception):
    def __init__(self, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__("429")


@pytest.mark.parametrize("in_loop", [False, True])
def test_a_server_that_asks_for_a_pause_is_left_alone_with_all_its_items(in_loop: bool) -> None:
    def work(item: str) -> str:
        begin(item)
        if item == "a0" and [i for _, i in starts].count("a0") == 1:
            raise TooManyRequests(0.4)
        return item

    items = ["a0", "a1", "b0", "b1"]
    options: dict[str, Any] = {"per_key": host, "per_key_concurrency": 2, "max_attempts": 2, "concurrency": 1}
    assert collect(work, items, in_loop, name="m", **options) == items
    asked_at = starts[0][0]
    assert [item for _, item in starts].count("a0") == 2
    assert all(at - asked_at >= 0.4 for at, item in starts[1:] if item[0] == "a")


def test_the_other_keys_go_on_meanwhile() -> None:
    def work(item: str) -> str:
        begin(item)
        if item == "a0":
            raise TooManyRequests(3_600)
        return item

    items = ["a0", "a1", "b0", "b1"]
    got = first(3, work, items, False, name="m", per_key=host, on_error="continue", as_completed=True)
    assert sorted(one.item if isinstance(one, onward.Failure) else one for one in got) == ["a0", "b0", "b1"]
    assert "a1" not in {item for _, item in starts}, "its host asked for an hour"


@pytest.mark.parametrize("make", [lambda: 1e9, lambda: -5, lambda: float("nan"), lambda: "soon"])
def test_an_unreasonable_wish_does_no_harm(make: Callable[[], Any]) -> None:
    """What is longer than an hour counts as an hour; here nothing waits for that key any more."""

    def work(item: str) -> str:
        if item == "a0":
            raise TooManyRequests(make())
        return item

    results = list(onward.map(work, ["a0", "b0"], name="m", per_key=host, on_error="continue"))
    assert results[1] == "b0"

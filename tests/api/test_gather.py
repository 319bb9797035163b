"""Parallel branches: each a scope of its own, and all of them come to rest."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

import onward
from api.lives import outcomes, seen_twice
from api.steps import calls, note, note_async


def test_branches_name_their_steps_apart_so_their_order_never_matters() -> None:
    slow_first = True

    def branch(name: str, slow: bool) -> list[Any]:
        time.sleep(0.01 * slow)
        return [note(name + "1"), note(name + "2")]

    def look() -> list[Any]:
        nonlocal slow_first
        slow_first = not slow_first
        return onward.gather(lambda: branch("a", slow_first), lambda: branch("b", not slow_first))

    assert seen_twice(look) == [[["a1", "a2"], ["b1", "b2"]]] * 2
    assert sorted(calls) == ["a1", "a2", "b1", "b2"]
    assert sorted(outcomes()) == [f"gather#1/{branch} > note#{call}" for branch in (0, 1) for call in (1, 2)]


def test_async_branches_name_their_steps_apart() -> None:
    async def branch(name: str) -> list[Any]:
        return [await note_async(name + "1"), await note_async(name + "2")]

    first, second = seen_twice(lambda: onward.aio.gather(branch("a"), branch("b")), asynchronous=True)
    assert first == second == [["a1", "a2"], ["b1", "b2"]]
    assert sorted(calls) == ["a1", "a2", "b1", "b2"]


def test_async_steps_are_gathered_as_they_are() -> None:
    first, second = seen_twice(lambda: onward.aio.gather(note_async("a"), note_async("b")), asynchronous=True)
    assert first == second == ["a", "b"]
    assert sorted(calls) == ["a", "b"]


def test_all_branches_come_to_rest_before_the_first_error_is_raised() -> None:
    def bad() -> None:
        raise ConnectionError("first in order")

    def worse() -> None:
        raise KeyError("second in order")

    def slow() -> Any:
        time.sleep(0.02)
        return note("slow")

    @onward.workflow
    def job() -> None:
        onward.gather(slow, bad, worse)

    with pytest.raises(ConnectionError, match="first in order"):
        job()
    assert calls == ["slow"]


def test_async_branches_come_to_rest_before_the_first_error_is_raised() -> None:
    async def bad() -> None:
        raise ConnectionError("first in order")

    async def slow() -> None:
        await asyncio.sleep(0.02)
        await note_async("slow")

    @onward.workflow
    async def job() -> None:
        await onward.aio.gather(slow(), bad())

    with pytest.raises(ConnectionError, match="first in order"):
        asyncio.run(job())
    assert calls == ["slow"]


def test_branches_inside_branches() -> None:
    def look() -> Any:
        return onward.gather(
            lambda: onward.gather(lambda: note(1), lambda: note(2)), lambda: onward.gather(lambda: note(3))
        )

    assert seen_twice(look) == [[[1, 2], [3]]] * 2
    assert sorted(calls) == [1, 2, 3]


def test_gather_takes_functions_and_its_async_twin_takes_awaitables() -> None:
    with pytest.raises(onward.UsageError, match=r"onward\.gather takes functions: onward\.gather\(lambda"):
        onward.gather(note(1))

    async def main() -> None:
        await onward.aio.gather(lambda: 1)  # type: ignore[arg-type]

    with pytest.raises(onward.UsageError, match="takes awaitables"):
        asyncio.run(main())

"""Which pass a loop continues: told by its name, and checked against its items."""

# Loops are what is tested here, so they stay loops.
# ruff: noqa: PERF402, PT012
from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import pytest

import onward
from api.lives import entries, outcomes, runs, the_run

T = TypeVar("T")


def test_a_loop_is_recognised_by_its_name_and_not_by_its_items() -> None:
    for _ in onward.each(["a", "b"], name="letters"):
        break
    seen = list_of(onward.each(["b", "c", "a"], name="letters"))
    assert seen == ["b", "c", "a"]
    assert the_run().state == "done"


def test_a_second_unnamed_loop_in_one_function_is_refused() -> None:
    for _ in onward.each(["a"]):
        pass
    with pytest.raises(onward.UsageError, match=r"two onward\.each in .*Give the second one a name"):
        onward.each(["b"])
    assert list_of(onward.each(["b"], name="second")) == ["b"]


def test_the_same_unnamed_loop_may_be_passed_through_again() -> None:
    for _ in range(2):
        for _ in onward.each(["a"]):
            pass
    assert [run.state for run in runs()] == ["done", "done"]


def test_another_list_under_the_name_of_an_unfinished_loop_is_refused_before_anything_is_done() -> None:
    for item in onward.each(range(5), name="numbers"):
        if item == 3:
            break
    before = entries()
    touched = []
    with pytest.raises(onward.RunConflict, match=r"this is another list\. Nothing was begun"):
        for item in onward.each(range(1_000, 2_000), name="numbers"):
            touched.append(item)
    assert touched == []
    assert [e for e in entries() if e.kind == "item"] == [e for e in before if e.kind == "item"]
    assert list_of(onward.each(range(5), name="numbers")) == [3, 4]


def test_an_old_list_with_many_new_items_in_front_is_the_same_list() -> None:
    for item in onward.each(range(5), name="numbers"):
        if item == 3:
            break
    longer = [*range(100, 150), *range(5)]
    assert list_of(onward.each(longer, name="numbers")) == [*range(100, 150), 3, 4]


def test_a_shorter_list_of_strangers_is_refused_too() -> None:
    for item in onward.each(range(5), name="numbers"):
        if item == 3:
            break
    with pytest.raises(onward.RunConflict, match="another list"):
        list_of(onward.each([77], name="numbers"))
    assert list(outcomes()) == ["each/0", "each/1", "each/2"]


def list_of(loop: Iterable[T]) -> list[T]:
    """What a loop hands out; by hand, because `list` is refused."""
    seen: list[T] = []
    for item in loop:
        seen.append(item)
    return seen

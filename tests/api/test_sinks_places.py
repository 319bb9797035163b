"""Where rows may be written: in items, nested and in workflows; elsewhere they are refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import onward
from api.lives import Fate, Killed
from onward.core.errors import UsageError


def rows(path: str = "rows.jsonl") -> list[Any]:
    return [json.loads(line) for line in Path(path).read_text().split("\n")[:-1]]


def test_rows_of_nested_loops_commit_with_the_inner_item() -> None:
    def run(fate: Callable[[], None]) -> None:
        out = onward.jsonl("rows.jsonl")
        for a in onward.each("ab", name="outer"):
            out.write(a)
            for b in onward.each([1, 2]):
                out.write([a, b])
                if (a, b) == ("b", 2):
                    fate()

    with pytest.raises(Killed):
        run(Fate())
    run(lambda: None)
    assert rows() == [["a", 1], ["a", 2], "a", ["b", 1], ["b", 2], "b"]


@pytest.mark.parametrize("at", range(3))
def test_rows_of_a_loop_in_a_workflow_are_there_once_though_its_bodies_are_replayed(at: int) -> None:
    @onward.step
    def double(x: int) -> int:
        return 2 * x

    fate = Fate()

    @onward.workflow(name="writing")
    def writing() -> int:
        out = onward.jsonl("rows.jsonl")
        total = 0
        for x in onward.each(range(3)):
            total += double(x)
            out.write(total)
            if x == at:
                fate()
        for x in onward.each("z", name="more"):
            out.write(x)
        return total

    with pytest.raises(Killed):
        writing()
    if Path("rows.jsonl").stat().st_size:
        os.truncate("rows.jsonl", 1)
    assert writing() == 6
    assert rows() == [0, 2, 6, "z"]


def test_rows_are_refused_in_steps_and_outside_of_items() -> None:
    out = onward.jsonl("rows.jsonl")

    @onward.step
    def step() -> None:
        out.write(1)

    @onward.workflow(name="flow")
    def flow() -> None:
        out.write(1)

    def looping() -> None:
        for _ in onward.each([0], name="steps"):
            step()

    for wrong in (lambda: out.write(1), step, flow, looping):
        with pytest.raises(UsageError, match="nothing was written"):
            wrong()
    assert not Path("rows.jsonl").exists()


def test_a_mode_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="mode="):
        onward.jsonl("rows.jsonl", mode="w")  # type: ignore[arg-type]

"""What is parked within something else, and what an exception behind a progress bar counts against."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

import onward
from api.lives import Killed, die, outcomes, python, the_run, write_script

# -- what is parked within something else ------------------------------------------------------------------


def lives(job: Any, most: int = 12) -> int:
    """How often the job had to be begun until it came to an end."""
    for life in range(1, most + 1):
        try:
            job()
        except Killed:
            continue
        return life
    raise AssertionError("it never came to an end")


def test_an_item_with_a_parked_one_in_it_is_parked_too_and_the_outer_loop_goes_on() -> None:
    """It was said, and the outer run ended as done."""
    begun: list[str] = []
    poison = True

    def job() -> None:
        for outer in onward.each("xyz", name="outer"):
            for inner in onward.each("abc"):
                begun.append(outer + inner)
                if poison and outer + inner == "yb":
                    die()

    lives(job)
    assert begun == ["xa", "xb", "xc", "ya", "yb", "yb", "yb", "yc", "za", "zb", "zc"]
    assert the_run().state == "failed"
    states = outcomes()
    assert (states["each/x"], states["each/y"], states["each/z"]) == ("done", "failed", "done")
    begun.clear()
    poison = False
    job()
    assert begun == ["yb"], "the next pass repeats what is parked, and nothing else"
    assert the_run().state == "done"


def test_through_three_loops_only_the_path_to_the_parked_item_is_unfinished() -> None:
    begun: list[str] = []
    poison = True

    def job() -> None:
        for a in onward.each("ab", name="outer"):
            for b in onward.each("cd"):
                for c in onward.each("ef"):
                    begun.append(a + b + c)
                    if poison and a + b + c == "ade":
                        die()

    lives(job)
    failed = [key for key, state in outcomes().items() if state == "failed"]
    assert failed == ["each/a > each#1/d > each#1/e", "each/a > each#1/d", "each/a"]
    begun.clear()
    poison = False
    job()
    assert begun == ["ade"]
    assert the_run().state == "done"


def test_rows_of_an_item_that_has_to_be_done_again_are_not_in_the_file_twice(tmp_path: Path) -> None:
    out = onward.jsonl(tmp_path / "out.jsonl")
    poison = True

    def job() -> None:
        for outer in onward.each("xy", name="outer"):
            out.write(outer)
            for inner in onward.each("ab"):
                if poison and outer + inner == "xb":
                    die()

    lives(job)
    assert (tmp_path / "out.jsonl").read_text().split() == ['"y"']
    poison = False
    job()
    assert (tmp_path / "out.jsonl").read_text().split() == ['"y"', '"x"']


def test_a_batch_with_a_parked_item_in_it_is_done_again() -> None:
    begun: list[Any] = []
    poison = True

    def job() -> None:
        for batch in onward.each("wxyz", name="outer", batch=2):
            begun.append("".join(batch))
            for inner in onward.each("ab"):
                if poison and "x" in batch and inner == "b":
                    die()

    lives(job)
    assert the_run().state == "failed"
    begun.clear()
    poison = False
    job()
    assert the_run().state == "done"
    assert "yz" not in begun


def test_a_loop_with_a_parked_item_fails_the_workflow_around_it() -> None:
    begun: list[str] = []
    poison = True

    @onward.workflow(max_crashes=9)
    def job() -> str:
        for item in onward.each("abc"):
            begun.append(item)
            if poison and item == "b":
                die()
        begun.append("after")
        return "all done"

    with pytest.raises(onward.StepCrashed, match=r"1 item is parked after repeated crashes: each#1/b"):
        lives(job)
    assert begun == ["a", "b", "b", "b", "c"]
    assert the_run().state == "failed"
    begun.clear()
    poison = False
    assert job() == "all done"
    assert begun == ["b", "after"]


def test_a_workflow_may_catch_that_and_goes_on_the_same_way_on_replay() -> None:
    caught: list[str] = []
    deaths = 4

    @onward.workflow(max_crashes=9)
    def job() -> str:
        nonlocal deaths
        try:
            for item in onward.each("ab"):
                if item == "a" and deaths > 1:
                    deaths -= 1
                    die()
        except onward.StepCrashed as error:
            caught.append(str(error).split(":")[0])
        onward.now()
        if deaths:
            deaths -= 1
            die()
        return "went on"

    lives(job)
    assert caught == ["1 item is parked after repeated crashes"] * 2
    assert the_run().state == "done"


def test_in_a_workflow_too_an_outer_loop_goes_on_and_retry_finds_the_inner_item() -> None:
    begun: list[str] = []
    poison = True

    @onward.workflow(max_crashes=9)
    def job() -> None:
        for outer in onward.each("xy"):
            for inner in onward.each("ab"):
                begun.append(outer + inner)
                if poison and outer + inner == "xb":
                    die()

    with pytest.raises(onward.StepCrashed, match="2 items are parked"):
        lives(job)
    assert begun == ["xa", "xb", "xb", "xb", "ya", "yb"]
    begun.clear()
    poison = False
    job()
    assert begun == ["xb"]


def test_a_map_whose_function_has_a_loop_with_a_parked_item_fails_that_item() -> None:
    def work(outer: str) -> str:
        for inner in onward.each("ab"):
            if outer + inner == "xb":
                die()
        return outer

    def job() -> list[Any]:
        return list(onward.map(work, "xy", name="map", concurrency=1, on_error="continue"))

    found: list[Any] = []
    for _ in range(10):
        try:
            found = job()
        except Killed:
            continue
        break
    assert isinstance(found[0], onward.Failure)
    assert found[1] == "y"


# -- who is to blame -------------------------------------------------------------------------------------

BARS = {
    "a generator": """
        def bar(items):
            for item in items:
                yield item
    """,
    "two generators": """
        def inner(items):
            yield from items
        def bar(items):
            for item in inner(items):
                yield item
    """,
    "rich": """
        from rich.progress import track
        def bar(items):
            return track(items, total=3, disable=True)
    """,
    "enumerate": """
        def bar(items):
            return (item for _, item in enumerate(items))
    """,
}


@pytest.mark.parametrize("kind", BARS)
def test_an_exception_behind_a_progress_bar_counts_against_its_item(kind: str, tmp_path: Path) -> None:
    """The exception passes through the program's frame, not through that of the progress bar, which was looked for."""
    text = (
        "import onward\n"
        + textwrap.dedent(BARS[kind])
        + "for item in bar(onward.each('abc', name='loop')):\n"
        + "    print(item, flush=True)\n"
        + "    if item == 'b':\n"
        + "        raise ValueError(item)\n"
    )
    (tmp_path / "pyproject.toml").touch()
    script = tmp_path / "job.py"
    script.write_text(text)
    seen = [python(script, cwd=tmp_path).stdout.split() for _ in range(4)]
    assert seen == [["a", "b"], ["b"], ["b"], ["c"]]


def test_leaving_a_progress_bar_by_break_counts_against_nobody(tmp_path: Path) -> None:
    script = write_script(
        tmp_path,
        """
        import onward
        def bar(items):
            for item in items:
                yield item
        for item in bar(onward.each("ab", name="loop")):
            break
        raise ValueError("something else")
        """,
    )
    for _ in range(5):
        assert "ValueError: something else" in python(script, cwd=tmp_path).stderr
    assert "parked" not in python(script, cwd=tmp_path).stderr

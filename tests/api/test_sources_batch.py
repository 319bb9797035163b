"""`batch=n`: lists of items that are done together, and recorded one by one."""

# Loops are what is tested here, so they stay loops.
# ruff: noqa: C416
from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import onward
from api.lives import Killed, die, outcomes, python, runs, the_run, write_script


def passes(items: Any, *, size: int = 3, dies_in: int = 0, **options: Any) -> list[list[Any]]:
    """One pass; the batches that were begun. It dies in the batch of this number."""
    begun: list[list[Any]] = []
    try:
        for batch in onward.each(items, name="loop", batch=size, **options):
            begun.append(batch)
            if len(begun) == dies_in:
                die()
    except Killed:
        pass
    return begun


def done() -> list[str]:
    return [key.removeprefix("each/") for key, state in outcomes().items() if state == "done"]


def test_a_batch_is_a_list_and_the_last_one_is_what_is_left() -> None:
    assert passes("abcdefgh") == [["a", "b", "c"], ["d", "e", "f"], ["g", "h"]]
    assert done() == list("abcdefgh")
    assert (the_run().state, onward.Journal().get(the_run().id).counts.done) == ("done", 8)


def test_a_death_repeats_one_batch_and_no_more() -> None:
    assert passes("abcdefgh", dies_in=2) == [["a", "b", "c"], ["d", "e", "f"]]
    assert done() == list("abc")
    assert passes("abcdefgh") == [["d", "e", "f"], ["g", "h"]]


def test_another_size_changes_nothing_of_what_is_done() -> None:
    passes("abcdefgh", dies_in=2)
    assert passes("abcdefgh", size=2) == [["d", "e"], ["f", "g"], ["h"]]
    passes("abcdefgh", size=4, dies_in=2)
    begun = [item for item in onward.each("abcdefgh", name="loop")]
    assert begun == ["e", "f", "g", "h"]


def test_an_edited_list_is_batched_anew_from_what_is_not_done() -> None:
    passes("abcdefgh", dies_in=2)
    assert passes("axbcyz") == [["x", "y", "z"]]


def test_a_batch_left_by_break_comes_again_whole() -> None:
    for batch in onward.each("abcdef", name="loop", batch=2):
        if "d" in batch:
            break
    assert passes("abcdef", size=2) == [["c", "d"], ["e", "f"]]


def test_after_two_deaths_the_items_of_a_batch_come_alone_and_only_the_poison_is_parked() -> None:
    """A batch of a hundred paid calls is not turned into a hundred batches by one kill from outside."""
    begun: list[list[list[str]]] = []
    for _ in range(8):
        lives: list[list[str]] = []
        begun.append(lives)
        try:
            for batch in onward.each("abcdef", name="loop", batch=3):
                lives.append(batch)
                if "b" in batch:
                    die()
            break
        except Killed:
            continue
    assert begun[0] == begun[1] == [["a", "b", "c"]]
    assert begun[2] == [["a"], ["b"]]
    assert begun[3] == begun[4] == [["b"]]
    assert begun[5] == [["c"], ["d", "e", "f"]]
    assert outcomes()["each/b"] == "failed"
    assert (the_run().state, done()) == ("failed", ["a", "c", "d", "e", "f"])


def test_the_same_with_an_exception_that_ends_the_program(tmp_path: Path) -> None:
    """Every item of the batch was blamed for the exception, so that after the third all of them were parked."""
    script = write_script(
        tmp_path,
        """
        import onward
        for batch in onward.each("abcdef", batch=3):
            print(*batch, sep="", flush=True)
            if "b" in batch:
                raise ValueError(batch)
        """,
    )
    told = [python(script, cwd=tmp_path).stdout.split() for _ in range(6)]
    assert told[:3] == [["abc"], ["abc"], ["a", "b"]]
    assert told[-1] == ["c", "def"]


def test_a_source_that_breaks_off_loses_no_batch_that_was_done() -> None:
    def source() -> Iterator[str]:
        yield from "abcd"
        raise ConnectionError("the list broke off")

    with pytest.raises(ConnectionError):
        passes(source(), size=3)
    assert done() == ["a", "b", "c"]
    assert passes("abcde", size=3) == [["d", "e"]]


def test_repeats_and_keys_work_within_a_batch() -> None:
    assert passes("aabac", size=4, dies_in=2) == [["a", "a", "b", "a"], ["c"]]
    assert passes("aabac", size=4) == [["c"]]
    rows = [{"id": n, "price": n * 2} for n in (1, 2, 1, 3)]
    begun = [batch for batch in onward.each(rows, name="rows", batch=2, key=lambda row: str(row["id"]))]
    assert begun == [[rows[0], rows[1]], [rows[3]]]


def test_rows_of_a_batch_commit_with_it(tmp_path: Path) -> None:
    out = onward.jsonl(tmp_path / "out.jsonl")

    def scrape(dies_in: int = 0) -> None:
        for number, batch in enumerate(onward.each("abcdef", name="loop", batch=2), 1):
            for item in batch:
                out.write(item)
            if number == dies_in:
                die()

    with pytest.raises(Killed):
        scrape(dies_in=2)
    scrape()
    assert (tmp_path / "out.jsonl").read_text().split() == [f'"{c}"' for c in "abcdef"]


def test_steps_in_a_batch_are_recorded_with_it() -> None:
    called: list[list[str]] = []

    @onward.step
    def save(batch: list[str]) -> int:
        called.append(batch)
        return len(batch)

    def job(dies: bool) -> None:
        for batch in onward.each("abcdef", name="loop", batch=3):
            save(batch)
            if dies and "d" in batch:
                die()

    with pytest.raises(Killed):
        job(dies=True)
    job(dies=False)
    assert called == [["a", "b", "c"], ["d", "e", "f"]]


def test_batches_of_a_workflow_come_together_again_on_replay() -> None:
    sizes: list[int] = []
    deaths = [2, 4]

    @onward.step
    def save(batch: list[str]) -> int:
        sizes.append(len(batch))
        return len(batch)

    @onward.workflow
    def job() -> int:
        total = 0
        for number, batch in enumerate(onward.each("abcdefg", batch=2), 1):
            total += save(batch)
            if deaths and number == deaths[0]:
                deaths.pop(0)
                die()
        return total

    for _ in range(2):
        with pytest.raises(Killed):
            job()
    assert job() == 7
    assert sizes == [2, 2, 2, 1]


def test_a_batch_in_a_body_of_another_loop_is_continued() -> None:
    begun: list[tuple[str, list[int]]] = []

    def job(dies_at: list[int]) -> None:
        for outer in onward.each("ab", name="outer"):
            for batch in onward.each(range(5), batch=2):
                begun.append((outer, batch))
                if outer == "b" and batch == dies_at:
                    die()

    with pytest.raises(Killed):
        job([2, 3])
    job([])
    assert begun[5:] == [("b", [2, 3]), ("b", [4])]


@pytest.mark.parametrize("size", [0, -1, 1.5, "3", True, 10_001])
def test_a_size_that_cannot_be_is_refused(size: Any) -> None:
    with pytest.raises(onward.UsageError, match="give a whole number from 1 to 10,000; nothing was started"):
        passes("abc", size=size)
    assert runs() == []


def test_batch_and_flush_ms_do_not_go_together() -> None:
    with pytest.raises(onward.UsageError, match="do not go together"):
        passes("abc", flush_ms=5)


@pytest.mark.parametrize("source", ["async", "sync"])
def test_batches_are_there_for_async_for_too(source: str) -> None:
    import asyncio

    async def letters() -> AsyncIterator[str]:
        for letter in "abcdefgh":
            yield letter

    async def job(stop_at: str) -> list[list[str]]:
        begun = []
        items: Any = letters() if source == "async" else "abcdefgh"
        async for batch in onward.each(items, name="loop", batch=3):
            begun.append(batch)
            if stop_at in batch:
                break
        return begun

    assert asyncio.run(job("e")) == [["a", "b", "c"], ["d", "e", "f"]]
    assert asyncio.run(job("-")) == [["d", "e", "f"], ["g", "h"]]
    assert asyncio.run(job("-")) == [["a", "b", "c"], ["d", "e", "f"], ["g", "h"]]


def test_a_batch_of_a_workflow_may_call_steps_and_write_rows(tmp_path: Path) -> None:
    """What said which batch an item was in gave way to its rows, and the replay left the batch out."""
    out = onward.jsonl(tmp_path / "out.jsonl")
    lives = [True]

    @onward.step
    def save(batch: list[str]) -> int:
        return len(batch)

    @onward.workflow
    def job() -> list[int]:
        sizes = []
        for batch in onward.each("abcde", batch=2):
            sizes.append(save(batch))
            out.write(batch)
            if "e" in batch and lives and lives.pop():
                die()
        return sizes

    with pytest.raises(Killed):
        job()
    assert job() == [2, 2, 1]
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize("kind", ["loop", "workflow"])
def test_a_batch_with_something_recorded_in_it_is_never_taken_apart(kind: str) -> None:
    """After two deaths its items came alone, and the step that was recorded for all of them was executed for each."""
    saved: list[list[str]] = []
    begun: list[list[str]] = []

    @onward.step
    def save(batch: list[str]) -> int:
        saved.append(batch)
        return len(batch)

    def work(size: int) -> None:
        for batch in onward.each("abcd", name="loop", batch=size):
            save(batch)
            begun.append(batch)
            if "b" in batch and len(begun) < 9:
                die()

    job = onward.workflow(max_crashes=99)(work) if kind == "workflow" else work
    for size in (2, 2, 2) if kind == "workflow" else (2, 2, 3):
        with pytest.raises(Killed):
            job(size)
    assert (begun, saved) == ([["a", "b"]] * 3, [["a", "b"]])
    if kind == "loop":
        job(1)
        assert begun[3:] == [["c"], ["d"]]
        assert [key for key, state in outcomes().items() if state == "failed"] == ["each/a", "each/b"]
        begun.extend([[]] * 9)
        job(2)
        assert (the_run().state, saved) == ("done", [["a", "b"], ["c"], ["d"]])


def test_leaving_a_suspected_batch_on_purpose_never_counts_against_it() -> None:
    passes("abcd", size=2, dies_in=1)
    for _ in range(5):
        for batch in onward.each("abcd", name="loop", batch=2):
            assert batch == ["a", "b"]
            break
    assert passes("abcd", size=2) == [["a", "b"], ["c", "d"]]

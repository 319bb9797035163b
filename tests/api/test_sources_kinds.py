"""Everything a loop can be given: what is recognised again after a death, and what is refused with the cure."""

# Loops and what leaves them are tested here, so they stay as they are.
# ruff: noqa: C416, PERF401, SIM115
from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import onward
from api.lives import outcomes, python, runs, the_run
from api.sources import continues, walk

# -- plain Python ---------------------------------------------------------------------------------------


def test_dicts_give_their_keys_and_items_their_pairs() -> None:
    prices = {"a": 1, "b": 2, "c": 3, "d": 4}
    assert continues(lambda: prices) == list("abcd")
    assert walk(prices.items(), name="pairs") == list(prices.items())
    assert walk(prices.values(), name="values") == [1, 2, 3, 4]


def test_lines_of_a_file_are_items_repeats_included(tmp_path: Path) -> None:
    (tmp_path / "urls.txt").write_text("a\nb\na\n\nc\n")
    opened = []

    def lines() -> Any:
        opened.append(open(tmp_path / "urls.txt"))
        return opened[-1]

    assert continues(lines) == ["a\n", "b\n", "a\n", "\n", "c\n"]
    for file in opened:
        file.close()


def test_a_one_shot_iterator_is_made_anew_by_the_next_process_and_skips_what_is_done() -> None:
    pulled: list[int] = []

    def source() -> Iterator[int]:
        for n in range(5):
            pulled.append(n)
            yield n

    assert continues(source) == [0, 1, 2, 3, 4]
    assert pulled == [0, 1, 2, 0, 1, 2, 3, 4]


def test_a_generator_cleans_up_when_the_loop_is_left() -> None:
    trail: list[str] = []

    def source() -> Iterator[int]:
        try:
            yield from range(5)
        finally:
            trail.append("closed")

    for n in onward.each(source(), name="loop"):
        if n == 1:
            break
    assert trail == ["closed"]


def test_a_generator_is_not_asked_before_the_last_item_is_handed_over() -> None:
    trail: list[str] = []

    def source() -> Iterator[int]:
        for n in range(3):
            trail.append(f"pulled {n}")
            yield n

    for n in onward.each(source(), name="loop"):
        trail.append(f"body {n}")
    assert trail == ["pulled 0", "body 0", "pulled 1", "body 1", "pulled 2", "body 2"]


def test_an_infinite_generator_goes_on_where_it_was() -> None:
    assert walk(itertools.count(), dies_after=4) == [0, 1, 2, 3, 4]
    assert walk(itertools.count(), dies_after=1) == [4, 5]


def test_a_list_may_grow_and_shrink_between_and_during_passes() -> None:
    walk(list("abcd"), dies_after=2)
    assert walk(list("xbd")) == ["x", "d"]
    growing = ["a"]
    begun = []
    for item in onward.each(growing, name="growing"):
        begun.append(item)
        if len(growing) < 4:
            growing.append(item + item)
    assert begun == ["a", "aa", "aaaa", "a" * 8]


def test_total_is_only_a_hint() -> None:
    assert walk("abc", total=2) == ["a", "b", "c"]
    assert (the_run().total, onward.Journal().get(the_run().id).counts.done) == (2, 3)


class OnlyNumbered:
    """As old code writes it, and datasets: a plain `for` takes it too."""

    def __getitem__(self, index: int) -> str:
        return "abcd"[index]


def test_what_has_numbered_elements_only_is_looped_over_as_by_a_plain_for() -> None:
    assert continues(OnlyNumbered) == list("abcd")


def test_a_source_that_can_both_is_taken_by_both_kinds_of_loop() -> None:
    class Both:
        def __iter__(self) -> Iterator[int]:
            return iter([1, 2])

        async def __aiter__(self) -> AsyncIterator[int]:
            for n in (3, 4):
                yield n

    async def job() -> list[int]:
        return [n async for n in onward.each(Both(), name="async")]

    assert walk(Both()) == [1, 2]
    assert asyncio.run(job()) == [3, 4]


@pytest.mark.parametrize("nothing", [None, 5, object(), len])
def test_what_is_no_source_is_refused(nothing: Any) -> None:
    with pytest.raises(
        onward.UsageError, match=r"needs something to iterate over, not a .* nothing was started"
    ):
        onward.each(nothing, name="loop")


def test_async_iterators_are_continued_and_closed() -> None:
    trail: list[str] = []

    async def source() -> AsyncIterator[int]:
        try:
            for n in range(5):
                yield n
        finally:
            trail.append("closed")

    async def job(stop_at: int) -> list[int]:
        begun = []
        async for n in onward.each(source(), name="loop"):
            begun.append(n)
            if n == stop_at:
                break
        return begun

    assert asyncio.run(job(2)) == [0, 1, 2]
    assert asyncio.run(job(-1)) == [2, 3, 4]
    assert trail == ["closed", "closed"]


def test_a_source_may_be_a_loop_of_its_own() -> None:
    """Where the code stood was mixed up: the inner loop's items were taken for the outer one's."""

    def pages() -> Iterator[str]:
        for page in onward.each(range(3), name="pages"):
            for row in "ab":
                yield f"{page}{row}"

    begun = []
    for row in onward.each(pages(), name="rows"):
        begun.append(row)
        if row == "1a":
            break
    begun += [row for row in onward.each(pages(), name="rows")]
    assert begun == ["0a", "0b", "1a", "1a", "1b", "2a", "2b"]
    assert [run.state for run in runs()] == ["done", "done"]


# -- equal items ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("duplicates", "begun"),
    [("again", ["a", "b", "a", "a"]), ("skip", ["a", "b"]), (None, ["a", "b", "a", "a"])],
)
def test_duplicates_says_what_equal_items_are(duplicates: Any, begun: list[str]) -> None:
    assert walk("abaa", duplicates=duplicates) == begun


@pytest.mark.parametrize(("duplicates", "begun"), [("again", [1, 2, 3, 4]), ("skip", [1, 2]), (None, [1, 2])])
def test_so_it_is_with_equal_keys(duplicates: Any, begun: list[int]) -> None:
    assert walk([1, 2, 3, 4], duplicates=duplicates, key=lambda n: "odd" if n % 2 else "even") == begun


def test_duplicates_error_stops_at_the_second_and_keeps_the_first() -> None:
    with pytest.raises(onward.UsageError, match="the item 'a' occurs more than once"):
        walk("abac", duplicates="error")
    assert outcomes() == {"each/a": "done", "each/b": "done"}
    with pytest.raises(onward.UsageError, match="the item 'a' occurs more than once"):
        walk("abac", duplicates="error")


def test_skipped_duplicates_are_skipped_in_a_continued_pass_too() -> None:
    walk("abacb", dies_after=2, duplicates="skip")
    assert walk("abacb", duplicates="skip") == ["c"]


def test_a_key_that_looks_like_a_repeat_is_another_key() -> None:
    assert walk(["a", "a", "a~2", "a~2"], key=str, duplicates="again") == ["a", "a", "a~2", "a~2"]


def test_another_word_is_refused() -> None:
    with pytest.raises(onward.UsageError, match='give "again", "skip" or "error"'):
        walk("ab", duplicates="ignore")


def test_max_age_refuses_an_old_pass_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    walk("abc", dies_after=1)
    engine = onward.api.connect.engine()  # type: ignore[attr-defined]
    now = engine.store.now()
    monkeypatch.setattr(engine.store, "now", lambda: now + 7200)
    with pytest.raises(
        onward.RunConflict, match=r"begun 2 h ago, which is more than max_age=1 h; nothing was begun"
    ):
        walk("abc", max_age=3600)
    assert walk("abc", max_age=10_000) == ["b", "c"]


def test_a_loop_imports_none_of_their_libraries(tmp_path: Path) -> None:
    code = (
        "import sys, onward\n"
        "onward.connect('journal.db')\n"
        "for _ in onward.each([1], name='x'): pass\n"
        "print(sys.modules.keys() & {'pandas', 'polars', 'sqlalchemy', 'numpy', 'glob'})"
    )
    assert python("-c", code, cwd=tmp_path).stdout.strip() == "set()"

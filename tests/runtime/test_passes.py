"""Whatever list a continued pass is given, every element is done exactly as often as it occurs."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onward.core import limits
from onward.core.model import Entry
from onward.runtime.passes import Bits, Pass

ITEMS = st.lists(st.sampled_from("abcd"), max_size=14)


class Journal:
    """The entries of a run, and the passes that were made over it."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.latest: dict[str, Entry] = {}
        self.fence = 0
        self.executed: list[str] = []
        self.reads = 0

    def begin(self) -> Pass:
        self.fence += 1
        upto = len(self.entries) - 1

        def page(after: int, limit: int) -> list[tuple[int, str]]:
            done = [(e.seq, e.key) for e in self.entries if after < e.seq <= upto and e.state == "done"]
            return done[:limit]

        return Pass(
            fence=self.fence,
            page=page,
            outcome=self.outcome,
            continued=self.fence > 1,
            empty=self.fence == 1,
        )

    def outcome(self, key: str) -> Entry | None:
        self.reads += 1
        return self.latest.get(key)

    def record(self, key: str, state: str) -> None:
        assert key not in self.latest, f"{key} was given out twice"
        entry = Entry(key, "item", state, "each", fence=self.fence, seq=len(self.entries))  # type: ignore[arg-type]
        self.entries.append(entry)
        self.latest[key] = entry

    def walk(
        self,
        items: Sequence[str],
        *,
        finished: Sequence[int] | None = None,
        fails: frozenset[int] = frozenset(),
    ) -> Pass:
        """One pass. Of the items that are new those numbered in `finished` end, in that order; None: all, at once."""
        walk = self.begin()
        begun: list[str] = []
        for item in items:
            key, standing = walk.take(item)
            assert key == item or key.startswith(f"{item}~")
            if standing != "new":
                continue
            self.executed.append(item)
            if finished is None:
                self.record(key, "failed" if len(begun) in fails else "done")
            begun.append(key)
        for number in finished or ():
            if number < len(begun):
                self.record(begun[number], "failed" if number in fails else "done")
        return walk

    def count(self) -> Counter[str]:
        return Counter(e.key.partition("~")[0] for e in self.entries)


def numbered(items: Sequence[str]) -> list[tuple[str, str]]:
    """Each item with its key: the nth equal one is `key~n`."""
    seen: Counter[str] = Counter()
    found = []
    for item in items:
        seen[item] += 1
        found.append((item, item if seen[item] == 1 else f"{item}~{seen[item]}"))
    return found


@given(ITEMS)
def test_a_first_pass_hands_out_every_item_as_often_as_it_occurs(items: list[str]) -> None:
    journal = Journal()
    journal.walk(items)
    assert journal.executed == items
    assert journal.count() == Counter(items)


@given(ITEMS, st.data())
def test_an_interrupted_pass_continues_with_what_is_left(items: list[str], data: st.DataObject) -> None:
    journal = Journal()
    journal.walk(items[: data.draw(st.integers(0, len(items)))])
    done = len(journal.executed)
    walk = journal.walk(items)
    assert journal.executed == items
    assert walk.recognised == done


@given(st.lists(ITEMS, min_size=2, max_size=4))
def test_after_any_number_of_edited_lists_each_element_is_done_as_often_as_any_list_wanted(
    lists: list[list[str]],
) -> None:
    """Reordered, shrunk, grown, repeated: what earlier passes did counts, no more is done than is missing."""
    journal = Journal()
    wanted: Counter[str] = Counter()
    for items in lists:
        journal.walk(items)
        wanted |= Counter(items)
        assert journal.count() == wanted
    assert Counter(journal.executed) == wanted


@settings(max_examples=300)
@given(ITEMS, ITEMS, st.lists(st.integers(0, 13), unique=True))
def test_items_that_ended_in_another_order_are_recognised_all_the_same(
    first: list[str], second: list[str], finished: list[int]
) -> None:
    """A concurrent pass records in the order in which items end, and was perhaps killed with some of them open."""
    journal = Journal()
    journal.walk(first, finished=finished)
    missing = [item for item, key in numbered(second) if key not in journal.latest]
    journal.executed.clear()
    journal.walk(second)
    assert Counter(journal.executed) == Counter(missing)


@settings(max_examples=300)
@given(ITEMS, ITEMS, st.lists(st.integers(0, 13), unique=True), st.randoms(use_true_random=False))
def test_a_killed_concurrent_pass_of_the_same_or_a_longer_list_does_nothing_twice(
    first: list[str], more: list[str], finished: list[int], chance: Random
) -> None:
    journal = Journal()
    journal.walk(first, finished=finished)
    second = [*first, *more]
    chance.shuffle(second)
    journal.executed.clear()
    done = journal.count()
    journal.walk(second)
    assert Counter(journal.executed) == Counter(second) - done
    assert journal.count() == Counter(second)


@settings(max_examples=300)
@given(ITEMS, ITEMS, st.frozensets(st.integers(0, 13)), st.permutations(range(14)))
def test_parked_items_keep_their_place_and_are_not_handed_out_again(
    first: list[str], second: list[str], fails: frozenset[int], finished: list[int]
) -> None:
    journal = Journal()
    journal.walk(first, finished=finished, fails=fails)
    missing = [item for item, key in numbered(second) if key not in journal.latest]
    journal.executed.clear()
    journal.walk(second)
    assert Counter(journal.executed) == Counter(missing)


@given(st.lists(ITEMS, min_size=2, max_size=3), st.integers(1, 3))
def test_the_size_of_a_page_makes_no_difference(lists: list[list[str]], rows: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "PAGE_ROWS", rows)
        journal = Journal()
        for items in lists:
            journal.walk(items)
        wanted: Counter[str] = Counter()
        for items in lists:
            wanted |= Counter(items)
        assert Counter(journal.executed) == wanted


@given(st.lists(ITEMS, min_size=1, max_size=3), st.integers(1, 3))
def test_forgetting_what_was_given_out_costs_a_look_and_nothing_else(
    lists: list[list[str]], remembered: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "REPEATS_REMEMBERED", remembered)
        journal = Journal()
        wanted: Counter[str] = Counter()
        for items in lists:
            journal.walk(items)
            wanted |= Counter(items)
        assert Counter(journal.executed) == wanted


@pytest.mark.parametrize("distinct", [1, 3])
def test_many_repeats_take_few_looks(distinct: int) -> None:
    items = [f"i{n % distinct}" for n in range(3_000)]
    journal = Journal()
    journal.walk(items)
    assert journal.reads < 40 * len(items)
    journal.reads = 0
    walk = journal.walk(items)
    assert walk.recognised == len(items)
    assert journal.reads <= distinct  # in the order in which they were recorded: the pages tell nearly all


def test_a_first_pass_asks_the_journal_only_about_what_it_may_have_given_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each item was looked up before it began, although nothing could be recorded of it."""
    monkeypatch.setattr(limits, "REPEATS_REMEMBERED", 10)
    journal = Journal()
    items = [f"item-{n}" for n in range(1_000)]
    journal.walk([*items, *items[:5]])
    assert journal.executed == [*items, *items[:5]]
    assert journal.reads <= 15


class Paged:
    """A journal of any length that takes no memory itself: item n was recorded n-th."""

    def __init__(self, length: int) -> None:
        self.length = length

    def page(self, after: int, limit: int) -> list[tuple[int, str]]:
        return [(n, f"item-{n}") for n in range(after + 1, min(after + 1 + limit, self.length))]

    def outcome(self, key: str) -> Entry | None:
        number = int(key.partition("~")[0].removeprefix("item-"))
        if "~" in key or number >= self.length:
            return None
        return Entry(key, "item", "done", "each", fence=1, seq=number)

    def items(self) -> Iterator[str]:
        return (f"item-{n}" for n in range(self.length))


def recognising(length: int, items: Iterator[str] | None = None) -> int:
    """The most memory that a continued pass over so many items took, in bytes."""
    journal = Paged(length)
    tracemalloc.start()
    try:
        walk = Pass(fence=2, page=journal.page, outcome=journal.outcome, continued=True)
        for item in items or journal.items():
            assert walk.take(item)[1] == "done"
        assert walk.recognised == length
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_long_list_is_recognised_in_the_memory_of_a_short_one() -> None:
    assert recognising(150_000) < recognising(15_000) + 150_000 // 8 + 50_000


def test_a_list_in_reverse_is_recognised_in_bounded_memory_and_linear_time_too() -> None:
    length = 12_000
    backwards = (f"item-{n}" for n in reversed(range(length)))
    assert recognising(length, backwards) < 4_000_000


def test_a_shuffled_list_reads_few_rows_for_each_item() -> None:
    """Every item jumps; a full page of 5,000 rows for each of them made 100,000 items take an hour."""
    journal = Paged(20_000)
    rows = 0

    def page(after: int, limit: int) -> list[tuple[int, str]]:
        nonlocal rows
        found = journal.page(after, limit)
        rows += len(found)
        return found

    items = list(journal.items())
    Random(1).shuffle(items)
    walk = Pass(fence=2, page=page, outcome=journal.outcome, continued=True)
    assert all(walk.take(item)[1] == "done" for item in items)
    assert rows < 60 * len(items)


@given(st.sets(st.integers(0, 1 << 40), max_size=40), st.integers(0, 1 << 40))
def test_bits_hold_what_was_added_and_nothing_else(numbers: set[int], other: int) -> None:
    bits = Bits()
    for number in numbers:
        bits.add(number)
    assert all(number in bits for number in numbers)
    assert (other in bits) == (other in numbers)

"""A loop: what is done stays done, what was interrupted comes again, and what it costs to be interrupted."""

# Loops are what is tested here, so they stay loops.
# ruff: noqa: PERF401, PERF402, PT012, SIM113
from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import pytest

import onward
from api.lives import Killed, die, outcomes, runs, the_run
from onward.core import limits


def passes(items: object, *, dies_at: object = None, **options: object) -> list[object]:
    """One pass; the items whose body was begun."""
    begun: list[object] = []
    try:
        for item in onward.each(items, **{"name": "loop", **options}):  # type: ignore[call-overload]
            begun.append(item)
            if item == dies_at:
                die()
    except Killed:
        pass
    return begun


def done_of(run_id: str) -> int:
    return onward.Journal().get(run_id).counts.done


def test_a_killed_pass_continues_at_its_unfinished_item() -> None:
    assert passes("abcd", dies_at="c") == ["a", "b", "c"]
    assert passes("abcd") == ["c", "d"]
    assert the_run().state == "done"


def test_a_finished_pass_starts_afresh() -> None:
    assert passes("ab") == passes("ab") == ["a", "b"]
    assert len(runs()) == 2


def test_the_item_left_by_break_comes_again_and_the_one_before_it_does_not() -> None:
    for item in onward.each("abcd", name="loop"):
        if item == "c":
            break
    assert the_run().state == "pending"
    assert passes("abcd") == ["c", "d"]


def test_the_item_left_by_return_comes_again() -> None:
    def first() -> str | None:
        for item in onward.each("ab", name="loop"):
            return item
        return None

    assert first() == "a"
    assert passes("ab") == ["a", "b"]


def test_the_item_left_by_an_exception_comes_again() -> None:
    with pytest.raises(ConnectionError):
        for item in onward.each("abc", name="loop"):
            if item == "b":
                raise ConnectionError
    assert passes("abc") == ["b", "c"]


def test_an_exception_that_the_body_catches_counts_as_done() -> None:
    for item in onward.each("ab", name="loop"):
        try:
            raise ConnectionError(item)
        except ConnectionError:
            continue
    assert list(outcomes().values()) == ["done", "done"]


def test_leaving_by_break_exception_or_ctrl_c_never_parks_an_item() -> None:
    for _ in range(5):
        for _ in onward.each("ab", name="loop"):
            break
        for error in (ConnectionError, KeyboardInterrupt, SystemExit):
            with pytest.raises(error):
                for _ in onward.each("ab", name="loop"):
                    raise error
    assert passes("ab") == ["a", "b"]


def test_an_item_is_parked_after_its_third_death_and_the_pass_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for _ in range(3):
        assert passes("abc", dies_at="b")[-1] == "b"
    assert passes("abc") == ["c"]
    assert "item b parked after repeated crashes; the pass goes on" in capsys.readouterr().err
    assert the_run().state == "failed"
    assert outcomes()["each/b"] == "failed"


def test_a_pass_with_parked_items_is_unfinished_and_repeats_only_those() -> None:
    for _ in range(3):
        passes("abc", dies_at="b")
    passes("abc")
    assert passes("abc") == ["b"]
    assert the_run().state == "done"


def test_max_crashes_sets_how_many_deaths_an_item_is_allowed() -> None:
    passes("ab", dies_at="a", max_crashes=1)
    assert passes("ab", max_crashes=1) == ["b"]


def test_deaths_in_other_items_are_not_added_up() -> None:
    for item in "abcde":
        assert passes("abcde", dies_at=item)[-1] == item
    assert passes("abcde") == ["e"]


def test_a_death_in_an_inner_loop_counts_although_two_items_are_open() -> None:
    """Both the outer and the inner item were taken for suspects, so neither was ever parked."""
    deaths = 0
    finished = False
    while not finished and deaths < 10:
        try:
            for outer in onward.each(["x", "y"], name="outer"):
                for inner in onward.each(["good", "poison"]):
                    if (outer, inner) == ("x", "poison"):
                        deaths += 1
                        die()
            finished = True
        except Killed:
            continue
    assert deaths == 3
    assert outcomes()["each/x > each#1/poison"] == "failed"


# -- recognising items --------------------------------------------------------------------------------


def test_an_item_occurring_n_times_is_done_n_times() -> None:
    assert passes(["a", "b", "a", "a"], dies_at="b") == ["a", "b"]
    assert passes(["a", "b", "a", "a"]) == ["b", "a", "a"]
    assert sorted(set(outcomes())) == ["each/a", "each/a~2", "each/a~3", "each/b"]


def test_repeats_are_told_apart_wherever_a_pass_was_interrupted() -> None:
    items = ["a", "a", "b", "a", "b"]
    for stop in range(1, len(items) + 1):
        begun = 0
        for _ in onward.each(items, name=f"stop-{stop}"):
            begun += 1
            if begun == stop:
                break
        again = 0
        for _ in onward.each(items, name=f"stop-{stop}"):
            again += 1
        assert again == len(items) - stop + 1


def test_an_item_that_looks_like_a_repeat_is_another_item() -> None:
    assert passes(["a", "a", "a~2", "a~2"]) == ["a", "a", "a~2", "a~2"]


@pytest.mark.parametrize("item", ["a > b", "a/b", "", "#", " ", "é" * 300, "\n", "each#1", "\ud800"])
def test_any_text_is_an_item(item: str) -> None:
    passes([item, "last"], dies_at="last")
    assert passes([item, "last"]) == ["last"]


def test_items_are_told_apart_by_type_as_well_as_by_content() -> None:
    items = [1, "1", 1.0, True, b"1", None, (1,), [1], {"1": 1}]
    passes([*items, "last"], dies_at="last")
    assert passes([*items, "last"]) == ["last"]
    assert len(outcomes()) - list(outcomes().values()).count("crashed") == len(items) + 1


def test_an_item_is_recognised_by_what_it_was_before_the_body_changed_it() -> None:
    def items() -> list[dict[str, object]]:
        return [{"id": 1}, {"id": 2}]

    for item in onward.each(items(), name="loop"):
        if item["id"] == 2:
            break
        item["page"] = "fetched"
    assert passes(items()) == [{"id": 2}]


def test_reordered_items_are_still_recognised() -> None:
    passes("abcdef", dies_at="d")
    assert passes("fedcba") == ["f", "e", "d"]


def test_key_says_what_recognises_an_item() -> None:
    def items(price: int) -> list[dict[str, int]]:
        return [{"id": number, "price": price} for number in range(3)]

    def key(item: dict[str, int]) -> str:
        return f"item-{item['id']}"

    passes(items(1), key=key, dies_at={"id": 1, "price": 1})
    assert passes(items(2), key=key) == [{"id": 1, "price": 2}, {"id": 2, "price": 2}]
    assert set(outcomes()) == {"each/item-0", "each/item-1", "each/item-2"}


@pytest.mark.parametrize("flush_ms", [0, 50])
def test_the_same_key_is_the_same_work_and_that_is_said_once(
    flush_ms: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second item of a key ran too, and then stopped the loop with a conflict of its own making."""
    assert passes([1, 2, 3, 4], key=lambda n: "even" if n % 2 == 0 else "odd", flush_ms=flush_ms) == [1, 2]
    assert capsys.readouterr().err.count("more than once; the same key is the same work") == 1
    assert the_run().state == "done"


def test_repeats_in_a_loop_of_a_workflow_are_told_apart_however_far_apart_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A repeat that came later than the memory for repeats got the key of the first one."""
    monkeypatch.setattr(limits, "REPEATS_REMEMBERED", 3)
    begun = []

    @onward.workflow
    def job() -> None:
        for item in onward.each("abcdeabba"):
            begun.append(item)

    job()
    assert begun == list("abcdeabba")


def test_the_same_key_in_a_loop_of_a_workflow_is_the_same_work() -> None:
    begun = []

    @onward.workflow
    def job() -> None:
        for item in onward.each([1, 2, 3], key=lambda n: "same"):
            begun.append(item)

    job()
    assert begun == [1]


@pytest.mark.parametrize(
    ("bad", "says"), [(5, "must give a str, not a int"), ("", "1 to"), ("a > b", "contains")]
)
def test_an_impossible_key_stops_the_loop_and_keeps_what_is_done(bad: object, says: str) -> None:
    with pytest.raises(onward.UsageError, match=says):
        passes([1, 2], key=lambda n: "one" if n == 1 else bad)
    assert (outcomes(), the_run().state) == ({"each/one": "done"}, "pending")


def test_an_item_whose_content_cannot_be_taken_asks_for_key() -> None:
    strange = object()
    with pytest.raises(onward.NotRecordable, match="give key= to say what recognises an item"):
        passes(["a", strange])
    assert (outcomes(), the_run().state) == ({"each/a": "done"}, "pending")
    assert passes(["a", strange], key=lambda item: "a" if item == "a" else "strange") == [strange]


# -- the source ---------------------------------------------------------------------------------------


def test_an_item_is_on_disk_before_the_next_one_is_handed_out() -> None:
    for item in onward.each(range(3), name="loop"):
        assert list(outcomes()) == [f"each/{before}" for before in range(item)]


def test_a_source_that_breaks_leaves_the_finished_items_done() -> None:
    def source() -> Iterator[str]:
        yield "a"
        yield "b"
        raise ConnectionError("the list broke off")

    with pytest.raises(ConnectionError, match="broke off"):
        passes(source())
    assert list(outcomes()) == ["each/a", "each/b"]
    assert passes("abc") == ["c"]


def test_total_is_taken_from_the_list_or_given() -> None:
    passes("abc")
    passes(iter("abc"))
    passes(iter("abc"), total=3)
    assert [run.total for run in runs()] == [3, None, 3]


def test_a_loop_object_is_used_once() -> None:
    loop = onward.each("ab", name="loop")
    for _ in loop:
        pass
    with pytest.raises(onward.UsageError, match="is iterated once"):
        iter(loop)


def test_an_empty_list_finishes_at_once() -> None:
    assert passes([]) == []
    assert the_run().state == "done"


def test_enumerate_means_the_same_as_the_loop_itself() -> None:
    for number, _ in enumerate(onward.each("abc", name="loop")):
        if number == 1:
            break
    assert passes("abc") == ["b", "c"]


def test_consumers_that_run_ahead_of_their_bodies_are_refused() -> None:
    with pytest.raises(
        onward.UsageError, match=r"list\(\.\.\.\) would take the items of onward.each all at once"
    ):
        list(onward.each("ab", name="loop"))
    with pytest.raises(onward.UsageError, match="nothing was started"):
        dict(zip(onward.each("ab", name="loop"), "xy", strict=True))
    assert runs() == []


def test_progress_counts_only_the_items_of_the_loop_itself() -> None:
    """Items of inner loops used to be added to the outer one's count: 8 of 2."""
    for _ in onward.each("ab", name="loop"):
        for _ in onward.each("xyz"):
            pass
        for _ in onward.map(str.upper, "xyz"):
            pass
    assert done_of(the_run().id) == 2


def test_flush_ms_repeats_at_most_the_last_items_and_loses_none() -> None:
    assert passes(range(100), flush_ms=10_000, dies_at=50)[-1] == 50
    assert passes(range(100)) == list(range(100))
    assert sum(state == "done" for state in outcomes().values()) == 100


def test_a_clean_exit_writes_what_flush_ms_held_back() -> None:
    for item in onward.each(range(100), name="loop", flush_ms=10_000):
        if item == 50:
            break
    assert passes(range(100))[0] == 50


@pytest.mark.slow
def test_memory_does_not_grow_with_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REPEATS_REMEMBERED", 100)
    monkeypatch.setattr(limits, "PAGE_ROWS", 100)
    tracemalloc.start()
    try:
        sizes = []
        for item in onward.each(range(6_000), name="loop", flush_ms=20):
            if item in (1_000, 5_999):
                sizes.append(tracemalloc.get_traced_memory()[0])
        assert sizes[1] - sizes[0] < 100_000
    finally:
        tracemalloc.stop()

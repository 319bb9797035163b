"""What a loop has lost: read from the entries that its lives have left."""

import pytest

from onward.core import codec, limits
from onward.core.losses import losses
from onward.core.model import Entry

AT_ONCE, LATER = limits.LOOP_STOP_AT_ONCE, limits.LOOP_STOP_AFTER


class Story:
    """The entries of a loop, written life by life."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.fence = 1
        self.put("run/claimed", "claimed", kind="mark")

    def put(self, key: str, name: str, *, kind: str = "item", value: str | None = None) -> None:
        state = "mark" if kind == "mark" else name
        entry = Entry(key, kind, state, name, None, value, None, 1, self.fence)  # type: ignore[arg-type]
        self.entries.append(entry._replace(seq=len(self.entries)))

    def done(self, *items: str) -> None:
        for item in items:
            self.put(f"each/{item}", "done")

    def crash(self, item: str, error: Exception | None = None) -> None:
        """The program ends in the item, and is started again."""
        self.put(f"each/{item}", "crashed", value=None if error is None else codec.encode_error(error))
        self.fence += 1
        self.put("run/claimed", "claimed", kind="mark")

    def park(self, *items: str, error: Exception | None = None) -> None:
        for item in items:
            self.crash(item, error)
            self.put(f"each/{item}", "failed")

    def end(self) -> None:
        """The pass has come to its end, and its parked items are tried again by the next one."""
        open_ = {entry.key for entry in self.entries if entry.state == "failed"}
        self.put("run/raised", "raised", kind="mark")
        self.fence += 1
        for key in sorted(open_):
            self.put(key, "reopened")
        self.put("run/claimed", "claimed", kind="mark")

    def stops(self, item: str, stop_after: int | str | None = "auto") -> bool:
        """Whether the pass stops when it comes to this item, in which the program has just ended."""
        return losses(self.entries, f"each/{item}").too_many(stop_after) is not None


@pytest.fixture
def story() -> Story:
    return Story()


def test_three_in_a_row_are_too_many_for_a_pass_that_has_done_nothing(story: Story) -> None:
    story.park(*"ab"[: AT_ONCE - 1])
    assert not story.stops("a")
    story.crash("c")
    assert story.stops("c")


def test_ten_in_a_row_are_too_many_for_one_that_gets_on(story: Story) -> None:
    story.done("first")
    items = [f"i{n}" for n in range(LATER)]
    story.park(*items[: LATER - 2])
    story.crash(items[LATER - 2])
    assert not story.stops(items[LATER - 2])
    story.put(f"each/{items[LATER - 2]}", "failed")
    story.crash(items[LATER - 1])
    assert story.stops(items[LATER - 1])


def test_an_item_that_is_done_in_between_makes_them_no_row(story: Story) -> None:
    story.park("a", "b")
    story.done("c")
    story.park("d", "e")
    story.crash("f")
    assert not story.stops("f")


def test_the_number_can_be_given_and_none_is_never(story: Story) -> None:
    story.done("first")
    story.park("a")
    story.crash("b")
    assert story.stops("b", 2)
    assert not story.stops("b", 3)
    story.park(*(f"i{n}" for n in range(50)))
    story.crash("z")
    assert not story.stops("z", None)


def test_items_that_failed_in_a_pass_that_came_to_its_end_say_nothing_new(story: Story) -> None:
    """Bad rows far apart from each other stand side by side when only they are tried again."""
    for item in "abcdef":
        story.park(item)
        story.done(f"after {item}")
    story.end()
    for item in "abcdef":
        story.crash(item)
        assert not story.stops(item)
        story.put(f"each/{item}", "failed")
    story.crash("new")
    assert not story.stops("new")


def test_a_stop_is_the_end_of_a_row_and_the_next_one_is_short(story: Story) -> None:
    """What the stop has opened again is tried anew; while all of it fails the next stop comes soon."""
    story.done("first")
    story.park(*(f"i{n}" for n in range(LATER)))
    for n in range(LATER):
        story.put(f"each/i{n}", "reopened")
    story.put("run/raised", "raised", kind="mark")
    story.fence += 1
    story.crash("i0")
    assert not story.stops("i0")
    story.put("each/i0", "failed")
    story.park("i1")
    story.crash("i2")
    assert story.stops("i2")
    assert [entry.key for entry in losses(story.entries, "each/i2").parked] == ["each/i0", "each/i1"]


def test_the_items_of_a_batch_are_one_loss(story: Story) -> None:
    for item in "abcdef":
        story.put(f"each/{item}", "crashed")
    story.fence += 1
    for item in "abcdef":
        story.put(f"each/{item}", "failed")
    story.crash("g")
    assert not story.stops("g")


def test_items_of_inner_loops_count_by_themselves(story: Story) -> None:
    """An inner item that is done is no progress of the outer loop, whose own items end the program one by one."""
    for item in "ab":
        story.put(f"each/{item} > each#1/x", "done")
        story.park(item)
    story.put("each/c > each#1/x", "done")
    story.crash("c")
    assert story.stops("c")
    assert losses(story.entries, "each/c > each#1/y").parked == ()


def test_the_reason_names_what_ended_it_most_often(story: Story) -> None:
    story.park("a", error=ConnectionError("no\nroute"))
    story.park("b")
    story.crash("c", ConnectionError("no route to host"))
    reason = losses(story.entries, "each/c").too_many("auto")
    assert reason is not None
    assert reason.sentence == (
        "the last 3 items in a row ended the program and none succeeded in between, most often (2 of 3) with "
        "ConnectionError: no route to host"
    )


def test_deaths_without_an_exception_are_named_too(story: Story) -> None:
    story.park("a", "b")
    story.crash("c")
    reason = losses(story.entries, "each/c").too_many("auto")
    assert reason is not None
    assert reason.sentence.endswith("all of them with the death of the process")

"""Which item starts next, when each key has a lane of its own."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from onward.core.lanes import Lanes
from onward.core.pace import Pace, Rate


def filled(lanes: Lanes[str], *items: str) -> Lanes[str]:
    """Items such as `a1`: the letter is the key, `-` means none."""
    for item in items:
        lanes.add(item, None if item[0] == "-" else item[0])
    return lanes


def taken(lanes: Lanes[str], now: float = 0.0) -> list[str]:
    """All that may start now."""
    found = []
    while (item := lanes.take(now).item) is not None:
        found.append(item)
    return found


def test_one_item_of_a_key_is_in_flight_at_a_time_and_other_keys_go_ahead() -> None:
    lanes = filled(Lanes[str](), "a1", "a2", "b1", "a3", "c1")
    assert taken(lanes) == ["a1", "b1", "c1"]
    lanes.leave("a", 0)
    assert taken(lanes) == ["a2"]
    assert len(lanes) == 1


def test_as_many_of_a_key_as_the_width_says() -> None:
    lanes = filled(Lanes[str](width=2), "a1", "a2", "a3", "b1")
    assert taken(lanes) == ["a1", "a2", "b1"]


def test_items_without_a_key_are_in_no_lane() -> None:
    assert taken(filled(Lanes[str](), "-1", "-2", "a1", "-3")) == ["-1", "-2", "a1", "-3"]


def test_items_that_may_start_do_so_in_the_order_in_which_they_came() -> None:
    lanes = filled(Lanes[str](width=5), "b1", "a1", "b2", "-1", "a2")
    assert taken(lanes) == ["b1", "a1", "b2", "-1", "a2"]


def test_a_key_that_is_held_back_waits_alone() -> None:
    lanes = Lanes[str]()
    lanes.hold("a", 10)
    filled(lanes, "a1", "b1", "a2")
    assert taken(lanes, 0) == ["b1"]
    assert lanes.take(4) == (None, 6)
    assert taken(lanes, 10) == ["a1"]


def test_a_hold_that_comes_while_a_key_is_in_flight_counts_for_its_next_item() -> None:
    lanes = filled(Lanes[str](), "a1", "a2")
    assert taken(lanes) == ["a1"]
    lanes.hold("a", 7)
    lanes.leave("a", 1)
    assert lanes.take(1) == (None, 6)
    assert taken(lanes, 7) == ["a2"]


def test_a_pace_holds_for_all_keys_together() -> None:
    lanes = filled(Lanes[str](pace=Pace(Rate(1))), "a1", "b1", "c1")
    assert taken(lanes, 0) == ["a1"]
    assert lanes.take(0.25) == (None, 0.75)
    assert taken(lanes, 1) == ["b1"]


def test_a_key_that_waits_for_its_own_pace_lets_others_go_ahead() -> None:
    lanes = filled(Lanes[str](width=9, key_rate=Rate(0.1)), "a1", "a2", "b1", "-1", "-2")
    assert taken(lanes, 0) == ["a1", "b1", "-1", "-2"]
    assert lanes.take(0) == (None, 10)
    assert taken(lanes, 10) == ["a2"]


def test_a_further_attempt_is_booked_like_a_start() -> None:
    lanes = filled(Lanes[str](pace=Pace(Rate(1))), "a1", "a2")
    assert taken(lanes, 0) == ["a1"]
    assert lanes.book("a", 0) == 1
    lanes.leave("a", 1)
    assert lanes.take(1) == (None, 1)


def test_nothing_to_wait_for_is_said_as_an_endless_wait() -> None:
    assert Lanes[str]().take(0) == (None, math.inf)


def test_any_item_is_handed_out_when_it_is_only_to_learn_that_all_has_stopped() -> None:
    lanes = Lanes[str](pace=Pace(Rate(0.001)))
    lanes.hold("a", 1e9)
    filled(lanes, "a1", "b1")
    assert {lanes.take_any(0), lanes.take_any(0)} == {"a1", "b1"}
    assert lanes.take_any(0) is None
    assert lanes.take(0).item is None


def test_a_million_keys_leave_nothing_behind() -> None:
    lanes = Lanes[str](key_rate=Rate(100, burst=3))
    for number in range(2_000):
        now = float(number)
        lanes.add("x", number)
        assert lanes.take(now).item == "x"
        lanes.hold(number, now + 0.5)
        lanes.leave(number, now)
    lanes.take(1e6)
    assert (lanes._lanes, lanes._held, lanes._leaving, lanes._ready) == ({}, [], [], [])


@given(
    st.lists(st.tuples(st.sampled_from("abc-"), st.floats(0, 3), st.booleans(), st.booleans()), max_size=60),
    st.integers(1, 3),
)
def test_every_item_starts_once_in_the_order_of_its_key_and_never_too_many_at_once(
    steps: list[tuple[str, float, bool, bool]], width: int
) -> None:
    lanes = Lanes[tuple[str, int]](width=width, pace=Pace(Rate(50, burst=4)), key_rate=Rate(20))
    now, flying, started, held = 0.0, list[str](), list[tuple[str, int]](), dict[str, float]()

    def take() -> float:
        item, wait_s = lanes.take(now)
        if item is not None:
            started.append(item)
            assert held.get(item[0], 0) <= now
            if item[0] != "-":
                assert flying.count(item[0]) < width
            flying.append(item[0])
        return wait_s

    for number, (key, gap, ends, holds) in enumerate(steps):
        now += gap
        lanes.add((key, number), None if key == "-" else key)
        take()
        if ends and flying:
            gone = flying.pop(0)
            lanes.leave(None if gone == "-" else gone, now)
        if holds and key != "-":
            held[key] = max(held.get(key, 0), now + gap)
            lanes.hold(key, now + gap)
    for _ in range(10_000):
        if not len(lanes):
            break
        wait_s = take()
        if flying:
            gone = flying.pop(0)
            lanes.leave(None if gone == "-" else gone, now)
        now += 0 if math.isinf(wait_s) else wait_s
    assert sorted(n for _, n in started) == list(range(len(steps)))
    for key in "abc":
        mine = [n for k, n in started if k == key]
        assert mine == sorted(mine)

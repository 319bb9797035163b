"""What may begin: the order of runs, and the limits of a queue, as tables."""

from __future__ import annotations

from typing import Any

import pytest

from onward.core import limits as bounds
from onward.core.flow import (
    Candidate,
    Limits,
    Quota,
    Room,
    Settings,
    booked_at,
    fields_of,
    in_order,
    pick,
    text_of,
)


def picked(limits: Limits, candidates: list[Candidate], limit: int = 10, **used: Any) -> list[int]:
    return [one.no for one in pick(in_order(candidates), Room(limits, **used), limit)]


def runs(*lanes: str | None) -> list[Candidate]:
    """New runs of these lanes, numbered from 1."""
    return [Candidate(no, 0, lane) for no, lane in enumerate(lanes, 1)]


def test_the_order_is_priority_then_what_has_waited_then_age() -> None:
    new, old = Candidate(2, 0, None), Candidate(1, 0, None)
    urgent, woken, woken_first = (
        Candidate(9, 5, None),
        Candidate(7, 0, None, 20.0),
        Candidate(8, 0, None, 10.0),
    )
    assert in_order([new, old, woken, urgent, woken_first]) == [urgent, woken_first, woken, old, new]


@pytest.mark.parametrize(
    ("limits", "used", "expected"),
    [
        (Limits("q"), {}, [1, 2, 3, 4]),
        (Limits("q", concurrency=3), {"running": 1}, [1, 2]),
        (Limits("q", concurrency=3), {"running": 3}, []),
        (Limits("q", concurrency=3), {"running": 9}, []),  # the limit was lowered meanwhile
        (Limits("q", concurrency=0), {}, []),
        (Limits("q", per_worker=2), {"here": 1}, [1]),
        (Limits("q", concurrency=3, per_worker=1), {}, [1]),
        (Limits("q", rate=Quota(5, 60.0)), {"starts": 3}, [1, 2]),
        (Limits("q", per_key=1), {}, [1, 3]),
        (Limits("q", per_key=2), {}, [1, 2, 3]),
        (Limits("q", per_key=2), {"lane_running": lambda lane: 1 if lane == "a" else 2}, [1]),
        (Limits("q", key_rate=Quota(1, 1.0)), {}, [1, 3]),
        (Limits("q", key_rate=Quota(1, 1.0)), {"lane_starts": lambda lane: int(lane == "a")}, [3]),
        (Limits("q", concurrency=2, per_key=1), {}, [1, 3]),
    ],
)
def test_what_fits_into_what_is_left(limits: Limits, used: dict[str, Any], expected: list[int]) -> None:
    assert picked(limits, runs("a", "a", "b", "a"), **used) == expected


def test_no_more_than_asked_for_are_picked() -> None:
    assert picked(Limits("q"), runs("a", "a", "b"), limit=2) == [1, 2]
    assert picked(Limits("q"), runs("a"), limit=0) == []


@pytest.mark.parametrize("lane", [None, ""])
def test_runs_without_a_key_are_in_nobodys_way(lane: str | None) -> None:
    assert picked(Limits("q", per_key=1, key_rate=Quota(1, 1.0)), runs(lane, lane, lane)) == [1, 2, 3]


def test_a_rate_holds_back_what_begins_and_not_what_goes_on() -> None:
    limits = Limits("q", rate=Quota(1, 1.0), key_rate=Quota(1, 1.0))
    new = [Candidate(1, 9, "a"), Candidate(2, 8, "a")]
    goes_on = [Candidate(3, 0, "a", 5.0, begun=True), Candidate(4, 0, "a", begun=True)]
    assert picked(limits, new + goes_on) == [1, 3, 4]


def test_a_delayed_start_counts_as_one_that_begins() -> None:
    assert picked(
        Limits("q", rate=Quota(1, 1.0)), [Candidate(1, 0, None, 5.0), Candidate(2, 0, None, 6.0, begun=True)]
    ) == [1, 2]
    assert picked(Limits("q", rate=Quota(1, 1.0)), [Candidate(1, 0, None, 5.0)], starts=1) == []


def test_it_is_known_what_held_runs_back() -> None:
    room = Room(Limits("q", per_key=1, key_rate=Quota(1, 1.0)), lane_starts=lambda lane: int(lane == "slow"))
    pick(runs("a", "a", "slow"), room, 10)
    assert (room.lanes_full, room.lanes_held, room.held_by_rate) == ({"a"}, {"slow"}, False)
    room = Room(Limits("q", rate=Quota(1, 1.0)))
    pick(runs("a"), room, 10)
    assert not room.held_by_rate
    pick(runs("a"), room, 10)
    assert room.held_by_rate


def test_what_a_lane_does_is_asked_once_for_each_lane() -> None:
    asked: list[str] = []

    def running(lane: str) -> int:
        asked.append(lane)
        return 0

    pick(runs("a", "b", "a", "b", "a"), Room(Limits("q", per_key=2), lane_running=running), 10)
    assert asked == ["a", "b"]


@pytest.mark.parametrize(
    ("declared", "chosen", "holds"),
    [
        ({}, {}, Limits("q")),
        ({"concurrency": 3, "rate": Quota(1, 1.0)}, {}, Limits("q", concurrency=3, rate=Quota(1, 1.0))),
        ({"concurrency": 3, "per_key": 1}, {"concurrency": 5}, Limits("q", concurrency=5, per_key=1)),
        ({"concurrency": 3}, {"concurrency": None}, Limits("q")),  # lifted by a person
        ({"concurrency": 3}, {"concurrency": 0}, Limits("q", concurrency=0)),
    ],
)
def test_what_a_person_chooses_goes_before_what_the_code_declares(
    declared: dict[str, Any], chosen: dict[str, Any], holds: Limits
) -> None:
    assert Settings("q", declared=text_of(declared), chosen=text_of(chosen)).limits == holds


def test_limits_that_only_a_later_version_knows_are_passed_over() -> None:
    assert fields_of('{"concurrency": 1, "moon": "full"}') == {"concurrency": 1}


def test_the_same_limits_are_the_same_text() -> None:
    one = text_of({"per_key": 1, "concurrency": 2, "rate": Quota(1, 2.0)})
    assert one == text_of({"rate": Quota(1, 2.0), "concurrency": 2, "per_key": 1})
    assert fields_of(one) == {"per_key": 1, "concurrency": 2, "rate": Quota(1, 2.0)}


def test_starts_of_a_large_quota_are_booked_later_than_they_were_and_on_few_lines() -> None:
    assert booked_at(Quota(bounds.QUOTA_ROWS, 60.0), 12.345) == 12.345
    many = Quota(1_000_000, 60.0)
    booked = {booked_at(many, 100.0 + at / 1_000) for at in range(60_000)}
    assert len(booked) <= bounds.QUOTA_ROWS + 1
    assert all(booked_at(many, at) >= at for at in (100.0, 100.001, 159.99))

"""How fast starts may follow each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onward.core.errors import UsageError
from onward.core.pace import Pace, Rate


@pytest.mark.parametrize(
    ("text", "per_s", "burst"),
    [
        ("5/s", 5, 1),
        ("60/min", 1, 1),
        (" 1000 / h ", 1000 / 3600, 1),
        ("1/10s", 0.1, 1),
        ("0.5/second", 0.5, 1),
        ("2/day", 2 / 86_400, 1),
        ("60/min burst 10", 1, 10),
    ],
)
def test_a_rate_is_written_as_how_many_in_which_time(text: str, per_s: float, burst: int) -> None:
    assert Rate.parsed(text) == Rate(pytest.approx(per_s), burst)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "5/",
        "/s",
        "0/s",
        "-1/s",
        "5/fortnight",
        "5/0s",
        "1e9/s",
        "5/s burst 0",
        "5/s burst",
        "٥/s",
        5,
        None,
        *("9" * 400 + "/s", "1/" + "9" * 400 + "s", "5/s burst " + "9" * 400),
    ],
)
def test_what_is_no_rate_is_refused_with_examples(text: object) -> None:
    with pytest.raises(
        UsageError, match=r'per_key_rate=.* is not a rate: write how many in which time, as in "5/s"'
    ):
        Rate.parsed(text, "per_key_rate")  # type: ignore[arg-type]


def test_starts_follow_each_other_at_an_even_pace() -> None:
    pace = Pace(Rate(5))
    assert pace.start(100.0) == 0
    assert pace.wait_s(100.0) == pytest.approx(0.2)
    assert pace.wait_s(100.15) == pytest.approx(0.05)
    assert pace.wait_s(100.2) == pytest.approx(0)


def test_after_a_quiet_time_a_burst_may_start_at_once_and_then_the_pace_holds_again() -> None:
    pace = Pace(Rate(1, burst=3))
    assert [pace.start(50.0) for _ in range(5)] == [0, 0, 0, 1, 2]


def test_a_quiet_time_saves_up_no_more_than_the_burst() -> None:
    pace = Pace(Rate(1))
    pace.start(0)
    assert [pace.start(1_000.0) for _ in range(3)] == [0, 1, 2]


def test_whoever_resumes_waits_as_if_the_burst_were_used_up() -> None:
    pace = Pace(Rate(1, burst=3))
    pace.resume(10.0)
    assert [pace.start(10.25) for _ in range(3)] == [0.75, 1.75, 2.75]


@given(
    rate=st.floats(0.1, 1_000),
    burst=st.integers(1, 5),
    gaps=st.lists(st.floats(0, 20), min_size=1, max_size=60),
    restart_at=st.integers(0, 59),
)
def test_no_window_holds_more_starts_than_promised_whenever_they_are_asked_for(
    rate: float, burst: int, gaps: list[float], restart_at: int
) -> None:
    """Also when somebody else goes on in the middle who knows the latest start only."""
    pace, now, starts = Pace(Rate(rate, burst)), 0.0, list[float]()
    for number, gap in enumerate(gaps):
        if number == restart_at and starts:
            pace = Pace(Rate(rate, burst))
            pace.resume(starts[-1])
        now += gap
        now += pace.start(now)
        starts.append(now)
    for first, begin in enumerate(starts):
        for last in range(first, len(starts)):
            window = starts[last] - begin
            assert last - first + 1 <= burst + window * rate + 1e-6 * (1 + last - first)

"""When so many failures in a row are too many."""

from __future__ import annotations

import pytest

from onward.core import limits
from onward.core.streak import Streak

AT_ONCE, LATER = limits.MAP_STOP_AT_ONCE, limits.MAP_STOP_AFTER


def fail(streak: Streak, times: int, error: BaseException | None = None, prefix: str = "k") -> None:
    for number in range(times):
        streak.failed(f"{prefix}{number}", error or ConnectionError("no route to host"))


def test_when_nothing_has_ever_succeeded_few_failures_are_enough() -> None:
    streak = Streak("auto", anything_done=False)
    fail(streak, AT_ONCE - 1)
    assert streak.reason is None
    fail(streak, 1)
    assert streak.reason is not None
    assert streak.reason.failures == AT_ONCE


def test_a_stretch_of_bad_rows_in_a_good_list_is_no_reason_to_stop() -> None:
    streak = Streak("auto", anything_done=True)
    fail(streak, LATER - 1)
    streak.succeeded()
    fail(streak, LATER - 1)
    assert streak.reason is None


def test_one_success_begins_the_count_anew() -> None:
    streak = Streak(3, anything_done=False)
    fail(streak, 2)
    streak.succeeded()
    fail(streak, 2)
    assert streak.reason is None
    fail(streak, 1)
    assert streak.reason is not None


def test_none_never_stops() -> None:
    streak = Streak(None, anything_done=False)
    fail(streak, 10 * LATER)
    assert streak.reason is None


def test_items_that_had_failed_before_say_nothing_new() -> None:
    """Otherwise a list that begins with twenty bad rows would stop every pass at the same place."""
    streak = Streak("auto", anything_done=False, failed_before=[f"k{n}" for n in range(AT_ONCE)])
    fail(streak, AT_ONCE)
    assert streak.reason is None
    fail(streak, AT_ONCE, prefix="new")
    assert streak.reason is not None


def test_the_reason_names_the_most_frequent_error_and_how_frequent_it_was() -> None:
    streak = Streak(5, anything_done=True)
    fail(streak, 3, TimeoutError("slow"))
    fail(streak, 2, ConnectionError("no\nroute   to host"))
    assert streak.reason is not None
    assert streak.reason.sentence == (
        "the last 5 items in a row failed and none succeeded in between, most often (3 of 5) with TimeoutError: slow"
    )
    assert isinstance(streak.cause, TimeoutError)


@pytest.mark.parametrize(
    ("message", "shown"), [("", "ValueError"), ("x" * 500, "ValueError: " + "x" * 199 + "…")]
)
def test_a_long_message_is_cut_and_a_missing_one_leaves_no_colon(message: str, shown: str) -> None:
    streak = Streak(1, anything_done=True)
    streak.failed("a", ValueError(message))
    assert streak.reason is not None
    assert streak.reason.error == shown
    assert streak.reason.sentence == f"the last item failed with {shown}"


def test_an_error_that_cannot_be_shown_does_not_hide_the_reason() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    streak = Streak(1, anything_done=True)
    streak.failed("a", Mute())
    assert streak.reason is not None
    assert streak.reason.error.endswith("Mute")

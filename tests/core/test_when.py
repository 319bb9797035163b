"""When nominal times come: in several zones on the days on which clocks change, at the ends of months, with jitter."""

from __future__ import annotations

import datetime as dt
from itertools import islice
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import onward
from onward.core import when
from onward.core.when import Timing

UTC = dt.UTC


def at(text: str) -> float:
    """`2025-03-30 01:00` in UTC, as seconds."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def utc(times: Any) -> list[str]:
    return [dt.datetime.fromtimestamp(one, UTC).strftime("%m-%d %H:%M") for one in times]


def coming(cron: str, tz: str, after: str, count: int) -> list[str]:
    """The next times in UTC."""
    return utc(islice(when.times(Timing(cron, tz=tz), 0.0, after=at(after)), count))


# -- clocks go forward and back -----------------------------------------------------------------------------

ROME, NEW_YORK, SYDNEY = "Europe/Rome", "America/New_York", "Australia/Sydney"


@pytest.mark.parametrize(
    ("cron", "tz", "after", "expected"),
    [
        # Rome goes from 02:00 to 03:00 on 2025-03-30, at 01:00 UTC; and from 03:00 back to 02:00 on 2025-10-26.
        ("30 2 * * *", ROME, "2025-03-29 00:00", ["03-29 01:30", "03-30 01:00", "03-31 00:30"]),
        ("0 2,3 * * *", ROME, "2025-03-30 00:00", ["03-30 01:00", "03-31 00:00", "03-31 01:00"]),
        ("0 3 * * *", ROME, "2025-03-29 12:00", ["03-30 01:00", "03-31 01:00"]),
        ("30 * * * *", ROME, "2025-03-30 00:00", ["03-30 00:30", "03-30 01:30", "03-30 02:30"]),
        ("30 2 * * *", ROME, "2025-10-25 12:00", ["10-26 00:30", "10-27 01:30"]),
        ("30 2 * * *", ROME, "2025-10-26 00:45", ["10-27 01:30"]),  # between the two
        ("30 2 * * *", ROME, "2025-10-26 01:15", ["10-27 01:30"]),  # in the second of the two hours
        ("30 * * * *", ROME, "2025-10-25 23:45", ["10-26 00:30", "10-26 01:30", "10-26 02:30"]),
        ("0 0 * * *", ROME, "2025-10-25 12:00", ["10-25 22:00", "10-26 23:00", "10-27 23:00"]),
        # New York: 2025-03-09 at 07:00 UTC, and 2025-11-02 at 06:00 UTC.
        ("30 2 * * *", NEW_YORK, "2025-03-08 12:00", ["03-09 07:00", "03-10 06:30"]),
        ("15 1 * * *", NEW_YORK, "2025-11-01 12:00", ["11-02 05:15", "11-03 06:15"]),
        ("*/30 * * * *", NEW_YORK, "2025-11-02 04:45", ["11-02 05:00", "11-02 05:30", "11-02 06:00", "11-02 06:30"]),
        # South of the equator spring is in October: Sydney 2025-10-05 at 16:00 UTC of the day before.
        ("30 2 * * *", SYDNEY, "2025-10-04 00:00", ["10-04 16:00", "10-05 15:30"]),
        ("30 2 * * *", SYDNEY, "2025-04-05 00:00", ["04-05 15:30", "04-06 16:30"]),
        # Lord Howe Island changes by half an hour, Cairo and Beirut at midnight.
        ("15 2 * * *", "Australia/Lord_Howe", "2025-10-04 00:00", ["10-04 15:30", "10-05 15:15"]),
        ("0 0 * * *", "Africa/Cairo", "2025-04-24 00:00", ["04-24 22:00", "04-25 21:00"]),
        ("30 0 * * *", "Asia/Beirut", "2025-03-29 00:00", ["03-29 22:00", "03-30 21:30"]),
        # No clocks change there.
        ("30 2 * * *", "Asia/Kolkata", "2025-03-29 12:00", ["03-29 21:00", "03-30 21:00"]),
        ("30 2 * * *", "UTC", "2025-03-29 12:00", ["03-30 02:30", "03-31 02:30"]),
    ],
)  # fmt: skip
def test_a_time_comes_once_on_the_days_on_which_clocks_change(
    cron: str, tz: str, after: str, expected: list[str]
) -> None:
    """As in Debian's cron: what falls into the gap comes right after it, what comes twice is done the first time; but
    what is to happen every hour goes on every hour."""
    assert coming(cron, tz, after, len(expected)) == expected


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("0 0 29 2 *", "2025-01-01 00:00", ["02-29 00:00", "02-29 00:00"]),
        ("0 0 31 * *", "2025-01-31 00:00", ["03-31 00:00", "05-31 00:00", "07-31 00:00", "08-31 00:00"]),
        ("0 12 L * *", "2024-02-01 00:00", ["02-29 12:00", "03-31 12:00", "04-30 12:00"]),
        ("0 12 LW * *", "2025-05-30 13:00", ["06-30 12:00", "07-31 12:00", "08-29 12:00"]),
        ("0 9 * * MON#1", "2025-01-01 00:00", ["01-06 09:00", "02-03 09:00"]),
        ("0 9 13 * FRI", "2025-06-12 00:00", ["06-13 09:00", "06-20 09:00"]),  # either of them, as in cron
        ("59 23 31 12 *", "2025-12-31 23:59", ["12-31 23:59"]),
        ("@daily", "2025-02-28 12:00", ["03-01 00:00"]),
        ("@monthly", "2025-02-28 12:00", ["03-01 00:00", "04-01 00:00"]),
    ],
)
def test_months_end_when_they_end(cron: str, after: str, expected: list[str]) -> None:
    assert coming(cron, "UTC", after, len(expected)) == expected


def test_leap_days_are_four_years_apart() -> None:
    until = at("2040-01-01 00:00")
    found = when.between(Timing("0 0 29 2 *"), 0.0, after=at("2024-02-29 00:00"), until=until, at_most=9)
    assert [dt.datetime.fromtimestamp(one, UTC).year for one in found] == [2028, 2032, 2036]


def test_six_fields_begin_with_seconds() -> None:
    found = islice(when.times(Timing("*/20 * * * * *"), 0.0, after=100.0), 3)
    assert list(found) == [120.0, 140.0, 160.0]


# -- what a person is told ------------------------------------------------------------------------------------


_GAP = "{} does not exist on {}, when clocks go forward: it starts at {}"
_TWICE = "02:30 comes twice on 2025-10-26, when clocks go back: "


@pytest.mark.parametrize(
    ("cron", "tz", "nominal", "told"),
    [
        ("30 2 * * *", ROME, "2025-03-30 01:00", _GAP.format("02:30", "2025-03-30", "03:00")),
        ("0 3 * * *", ROME, "2025-03-30 01:00", None),  # 03:00 exists
        ("0 * * * *", ROME, "2025-03-30 01:00", None),
        ("30 2 * * *", ROME, "2025-10-26 00:30", _TWICE + "it starts once, the first time"),
        ("30 * * * *", ROME, "2025-10-26 00:30", _TWICE + "this is the first, and it starts both times"),
        ("30 * * * *", ROME, "2025-10-26 01:30", _TWICE + "this is the second, and it starts both times"),
        ("0 0 * * *", "Africa/Cairo", "2025-04-24 22:00", _GAP.format("00:00", "2025-04-25", "01:00")),
        ("30 2 * * *", ROME, "2025-03-31 00:30", None),
        ("30 2 * * *", "UTC", "2025-03-30 02:30", None),
    ],
)
def test_a_person_is_told_what_clock_changes_do_to_a_time(
    cron: str, tz: str, nominal: str, told: str | None
) -> None:
    assert when.remark(Timing(cron, tz=tz), at(nominal)) == told


# -- the same times for everybody -------------------------------------------------------------------------------

_ZONES = [
    ROME,
    NEW_YORK,
    SYDNEY,
    "UTC",
    "Africa/Cairo",
    "America/Sao_Paulo",
    "Asia/Kathmandu",
    "Pacific/Apia",
]
_CRONS = [
    "* * * * *", "*/7 * * * *", "30 * * * *", "0 0 * * *", "30 2 * * *", "15,45 1-3 * * *", "0 */3 * * *",
    "59 23 L * *", "0 2 29 2 *", "30 2 * * SUN", "0 0 1 */2 *", "5 4 * * MON-FRI",
]  # fmt: skip
_ANY_TIME = st.floats(at("2024-01-01 00:00"), at("2027-12-31 00:00"))
# Around the nights on which clocks change somewhere.
_CHANGES = st.sampled_from([at(f"{day} 00:00") for day in ("2025-03-09", "2025-03-30", "2025-04-06", "2025-04-25",
    "2025-10-05", "2025-10-26", "2025-10-31", "2025-11-02")])  # fmt: skip
_AROUND = st.builds(lambda day, s: day + s, _CHANGES, st.floats(-86_400, 86_400))


@given(st.sampled_from(_CRONS), st.sampled_from(_ZONES), _ANY_TIME | _AROUND, st.integers(0, 30))
def test_wherever_one_begins_to_count_the_same_times_follow(
    cron: str, tz: str, after: float, skipped: int
) -> None:
    """Workers that restart, and those that have counted for a year, must agree on every nominal time."""
    timing = Timing(cron, tz=tz)
    found = list(islice(when.times(timing, 0.0, after=after), skipped + 5))
    assert found == sorted(set(found))
    assert all(one > after and one == int(one) for one in found)
    between = (found[skipped] + found[skipped + 1]) / 2
    for start in (found[skipped], between, found[skipped + 1] - 0.001):
        assert when.next_time(timing, 0.0, after=start) == found[skipped + 1]


@given(st.sampled_from(_CRONS), st.sampled_from(_ZONES), _ANY_TIME | _AROUND, st.floats(0, 40 * 86_400))
def test_the_latest_time_is_the_last_of_all_that_have_come(
    cron: str, tz: str, after: float, span_s: float
) -> None:
    timing = Timing(cron, tz=tz)
    span_s = min(span_s, 3 * 86_400) if cron.startswith("*") else span_s  # there are so many of these
    found = when.between(timing, 0.0, after=after, until=after + span_s, at_most=10_000)
    last = when.latest(timing, 0.0, after=after, until=after + span_s)
    assert last == (found[-1] if found else None)


@given(st.integers(1, 100_000), st.integers(0, 10**9), st.floats(-10.0, 10.0**9))
@example(
    3, 0, -5e-324
)  # a third of it was rounded to nothing: the first time of all was taken for one that has come
def test_an_interval_is_counted_from_its_beginning(every_s: int, since: int, ahead_s: float) -> None:
    timing, after = Timing(every_s=every_s), since + ahead_s
    first, second = islice(when.times(timing, float(since), after=after), 2)
    assert first > after >= first - every_s or first == since
    assert (first - since) % every_s == 0
    assert second == first + every_s
    assert when.latest(timing, float(since), after=after, until=second) == second
    assert when.latest(timing, float(since), after=first, until=second - 1) in (None, first)


# -- jitter -------------------------------------------------------------------------------------------------------


@given(st.text(max_size=20), st.integers(0, 2 * 10**9), st.floats(0.1, 86_400))
def test_jitter_is_the_same_for_everybody_and_never_early(name: str, nominal: int, jitter_s: float) -> None:
    timing = Timing("* * * * *", jitter_s=jitter_s)
    due = when.due_at(name, timing, float(nominal))
    assert nominal <= due <= nominal + jitter_s
    assert due == when.due_at(name, timing, float(nominal))


def test_jitter_spreads_evenly_over_its_length() -> None:
    timing = Timing("* * * * *", jitter_s=60)
    late = sorted(when.due_at("nightly", timing, 60.0 * n) - 60.0 * n for n in range(1_000))
    assert 13 < late[250] < 17
    assert 43 < late[750] < 47
    other = when.due_at("weekly", timing, 60.0)
    assert other != when.due_at("nightly", timing, 60.0)


def test_without_jitter_a_time_is_due_when_it_comes() -> None:
    assert when.due_at("nightly", Timing("* * * * *"), 60.0) == 60.0


# -- what cannot be followed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cron", "why"),
    [
        ("61 * * * *", "bad minute"),
        ("* 24 * * *", "bad hour"),
        ("* * * *", "wrong number of fields"),
        ("", "wrong number of fields"),
        ("* * * * * * *", "wrong number of fields"),
        ("0 0 30 2 *", "bad day-of-month"),
        ("0 0 * 13 *", "bad month"),
        ("0 0 * * MOO", "bad day-of-week"),
        ("5-1 * * * *", "bad minute"),
        ("*/0 * * * *", "bad minute"),
        ("@reboot", "wrong number of fields"),
        ("\x1b[31m * * * *", "bad minute"),
    ],
)
def test_a_malformed_expression_is_answered_with_a_sentence(cron: str, why: str) -> None:
    with pytest.raises(
        onward.UsageError, match=f"cannot be followed: {why}; nothing was scheduled"
    ) as caught:
        when.refuse(Timing(cron))
    assert str(caught.value).isprintable()


_FIELDS = st.text(st.sampled_from("0123456789*/,-#LW@ monSUNé\x00"), max_size=12)


@given(
    st.lists(_FIELDS, min_size=4, max_size=7).map(" ".join)
    | st.text(max_size=30)
    | st.just("9" * 9_999 + " * * * *")
)
def test_any_text_is_followed_or_refused_with_a_sentence(cron: str) -> None:
    said = ""
    try:
        when.refuse(Timing(cron))
    except onward.UsageError as refused:
        said = str(refused)
    if said:
        assert "cannot be followed" in said
        assert said.isprintable()
        assert len(said) < 500
    else:
        assert when.next_time(Timing(cron, tz=ROME), 0.0, after=at("2025-03-29 00:00")) is not None


@pytest.mark.parametrize("tz", ["Europe/Rom", "", "../../etc/passwd", "Mars/Base", "a\0b", "x" * 5_000])
def test_an_unknown_zone_is_answered_with_a_sentence(tz: str) -> None:
    with pytest.raises(onward.UsageError, match="is not known here; nothing was scheduled") as caught:
        when.refuse(Timing("* * * * *", tz=tz))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_utc_needs_no_zone_files_and_a_container_without_any_is_told_the_cure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import zoneinfo

    def nothing(name: str) -> zoneinfo.ZoneInfo:
        raise zoneinfo.ZoneInfoNotFoundError(name)

    monkeypatch.setattr(zoneinfo, "ZoneInfo", nothing)
    monkeypatch.setitem(vars(when.zoneinfo), "ZoneInfo", nothing)
    assert coming("0 3 * * *", "UTC", "2025-01-01 00:00", 1) == ["01-01 03:00"]
    with pytest.raises(onward.UsageError, match=r"no time zones at all.*pip install tzdata"):
        when.refuse(Timing("* * * * *", tz="Europe/Rome"))


def test_a_moment_needs_a_zone_and_a_place_in_the_calendar() -> None:
    with pytest.raises(onward.UsageError, match="no time zone"):
        when.stamp(dt.datetime(2025, 1, 1))  # noqa: DTZ001  (that is the point)
    assert when.stamp(dt.datetime(1970, 1, 1, tzinfo=UTC)) == 0.0

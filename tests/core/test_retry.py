"""Whether a failed attempt is repeated, and when."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onward.core import limits
from onward.core.errors import NotRecordable, UsageError
from onward.core.retry import Policy, delay_s, retry_after_s, retryable

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC).timestamp()


class Busy(Exception):
    """An error that carries what a server answered."""

    def __init__(self, **fields: Any) -> None:
        vars(self).update(fields)


def delay(
    policy: Policy, attempt: int, error: BaseException | None = None, random: float = 0.5
) -> float | None:
    return delay_s(policy, attempt=attempt, error=error or ValueError(), now=NOW, random=random)


# -- how often --------------------------------------------------------------------------------------


def test_by_default_an_exception_ends_it_as_in_a_plain_call() -> None:
    assert delay(Policy(), 1) is None


@given(st.integers(1, 50))
def test_so_many_attempts_are_made_and_not_one_more(max_attempts: int) -> None:
    policy = Policy(max_attempts=max_attempts)
    repeated = [delay(policy, attempt) is not None for attempt in range(1, max_attempts + 3)]
    assert repeated == [True] * (max_attempts - 1) + [False] * 3


@pytest.mark.parametrize(
    ("policy", "error", "repeats"),
    [
        (Policy(), ValueError(), True),
        (Policy(retry_on=(OSError,)), ConnectionError(), True),
        (Policy(retry_on=(OSError,)), ValueError(), False),
        (Policy(give_up_on=(OSError,)), ConnectionError(), False),
        (Policy(give_up_on=(OSError,)), ValueError(), True),
        (Policy(retry_on=(OSError,), give_up_on=(ConnectionError,)), ConnectionError(), False),
        (Policy(retry_on=(OSError,), give_up_on=(ConnectionError,)), TimeoutError(), True),
        (Policy(retry_on=(Exception,)), NotRecordable("r", "$", "Socket", "return its address"), False),
        (Policy(), KeyboardInterrupt(), False),
    ],
)
def test_the_policy_chooses_by_class(policy: Policy, error: BaseException, repeats: bool) -> None:
    assert retryable(policy, error) == repeats
    more = Policy(max_attempts=2, retry_on=policy.retry_on, give_up_on=policy.give_up_on)
    assert (delay(more, 1, error) is not None) == repeats


# -- after how long ---------------------------------------------------------------------------------


def test_without_jitter_the_delay_doubles_up_to_its_maximum() -> None:
    policy = Policy(max_attempts=9, backoff_s=1, backoff_max_s=10, jitter=False)
    assert [delay(policy, n) for n in range(1, 8)] == [1, 2, 4, 8, 10, 10, 10]


@given(
    st.integers(1, 10_000),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 100),
    st.floats(0, 1e6),
    st.floats(1, 1e3),
)
def test_full_jitter_lies_between_nothing_and_the_exponential_delay(
    attempt: int, random: float, backoff: float, most: float, factor: float
) -> None:
    policy = Policy(max_attempts=20_000, backoff_s=backoff, backoff_max_s=most, factor=factor)
    got = delay(policy, attempt, random=random)
    assert got is not None
    assert 0 <= got <= most
    if attempt == 1:
        assert got <= backoff
    assert delay(policy, attempt, random=0.0) == 0


@pytest.mark.parametrize("attempt", [65, 2_000, 10**9])
def test_a_long_row_of_failures_does_not_overflow(attempt: int) -> None:
    policy = Policy(max_attempts=10**10, backoff_s=1, backoff_max_s=60, jitter=False)
    assert delay(policy, attempt) == 60


def test_who_wants_no_delay_gets_none_however_often_it_fails() -> None:
    """From the 1,025th attempt on it was a minute: nothing times infinity is not a number."""
    policy = Policy(max_attempts=10**10, backoff_s=0, backoff_max_s=60, jitter=False)
    assert delay(policy, 5_000) == 0


def test_even_absurd_policies_give_a_finite_delay() -> None:
    policy = Policy(max_attempts=10**10, backoff_s=1e300, backoff_max_s=60, factor=1e9, jitter=False)
    got = delay(policy, 10**6)
    assert got is not None
    assert math.isfinite(got)


# -- what the server asks for -----------------------------------------------------------------------


def http_date(seconds: float) -> str:
    return format_datetime(datetime.fromtimestamp(NOW + seconds, UTC), usegmt=True)


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (Busy(retry_after=7), 7),
        (Busy(retry_after=0.25), 0.25),
        (Busy(retry_after="7"), 7),
        (Busy(retry_after=" 7 "), 7),
        (Busy(retry_after=timedelta(minutes=2)), 120),
        (Busy(retry_after=http_date(90)), 90),
        (Busy(retry_after=http_date(-90)), 0),
        (Busy(retry_after=-3), 0),
        (Busy(retry_after=timedelta(seconds=-3)), 0),
        (Busy(headers={"Retry-After": "30"}), 30),
        (Busy(headers={"retry-after": "30"}), 30),
        (Busy(response=SimpleNamespace(headers={"Retry-After": "30"})), 30),
        (Busy(response=SimpleNamespace(headers={"Retry-After": http_date(45)})), 45),
        (Busy(retry_after=5, headers={"Retry-After": "30"}), 5),
        (Busy(headers={"Retry-After": "0"}), 0),
        (Busy(retry_after="Sun Mar  1 12:01:30 2026"), 90),
    ],
)
def test_retry_after_is_understood_in_all_its_forms(error: Busy, seconds: float) -> None:
    assert retry_after_s(error, now=NOW) == pytest.approx(seconds)
    assert delay(Policy(max_attempts=2), 1, error) == pytest.approx(seconds)


class _Hostile:
    def get(self, name: str) -> str:
        raise RuntimeError("closed")


@pytest.mark.parametrize(
    "error",
    [
        ValueError(),
        Busy(retry_after="soon"),
        Busy(retry_after=""),
        Busy(retry_after=math.nan),
        Busy(retry_after=True),
        Busy(retry_after=object()),
        Busy(retry_after="Wed, 99 Foo 2026 99:99:99 GMT"),
        Busy(headers=_Hostile()),
        Busy(headers=["Retry-After"]),
        Busy(response=None),
        Busy(response=SimpleNamespace(headers=None)),
        Busy(headers={"Retry-After": ["7"]}),
        Busy(retry_after="\N{SUPERSCRIPT TWO}"),
    ],
)
def test_what_is_no_retry_after_leaves_the_policy_its_way(error: Exception) -> None:
    assert retry_after_s(error, now=NOW) is None
    assert delay(Policy(max_attempts=2, backoff_s=8, backoff_max_s=8, jitter=False), 1, error) == 8


@pytest.mark.parametrize("asked", [1e9, "9" * 400, math.inf, 10**400, timedelta.max])
def test_nobody_can_make_us_wait_for_ever(asked: Any) -> None:
    assert delay(Policy(max_attempts=2), 1, Busy(retry_after=asked)) == limits.RETRY_AFTER_MAX_S


@given(
    st.one_of(st.text(), st.floats(), st.integers(), st.binary(), st.none(), st.timedeltas(), st.datetimes())
)
def test_whatever_an_error_carries_the_answer_is_a_possible_delay(asked: Any) -> None:
    got = delay(Policy(max_attempts=2), 1, Busy(retry_after=asked))
    assert got is not None
    assert 0 <= got <= max(limits.RETRY_AFTER_MAX_S, limits.BACKOFF_MAX_S)


# -- policies that are refused ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"max_attempts": 0},
        {"max_attempts": -1},
        {"max_attempts": True},
        {"max_attempts": "3"},
        {"max_attempts": math.nan},
        {"max_crashes": 0},
        {"backoff_s": -1},
        {"backoff_s": None},
        {"backoff_max_s": -0.5},
        {"factor": 0.5},
    ],
)
def test_an_impossible_policy_is_refused_by_name(fields: dict[str, Any]) -> None:
    [name] = fields
    with pytest.raises(UsageError, match=f"{name.removesuffix('_s')}.* is not possible"):
        Policy(**fields)

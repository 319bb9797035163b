"""When a failed attempt is repeated, and after how long.

Exponential back-off with full jitter (https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/);
a server's own `Retry-After` is honoured when the exception carries it (RFC 9110, section 10.2.3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from onward.core import limits
from onward.core.errors import NotRecordable, UsageError
from onward.core.lazily import Lazily

if TYPE_CHECKING:
    from email import utils as email_utils
else:
    email_utils = Lazily("email.utils")

Exceptions = tuple[type[BaseException], ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """How often and how fast a unit of work is attempted. Times in seconds.

    `max_attempts` counts exceptions (1: as a plain call), `max_crashes` deaths of the process in the unit.
    """

    max_attempts: int = limits.MAX_ATTEMPTS
    max_crashes: int = limits.MAX_CRASHES
    backoff_s: float = limits.BACKOFF_S
    backoff_max_s: float = limits.BACKOFF_MAX_S
    factor: float = 2.0
    jitter: bool = True
    retry_on: Exceptions = (Exception,)
    give_up_on: Exceptions = ()

    def __post_init__(self) -> None:
        for name, value, least in (
            ("max_attempts", self.max_attempts, 1),
            ("max_crashes", self.max_crashes, 1),
            ("backoff", self.backoff_s, 0),
            ("backoff_max", self.backoff_max_s, 0),
            ("factor", self.factor, 1),
        ):
            number: object = value  # whatever the caller gave
            if not isinstance(number, (int, float)) or isinstance(number, bool) or not number >= least:
                raise UsageError(f"{name}={value!r} is not possible; give a number of at least {least}")


def delay_s(policy: Policy, *, attempt: int, error: BaseException, now: float, random: float) -> float | None:
    """Seconds until the attempt after `attempt` (1, 2, ...), or None if there is to be none.

    `random` in [0, 1) draws the jitter.
    """
    if attempt >= policy.max_attempts or not retryable(policy, error):
        return None
    asked = retry_after_s(error, now=now)
    if asked is not None:
        return min(asked, limits.RETRY_AFTER_MAX_S)
    return backoff_s(policy, attempt, random=random)


def backoff_s(policy: Policy, times: int, *, random: float) -> float:
    """Seconds to wait after so many failures (1, 2, ...); `random` in [0, 1) draws the jitter."""
    if policy.backoff_s == 0:  # nothing grows out of it, however often it is multiplied
        return 0.0
    ceiling = min(policy.backoff_max_s, policy.backoff_s * _growth(policy.factor, times - 1))
    return ceiling * random if policy.jitter else ceiling


def _growth(factor: float, times: int) -> float:
    """`factor` to that power; where floats end, infinity."""
    try:
        return float(factor) ** times
    except OverflowError:
        return math.inf


def retryable(policy: Policy, error: BaseException) -> bool:
    """Whether the policy repeats after this error. A value that cannot be recorded never gets better by repeating."""
    if isinstance(error, NotRecordable):
        return False
    return isinstance(error, policy.retry_on) and not isinstance(error, policy.give_up_on)


def retry_after_s(error: BaseException, *, now: float) -> float | None:
    """What the server asked for: `error.retry_after`, or a Retry-After header of the error or of its response."""
    value = getattr(error, "retry_after", None)
    if value is None:
        value = _header(error) or _header(getattr(error, "response", None))
    return _seconds(value, now)


def _header(carrier: Any) -> Any:
    headers: Any = getattr(carrier, "headers", None)
    if hasattr(headers, "get"):
        try:
            return headers.get("Retry-After") or headers.get("retry-after")
        except Exception:  # a foreign object: whatever its `get` does, there is no header then
            return None
    return None


def _seconds(value: Any, now: float) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        if isinstance(value, (int, float)):
            return max(0.0, float(value)) if value == value else None
        if hasattr(value, "total_seconds"):
            return max(0.0, float(value.total_seconds()))
        if not isinstance(value, str):
            return None
        if value.strip().isdecimal():
            return float(value)
        when: datetime = email_utils.parsedate_to_datetime(value)
        # The oldest form of an HTTP date names no zone; it is GMT all the same (RFC 9110, section 5.6.7).
        return max(0.0, (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now)
    except OverflowError:
        return math.inf
    except (ValueError, TypeError):
        return None

"""When a schedule's times come: cron expressions in their time zones, intervals, jitter, and what clock changes do.

A *nominal time* is a whole second at which a schedule is to start a run. Which ones there are depends on nothing but
the timing itself, so that all workers agree on them. Cron is read by cronsim, with the rules of Debian's cron for days
on which clocks change.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import deque
from collections.abc import Iterator
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Final, NamedTuple

from onward.core.errors import UsageError
from onward.core.lazily import Lazily

if TYPE_CHECKING:
    import zoneinfo

    import cronsim
else:
    zoneinfo, cronsim = Lazily("zoneinfo"), Lazily("cronsim")

# What cronsim does not know, because it is not of cron's grammar but a name for a whole expression.
_NICKNAMES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
# How far back the latest time is looked for, in growing steps: a frequent schedule is found in the first of them.
_BACK_S: Final = (60.0, 3_600.0, 86_400.0, 32 * 86_400.0, 366 * 86_400.0, 9 * 366 * 86_400.0)


class Timing(NamedTuple):
    """When a schedule starts: by `cron` in the zone `tz`, or every `every_s` seconds; up to `jitter_s` later."""

    cron: str | None = None
    every_s: int | None = None
    tz: str = "UTC"
    jitter_s: float = 0.0


# -- what is given ------------------------------------------------------------------------------------


def refuse(timing: Timing) -> None:
    """Raises UsageError with what is wrong with a timing that can never be followed."""
    zone(timing.tz)
    if timing.cron is not None:
        _refuse_cron(timing.cron)


def _refuse_cron(cron: str) -> None:
    reason = ""
    try:
        first = next(iter(cronsim.CronSim(_expanded(cron), dt.datetime(2000, 1, 1))), None)  # noqa: DTZ001  (naive: cron alone)
        if first is None:
            reason = "no such day comes within fifty years"
    # Of a number of thousands of digits Python itself raises a ValueError.
    except (cronsim.CronSimError, ValueError) as problem:
        reason = str(problem)[:1].lower() + str(problem)[1:]
    if reason:
        raise UsageError(
            f"the cron expression {cron[:80]!r} cannot be followed: {reason}; nothing was scheduled. It has five "
            f'fields, minute hour day-of-month month day-of-week, such as "0 3 * * MON-FRI"; or six, with the seconds '
            f"first."
        )


def zone(tz: str) -> dt.tzinfo:
    """The time zone of this name; UsageError says what to do if this system does not know it."""
    if tz == "UTC":  # known without any files
        return dt.UTC
    try:
        return zoneinfo.ZoneInfo(tz)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        pass
    raise UsageError(f"the time zone {tz[:80]!r} is not known here; nothing was scheduled. {_cure(tz)}")


def _cure(tz: str) -> str:
    try:
        zoneinfo.ZoneInfo("Europe/Paris")
    except (zoneinfo.ZoneInfoNotFoundError, OSError):
        return (
            "This system has no time zones at all, as many container images: install them with `pip install "
            "tzdata`, or the system's package tzdata."
        )
    return 'Write it as in "Europe/Rome" or "America/New_York"; without tz= times are in UTC.'


def _expanded(cron: str) -> str:
    return _NICKNAMES.get(cron.strip().lower(), cron)


# -- nominal times ------------------------------------------------------------------------------------


def times(timing: Timing, since: float, *, after: float) -> Iterator[float]:
    """The nominal times later than `after`, in order. Those of an interval are counted from `since`, the first."""
    if timing.every_s is not None:
        # `//` and not a quotient rounded first: that takes the last moment before a time for the time itself.
        count = max(0, int((after - since) // timing.every_s) + 1)
        while True:
            yield since + count * timing.every_s
            count += 1
    assert timing.cron is not None, "a timing has one of the two"
    latest = after
    for found in cronsim.CronSim(_expanded(timing.cron), dt.datetime.fromtimestamp(after, zone(timing.tz))):
        at = found.timestamp()
        # Begun in the second of two equal hours, cronsim goes back to the first.
        if at > latest:
            yield at
            latest = at


def next_time(timing: Timing, since: float, *, after: float) -> float | None:
    """The first nominal time later than `after`; None if none ever comes."""
    return next(times(timing, since, after=after), None)


def between(timing: Timing, since: float, *, after: float, until: float, at_most: int) -> list[float]:
    """The nominal times later than `after` up to `until`: the first ones, if there are more than `at_most`."""
    found = takewhile(lambda at: at <= until, times(timing, since, after=after))
    return list(islice(found, at_most))


def latest(timing: Timing, since: float, *, after: float, until: float) -> float | None:
    """The last nominal time later than `after` up to `until`, however many there are."""
    if timing.every_s is not None:
        at = since + (until - since) // timing.every_s * timing.every_s
        return at if at > after and at >= since else None
    for back_s in _BACK_S:
        start = max(after, until - back_s)
        found = deque(takewhile(lambda at: at <= until, times(timing, since, after=start)), maxlen=1)
        if found or start == after:
            return found[0] if found else None
    return None


def due_at(name: str, timing: Timing, nominal: float) -> float:
    """When the run of a nominal time is to be started: up to the jitter later, the same for everybody who asks."""
    if timing.jitter_s <= 0:
        return nominal
    seed = hashlib.blake2b(f"{name}@{nominal}".encode(), digest_size=8).digest()
    return nominal + timing.jitter_s * int.from_bytes(seed, "big") / 2**64


# -- for people ---------------------------------------------------------------------------------------


def local(timing: Timing, at: float) -> dt.datetime:
    """A time as it is read on a clock in the schedule's zone."""
    return dt.datetime.fromtimestamp(at, zone(timing.tz))


def stamp(at: dt.datetime) -> float:
    """A time as the seconds that it is stored in. UsageError for one without a zone, or out of reach."""
    if at.tzinfo is None:
        raise UsageError(f"{at} has no time zone, so it is no moment; nothing was started")
    if not 1970 <= at.year < 9999:  # conversions between zones leave the calendar at its ends
        raise UsageError(f"{at:%Y-%m-%d} lies before 1970 or beyond the calendar; nothing was started")
    return at.timestamp()


def remark(timing: Timing, nominal: float) -> str | None:
    """What a person is told of a time on a day on which clocks change; None if there is nothing to tell."""
    if timing.cron is None or timing.tz == "UTC":
        return None
    here = local(timing, nominal)
    wanted = _wanted(timing, here)
    if wanted is not None:
        return f"{wanted:%H:%M} does not exist on {wanted:%Y-%m-%d}, when clocks go forward: it starts at {here:%H:%M}"
    other = here.replace(fold=1 - here.fold)
    if here.utcoffset() == other.utcoffset():
        return None
    what = f"{here:%H:%M} comes twice on {here:%Y-%m-%d}, when clocks go back"
    if _is_one(timing, other):
        return f"{what}: this is the {'second' if here.fold else 'first'}, and it starts both times"
    return f"{what}: it starts once, the first time"


def _wanted(timing: Timing, here: dt.datetime) -> dt.datetime | None:
    """The time on the wall that cron asks for, if that does not exist and `here` stands in for it."""
    there = here.replace(tzinfo=None, fold=0)
    before = dt.datetime.fromtimestamp(here.timestamp() - 1, here.tzinfo).replace(tzinfo=None, fold=0)
    if there - before <= dt.timedelta(seconds=1):  # no time is missing right before it
        return None
    if _is_one(timing._replace(tz="UTC"), there.replace(tzinfo=dt.UTC)):
        return None  # it is asked for itself
    first = next(iter(cronsim.CronSim(_expanded(timing.cron or ""), before)), None)
    return first if first is not None and first < there else None


def _is_one(timing: Timing, at: dt.datetime) -> bool:
    """Whether a time is among the nominal ones."""
    return next_time(timing, 0.0, after=at.timestamp() - 1) == at.timestamp()

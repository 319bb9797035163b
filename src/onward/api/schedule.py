"""`onward.schedule`: start a workflow at times of the clock, or again and again, by whichever worker is there."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar

from onward.api.identity import checked_name
from onward.api.workflow import Workflow
from onward.core import limits, when
from onward.core.errors import UsageError
from onward.core.schedules import CATCH_UPS, OVERLAPS, CatchUp, Overlap, Spec
from onward.core.when import Timing
from onward.runtime import registry
from onward.runtime.registry import Plan

W = TypeVar("W", bound=Workflow[Any, Any])
# Of a run's id the schedule's name is the first part, its time and a mark the rest.
_NAME_CHARS: Final = limits.NAME_CHARS - 50


def schedule(
    cron: str | None = None,
    /,
    *,
    every: float | dt.timedelta | None = None,
    tz: str = "UTC",
    name: str | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    overlap: Overlap | None = None,
    catch_up: Literal["none", "latest", "all"] | float | dt.timedelta = "latest",
    jitter: float | dt.timedelta = 0,
) -> Callable[[W], W]:
    """Start a workflow at the times of a cron expression, or `every` so many seconds; above `@onward.workflow`.

        @onward.schedule("0 3 * * *", tz="Europe/Rome")
        @onward.workflow
        def import_orders() -> None: ...

        onward.schedule("0 6 * * MON", name="report for Milan", args=["Milan"])(report)

    Workers that define a schedule follow it: each nominal time starts at most one run, with however many workers. Cron
    is read in the time zone `tz`, which decides what happens when clocks change. `every` begins at once and then again
    each interval; if a run takes longer, the next one starts when it has ended.

    `overlap` says what becomes of a time that comes while the run before it has not ended: `"skip"` it (what cron
    does if nothing is said), start the `"latest"` such time afterwards (what `every` does), `"queue"` each of them,
    `"cancel_old"` for the new one, or `"allow"` both. `catch_up` says what becomes of times at which no worker was
    there: the `"latest"` of them is started, `"none"`, `"all"`, or those of the last so many seconds. `jitter` delays
    each start by up to so many seconds.

    The run finds its nominal time in `onward.current().scheduled_at`. Raises UsageError for what cannot be followed,
    NotRecordable for arguments.
    """
    timing = _timing(cron, every, tz, jitter)
    policy, window_s = _catch_up(catch_up)
    chosen = _overlap(overlap, policy, timing)

    def plan(workflow: W) -> W:
        given: object = workflow
        if not isinstance(given, Workflow):
            raise UsageError(
                f"onward.schedule takes a workflow, not {given!r}; nothing was scheduled. Write it above "
                f"@onward.workflow."
            )
        run = workflow.scheduled(tuple(args), dict(kwargs or {}))
        spec = Spec(
            run.name, run.args, timing, chosen, policy, window_s, run.queue, run.priority, run.lane, run.tags
        )
        registry.add_plan(Plan(_name(workflow.name if name is None else name), spec, workflow))
        return workflow

    return plan


def _name(name: str) -> str:
    checked_name(name)
    if "@" in name or "/" in name or len(name) > _NAME_CHARS:
        raise UsageError(
            f"a schedule's name has no `@`, no `/` and at most {_NAME_CHARS} characters, because it begins the ids of "
            f"its runs; {name[:80]!r} was not scheduled. Give another one with name="
        )
    return name


def _timing(cron: object, every: object, tz: object, jitter: object) -> Timing:
    if (cron is None) == (every is None):
        raise UsageError(
            'a schedule takes either a cron expression or every=, such as onward.schedule("0 3 * * *") or '
            "onward.schedule(every=60); nothing was scheduled"
        )
    if not isinstance(cron, str | None) or not isinstance(tz, str):
        raise UsageError(
            f"a cron expression and tz= are text, not {cron!r} and {tz!r}; nothing was scheduled. For an interval "
            f"write every="
        )
    every_s = None if every is None else _every(every)
    jitter_s = _seconds(jitter, "jitter", 0.0, limits.JITTER_MAX_S)
    if every_s is not None and jitter_s >= every_s:
        raise UsageError(
            f"jitter= is to be shorter than the interval of {every_s} s, not {jitter_s:g} s; nothing was scheduled"
        )
    timing = Timing(cron, every_s, tz, jitter_s)
    when.refuse(timing)
    return timing


def _every(every: object) -> int:
    seconds = _seconds(every, "every", limits.EVERY_S, limits.EVERY_MAX_S)
    if seconds != int(seconds):
        raise UsageError(
            f"every= takes whole seconds, not {seconds:g}; nothing was scheduled. What is to happen more often "
            f"loops in the workflow."
        )
    return int(seconds)


def _seconds(given: object, name: str, least: float, most: float) -> float:
    seconds = given.total_seconds() if isinstance(given, dt.timedelta) else given
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not least <= seconds <= most:
        raise UsageError(
            f"{name}= takes {least:g} to {most:g} seconds, or a timedelta, not {given!r}; nothing was scheduled"
        )
    return float(seconds)


def _catch_up(given: object) -> tuple[CatchUp, float]:
    known: CatchUp | None = next((one for one in CATCH_UPS if one == given), None)
    if known is not None and known != "window":
        return known, 0.0
    if isinstance(given, str):
        raise UsageError(
            f'catch_up= takes "none", "latest", "all" or a number of seconds, not {given!r}; nothing was scheduled'
        )
    return "window", _seconds(given, "catch_up", 1.0, limits.EVERY_MAX_S)


def _overlap(given: object, catch_up: CatchUp, timing: Timing) -> Overlap:
    catches_up = catch_up in ("all", "window")
    if given is None:
        return "queue" if catches_up else "skip" if timing.every_s is None else "latest"
    chosen: Overlap | None = next((one for one in OVERLAPS if one == given), None)
    if chosen is None:
        raise UsageError(f"overlap= takes one of {', '.join(OVERLAPS)}, not {given!r}; nothing was scheduled")
    if catches_up and chosen not in ("queue", "allow"):
        raise UsageError(
            f'overlap="{chosen}" would drop most of what catch_up= is to start; nothing was scheduled. Say '
            f'overlap="queue" (one after the other) or "allow" (at the same time).'
        )
    if chosen == "latest" and catch_up == "none":
        raise UsageError(
            'overlap="latest" starts a time late, which catch_up="none" forbids; nothing was scheduled. Leave one out.'
        )
    return chosen

"""How runs, times and tables look on a terminal, and what they are in JSON. Texts of users are neutralised here."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import click

from onward.api import ground
from onward.api.overview import Overview
from onward.cli.group import FAILED, FAILED_ITEMS, FINISHED, UNFINISHED
from onward.core import codec
from onward.core.errors import InDoubt, PayloadError
from onward.core.model import CLOSED, Run
from onward.core.texts import Failure, command_in, cursor_text, failure_of, plain
from onward.runtime.observe import span
from onward.runtime.progress import left_text

SCHEMA: Final = 1
# What continues a queued run that nothing but the lack of a worker keeps.
WORKER: Final = "(a worker continues it: onward worker TARGET)"
_COLORS: Final[Mapping[str, str]] = {
    "done": "green",
    "skipped": "green",
    "running": "cyan",
    "waiting": "cyan",
    "pending": "cyan",
    "again": "yellow",
    "interrupted": "yellow",
    "paused": "yellow",
    "failed": "red",
    "stuck": "red",
}


def emit(document: Mapping[str, Any]) -> None:
    """One JSON document on stdout. ASCII only, so that no terminal obeys what a user's text holds."""
    click.echo(json.dumps({"schema": SCHEMA, **document}, indent=2))


def table(rows: Sequence[Sequence[str]], *, indent: str = "") -> None:
    """Rows with their columns aligned; cells may be coloured."""
    if not rows:
        return
    widths = [max(_width(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)]
        click.echo((indent + "  ".join(cells)).rstrip())


def _width(cell: str) -> int:
    return len(click.unstyle(cell))


def heading(text: str) -> None:
    click.secho(text, bold=True)


def state_text(state: str) -> str:
    return click.style(state, fg=_COLORS.get(state))


# -- values -----------------------------------------------------------------------------------------


def iso(at: float | None) -> str | None:
    """A time for programs: ISO 8601 in UTC."""
    if at is None:
        return None
    try:
        return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):  # a damaged row must not hide the others
        return None


def moment(at: float) -> str:
    """A time for people: local, to the second."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    except (OverflowError, ValueError, OSError):
        return "an unknown time"


def ago(at: float, now: float) -> str:
    return f"{span(max(0.0, now - at))} ago"


def progress_text(one: Overview) -> str:
    """`61 of 117 (52 %) · 3 failed · 2 min left`."""
    counts = one.counts
    if one.run.identity.startswith("cursor:"):
        return "" if one.run.result is None else f"at {cursor_text(one.run.result)}"
    if one.run.kind == "workflow" and counts.total is None and not counts.done:
        return ""
    parts = [f"{counts.done:,}" if counts.total is None else f"{counts.done:,} of {counts.total:,}"]
    if counts.total:
        parts[0] += f" ({100 * counts.done // counts.total} %)"
    if counts.failed:
        parts.append(click.style(f"{counts.failed:,} failed", fg="red"))
    if one.left is not None:
        parts.append(f"{left_text(one.left)} left")
    elif one.state == "running" and counts.total is not None and counts.done < counts.total:
        parts.append("learning…")
    return " · ".join(parts)


def rate_text(rate: float | None) -> str:
    """`12.5/s`, `3.0/min`, or nothing."""
    if rate is None:
        return ""
    return f"{rate:,.1f}/s" if rate >= 1 else f"{60 * rate:,.1f}/min"


def name_text(run: Run) -> str:
    """What a run is called here: with its folder where that is another one, with its id where many have its name."""
    name = plain(ground.full_name(run))
    return f"{name} ({plain(run.id)})" if run.kind == "workflow" else name


def command_text(run: Run) -> str:
    """What to type here to continue a run; of a queued one, what lets a worker take it, or starts one."""
    if run.direct:
        return command_in(run.command, working_folder())
    if run.state == "paused":
        return f"onward resume {plain(run.id)}"
    if run.state in ("failed", "stuck"):
        return f"onward retry {plain(run.id)}"
    if run.state in CLOSED:
        return "onward start TARGET:WORKFLOW"
    return WORKER


def working_folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None


def run_failure(run: Run) -> Failure | None:
    return failure_of(run.error)


def doubt_of(run: Run) -> InDoubt | None:
    """The doubt about an at-most-once step that a run is stuck with."""
    if run.state != "stuck" or run.error is None:
        return None
    try:
        error = codec.decode_error(run.error)
    except PayloadError:  # a damaged row must not hide the others
        return None
    return error if isinstance(error, InDoubt) else None


def elsewhere_text(run_id: str, count: int, stands: tuple[str, str], out: str, to: str) -> str:
    """What to say of runs that went elsewhere before they were carried; `stands`: how each is now, of one and of many.

    `out`, `to`: where the first of them is to be exported and imported, should it never have arrived.
    """
    run = plain(run_id)
    one, many = stands
    which = f"{run} went elsewhere before and {one}"
    if count > 1:
        which = f"{count:,} runs, such as {run}, went elsewhere before and {many}"
    return (
        f"{which}, so that nothing is done twice. Only if one never arrived where it went: onward export {run} "
        f"-o FILE{out}, then onward import --take-over FILE {to}"
    )


def moved_text(to: str) -> str:
    """What to say of a journal that was moved away, wherever it is looked at."""
    return (
        f"everything of this journal was moved to {plain(to, 1_000)}, and goes on there; nothing is begun here any "
        f"more. Look there: set ONWARD_URL to that place"
    )


def run_json(one: Overview) -> dict[str, Any]:
    """A run for programs. Texts are as they were recorded."""
    run, failure = one.run, run_failure(one.run)
    return {
        "id": run.id,
        "kind": run.kind,
        "name": run.name,
        "queue": run.queue or None,
        "priority": run.priority if not run.direct else None,
        "tags": json.loads(run.tags) if run.tags else [],
        "parent": run.parent,
        "attempt": run.attempt + 1 if not run.direct else None,
        "state": one.state,
        "done": one.counts.done,
        "failed": one.counts.failed,
        "total": one.counts.total,
        "left_s": None if one.left is None else [one.left.low_s, one.left.high_s],
        "rate": one.rate,
        "resumed": one.resumed,
        "holder": one.holder,
        "last_sign_at": iso(one.last_sign_at),
        "asked": run.request,
        "created_at": iso(run.created_at),
        "updated_at": iso(run.updated_at),
        "wake_at": iso(run.wake_at),
        "command": run.command,
        "error": failure_json(failure),
    }


def failure_json(failure: Failure | None, *, whole: bool = False) -> dict[str, str] | None:
    if failure is None:
        return None
    found = {"class": failure.class_name, "message": failure.message}
    return {**found, "traceback": failure.traceback} if whole else found


def state_code(one: Overview) -> int:
    """The exit code that stands for a run's state."""
    if one.state == "done" or is_standing(one):
        return FINISHED
    if one.state in ("failed", "stuck", "cancelled"):
        return FAILED_ITEMS if went_through(one) else FAILED
    return UNFINISHED


def is_standing(one: Overview) -> bool:
    """Whether it waits for its next use: a loop does so where each item is done once, for ever, and a cursor does.

    Nothing of it is unfinished.
    """
    return one.state == "waiting" and one.run.kind == "loop"


def went_through(one: Overview) -> bool:
    """Whether a pass came to its end and only some of its items failed."""
    failure = run_failure(one.run)
    ended = failure is not None and failure.class_name == "onward.core.errors:RunFailed"
    return one.state == "failed" and ended and one.counts.failed > 0

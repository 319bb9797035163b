"""`onward schedule`: what starts by the clock, what comes next, and what a person does about it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Final

import click

from onward.api.journal import Journal
from onward.api.schedules import Filling, ScheduleView, Upcoming
from onward.cli import output
from onward.cli.group import Commands, tell
from onward.core import when
from onward.core.errors import UsageError
from onward.core.model import Run
from onward.core.schedules import Spec, nominal_of, origin
from onward.core.texts import plain, quoted
from onward.runtime.observe import span

_json = click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
_name = click.argument("name", metavar="NAME")
# Of a schedule that is shown alone.
_RUNS: Final = 20
_COLORS: Final = {"active": "green", "paused": "yellow", "orphaned": "yellow", "over": None}

_COMMANDS: Final = {
    "list": ("onward.cli.schedule:list_", "List schedules: what comes next, what came of the last runs."),
    "show": ("onward.cli.schedule:show", "Show one schedule: its definition, times, backlog and runs."),
    "pause": ("onward.cli.schedule:pause", "Start nothing more by a schedule until it is resumed."),
    "resume": ("onward.cli.schedule:resume", "Let a paused schedule go on with its next time."),
    "trigger": ("onward.cli.schedule:trigger", "Start a run of a schedule now."),
    "backfill": ("onward.cli.schedule:backfill", "Start runs for times of the past that have none."),
    "remove": ("onward.cli.schedule:remove", "Forget a schedule that no code defines any more."),
}


@click.group(cls=Commands, commands_from=_COMMANDS, invoke_without_command=True)
@_json
@click.pass_context
def schedule(context: click.Context, *, as_json: bool) -> None:
    """What starts by the clock. Without a command: list it.

    Schedules are defined in code, by `onward.schedule`, and followed by the workers that know them.
    """
    if context.invoked_subcommand is None:
        _list(as_json=as_json)
    elif as_json:
        raise UsageError(
            f"--json goes behind the command: onward schedule {context.invoked_subcommand} --json"
        )


@click.command(name="list")
@_json
def list_(*, as_json: bool) -> None:
    """List schedules: state, the next five times, what came of the last runs, what was skipped or missed."""
    _list(as_json=as_json)


def _list(*, as_json: bool) -> None:
    with Journal.existing() as journal:
        views, now = journal.schedules.list(), journal.now()
    if as_json:
        output.emit({"schedules": [_document(view) for view in views]})
        return
    for view in views:
        _print(view, now)
    if not views:
        tell("there is no schedule; define one in code with onward.schedule, and start a worker")


@click.command()
@_name
@_json
def show(name: str, *, as_json: bool) -> None:
    """Show one schedule: its definition, next times, what waits, and its latest runs."""
    with Journal.existing() as journal:
        view, now = journal.schedules.get(name, latest=_RUNS), journal.now()
    if as_json:
        output.emit({"schedule": _document(view)})
        return
    _print(view, now)
    if view.spec is not None:
        _print_spec(view.spec)
    for tail in view.schedule.backlog[:10]:
        click.echo(f"  waits   {_local(view, nominal_of(tail))}")
    if len(view.schedule.backlog) > 10:
        click.echo(f"          and {len(view.schedule.backlog) - 10:,} more")
    if view.runs:
        output.heading("runs")
        output.table([_run_row(view, run) for run in view.runs], indent="  ")


@click.command()
@_name
@_json
def pause(name: str, *, as_json: bool) -> None:
    """Start nothing more by a schedule until it is resumed. What it has started goes on."""
    with Journal.existing() as journal:
        view = journal.schedules.pause(name)
    _report(
        view, f"schedule {plain(name)} is paused; go on with: onward schedule resume {quoted(name)}", as_json
    )


@click.command()
@_name
@_json
def resume(name: str, *, as_json: bool) -> None:
    """Let a paused schedule go on with its next time.

    The times of the pause are not caught up; `onward schedule backfill` starts them.
    """
    with Journal.existing() as journal:
        view = journal.schedules.resume(name)
    _report(view, f"schedule {plain(name)} goes on; next: {_next(view)}", as_json)


@click.command()
@_name
@_json
def trigger(name: str, *, as_json: bool) -> None:
    """Start a run of a schedule now, beside its times. Its overlap policy holds."""
    with Journal.existing() as journal:
        started = journal.schedules.trigger(name)
    if as_json:
        output.emit(started._asdict())
    elif started.waits:
        behind = started.behind
        before = "the run before it has ended" if behind == 1 else f"the {behind:,} before it have ended"
        held = f" and the schedule goes on: onward schedule resume {quoted(name)}" if started.held else ""
        see = f"; see what waits with: onward schedule show {quoted(name)}"
        tell(f"{plain(started.run_id)} begins when {before}{held or see}")
    else:
        run = started.run_id
        tell(f"{plain(name)} is queued as {plain(run)}; see it with: onward show {quoted(run)}")


@click.command()
@_name
@click.option(
    "--from", "since", required=True, metavar="TIME", help="The first time: 2025-03-01 or 2025-03-01T03:00."
)
@click.option(
    "--to",
    "until",
    metavar="TIME",
    help="The last time, included; a day means all of it. If it is left out: now.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be started.")
@_json
def backfill(name: str, since: str, until: str | None, *, dry_run: bool, as_json: bool) -> None:
    """Start runs for times of the past that have none, one after the other.

    TIMEs are read in the schedule's time zone, unless they say their own (2025-03-01T03:00+01:00). Where runs of the
    schedule may overlap, all are started at once. What has a run already, however that ended, is left alone.
    """
    with Journal.existing() as journal:
        view = journal.schedules.get(name, latest=0)
        zone, overlap = _zone_of(view), "" if view.spec is None else view.spec.overlap
        end = (
            dt.datetime.fromtimestamp(journal.now(), zone)
            if until is None
            else _moment(until, zone, end=True)
        )
        fillings = journal.schedules.backfill(name, _moment(since, zone), end, dry_run=dry_run)
    if as_json:
        output.emit({"dry_run": dry_run, "times": [_filling(one) for one in fillings]})
        return
    if dry_run:
        output.table(
            [[_text(one.at), plain(one.run_id), one.known or "would be started"] for one in fillings]
        )
    count = sum(one.known is None for one in fillings)
    tell(f"{_sum(count, overlap, dry_run=dry_run)}; {len(fillings) - count:,} are there already")


@click.command()
@_name
@click.option(
    "--force", is_flag=True, help="Also while a worker defines it: it comes back with the next one."
)
@_json
def remove(name: str, *, force: bool, as_json: bool) -> None:
    """Forget a schedule that no code defines any more. The runs that it has started stay."""
    with Journal.existing() as journal:
        gone = journal.schedules.remove(name, force=force)
    if as_json:
        output.emit({"removed": gone.name})
    else:
        waited = f", the {len(gone.backlog):,} that waited are dropped" if gone.backlog else ""
        tell(f"schedule {plain(name)} is removed; the runs that it has started stay{waited}")


# -- what is typed --------------------------------------------------------------------------------------


def _zone_of(view: ScheduleView) -> dt.tzinfo:
    return dt.UTC if view.spec is None else when.zone(view.spec.timing.tz)


def _moment(text: str, zone: dt.tzinfo, *, end: bool = False) -> dt.datetime:
    """A time that was typed; of a day its beginning, or its last moment."""
    try:
        at = dt.datetime.fromisoformat(text)
        is_day = len(text) <= len("2025-03-01") and "T" not in text.upper() and ":" not in text
        if end and is_day:
            at += dt.timedelta(days=1, microseconds=-1)
        return at if at.tzinfo is not None else at.replace(tzinfo=zone)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{plain(text, 80)} is no time; nothing was started. Write 2025-03-01 or 2025-03-01T03:00."
        ) from None


def _sum(count: int, overlap: str, *, dry_run: bool) -> str:
    if count == 0:
        return "no run is missing"
    runs = "1 run" if count == 1 else f"{count:,} runs"
    if dry_run:
        return f"{runs} would be started"
    in_turn = count > 1 and overlap != "allow"
    return f"{runs} {'is' if count == 1 else 'are'} queued{', one after the other' if in_turn else ''}"


# -- what is shown --------------------------------------------------------------------------------------


def _print(view: ScheduleView, now: float) -> None:
    row = view.schedule
    state = click.style(view.state, fg=_COLORS.get(view.state, "red"))
    click.echo(f"{click.style(plain(row.name), bold=True)}  {state}  {_what(view)}")
    for sentence in _sentences(view, now):
        click.echo(f"  {sentence}")
    for at, upcoming in enumerate(view.upcoming):
        is_next = at == 0 and view.state == "active"
        label = "next    " if is_next else "times   " if at == 0 else "        "
        click.echo(f"  {label}{_upcoming(upcoming, now if is_next else None)}")
    results = ", ".join(
        f"{_local(view, _nominal(run))} {output.state_text(run.state)}" for run in view.runs[:5]
    )
    if results:
        click.echo(f"  last    {results}")
    counts = [(row.started, "started"), (row.skipped, "skipped"), (row.missed, "missed")]
    click.echo("  so far  " + ", ".join(f"{count:,} {what}" for count, what in counts))
    if row.note is not None:
        click.echo(f"          {plain(row.note)}")


def _what(view: ScheduleView) -> str:
    if view.spec is None:
        return ""
    timing = view.spec.timing
    times = f"every {span(timing.every_s)}" if timing.every_s is not None else f"{timing.cron} ({timing.tz})"
    return plain(f"{view.spec.workflow} at {times}" if timing.cron else f"{view.spec.workflow} {times}")


def _sentences(view: ScheduleView, now: float) -> Sequence[str]:
    """What a person should know of its state."""
    name = quoted(view.name)
    found = {
        "orphaned": "no living worker defines it, so nothing starts. Start one with: onward worker TARGET; or, if it "
        f"is gone for good: onward schedule remove {name}",
        "paused": f"nothing starts until: onward schedule resume {name}",
        "ahead": f"its last time lies in the future, so the clock was wrong then; go on with: "
        f"onward schedule resume {name}",
        "over": "no further time comes",
        "damaged": "what is stored of it cannot be read; its next worker defines it anew",
    }
    sentences = [found[view.state]] if view.state in found else []
    if view.problem is not None:
        sentences.append(plain(view.problem))
    due_at, open_ = view.schedule.due_at, [plain(run) for run in view.unfinished]
    if open_ and view.state != "paused":
        sentences.append(f"{', '.join(open_)} goes on")
    if view.state == "active" and due_at is not None and now - due_at > 1 and not open_:
        sentences.append(f"due since {span(now - due_at)}, and not started yet")
    if view.schedule.backlog:
        count = len(view.schedule.backlog)
        sentences.append(f"{count:,} {'time waits' if count == 1 else 'times wait'} for its run to end")
    return sentences


def _print_spec(spec: Spec) -> None:
    timing = spec.timing
    rows = [["overlap", spec.overlap], ["catch-up", _catch_up(spec)], ["queue", plain(spec.queue)]]
    if timing.jitter_s:
        rows.append(["jitter", span(timing.jitter_s)])
    if spec.priority:
        rows.append(["priority", str(spec.priority)])
    if spec.args not in (None, "[[],{}]"):
        rows.append(["args", plain(spec.args or "")])
    output.table(rows, indent="  ")


def _catch_up(spec: Spec) -> str:
    return f"the last {span(spec.window_s)}" if spec.catch_up == "window" else spec.catch_up


def _next(view: ScheduleView) -> str:
    return _upcoming(view.upcoming[0], None) if view.upcoming else "no time"


def _upcoming(one: Upcoming, now: float | None) -> str:
    text = _text(one.at)
    if now is not None:
        text += f" (in {span(max(0.0, one.at.timestamp() - now))})"
    if one.due_at != one.at:
        text += f", with jitter {one.due_at:%H:%M:%S}"
    return text if one.remark is None else f"{text}: {one.remark}"


def _text(at: dt.datetime) -> str:
    seconds = ":%S" if at.second else ""
    return at.strftime(f"%a %Y-%m-%d %H:%M{seconds} %Z")


def _local(view: ScheduleView, at: float) -> str:
    try:
        return _text(dt.datetime.fromtimestamp(at, _zone_of(view)))
    except UsageError:  # a zone that this machine does not know
        return _text(dt.datetime.fromtimestamp(at, dt.UTC))


def _nominal(run: Run) -> float:
    found = origin(run.identity)
    return run.created_at if found is None else found[1]


def _run_row(view: ScheduleView, run: Run) -> list[str]:
    failure = output.run_failure(run)
    took = span(run.updated_at - run.created_at) if run.state in ("done", "failed", "cancelled") else ""
    error = "" if failure is None else failure.line
    return [_local(view, _nominal(run)), output.state_text(run.state), took, plain(run.id), error]


def _report(view: ScheduleView, sentence: str, as_json: bool) -> None:  # noqa: FBT001  (as it was given)
    if as_json:
        output.emit({"schedule": _document(view)})
    else:
        tell(sentence)


# -- for programs -----------------------------------------------------------------------------------------


def _document(view: ScheduleView) -> dict[str, Any]:
    row, spec = view.schedule, view.spec
    return {
        "name": row.name,
        "state": view.state,
        "problem": view.problem,
        "workflow": None if spec is None else spec.workflow,
        "cron": None if spec is None else spec.timing.cron,
        "every_s": None if spec is None else spec.timing.every_s,
        "tz": None if spec is None else spec.timing.tz,
        "jitter_s": None if spec is None else spec.timing.jitter_s,
        "overlap": None if spec is None else spec.overlap,
        "catch_up": None if spec is None else spec.catch_up,
        "window_s": None if spec is None or spec.catch_up != "window" else spec.window_s,
        "queue": None if spec is None else spec.queue,
        "args": None if spec is None else spec.args,
        "next": [_upcoming_document(one) for one in view.upcoming],
        "due_at": output.iso(row.due_at),
        "unfinished": list(view.unfinished),
        "waiting": [output.iso(nominal_of(tail)) for tail in row.backlog],
        "started": row.started,
        "skipped": row.skipped,
        "missed": row.missed,
        "note": row.note,
        "runs": [
            {"id": run.id, "scheduled_at": output.iso(_nominal(run)), "state": run.state} for run in view.runs
        ],
    }


def _upcoming_document(one: Upcoming) -> dict[str, Any]:
    return {"at": one.at.isoformat(), "due_at": one.due_at.isoformat(), "remark": one.remark}


def _filling(one: Filling) -> dict[str, Any]:
    return {"at": one.at.isoformat(), "run_id": one.run_id, "known": one.known}

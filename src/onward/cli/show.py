"""`onward show RUN`: what happened in a run, what failed and why, and what continues it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from onward.api.identity import has_own_id
from onward.api.journal import Journal
from onward.api.overview import Overview
from onward.api.staff import Staff
from onward.cli import output
from onward.cli.status import what_to_type
from onward.core.keys import NOTES, SEPARATOR
from onward.core.model import Run
from onward.core.strip import Stretch, strip
from onward.core.texts import plain, plain_lines
from onward.core.timeline import Attempt, Beat, Gap, Lease, Mark, Timeline, UnitLine
from onward.runtime.observe import span

# Lines of one section; --all shows every one.
_LINES: Final = 20
_STRIP: Final = 60
_STRETCHES: Final[dict[Stretch, str]] = {"worked": "█", "dead": "░", "idle": "·"}
_ENDS: Final = {
    "open": "is being executed",
    "died": "the process died",
    "returned": "finished",
    "raised": "ended with an error",
    "released": "given back unfinished",
    "suspended": "waits",
    "retried": "failed, to be attempted again",
    "paused": "paused",
    "diverged": "stopped: the code no longer fits the record",
    "doubted": "stopped: an at-most-once step is in doubt",
    "cancelled": "cancelled",
}


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--all", "everything", is_flag=True, help="Every recorded step and item.")
@click.option("--errors", is_flag=True, help="With the traceback of each error.")
@click.option("--exit-code", is_flag=True, help="Exit with the code of the run's state: 0, 1, 3 or 4.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
def show(run_id: str, *, everything: bool, errors: bool, exit_code: bool, as_json: bool) -> None:
    """Show one run: its timeline, attempts and errors.

    RUN is an id, the beginning of one if it is unique, or a name, which means its latest run.
    """
    with Journal.existing() as journal:
        one = journal.get(run_id)
        line, now = journal.timeline(one.run.id), journal.now()
        # Only of these it matters who else works.
        orphaned = one.state == "interrupted" and not one.run.direct
        staff = Staff.of(journal) if orphaned and not as_json else None
    if as_json:
        output.emit(_json(one, line))
    else:
        lines = sys.maxsize if everything else _LINES
        _head(one, line, now)
        _leases(line, lines)
        _units(one, line, lines, now, with_traceback=errors)
        _foot(one, staff, with_traceback=errors)
    if exit_code:
        click.get_current_context().exit(output.state_code(one))


def _head(one: Overview, line: Timeline, now: float) -> None:
    run = one.run
    click.echo(f"{click.style(plain(run.name), bold=True)}  {run.kind} {plain(run.id)}")
    facts = [output.state_text(one.state)]
    if one.run.request:
        facts.append(f"asked to {one.run.request}")
    if one.silent_s:
        facts.append(f"no sign of life for {span(one.silent_s)}")
    facts += [
        output.progress_text(one),
        f"begun {output.moment(run.created_at)} ({output.ago(run.created_at, now)})",
    ]
    click.echo("  " + " · ".join(fact for fact in facts if fact))
    if one.state == "running" and one.holder:
        click.echo(f"  executed by {plain(one.holder)}")
    if line.kept.units:
        about = "about " if line.cut else ""
        what = "step" if run.kind == "workflow" else "item"
        units = f"1 {what}" if line.kept.units == 1 else f"{line.kept.units:,} {what}s"
        kept = f"  kept from before: {units}, {about}{span(line.kept.work_s)} of work"
        repeated = "" if not line.repeated else f"; begun again: {line.repeated:,}"
        click.echo(kept + repeated)
    if line.dead_s >= 1:
        click.echo(f"  nobody worked on it for {span(line.dead_s)}, because a process had died")
    if len(line.leases) > 1:
        drawn = "".join(_STRETCHES[one] for one in strip(line, now=now, width=_STRIP))
        click.echo(
            f"  {drawn}  {_STRETCHES['worked']} executed {_STRETCHES['dead']} dead {_STRETCHES['idle']} set aside"
        )


def _leases(line: Timeline, lines: int) -> None:
    click.echo()
    output.heading("timeline")
    rows: list[tuple[float, str, str]] = [
        (lease.begun_at, _lease_name(lease), _did(lease)) for lease in line.leases
    ]
    for gap in line.gaps:
        if gap.ended_at - gap.begun_at >= 1:
            nobody = click.style(f"nobody for {span(gap.ended_at - gap.begun_at)}", dim=True)
            rows.append((gap.begun_at, nobody, ""))
    rows += [(mark.at, f"{mark.event} by {plain(mark.by)}", "") for mark in line.marks if mark.by is not None]
    rows.sort(key=lambda row: row[0])
    if len(rows) > lines:
        click.echo(f"  … {len(rows) - lines:,} earlier lines (--all)")
    output.table([[output.moment(at), what, did] for at, what, did in rows[-lines:]], indent="  ")
    if line.cut:
        click.echo("  (of the latest entries only)")


def _lease_name(lease: Lease) -> str:
    return "begun" if lease.fence == 1 else f"continued (lease {lease.fence})"


def _did(lease: Lease) -> str:
    """`7 done, 1 failed in 2 min, then the process died`."""
    least = "" if lease.whole else "at least "
    counts = [f"{least}{lease.units_done:,} done"] if lease.units_done else []
    if lease.units_failed:
        counts.append(f"{lease.units_failed:,} failed")
    took = f"in {span(max(0.0, lease.last_sign_at - lease.begun_at))}"
    end = _ENDS[lease.end] if lease.end == "open" else f"then {_ENDS[lease.end]}"
    return f"{', '.join(counts) or 'nothing done'} {took}, {end}"


def _units(one: Overview, line: Timeline, lines: int, now: float, *, with_traceback: bool) -> None:
    sections = (("in flight", line.in_flight), ("failed", line.failed), ("done", _done(one, line, lines)))
    for title, units in sections:
        if not units:
            continue
        click.echo()
        output.heading(title)
        shown = units[-lines:]
        if len(units) > lines:
            click.echo(f"  … {len(units) - lines:,} earlier ones (--all)")
        for unit in shown:
            _unit(unit, now, with_traceback=with_traceback)


def _done(one: Overview, line: Timeline, lines: int) -> Sequence[UnitLine]:
    """A workflow's steps are its story; the done items of a loop are shown only when all is wanted."""
    done = tuple(
        unit for unit in line.units if unit.state in ("done", "skipped") and not unit.key.startswith(NOTES)
    )
    return done if one.run.kind == "workflow" or lines == sys.maxsize else ()


def _unit(unit: UnitLine, now: float, *, with_traceback: bool) -> None:
    depth = unit.key.count(SEPARATOR)
    parts = [plain(unit.key), output.state_text(unit.state)]
    if unit.took_s is not None:
        parts.append(span(unit.took_s))
    if unit.tries > 1:
        parts.append(f"{unit.tries} attempts")
    if unit.crashes:
        parts.append("the process died in it" + (f" {unit.crashes} times" if unit.crashes > 1 else ""))
    if unit.state == "running" and unit.begun_at:
        parts.append(f"for {span(max(0.0, now - unit.begun_at))}")
    if unit.due_at is not None:
        parts.append(f"next attempt {output.moment(unit.due_at)}")
    click.echo("  " + "  " * depth + "  ".join(parts))
    if unit.state in ("done", "skipped"):
        return
    if unit.beats:
        _beats(unit.beats, now)
    for attempt in unit.attempts:
        _attempt(attempt, with_traceback=with_traceback)


def _beats(beats: Sequence[Beat], now: float) -> None:
    last = beats[-1]
    count = "1 heartbeat" if last.number == 1 else f"{last.number:,} heartbeats, the last"
    click.echo(f"      {count} {output.ago(last.at, now)}: {plain(last.details, 200)}")


def _attempt(attempt: Attempt, *, with_traceback: bool) -> None:
    what = attempt.failure.line if attempt.failure else "the process died"
    click.echo(f"      attempt {attempt.no}, {output.moment(attempt.ended_at)}: {what}")
    if with_traceback and attempt.failure and attempt.failure.traceback:
        _traceback(attempt.failure.traceback)


def _traceback(text: str) -> None:
    click.echo("\n".join(f"        {one}" for one in plain_lines(text).splitlines()))


def _foot(one: Overview, staff: Staff | None, *, with_traceback: bool) -> None:
    failure = output.run_failure(one.run)
    click.echo()
    if failure is not None and one.state in ("failed", "stuck", "pending", "interrupted"):
        click.echo(f"{click.style('error', fg='red')}  {failure.line}")
        if with_traceback and failure.traceback:
            _traceback(failure.traceback)
    if one.state in ("failed", "stuck", "interrupted"):
        click.echo(what_to_type(one, staff))
    elif one.state in ("pending", "paused", "waiting"):
        click.echo(f"continue it: {output.command_text(one.run)}")
    elif one.state in ("done", "cancelled") and one.run.direct:
        click.echo(f"{_next_call(one.run)}: {output.command_text(one.run)}")


def _next_call(run: Run) -> str:
    """What comes of the call of a run that has ended."""
    if not has_own_id(run):
        return "its call starts a new run"
    if run.state == "done":
        return "its call gives back what is recorded"
    return f"its call is refused, because it was cancelled, until: onward reset {plain(run.id)}\nthen"


# -- for programs -----------------------------------------------------------------------------------


def _json(one: Overview, line: Timeline) -> dict[str, Any]:
    failure = output.run_failure(one.run)
    return {
        "run": {**output.run_json(one), "error": output.failure_json(failure, whole=True)},
        "kept": {"units": line.kept.units, "work_s": line.kept.work_s},
        "worked_s": line.worked_s,
        "dead_s": line.dead_s,
        "repeated": line.repeated,
        "cut": line.cut,
        "leases": [_lease_json(lease) for lease in line.leases],
        "gaps": [_gap_json(gap) for gap in line.gaps],
        "marks": [_mark_json(mark) for mark in line.marks],
        "units": [_unit_json(unit) for unit in line.units],
    }


def _lease_json(lease: Lease) -> dict[str, Any]:
    return {
        "fence": lease.fence,
        "owner": lease.owner,
        "begun_at": output.iso(lease.begun_at),
        "last_sign_at": output.iso(lease.last_sign_at),
        "end": lease.end,
        "done": lease.units_done,
        "failed": lease.units_failed,
        "whole": lease.whole,
    }


def _gap_json(gap: Gap) -> dict[str, Any]:
    return {"begun_at": output.iso(gap.begun_at), "ended_at": output.iso(gap.ended_at), "died": gap.died}


def _mark_json(mark: Mark) -> dict[str, Any]:
    return {"at": output.iso(mark.at), "event": mark.event, "by": mark.by}


def _unit_json(unit: UnitLine) -> dict[str, Any]:
    return {
        "key": unit.key,
        "kind": unit.kind,
        "name": unit.name,
        "state": unit.state,
        "crashes": unit.crashes,
        "due_at": output.iso(unit.due_at),
        "took_s": unit.took_s,
        "attempts": [_attempt_json(attempt) for attempt in unit.attempts],
        "heartbeats": [_beat_json(beat) for beat in unit.beats],
    }


def _beat_json(beat: Beat) -> dict[str, Any]:
    return {
        "no": beat.number,
        "attempt": beat.attempt,
        "at": output.iso(beat.at),
        "details": _details(beat.details),
    }


def _details(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:  # a damaged row must not hide the others
        return None


def _attempt_json(attempt: Attempt) -> dict[str, Any]:
    return {
        "no": attempt.no,
        "state": attempt.state,
        "begun_at": output.iso(attempt.begun_at),
        "ended_at": output.iso(attempt.ended_at),
        "error": output.failure_json(attempt.failure, whole=True),
    }

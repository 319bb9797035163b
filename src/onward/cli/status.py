"""`onward status`: one glance at what runs, how far it is, what failed and what to type."""

from __future__ import annotations

from collections.abc import Sequence

import click

from onward.api.journal import Journal
from onward.api.overview import Overview
from onward.api.staff import Staff
from onward.cli import output
from onward.core.model import Run
from onward.core.texts import plain
from onward.core.timeline import ShownState
from onward.runtime.observe import span

_RUNNING: tuple[ShownState, ...] = ("running", "waiting", "pending", "paused")
_NEEDS_YOU: tuple[ShownState, ...] = ("interrupted", "failed", "stuck")
_ENDED: tuple[ShownState, ...] = ("done", "cancelled")
# Lines of a section: more than a screen is no glance. `onward runs` lists all.
_LINES = 10
# Unfinished runs that are looked at: among those that are never finished, the others must be found.
_LOOKED_AT = 50


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
def status(*, as_json: bool) -> None:
    """One glance: what runs, how far it is, what failed, what to type."""
    with Journal.existing() as journal:
        running = journal.list(states=_RUNNING, limit=_LOOKED_AT)
        needs_you = journal.list(states=_NEEDS_YOU, limit=_LINES)
        ended = journal.list(states=_ENDED, limit=5)
        now, place, moved_to = journal.now(), journal.place, journal.store.moved_to()
        staff = Staff.of(journal)
        left_alone = [*staff.sentences(), *journal.schedules.sentences()]
    standing = [one for one in running if output.is_standing(one)]
    if as_json:
        running = running[:_LINES]
        sections = {"running": running, "needs_you": needs_you, "ended": ended}
        output.emit(
            {
                "journal": place,
                "moved_to": moved_to,
                "left_alone": left_alone,
                **{k: [output.run_json(one) for one in v] for k, v in sections.items()},
            }
        )
        return
    click.echo(f"journal {place}")
    if moved_to is not None:
        click.echo(f"  {output.moved_text(moved_to)}")
    _running([one for one in running if one not in standing][:_LINES], now)
    _needs_you(needs_you, now, left_alone, staff)
    _ended(ended, now)
    _standing(standing[:_LINES], now)
    if not running and not needs_you and not ended:
        click.echo("\nno runs are recorded yet")


def _running(found: Sequence[Overview], now: float) -> None:
    if not found:
        return
    click.echo()
    output.heading("in progress")
    rows = [
        [output.name_text(one.run), output.state_text(one.state), output.progress_text(one), _who(one, now)]
        for one in found
    ]
    output.table(rows, indent="  ")
    for one in found:
        if one.said is not None:
            said = f"{plain(one.said.key, 60)} says {plain(one.said.details, 80)}"
            click.echo(f"  {output.name_text(one.run)}: {said} ({output.ago(one.said.at, now)})")
        if one.state in ("pending", "paused") and one.run.direct:
            click.echo(f"  continue {output.name_text(one.run)} with: {output.command_text(one.run)}")


def _who(one: Overview, now: float) -> str:
    if one.run.request:
        return f"asked to {one.run.request}"
    if one.state == "waiting" and one.run.wake_at is not None:
        over = now - one.run.wake_at
        return f"until {output.moment(one.run.wake_at)}" if over < 0 else f"due for {span(over)}"
    if one.state == "paused" and not one.run.direct:
        return f"let it go on: onward resume {plain(one.run.id)}"
    if one.state != "running" and not one.run.direct:
        again = f", attempt {one.run.attempt + 1}" if one.run.attempt else ""
        return f"in queue {plain(one.run.queue)} for {span(max(0.0, now - one.run.created_at))}{again}"
    if one.state != "running":
        return f"set aside {output.ago(one.run.updated_at, now)}"
    if one.silent_s:
        return f"no sign of life for {span(one.silent_s)}"
    return plain(one.holder or "", 60)


def _needs_you(found: Sequence[Overview], now: float, left_alone: Sequence[str], staff: Staff) -> None:
    if not found and not left_alone:
        return
    click.echo()
    output.heading("needs you")
    for sentence in left_alone:
        click.echo(f"  {plain(sentence)}")
    for one in found:
        head = [output.name_text(one.run), output.state_text(one.state), output.progress_text(one)]
        when = output.ago(one.last_sign_at, now)
        click.echo("  " + "  ".join(part for part in (*head, when) if part))
        failure = output.run_failure(one.run)
        if failure is not None:
            click.echo(f"    {failure.line}")
        for line in what_to_type(one, staff).splitlines():
            click.echo(f"    {line}")


def what_to_type(one: Overview, staff: Staff | None = None) -> str:
    """What continues a run that needs a person. `staff` tells whether a worker takes over an interrupted one."""
    if one.state == "interrupted" and not one.run.direct:
        return _what_takes_over(one.run, staff)
    command = output.command_text(one.run)
    doubt = output.doubt_of(one.run)
    if one.state == "stuck" and doubt is not None:
        if not one.run.direct:
            command = output.WORKER  # the answer makes it ready
        if_done, if_not = doubt.commands
        return f"find out what happened. If it was executed: {if_done}\nif not: {if_not}\nthen: {command}"
    if one.state == "stuck":
        return f"put it right, then type: onward retry {one.run.id}"
    if not one.run.direct:
        return f"put it right, then let a worker try what failed again: onward retry {one.run.id}"
    if one.counts.failed and one.run.identity.startswith("once:"):
        # Its passes come again and again: they leave alone what failed until a person says otherwise.
        return f"try the failed ones again: onward retry {one.run.id}\nthen: {command}"
    if one.counts.failed:
        return f"try the failed ones again: {command} (what failed: onward failed {one.run.id})"
    return f"continue it: {command}"


def _what_takes_over(run: Run, staff: Staff | None) -> str:
    if staff is not None and staff.serves(run):
        return "its worker died; another one that lives continues it by itself"
    nobody = "" if staff is None else ", and no living worker knows that workflow and serves that queue"
    return f"its worker died{nobody}; what it had recorded is kept. Start a worker: onward worker TARGET"


def _ended(found: Sequence[Overview], now: float) -> None:
    if not found:
        return
    click.echo()
    output.heading("ended lately")
    rows = [
        [
            output.name_text(one.run),
            output.state_text(one.state),
            output.progress_text(one),
            output.ago(one.run.updated_at, now),
        ]
        for one in found
    ]
    output.table(rows, indent="  ")


def _standing(found: Sequence[Overview], now: float) -> None:
    """Cursors, and what is done once for ever: never finished, and nothing of it is in progress."""
    if not found:
        return
    click.echo()
    output.heading("kept for the next time")
    rows = [
        [output.name_text(one.run), output.progress_text(one), output.ago(one.run.updated_at, now)]
        for one in found
    ]
    output.table(rows, indent="  ")

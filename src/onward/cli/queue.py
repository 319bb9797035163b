"""`onward queue`: how much waits, what limits it, and what a person does about it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, Final, TypeVar

import click

from onward.api.journal import Journal
from onward.api.queues import OPTIONS, QueueView
from onward.api.retention import seconds_of
from onward.cli import output
from onward.cli.group import Commands, tell
from onward.core.errors import UsageError
from onward.core.flow import Quota
from onward.core.model import Run
from onward.core.texts import plain, quoted
from onward.runtime.observe import span

F = TypeVar("F", bound=Callable[..., Any])
_json = click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
_name = click.argument("name", metavar="QUEUE")
_exact = click.option("--exact", "exactly", is_flag=True, help="Count on beyond 100,000 runs.")
# Failed runs that are shown, unless all are asked for.
_SHOWN: Final = 20

_COMMANDS: Final = {
    "list": ("onward.cli.queue:list_", "List queues: what waits, what runs, what limits it."),
    "show": ("onward.cli.queue:show", "Show one queue: its limits, where they come from, what has failed."),
    "pause": ("onward.cli.queue:pause", "Let no run of a queue begin until it is resumed."),
    "resume": ("onward.cli.queue:resume", "Let a paused queue go on."),
    "set": ("onward.cli.queue:set_", "Set limits that go before those of the code."),
    "failed": ("onward.cli.queue:failed", "List the runs of a queue that have failed for good."),
    "retry": ("onward.cli.queue:retry", "Make failed runs of a queue ready again, all or some."),
    "clear": ("onward.cli.queue:clear", "Cancel what waits in a queue and has never begun."),
}


@click.group(cls=Commands, commands_from=_COMMANDS, invoke_without_command=True)
@_json
@click.pass_context
def queue(context: click.Context, *, as_json: bool) -> None:
    """What waits in queues. Without a command: list them.

    Queues are declared in code, by `onward.Queue`; what is set here goes before that, until it is handed back.
    """
    if context.invoked_subcommand is None:
        _list(as_json=as_json, exactly=False)
    elif as_json:
        raise UsageError(f"--json goes behind the command: onward queue {context.invoked_subcommand} --json")


# -- looking --------------------------------------------------------------------------------------------


@click.command(name="list")
@_exact
@_json
def list_(*, exactly: bool, as_json: bool) -> None:
    """List queues: runs by state, how long the oldest waits, and the limits that hold."""
    _list(as_json=as_json, exactly=exactly)


def _list(*, as_json: bool, exactly: bool) -> None:
    with Journal.existing() as journal:
        views = journal.queues.list(exactly=exactly)
    if as_json:
        output.emit({"queues": [_document(view) for view in views]})
        return
    if not views:
        tell("nothing was ever queued here; start a run with workflow.start, or with: onward start TARGET")
        return
    output.table([_HEAD, *map(_row, views)])


@click.command()
@_name
@_exact
@_json
def show(name: str, *, exactly: bool, as_json: bool) -> None:
    """Show one queue: its runs by state, each limit and where it comes from, and its latest failed runs."""
    with Journal.existing() as journal:
        view = journal.queues.get(name, exactly=exactly)
        dead = list(islice(journal.queues.dead(name), _SHOWN))
        now = journal.now()
    if as_json:
        output.emit({"queue": _document(view), "failed": [_run_document(run) for run in dead]})
        return
    output.table([_HEAD, _row(view)])
    for option, field in _limits_of(view):
        origin = "set by a person" if field in view.chosen else "by the code"
        click.echo(f"  {option:<20} {_limit(getattr(view.limits, field))}  ({origin})")
    if dead:
        output.heading("failed")
        output.table([_run_row(run, now) for run in dead], indent="  ")


def _which(command: F) -> F:
    """The options that say which failed runs are meant."""
    for option in (
        click.option("--tag", help="Only those with this tag."),
        click.option("--older", metavar="TIME", help="Only those that failed so long ago: 30m, 12h, 7d."),
        click.option(
            "--error", metavar="TEXT", help="Only those whose error has TEXT in its class or message."
        ),
        click.option("--name", "workflow", metavar="WORKFLOW", help="Only those of this workflow."),
    ):
        command = option(command)
    return command


def _given(workflow: str | None, error: str | None, older: str | None, tag: str | None) -> dict[str, Any]:
    older_s = None if older is None else seconds_of(older)
    return {"workflow": workflow, "error": error, "older_s": older_s, "tag": tag}


@click.command()
@_name
@_which
@click.option("--all", "everything", is_flag=True, help="All of them, not the latest 20.")
@_json
def failed(
    name: str,
    workflow: str | None,
    error: str | None,
    older: str | None,
    tag: str | None,
    *,
    everything: bool,
    as_json: bool,
) -> None:
    """List the runs of a queue that have failed for good, newest first."""
    with Journal.existing() as journal:
        found = journal.queues.dead(name, **_given(workflow, error, older, tag))
        runs = list(found if everything else islice(found, _SHOWN))
        now = journal.now()
    if as_json:
        output.emit({"failed": [_run_document(run) for run in runs]})
    elif runs:
        output.table([_run_row(run, now) for run in runs])
        tell(f"retry them with: onward queue retry {quoted(name)}")
    else:
        tell(f"no run of queue {plain(name)} has failed like that")


# -- acting ---------------------------------------------------------------------------------------------


@click.command()
@_name
@_json
def pause(name: str, *, as_json: bool) -> None:
    """Let no run of a queue begin, or go on after it has waited, until it is resumed. What is executed goes on."""
    with Journal.existing() as journal:
        view = journal.queues.pause(name)
    sentence = f"queue {plain(name)} is paused; let it go on with: onward queue resume {quoted(name)}"
    _report(view, sentence, as_json=as_json)


@click.command()
@_name
@_json
def resume(name: str, *, as_json: bool) -> None:
    """Let a paused queue go on."""
    with Journal.existing() as journal:
        view = journal.queues.resume(name)
    _report(view, f"queue {plain(name)} goes on", as_json=as_json)


@click.command(name="set")
@_name
@click.option("--concurrency", metavar="N|none", help="Runs that are executed at once, over all workers.")
@click.option("--per-worker", metavar="N|none", help="The same, in each worker.")
@click.option("--per-key-concurrency", metavar="N|none", help="The same, of each key.")
@click.option("--rate", metavar="RATE|none", help="Runs that begin: 5/s, 60/min, 60/min burst 60.")
@click.option("--per-key-rate", metavar="RATE|none", help="The same, of each key.")
@click.option("--default", "hand_back", is_flag=True, help="Let the limits of the code hold again.")
@_json
def set_(name: str, *, hand_back: bool, as_json: bool, **given: str | None) -> None:
    """Set limits of a queue that hold from the next claim on, for all workers, whatever the code declares.

    `none` lifts a limit. `--default` hands back what was set before.
    """
    chosen = {option: _value(option, text) for option, text in given.items() if text is not None}
    if not chosen and not hand_back:
        raise UsageError("nothing was changed: say a limit, such as --concurrency 5, or --default")
    if chosen and hand_back:
        raise UsageError("nothing was changed: say either limits or --default, which hands all of them back")
    with Journal.existing() as journal:
        view = journal.queues.hand_back(name) if hand_back else journal.queues.set(name, **chosen)
    _report(view, f"queue {plain(name)}: {_limits(view) or 'no limits'}", as_json=as_json)


def _value(option: str, text: str) -> int | str | None:
    if text == "none":
        return None
    if "rate" in option:
        return text
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        flag = option.replace("_", "-")
        raise UsageError(f"--{flag} takes a whole number or none, not {plain(text, 60)}; nothing was changed")
    return int(text)


@click.command()
@_name
@_which
@_json
def retry(
    name: str,
    workflow: str | None,
    error: str | None,
    older: str | None,
    tag: str | None,
    *,
    as_json: bool,
) -> None:
    """Make the failed runs of a queue ready again, or those of them that fit: what failed is executed again."""
    with Journal.existing() as journal:
        count = journal.queues.retry(name, **_given(workflow, error, older, tag))
        view = journal.queues.get(name)
    runs = "1 run is" if count == 1 else f"{count:,} runs are"
    if as_json:
        output.emit({"queue": _document(view), "retried": count})
    else:
        tell(f"{runs} ready again in queue {plain(name)}")


@click.command()
@_name
@click.option("--yes", is_flag=True, help="Do not ask.")
@_json
def clear(name: str, *, yes: bool, as_json: bool) -> None:
    """Cancel what waits in a queue and has never begun. What has begun, and what has failed, is left."""
    with Journal.existing() as journal:
        journal.queues.get(name)
        if not yes:
            _confirm(f"All runs of queue {plain(name)} that have not begun will be cancelled. Clear it?")
        count = journal.queues.clear(name)
        view = journal.queues.get(name)
    runs = "1 run" if count == 1 else f"{count:,} runs"
    if as_json:
        output.emit({"queue": _document(view), "cancelled": count})
    else:
        tell(f"{runs} of queue {plain(name)} {'is' if count == 1 else 'are'} cancelled")


def _confirm(question: str) -> None:
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort:  # no answer can come: the input is not a terminal, or has ended
        raise UsageError(
            "nobody could be asked; nothing was changed. Say --yes to clear without a question."
        ) from None
    if not agreed:
        raise UsageError("nothing was changed")


# -- how it looks -----------------------------------------------------------------------------------------

_HEAD: Final = ["queue", "pending", "oldest", "waiting", "running", "failed", "limits"]


def _report(view: QueueView, sentence: str, *, as_json: bool) -> None:
    if as_json:
        output.emit({"queue": _document(view)})
    else:
        tell(sentence)


def _row(view: QueueView) -> list[str]:
    counts = view.counts
    name = plain(view.name)
    return [
        f"{name} {click.style('paused', fg='yellow')}" if view.limits.paused else name,
        _count(counts.pending, view),
        "" if view.oldest_s is None else span(view.oldest_s),
        _count(counts.waiting, view),
        _count(counts.running, view),
        click.style(_count(counts.failed, view), fg="red") if counts.failed else "0",
        _limits(view),
    ]


def _count(count: int, view: QueueView) -> str:
    return f"{count:,}+" if count >= view.counted else f"{count:,}"


def _limits_of(view: QueueView) -> list[tuple[str, str]]:
    """The limits that it has, and those that a person has lifted: (what people call it, its field)."""
    return [
        (option, field)
        for option, field in OPTIONS.items()
        if getattr(view.limits, field) is not None or field in view.chosen
    ]


def _limits(view: QueueView) -> str:
    """`concurrency 10, rate 1 in 1 s*`: with a star what a person has set."""
    return ", ".join(
        f"{option} {_limit(getattr(view.limits, field))}{'*' if field in view.chosen else ''}"
        for option, field in _limits_of(view)
    )


def _limit(value: int | Quota | None) -> str:
    if value is None:
        return "none"
    return f"{value.starts:,} in {value.window_s:,g} s" if isinstance(value, Quota) else f"{value:,}"


def _document(view: QueueView) -> dict[str, Any]:
    counts = view.counts
    return {
        "name": view.name,
        "paused": view.limits.paused,
        "pending": counts.pending,
        "waiting": counts.waiting,
        "running": counts.running,
        "failed": counts.failed,
        "counted_up_to": view.counted,
        "oldest_s": view.oldest_s,
        "limits": {
            option: {
                "value": getattr(view.limits, field),
                "set_by": "person" if field in view.chosen else "code",
            }
            for option, field in _limits_of(view)
        },
    }


def _run_row(run: Run, now: float) -> list[str]:
    failure = output.run_failure(run)
    error = plain(failure.line, 100) if failure else ""
    return [plain(run.name), plain(run.id), output.ago(run.updated_at, now), error]


def _run_document(run: Run) -> dict[str, Any]:
    failure = output.run_failure(run)
    return {
        "id": run.id,
        "name": run.name,
        "attempt": run.attempt + 1,
        "failed_at": output.iso(run.updated_at),
        "error": None if failure is None else {"class": failure.class_name, "message": failure.message},
    }

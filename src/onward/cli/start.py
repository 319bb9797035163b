"""`onward start`: queue a run from the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from onward.api import connect, working
from onward.api.handle import Handle
from onward.api.journal import Journal
from onward.api.overview import Overview
from onward.api.workflow import Workflow
from onward.cli import output
from onward.cli.group import FAILED, tell
from onward.cli.status import what_to_type
from onward.core.errors import UsageError
from onward.core.model import Run
from onward.core.texts import plain
from onward.runtime import registry


@click.command()
@click.argument("target", metavar="TARGET:WORKFLOW")
@click.argument("args", nargs=-1)
@click.option(
    "--arg", "named", multiple=True, metavar="NAME=JSON", help="An argument by its name; repeatable."
)
@click.option("--id", "run_id", help="Its id: the run of that id is given if there is one.")
@click.option("--queue", help="The queue it waits in; else that of the workflow.")
@click.option("--priority", type=int, help="Higher ones are executed first.")
@click.option("--delay", type=click.FloatRange(0), help="Not before so many seconds.")
@click.option("--key", help="Not while another run of this key is queued or being executed.")
@click.option("--tag", "tags", multiple=True, help="To find it by; repeatable.")
@click.option(
    "--wait", is_flag=True, help="Wait for its end and print its result as JSON; exits with 1 if it has none."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
def start(
    target: str,
    args: Sequence[str],
    named: Sequence[str],
    run_id: str | None,
    queue: str | None,
    priority: int | None,
    delay: float | None,
    key: str | None,
    tags: Sequence[str],
    *,
    wait: bool,
    as_json: bool,
) -> None:
    """Queue a run of a workflow for the workers.

    `onward start app.py:checkout 17 --arg gift=true`: the module or script that defines it, its name, and its arguments
    as JSON; what is no JSON is taken as text.
    """
    flow = found(target)
    chosen = flow.options(
        id=run_id, queue=queue, priority=priority, delay=delay, key=key, tags=list(tags) or None
    )
    since = connect.engine().store.now()
    try:
        run: Handle[Any] = chosen.start(*map(_value, args), **dict(map(_named, named)))
    except TypeError as error:
        raise UsageError(f"{plain(target)}: {error}; nothing was started") from None
    with Journal(connect.engine()) as journal:
        result = _result(journal, run) if wait else None
        one = journal.get(run.id)
        if as_json:
            document: dict[str, Any] = {"run": output.run_json(one)}
            output.emit({**document, "result": result} if wait else document)
        elif not wait:
            tell(_queued(one.run) if one.run.created_at >= since else _there_already(one))
        elif one.state == "done":
            click.echo(json.dumps(result, indent=2, default=str))
    if wait and one.state != "done":
        tell(_without_result(one))
        click.get_current_context().exit(FAILED)


def _result(journal: Journal, run: Handle[Any]) -> Any:
    """What it returned, when it has come to rest; None if it came to rest without."""
    try:
        return run.result()
    except Exception:
        if journal.get(run.id).state not in ("failed", "stuck", "cancelled"):
            raise
        return None  # the error was its own, and is recorded


def _queued(run: Run) -> str:
    return f"{plain(run.name)} is queued as {plain(run.id)}; see it with: onward show {plain(run.id)}"


def _there_already(one: Overview) -> str:
    """What a start came to whose id, or key, another run has: that run is given as it stands."""
    what = f"{plain(one.run.name)} ({plain(one.run.id)}) is there already: {one.state}"
    return f"{what}; nothing more was queued. See it with: onward show {plain(one.run.id)}"


def _without_result(one: Overview) -> str:
    """Why a run that was waited for gave no result, and what to type."""
    head = f"{plain(one.run.name)} ({plain(one.run.id)})"
    if one.state == "cancelled":
        return f"{head} was cancelled; what it had recorded is kept: onward show {plain(one.run.id)}"
    failure = output.run_failure(one.run)
    why = "" if failure is None else f": {failure.line}"
    how = "failed" if one.state == "failed" else f"is {one.state}"
    return f"{head} {how}{why}\nwhat it had recorded is kept; {what_to_type(one)}"


def found(target: str) -> Workflow[..., Any]:
    """The workflow that `module:name` or `script.py:name` means; raises UsageError that names the near ones."""
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name:
        raise UsageError(
            f"{plain(target, 200)} names no workflow; nothing was started. Say where it is defined and its name: "
            f"app.py:checkout"
        )
    working.load([place])
    job = registry.get(name)
    if not isinstance(job, Workflow):
        known = ", ".join(registry.names()) or "none"
        raise UsageError(
            f"{plain(place, 200)} defines no workflow `{plain(name, 200)}`; nothing was started. It defines: {known}"
        )
    return job


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _named(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise UsageError(f"--arg takes NAME=JSON, not {plain(text, 200)}; nothing was started")
    return name, _value(value)

"""`onward start`: queue a run from the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from onward.api import connect, working
from onward.api.handle import Handle
from onward.api.journal import Journal
from onward.api.workflow import Workflow
from onward.cli import output
from onward.cli.group import tell
from onward.core.errors import UsageError
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
@click.option("--wait", is_flag=True, help="Wait for its end and print its result as JSON.")
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
    try:
        run: Handle[Any] = chosen.start(*map(_value, args), **dict(map(_named, named)))
    except TypeError as error:
        raise UsageError(f"{plain(target)}: {error}; nothing was started") from None
    result = run.result() if wait else None
    with Journal(connect.engine()) as journal:
        one = journal.get(run.id)
        if as_json:
            document: dict[str, Any] = {"run": output.run_json(one)}
            output.emit({**document, "result": result} if wait else document)
        elif wait:
            click.echo(json.dumps(result, indent=2, default=str))
        else:
            tell(
                f"{plain(one.run.name)} is queued as {plain(run.id)}; see it with: onward show {plain(run.id)}"
            )


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

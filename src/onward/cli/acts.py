"""`onward retry`, `cancel`, `reset` and `skip`: what a person does to a run from outside."""

from __future__ import annotations

from typing import Any

import click

from onward.api import doubts
from onward.api.identity import has_own_id
from onward.api.journal import Journal
from onward.api.overview import Acted
from onward.cli import output
from onward.cli.group import tell
from onward.core.errors import UsageError
from onward.core.model import Run
from onward.core.texts import plain

_json = click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
_run = click.argument("run_id", metavar="RUN")


@click.command()
@_run
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@_json
def retry(run_id: str, keys: tuple[str, ...], *, as_json: bool) -> None:
    """Make a failed or stuck run ready to be continued.

    What failed will be executed again when RUN is continued; what succeeded is kept. RUN is an id, the start of one,
    or a name. With KEYs, as `onward failed RUN` lists them, only these items are. The KEY of an at-most-once step of
    which nobody knew says that it was not executed: it will be begun again.
    """
    with Journal.existing() as journal:
        if len(keys) == 1 and doubts.is_step(journal, run_id, keys[0]):
            one = doubts.free(journal, run_id, keys[0])
            sentence = f"step {plain(keys[0])} of {_name(one)} will be begun again. Continue the run with: "
            _report(journal, one, sentence + output.command_text(one.run), as_json=as_json)
            return
        before = journal.get(run_id).run
        doubt = None if keys else output.doubt_of(before)
        if doubt is not None:
            raise UsageError(f"nothing was changed: {doubt}")
        one = journal.retry(before.id, *keys)
        _report(
            journal,
            one,
            f"{_name(one)} is ready: {_again(one, before)}. Continue it with: {output.command_text(one.run)}",
            as_json=as_json,
        )


@click.command()
@_run
@_json
def pause(run_id: str, *, as_json: bool) -> None:
    """Stop a run at its next step, until it is resumed.

    A loop stops at its next item; a run that is queued does not begin.
    """
    with Journal.existing() as journal:
        one = journal.pause(run_id)
        how = "is being executed: it stops at its next step or item" if one.asked else "is paused"
        _report(
            journal,
            one,
            f"{_name(one)} {how}. Let it go on with: onward resume {plain(one.run.id)}",
            as_json=as_json,
        )


@click.command()
@_run
@_json
def resume(run_id: str, *, as_json: bool) -> None:
    """Let a paused run go on.

    A worker takes it again; a loop or a direct call is continued by its own command.
    """
    with Journal.existing() as journal:
        one = journal.resume(run_id)
        _report(journal, one, f"{_name(one)} {_goes_on(one)}", as_json=as_json)


@click.command()
@_run
@_json
def cancel(run_id: str, *, as_json: bool) -> None:
    """End a run for good; what it has recorded is kept.

    A process that executes RUN is asked to stop at its next step or item; otherwise RUN is cancelled at once.
    """
    with Journal.existing() as journal:
        one = journal.cancel(run_id)
        _report(journal, one, f"{_name(one)} {_ended(one)}", as_json=as_json)


@click.command()
@_run
@click.option("--yes", is_flag=True, help="Do not ask.")
@_json
def reset(run_id: str, *, yes: bool, as_json: bool) -> None:
    """Forget a run's progress, so that its next call starts afresh.

    RUN is cancelled and its history is kept, but nothing of it is used again.
    """
    with Journal.existing() as journal:
        before = journal.get(run_id)
        if not yes:
            done = f"{before.counts.done:,} done items" if before.counts.done else "its recorded steps"
            _confirm(f"{plain(before.run.name)} ({plain(before.run.id)}) will do {done} again. Reset it?")
        one = journal.reset(before.run.id)
        command = output.command_text(one.run._replace(state="cancelled"))  # or soon will be
        _report(journal, one, f"{_name(one)} {_ended(one)}; start afresh with: {command}", as_json=as_json)


@click.command()
@_run
@click.argument("key")
@click.option("--value", metavar="JSON", help="What the step returned, as JSON; for steps only.")
@_json
def skip(run_id: str, key: str, value: str | None, *, as_json: bool) -> None:
    """Declare a failed or crashed item as done: it is not tried again. In a map its result is None.

    KEY is as `onward show RUN` lists it. A step that failed, or that is in doubt, is done with --value.
    """
    with Journal.existing() as journal:
        if value is not None:
            one = doubts.settle(journal, run_id, key, value)
            sentence = f"step {plain(key)} of {_name(one)} is done with that value. Continue the run with: "
            _report(journal, one, sentence + output.command_text(one.run), as_json=as_json)
            return
        if doubts.is_step(journal, run_id, key):
            raise UsageError(
                f"`{plain(key)}` is a step, whose value the program will ask for; nothing was changed. "
                f"Say what it returned with --value JSON, or --value null."
            )
        one = journal.skip(run_id, key)
        _report(
            journal,
            one,
            f"item {plain(key)} of {_name(one)} is skipped. Continue the run with: {output.command_text(one.run)}",
            as_json=as_json,
        )


def _confirm(question: str) -> None:
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort:  # no answer can come: the input is not a terminal, or has ended
        raise UsageError(
            "nobody could be asked; nothing was changed. Say --yes to reset without a question."
        ) from None
    if not agreed:
        raise UsageError("nothing was changed")


def _report(journal: Journal, one: Acted, sentence: str, *, as_json: bool) -> None:
    if not as_json:
        tell(sentence)
        return
    document: dict[str, Any] = {
        "run": output.run_json(journal.get(one.run.id)),
        "asked": one.asked,
        "units": one.units,
    }
    output.emit(document)


def _name(one: Acted) -> str:
    return f"{plain(one.run.name)} ({plain(one.run.id)})"


def _goes_on(one: Acted) -> str:
    if one.asked:
        return "goes on: it had not stopped yet"
    if one.run.direct:
        return f"may go on. Continue it with: {output.command_text(one.run)}"
    return "is queued again: a worker continues it"


def _ended(one: Acted) -> str:
    if one.asked and has_own_id(one.run):
        return (
            "is being executed: its process was asked to stop, and does so at its next step or item. A call with its "
            f"id starts nothing until then, and after that: onward reset {plain(one.run.id)}"
        )
    if one.asked:
        return "is being executed: its process was asked to stop, and does so at its next step or item"
    return "is cancelled; what it had recorded is kept"


def _again(one: Acted, before: Run) -> str:
    """What comes of a run that is retried. Where no unit of a failed one had failed, its own function did."""
    if one.units:
        return f"{'1 failed unit' if one.units == 1 else f'{one.units:,} failed units'} will be tried again"
    failure = output.run_failure(before)
    if before.state == "failed" and failure is not None:
        return f"it had failed with {failure.line}, and will be executed again; what it has recorded is kept"
    return "nothing of it had failed for good, its unfinished work will be tried again"

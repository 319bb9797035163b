"""`onward rename`: what was recorded under an old name goes on under a new one."""

from __future__ import annotations

import click

from onward.api import renaming
from onward.api.journal import Journal
from onward.cli import output
from onward.cli.group import tell
from onward.core.model import CLOSED
from onward.core.texts import plain


@click.command()
@click.argument("old")
@click.argument("new")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
def rename(old: str, new: str, *, as_json: bool) -> None:
    """Let a moved script or a renamed function continue what its old name began.

    OLD and NEW are names as `onward runs` lists them: a script's path within the project (its functions come along), a
    workflow, or what name= gave.
    """
    with Journal.existing() as journal:
        renamed = renaming.rename(journal, old, new)
        if as_json:
            output.emit({"runs": [output.run_json(journal.overview(run)) for run in renamed]})
            return
    unfinished = [run for run in renamed if run.state not in CLOSED]
    runs = "1 run" if len(renamed) == 1 else f"{len(renamed):,} runs"
    tell(f"{runs} of {plain(old, 80)} renamed to {plain(new, 80)}, {len(unfinished):,} of them unfinished")
    for run in unfinished[:10]:
        tell(f"continue {plain(run.id)} with: {output.command_text(run)}")

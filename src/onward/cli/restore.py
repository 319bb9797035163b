"""`onward restore`: a backup takes the place of the journal."""

from __future__ import annotations

from pathlib import Path

import click

from onward.api.restoring import restored
from onward.cli import output
from onward.cli.group import tell
from onward.core.texts import plain


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
def restore(file: Path, *, as_json: bool) -> None:
    """Put FILE, which `onward backup` wrote, in the place of the journal.

    FILE is checked first and stays where it is. The journal that was there is kept beside it under another name.
    Refused while anything has the journal open. What was done after the copy was made is done again.
    """
    done = restored(file)
    if as_json:
        output.emit(
            {
                "journal": done.place,
                "file": str(file.absolute()),
                "kept": None if done.kept is None else str(done.kept),
                "unfinished": done.unfinished,
                "moved_to": done.moved_to,
            }
        )
        return
    tell(f"{plain(done.place, 1_000)} is now as it was copied to {plain(str(file), 1_000)}")
    if done.kept is not None:
        tell(
            f"the journal that was there is kept as {plain(str(done.kept), 1_000)}; remove it when it is not needed"
        )
    if done.unfinished:
        runs = "1 run is" if done.unfinished == 1 else f"{done.unfinished:,} runs are"
        tell(
            f"{runs} unfinished in it: called again, they continue from there, and what was done since is done again"
        )
    if done.moved_to is not None:
        tell(
            f"the journal that was there had been moved to {plain(done.moved_to, 1_000)}, where its runs go on: what "
            f"is continued here is done in both places. If that is not wanted, set ONWARD_URL to that place"
        )

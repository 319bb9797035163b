"""`onward backup`: a copy of a journal that is in use."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from onward.api.journal import Journal
from onward.api.restoring import unfinished_in
from onward.cli import output
from onward.cli.group import tell
from onward.core.texts import plain


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
def backup(file: Path, *, as_json: bool) -> None:
    """Copy the journal into FILE while others go on writing to it.

    The copy is that of one moment, is checked, and replaces an earlier copy only when it is complete. `onward restore
    FILE` puts it in the place of the journal; what was done after the copy was made is then done again.
    """
    with Journal.existing() as journal:
        journal.store.backup(file)
        place, unfinished = journal.place, unfinished_in(journal)
    size = file.stat().st_size
    if as_json:
        output.emit(
            {
                "journal": place,
                "file": str(file.absolute()),
                "size_bytes": size,
                "unfinished": unfinished,
            }
        )
        return
    tell(
        f"{plain(place, 1_000)} is copied to {plain(str(file), 1_000)} ({size / 1e6:.1f} MB), and the copy was checked"
    )
    if unfinished:
        runs = "1 run is" if unfinished == 1 else f"{unfinished:,} runs are"
        tell(
            f"{runs} unfinished in it: restored, they continue from here, and what they do from now on is done again"
        )
    tell(
        f"restore it, when nothing uses the journal, with: onward restore {shlex.quote(plain(str(file), 1_000))}"
    )

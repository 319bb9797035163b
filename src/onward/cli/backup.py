"""`onward backup`: a copy of a journal that is in use."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from onward.api.journal import Journal
from onward.cli import output
from onward.cli.group import tell
from onward.core.model import RunState
from onward.core.texts import plain

_UNFINISHED: tuple[RunState, ...] = ("pending", "running", "waiting", "paused", "stuck", "failed")
_COUNTED = 10_000


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
def backup(file: Path, *, as_json: bool) -> None:
    """Copy the journal into FILE while others go on writing to it.

    The copy is that of one moment, is checked, and replaces an earlier copy only when it is complete. To restore it,
    stop everything that uses the journal, remove its -wal and -shm files, and copy FILE over it. What was done after
    the copy was made is then done again.
    """
    with Journal.existing() as journal:
        journal.store.backup(file)
        place, unfinished = journal.place, journal.store.runs(states=_UNFINISHED, limit=_COUNTED)
    size = file.stat().st_size
    if as_json:
        output.emit(
            {
                "journal": place,
                "file": str(file.absolute()),
                "size_bytes": size,
                "unfinished": len(unfinished),
            }
        )
        return
    tell(
        f"{plain(place, 1_000)} is copied to {plain(str(file), 1_000)} ({size / 1e6:.1f} MB), and the copy was checked"
    )
    if unfinished:
        runs = "1 run is" if len(unfinished) == 1 else f"{len(unfinished):,} runs are"
        tell(
            f"{runs} unfinished in it: restored, they continue from here, and what they do from now on is done again"
        )
    source, target = shlex.quote(str(file)), shlex.quote(place)
    tell(
        f"restore it, when nothing uses the journal, with: rm -f {target}-wal {target}-shm && cp {source} {target}"
    )

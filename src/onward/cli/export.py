"""`onward export` and `onward import`: whole runs from one journal into another, as a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import click

from onward.api import arriving, connect, transfer
from onward.api.journal import Journal
from onward.cli import output
from onward.cli.group import tell
from onward.core.errors import UsageError
from onward.core.model import CLOSED
from onward.core.texts import plain
from onward.runtime.engine import Engine
from onward.storage import host, parts
from onward.storage.open import open_store

# Commands that continue what was imported, listed at the end.
_COMMANDS: Final = 20


@click.command()
@click.argument("run_ids", metavar="RUN...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every run of the journal.")
@click.option(
    "--move", is_flag=True, help="Close unfinished runs here, so that they go on where they are imported."
)
@click.option(
    "-o", "--output", "target", metavar="FILE", help="Write to FILE, whole or not at all, instead of stdout."
)
def export(run_ids: Sequence[str], target: str | None, *, everything: bool, move: bool) -> None:
    """Write runs with all that is recorded of them as lines of JSON, for `onward import`.

    RUN is an id, the beginning of one, or a name (its latest run). A copy of an unfinished run arrives closed, so that
    no two places do the same work; with --move it is closed here and goes on there.
    """
    if everything == bool(run_ids):
        raise UsageError("name the runs to export, or say --all; nothing was written")
    target = None if target == "-" else target
    with Journal.existing() as journal, _target(target, move=move) as write:
        done = transfer.write(
            journal, None if everything else run_ids, write, to=_whither(target) if move else None
        )
    _say_exported(done, target, move=move)


def _whither(target: str | None) -> str:
    """What the runs that are closed for it remember: the same command, repeated, means the same file."""
    return transfer.FILE + ("-" if target is None else os.path.abspath(target))


def _say_exported(done: transfer.Exported, target: str | None, *, move: bool) -> None:
    where = plain(target, 1_000) if target else "FILE"
    what = "1 run is" if done.runs == 1 else f"{done.runs:,} runs are"
    tell(f"{what} written; read them into another journal with: ONWARD_URL=... onward import {where}")
    which = (
        f"{plain(done.unfinished_name)} is" if done.unfinished == 1 else f"{done.unfinished:,} of them are"
    )
    if done.unfinished and move:
        tell(f"{which} closed here; continue there, after the import, with the same command as here")
    if done.gone:
        stands = "arrives closed", "arrive closed"
        tell(output.elsewhere_text(done.gone_id, done.gone, stands, "", "where it is to go on"))
    if done.unfinished and not move:
        tell(f"{which} unfinished: the copy arrives closed. To let it go on there, export with --move")


@contextmanager
def _target(target: str | None, *, move: bool) -> Iterator[Callable[[bytes], object]]:
    """Where the lines go; a file takes its place when it is complete and durable."""
    if target is None:
        if sys.stdout is None or sys.stdout.isatty():
            raise UsageError("say where to: onward export RUN > runs.jsonl; nothing was written")
        with _complaining("the export", move=move):
            out = sys.stdout.buffer
            try:
                yield out.write
                out.flush()
            except OSError:
                # What is buffered cannot be written either; Python would try once more at its end.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise
        return
    path = Path(target)
    with _complaining(plain(target, 1_000), move=move), parts.part(path.parent) as part:
        with open(part, "wb") as file:
            yield file.write
            file.flush()
            host.sync(file.fileno())
        os.replace(part, path)


@contextmanager
def _complaining(what: str, *, move: bool) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        left = (
            " What was to be moved is closed here: repeat the command, which writes it again." if move else ""
        )
        raise UsageError(
            f"{what} could not be written to its end: {problem.strerror or problem}.{left}"
        ) from problem


@click.command("import")
@click.argument("file", metavar="FILE", type=click.File("rb"), default="-")
@click.option(
    "--take-over",
    is_flag=True,
    help="Let unfinished runs go on here although they were only copied: where they come from is no more.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
def import_(file: IO[bytes], *, take_over: bool, as_json: bool) -> None:
    """Read runs that `onward export` wrote into the journal.

    FILE is `-` for stdin. All of it is checked first; a damaged or half-written one is refused whole. Each run arrives
    whole or not at all. Runs that are here already are left as they are, so importing twice is harmless, and an import
    that was interrupted is continued by the same command.
    """
    url = connect.resolved(connect.find_url())
    with Journal(Engine(open_store(url), keeper=False)) as journal:
        done = arriving.read(journal, file, take_over=take_over)
        if as_json:
            rows = [{"id": one.run.id, "name": one.run.name, "imported": one.fate.value} for one in done]
            output.emit({"journal": journal.place, "runs": rows})
            return
        _say_imported(journal, done)


_FATES: Final = {
    arriving.Fate.NEW: "imported",
    arriving.Fate.CLOSED: "imported as a closed copy: it is unfinished where it comes from",
    arriving.Fate.KNOWN: "was here already, left as it is",
}


def _say_imported(journal: Journal, done: Iterable[arriving.Imported]) -> None:
    """Each run as soon as it is in the journal; what continues those that go on, at the end."""
    runs = new = unfinished = 0
    commands = []
    for run, fate in done:
        click.echo(f"{plain(run.id)}  {plain(run.name)}  {_FATES[fate]}")
        runs += 1
        new += fate is not arriving.Fate.KNOWN
        if fate is arriving.Fate.NEW and run.state not in CLOSED:
            unfinished += 1
            if unfinished <= _COMMANDS:
                commands.append(f"continue {plain(run.name)} with: {output.command_text(run)}")
    for command in commands:
        tell(command)
    if unfinished > _COMMANDS:
        tell(f"and so on: {unfinished - _COMMANDS:,} more are unfinished; onward status lists them")
    tell(f"{new} of {runs} runs imported into {journal.place}")

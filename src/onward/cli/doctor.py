"""`onward doctor`: is the journal sound, and is the place where it lies a good one?"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import click

from onward.api import connect
from onward.api.journal import Journal
from onward.cli import output
from onward.cli.group import BUSY, FAILED
from onward.core.errors import PASSING, JournalError, NoJournal
from onward.core.texts import plain
from onward.storage.urls import masked

Verdict = Literal["ok", "warning", "problem"]
_COLORS: Final = {"ok": "green", "warning": "yellow", "problem": "red"}
# A journal that cannot grow stops the work; below this there is no telling how soon.
_LOW_DISK_BYTES: Final = 500_000_000
# The log is moved into the file beyond 16 MB; one that is far longer has nobody who does it, or a reader in the way.
_LONG_LOG_BYTES: Final = 256_000_000
# Damage is reported up to this many sentences.
_MOST: Final = 20

_MOVED_CURE: Final = "Tell your programs and workers, with ONWARD_URL or [tool.onward] url in pyproject.toml."


class Finding(NamedTuple):
    """What one check found; `cure` says what to do."""

    check: str
    verdict: Verdict
    text: str
    cure: str = ""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
def doctor(*, as_json: bool) -> None:
    """Check the journal and the place where it lies.

    Reads everything that is recorded, which takes a while in a large journal. Exits with 1 if there is a problem.
    """
    url = connect.resolved(connect.find_url())
    found, code = _examine(url)
    if as_json:
        output.emit({"journal": plain(masked(url)), "findings": [_json(one) for one in found]})
    else:
        click.echo(f"journal {plain(masked(url))}")
        for one in found:
            verdict = click.style(f"{one.verdict:8}", fg=_COLORS[one.verdict])
            click.echo(f"  {verdict} {one.check}: {plain(one.text, 500)}")
            if one.cure:
                click.echo(f"           {one.cure}")
    click.get_current_context().exit(code)


def _json(one: Finding) -> dict[str, Any]:
    return dict(one._asdict())


def _examine(url: str) -> tuple[list[Finding], int]:
    """All findings, and the exit code."""
    path = connect.journal_file(url)
    found = [_sqlite()]
    if path is not None and os.path.isfile(path):  # False as well for what cannot be a path
        found += _place(path)
    try:
        with Journal.existing(url) as journal:
            found += [Finding("server", "problem", doubt) for doubt in journal.store.doubts]
            found += _moved(journal)
            found += _data(journal)
            found += _holders(journal)
    except NoJournal:
        raise
    except JournalError as error:
        found.append(Finding("opening", "problem", str(error)))
        return found, BUSY if isinstance(error, PASSING) else FAILED
    return found, FAILED if any(one.verdict == "problem" for one in found) else 0


def _sqlite() -> Finding:
    # The driver carries its own SQLite, and its version is that of SQLite with a number more.
    version = importlib.metadata.version("apsw")
    return Finding("SQLite", "ok", f"{'.'.join(version.split('.')[:3])} (apsw {version})")


def _place(path: Path) -> Iterator[Finding]:
    yield _modes(path)
    size, log = path.stat().st_size, _size(path.with_name(path.name + "-wal"))
    yield Finding("size", "ok", f"{_bytes(size)}, and {_bytes(log)} of log")
    if log > _LONG_LOG_BYTES:
        yield Finding(
            "log",
            "warning",
            f"the log is {_bytes(log)} long",
            "A program that has been reading for long may be in its way.",
        )
    free = shutil.disk_usage(path.parent).free
    yield Finding(
        "disk space",
        "warning" if free < _LOW_DISK_BYTES else "ok",
        f"{_bytes(free)} free",
        "Free some: work stops when nothing can be recorded." if free < _LOW_DISK_BYTES else "",
    )


def _modes(path: Path) -> Finding:
    open_to_others = []
    for file in (path.parent, path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
        try:
            mode = stat.S_IMODE(os.stat(file).st_mode)
        except FileNotFoundError:
            continue
        # A directory that others may list is harmless as long as the files are closed to them.
        if mode & (0o022 if file == path.parent else 0o077):
            open_to_others.append(f"{file} ({mode:04o})")
    if not open_to_others:
        return Finding("file modes", "ok", "only their owner can read the files")
    return Finding(
        "file modes",
        "warning",
        f"other users can get at {', '.join(open_to_others)}",
        "chmod 600 the files and 700 the directory, unless that is wanted.",
    )


def _moved(journal: Journal) -> Iterator[Finding]:
    to = journal.store.moved_to()
    if to is not None:
        yield Finding(
            "moved", "warning", f"everything of it was moved to {to}, and goes on there", _MOVED_CURE
        )


def _data(journal: Journal) -> Iterator[Finding]:
    problems = list(islice(journal.problems(), _MOST + 1))
    for problem in problems[:_MOST]:
        yield Finding(
            "data",
            "problem",
            problem,
            "Nothing was changed. Restore the journal from a backup, or cancel that run.",
        )
    if len(problems) > _MOST:
        yield Finding("data", "problem", f"and more than {_MOST} such problems in all")
    if not problems:
        yield Finding("data", "ok", "structure, numbering and checksums of all records are right")


def _holders(journal: Journal) -> Iterator[Finding]:
    running = journal.list(states=("running", "interrupted"), limit=1_000)
    for one in running:
        run = f"{plain(one.run.name)} ({plain(one.run.id)})"
        if one.state == "interrupted":
            yield Finding(
                "holders",
                "warning",
                f"the process that executed {run} died",
                f"Continue it: {output.command_text(one.run)}",
            )
        elif one.silent_s:
            yield Finding(
                "holders",
                "warning",
                f"the process that executes {run} gave no sign of life since its lease ended",
                f"If it is dead, continue the run: {output.command_text(one.run)}",
            )
    alive = sum(1 for one in running if one.state == "running" and not one.silent_s)
    yield Finding(
        "holders", "ok", "1 run is being executed" if alive == 1 else f"{alive:,} runs are being executed"
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _bytes(size: int) -> str:
    value = float(size)
    for unit in ("B", "kB", "MB"):
        if value < 1_000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1_000
    return f"{value:,.1f} GB"

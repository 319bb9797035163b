"""`onward failed RUN`: what failed for good, with the items themselves, for people, programs and tables."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, TextIO

import click

from onward.api.failures import FailedItem
from onward.api.journal import Journal
from onward.cli import output
from onward.cli.group import tell
from onward.core.errors import UsageError
from onward.core.texts import plain

_COLUMNS: Final = ("key", "state", "item", "error", "message", "attempts", "failed_at")


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--csv", "path", metavar="FILE", help="Write a table with all of it to FILE; `-` is stdout.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
def failed(run_id: str, path: str | None, *, as_json: bool) -> None:
    """List the items of a run that failed or were parked, with their inputs.

    RUN is an id, the beginning of one if it is unique, or a name, which means its latest run. A parked item is one in
    which its process died too often. `onward retry RUN KEY` tries one again, `onward skip RUN KEY` gives it up.
    """
    if path is not None and as_json:
        raise UsageError("--csv and --json are two forms of the same; nothing was written. Choose one.")
    with Journal.existing() as journal:
        one = journal.get(run_id)
        items, now = journal.failed(one.run.id), journal.now()
    if as_json:
        output.emit({"run": output.run_json(one), "failed": [_json(item) for item in items]})
    elif path is not None:
        _write(path, items)
    else:
        output.table([_row(item, now) for item in items])
        shown = plain(one.run.id)
        if items:
            tell(f"try them again: onward retry {shown} [KEY...]; give one up: onward skip {shown} KEY")
        else:
            # What failed in a workflow, or ended a pass, is no item that was given up.
            is_over = one.state not in ("failed", "stuck")
            elsewhere = "" if is_over else f"; what it ended with: onward show {shown}"
            tell(f"no item of {shown} has failed{elsewhere}")


def _row(item: FailedItem, now: float) -> list[str]:
    return [
        plain(item.key),
        output.state_text(item.state),
        "" if item.text is None else plain(item.text, 60),
        f"{item.attempts} attempts" if item.attempts > 1 else "",
        output.ago(item.failed_at, now),
        item.failure.line,
    ]


def _json(item: FailedItem) -> dict[str, Any]:
    return {
        "key": item.key,
        "state": item.state,
        "item": item.text,
        "attempts": item.attempts,
        "failed_at": output.iso(item.failed_at),
        "error": output.failure_json(item.failure, whole=True),
    }


def _write(path: str, items: Sequence[FailedItem]) -> None:
    try:
        with _opened(path) as file:
            table = csv.writer(file)
            table.writerow(_COLUMNS)
            table.writerows(_cells(item) for item in items)
    except OSError as error:
        raise UsageError(
            f"{plain(path)} cannot be written ({error.strerror}); the journal is as it was. Name another file."
        ) from error
    if path != "-":
        tell(f"{len(items):,} failed items are in {plain(path)}")


def _opened(path: str) -> AbstractContextManager[TextIO]:
    if path == "-":
        return nullcontext(sys.stdout)
    return open(path, "w", newline="", encoding="utf-8", errors="backslashreplace")


def _cells(item: FailedItem) -> list[object]:
    texts = [
        item.key,
        item.state,
        item.text or "",
        item.failure.class_name.rpartition(":")[2],
        item.failure.message,
    ]
    return [*(_harmless(text) for text in texts), item.attempts, output.iso(item.failed_at)]


def _harmless(text: str) -> str:
    """A cell that a spreadsheet shows and does not calculate. https://owasp.org/www-community/attacks/CSV_Injection"""
    return "'" + text if text[:1] in ("=", "+", "@", "\t", "\r") else text

"""A backup in the place of the journal."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from onward.api import connect
from onward.api.journal import Journal
from onward.core.errors import UsageError
from onward.core.model import RunState
from onward.storage.sqlite import restore

_UNFINISHED: tuple[RunState, ...] = ("pending", "running", "waiting", "paused", "stuck", "failed")
_COUNTED = 10_000


class Restored(NamedTuple):
    """What a restore has done."""

    place: str
    kept: Path | None  # the journal that was there
    unfinished: int
    moved_to: str | None  # where everything of the journal goes on that was there


def restored(copy: Path, url: str | None = None) -> Restored:
    """Put the copy in the place of the journal at `url`, or at the usual place."""
    address = connect.resolved(url or connect.find_url())
    path = connect.journal_file(address)
    if path is None:
        raise UsageError(
            "the journal here is no file, so a copy cannot take its place; nothing was changed. Name one: "
            "ONWARD_URL=sqlite:///journal.db onward restore FILE"
        )
    kept = restore.restore(copy, path)
    with Journal.existing(address) as journal:
        on = None if kept is None else restore.moved_to(kept)
        return Restored(journal.place, kept, unfinished_in(journal), on)


def unfinished_in(journal: Journal) -> int:
    """How many runs of a journal are not at their end."""
    return len(journal.store.runs(states=_UNFINISHED, limit=_COUNTED))

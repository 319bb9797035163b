"""The items of a run that failed for good or were parked: what they were, why they failed, how often they were tried.

A dead letter is worth little without the letter: the item is kept with its failure wherever it can be recorded.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from onward.core import codec, limits
from onward.core.errors import PayloadError, UsageError
from onward.core.model import Begun, Entry, Run
from onward.core.texts import Failure, failure_of, plain

_PARKED = "onward.core.errors:StepCrashed"


@dataclass(frozen=True, slots=True)
class FailedItem:
    """An item that is not tried again by itself within its pass."""

    key: str  # what `retry` and `skip` take
    state: Literal["failed", "parked"]  # parked: its process died too often in it
    failure: Failure
    attempts: int
    failed_at: float
    text: str | None  # the item as JSON, as it was recorded; None if it could not be, or was too large

    def item(self) -> Any:
        """The item itself. Raises PayloadError if it was not kept, or if its class is not imported here."""
        if self.text is None:
            raise PayloadError(
                f"the item `{self.key}` was not kept with its failure: it cannot be recorded, or is large"
            )
        return codec.decode(self.text)


def failed_items(entries: Iterable[Entry]) -> list[FailedItem]:
    """What the entries of failed items say, in their order."""
    return [_failed(entry) for entry in entries]


def to_retry(run: Run, failed: Iterable[Entry], keys: Iterable[str]) -> list[Entry]:
    """The entries of these keys, by their full or their short names. Raises UsageError for one that has not failed."""
    known: dict[str, Entry] = {}
    for entry in failed:
        known.setdefault(short_key(entry.key), entry)
        known[entry.key] = entry
    found: dict[str, Entry] = {}
    for key in keys:
        if key not in known:
            raise UsageError(
                f"run {run.id} has no failed item `{plain(key, 80)}`, so it cannot be retried; nothing was "
                f"changed. `onward failed {run.id}` lists those that can be."
            )
        found[known[key].key] = known[key]
    return list(found.values())


def to_skip(run: Run, failed: Iterable[Entry], begun: Iterable[Begun], key: str) -> Entry:
    """The item of this key that has failed, or that somebody died in. Raises UsageError if there is none."""
    items = {entry.key: entry for entry in failed}
    for one in begun:
        if one.kind == "item":
            items.setdefault(one.key, Entry(one.key, "item", "crashed", one.name, fence=run.fence))
    short = {full.partition("/")[2]: entry for full, entry in items.items()}
    entry = items.get(key) or short.get(key)
    if entry is not None:
        return entry
    near = difflib.get_close_matches(key[: limits.KEY_CHARS], list(short)[:1_000], 1)
    hint = (
        f" Did you mean `{plain(near[0])}`?" if near else f" `onward show {run.id}` lists those that can be."
    )
    raise UsageError(
        f"run {run.id} has no failed item `{plain(key, 80)}`, so it cannot be skipped; nothing was changed.{hint}"
    )


def short_key(key: str) -> str:
    """A key as people see it: `venue-17` for `map/venue-17`."""
    return key.partition("/")[2] or key


def _failed(entry: Entry) -> FailedItem:
    failure = failure_of(entry.value) or Failure("unknown", "no error was recorded", "")
    try:
        text = None if entry.value is None else codec.item_of_error(entry.value)
    except PayloadError:  # damaged: what is left of it is shown all the same
        text = None
    state: Literal["failed", "parked"] = "parked" if failure.class_name == _PARKED else "failed"
    return FailedItem(short_key(entry.key), state, failure, entry.attempt, entry.ended_at, text)

"""The items of a run that failed for good or were parked: what they were, why they failed, how often they were tried.

A dead letter is worth little without the letter: the item is kept with its failure wherever it can be recorded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from onward.core import codec
from onward.core.errors import PayloadError
from onward.core.model import Entry
from onward.core.texts import Failure, failure_of

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


def chosen(entries: Iterable[Entry], keys: Iterable[str]) -> dict[str, Entry | None]:
    """The entry of each key, by its full or its short name."""
    known: dict[str, Entry] = {}
    for entry in entries:
        known.setdefault(short_key(entry.key), entry)
        known[entry.key] = entry
    return {key: known.get(key) for key in keys}


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

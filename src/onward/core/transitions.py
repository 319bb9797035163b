"""The table of the state machine: every transition that a run can make.

What a fact or an act changes beside the state is in `decide`, `claiming` and `acts`, none of which writes a state that
the table does not allow.
"""

from __future__ import annotations

from typing import Final, Literal

from onward.core import codec
from onward.core.model import Begun, Entry, Run, RunState

Event = Literal[
    "claimed",
    "returned",
    "raised",
    "released",
    "suspended",
    "retried",
    "orphaned",
    "paused",
    "diverged",
    "doubted",
    "cancelled",
    "resumed",
    "reset",
]

_OPEN: Final[tuple[RunState, ...]] = ("pending", "running", "waiting", "paused", "stuck", "failed")

TRANSITIONS: Final[dict[Event, tuple[tuple[RunState, ...], RunState]]] = {
    "claimed": (_OPEN, "running"),  # from `running` only when the holder's lease is over or its death proven
    "returned": (("running",), "done"),
    "raised": (("running",), "failed"),
    "released": (("running",), "pending"),
    "suspended": (("running",), "waiting"),
    "retried": (("running",), "waiting"),  # it failed as a whole, and will be attempted again
    "orphaned": (("running",), "waiting"),  # its worker died or lost it: due for any other
    "paused": (("running", "pending", "waiting"), "paused"),
    "diverged": (("running",), "stuck"),
    "doubted": (("running",), "stuck"),  # nobody knows whether an at-most-once step was executed
    "cancelled": (_OPEN, "cancelled"),
    "resumed": (("paused",), "pending"),  # or `waiting`, if its time has not come
    "reset": (("pending", "waiting", "paused", "stuck", "failed"), "pending"),
}


def transition(state: RunState, event: Event) -> RunState | None:
    """The state after `event`, or None if a run in `state` cannot meet it."""
    sources, target = TRANSITIONS[event]
    return target if state in sources else None


_UNTIL_START: Final = ("start:", "batch:")


def freed(single: str | None, at: Literal["start", "end"]) -> str | None:
    """What is left of a run's claim to be the only one of its key, once it has started or ended.

    `start:…` and `batch:…` are given up when the run is first claimed, `end:…` when it ends; any other is kept.
    """
    if single is None:
        return None
    given_up = single.startswith(_UNTIL_START) or (at == "end" and single.startswith("end:"))
    return None if given_up else single


def attempted(
    begun: Begun, state: Literal["retry", "crashed"], error: str | None, began_at: float, now: float
) -> Entry:
    attempt = begun.attempt - 1 if state == "retry" else begun.attempt
    crc = None if error is None else codec.checksum(error)
    return Entry(
        begun.key, begun.kind, state, begun.name, None, error, crc, attempt, begun.fence, began_at, now
    )


def mark_of(run: Run, event: str, now: float, value: str | None = None) -> Entry:
    crc = None if value is None else codec.checksum(value)
    return Entry(f"run/{event}", "mark", "mark", event, None, value, crc, 1, run.fence, None, now)


def reopening(entry: Entry, fence: int, now: float) -> Entry:
    return Entry(
        entry.key, entry.kind, "reopened", entry.name, None, None, None, entry.attempt, fence, None, now
    )

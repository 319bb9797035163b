"""Heartbeats: what a unit says of itself while it is executed; all is recorded, its next attempt has the latest.

A heartbeat is an entry of its own, `fetch#1 > beat~3`, which rides with the next commit. The first one of an attempt
brings the unit's start marker along, so that a death from then on counts against the unit.
"""

from __future__ import annotations

from typing import Any, Protocol

from onward.core import codec, limits
from onward.core.errors import NotRecordable, UsageError
from onward.core.keys import SEPARATOR
from onward.core.model import Change
from onward.runtime.current import Here
from onward.runtime.effects import Flow, Join, Later, Now
from onward.runtime.outcomes import decoded
from onward.runtime.session import Session


class Elsewhere(Protocol):
    """Takes heartbeats in a process that holds no journal."""

    def beat(self, key: str, text: str, *, wait: bool) -> None: ...


# Set in the process of an isolated step.
apart: Elsewhere | None = None


def text_of(details: Any) -> str:
    """The payload of a heartbeat; raises NotRecordable."""
    where = "the details of onward.heartbeat"
    text = codec.encode(details, where=where)
    if len(text) > limits.BEAT_CHARS:
        cure = "say how far the unit is, and write the rest to a file"
        raise NotRecordable(where, "$", f"{type(details).__qualname__} of {len(text):,} characters", cure)
    return text


def unit_of(place: Here) -> str | None:
    """The unit that a heartbeat at this place speaks of; None where it has been recorded by an earlier execution."""
    session, key = place.session, place.key
    while key:
        begun = session.begun_here(key)
        if begun is not None and begun.kind != "child":
            return key
        if key in session.recorded:
            return None  # an item that is done, whose body is run again for what it computes
        key = key.rpartition(SEPARATOR)[0]
    raise UsageError(
        "onward.heartbeat speaks of the step or item that is being executed, and here is none; nothing was recorded. "
        "Call it inside a step or the body of a loop."
    )


def beat(session: Session, key: str, text: str, *, wait: bool = False) -> Flow[None]:
    """Record a heartbeat of the unit: with the next commit, or before this returns."""
    if session.unwinding is not None:
        raise session.unwinding
    ahead = session.beats_ahead
    while ahead and (ahead[0].settled or len(ahead) >= limits.BEATS_AHEAD):
        session.applied((yield Join(ahead.popleft())))
    now: float = yield Now()
    change: Change = session.beat(key, text, now=now)
    ticket = yield Later(change)
    if wait:
        session.applied((yield Join(ticket)))
    else:
        ahead.append(ticket)


def latest(place: Here) -> Any:
    """The details of the unit's latest heartbeat, of this attempt or an earlier one; None if there was none."""
    found = place.session.beats.get(place.key)
    return None if found is None else decoded(found)

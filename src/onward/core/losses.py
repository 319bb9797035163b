"""When item after item of a loop has ended its program: the circuit breaker of loops. Pure.

A loop cannot see why its program ends, and its next life is another process. So what it has lost is read from its
entries: an item that was parked, then the next one, and none done in between.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from onward.core import limits
from onward.core.errors import TooManyFailures
from onward.core.keys import SEPARATOR
from onward.core.model import Entry, Run
from onward.core.streak import Reason
from onward.core.texts import Failure, failure_of

# What stands for an exception where the process died without one.
_DEATH: Final = Failure("the death of the process", "", "")
_STOPPED: Final = f"{TooManyFailures.__module__}:{TooManyFailures.__qualname__}"


class Losses(NamedTuple):
    """What the loop has lost since one of its items was done, the item in hand included."""

    parked: tuple[Entry, ...] = ()  # the failed outcomes
    ends: tuple[
        Failure, ...
    ] = ()  # how the program ended: once for each body, whether of one item or of a batch
    gets_on: bool = False  # whether an item was done before these, in this pass

    def limit(self, stop_after: int | str | None) -> int | None:
        """How many in a row are too many; None for no number."""
        if isinstance(stop_after, str):
            return limits.LOOP_STOP_AFTER if self.gets_on else limits.LOOP_STOP_AT_ONCE
        return stop_after

    def too_many(self, stop_after: int | str | None) -> Reason | None:
        """Why to stop, if there is a reason to."""
        limit = self.limit(stop_after)
        if limit is None or not self.ends or len(self.ends) < limit:
            return None
        kinds = Counter(one.class_name for one in self.ends)
        kind, most = kinds.most_common(1)[0]
        latest = next(one for one in reversed(self.ends) if one.class_name == kind)
        return Reason(len(self.ends), most, latest.line, "ended the program")


def losses(latest: Sequence[Entry], key: str) -> Losses:
    """What a loop has lost when it comes to the item `key`, in which its program has ended before.

    `latest` are the last entries of its run. What is tried again after a pass that came to its end says nothing new,
    and neither does what a person has asked to be tried again: those items do not count.
    """
    depth = key.count(SEPARATOR)
    gets_on = bool(latest) and latest[0].seq > 0
    parked: dict[str, Entry] = {}
    ends: dict[str, str | None] = {}
    again: set[str] = set()
    for entry in reversed(latest):
        if entry.kind == "mark" and entry.name == "raised":
            gets_on = False
            break
        if entry.kind != "item":
            continue
        if entry.state == "done" and entry.key.count(SEPARATOR) <= depth:
            gets_on = True
            break
        if entry.state == "reopened":
            again.add(entry.key)
        elif entry.state == "crashed":
            ends.setdefault(entry.key, entry.value)
        elif entry.state == "failed" and entry.key.count(SEPARATOR) == depth:
            parked.setdefault(entry.key, entry)
    if key in again:
        return Losses()
    parked.pop(key, None)  # the one in hand is counted once
    counted = [e for e in reversed(parked.values()) if e.key in ends and e.key not in again]
    # The items of a batch are parked together, in one lease; between two bodies the process has died.
    bodies = {entry.fence: _how(ends[entry.key]) for entry in counted}
    return Losses(tuple(counted), (*bodies.values(), _how(ends.get(key))), gets_on)


def stopped_early(run: Run) -> bool:
    """Whether the latest pass was stopped because everything failed."""
    error = failure_of(run.error)
    return run.state == "failed" and error is not None and error.class_name == _STOPPED


def _how(text: str | None) -> Failure:
    return failure_of(text) or _DEATH

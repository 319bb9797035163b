"""What the world saw, apart from the journal: effects, what user code received, what was acknowledged, what was
granted.

The oracle compares it with the journal's rows. Times: `at` is the world's own time, `wall` the journal's clock.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple


@dataclass
class Effect:
    """One execution of a step's or an item's body in the outside world."""

    run_id: str
    key: str
    attempt: int
    fence: int
    token: str  # the idempotency key that the code would pass on
    process: str
    began_at: float
    safe_until: float  # the end of the last lease that was confirmed to the process, by its own clock
    ended_at: float | None = None  # None: the process died in it
    value: int | None = None  # what it gave back; None: it raised
    deadly: bool = False  # it killed its process


class Received(NamedTuple):
    """User code was given this outcome of a step."""

    run_id: str
    key: str
    fence: int
    value: Any
    branch: str


class Written(NamedTuple):
    """An entry that a process committed. `heard`: it got the answer too."""

    run_id: str
    seq: int
    key: str
    state: str
    fence: int
    value: str | None
    process: str
    at: float


class Claim(NamedTuple):
    """A lease that was granted."""

    run_id: str
    fence: int
    process: str
    at: float
    wall: float
    until: float
    proven: bool  # the previous holder was known to be dead, or was this very process
    healthy: bool  # the previous holder was alive and at work


class Orphan(NamedTuple):
    """A run that was made ready because its worker had died, or its lease was over."""

    run_id: str
    fence: int  # after it
    wall: float
    proven: bool
    healthy: bool


class Grant(NamedTuple):
    run_id: str
    fence: int
    until: float


class Wish(NamedTuple):
    """An operator asked the holder of a run to pause or cancel, and was told that this is noted."""

    run_id: str
    what: str
    after_seq: int  # the run's last entry at that time


@dataclass
class Log:
    effects: list[Effect] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    written: list[Written] = field(default_factory=list)
    heard: set[tuple[str, int]] = field(
        default_factory=set
    )  # (run_id, seq) of entries acknowledged to their process
    claims: list[Claim] = field(default_factory=list)
    grants: list[Grant] = field(default_factory=list)
    orphans: list[Orphan] = field(default_factory=list)
    fenced: dict[tuple[str, str], int] = field(
        default_factory=dict
    )  # (process, run_id) -> highest fence it lost
    asked: dict[str, float] = field(
        default_factory=dict
    )  # runs that somebody called for, by id, and when at first
    wishes: list[Wish] = field(default_factory=list)
    returned: list[tuple[str, Any]] = field(default_factory=list)  # (run_id, result) as given to a caller
    woke: list[tuple[str, str, float]] = field(default_factory=list)  # (run_id, key, wall) after a sleep
    breaches: list[str] = field(default_factory=list)  # seen while it happened
    counts: Counter[str] = field(default_factory=Counter)

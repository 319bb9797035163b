"""In which manner a step is executed, and what a probe may answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Done:
    """The answer of the `probe=` of a `step`: the attempt in doubt was executed, and this is what it returned."""

    value: Any = None


@dataclass(frozen=True, slots=True)
class NotDone:
    """The answer of the `probe=` of a `step`: the attempt in doubt was not executed, and never will be."""


@dataclass(frozen=True, slots=True)
class Manner:
    """In which way a step is executed."""

    isolate: bool = False
    timeout_s: float | None = None
    memory_bytes: int | None = None
    at_most_once: bool = False
    probe: Callable[..., Any] | None = None

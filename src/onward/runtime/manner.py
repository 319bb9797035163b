"""In which manner a step is executed, and what a probe may answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from onward.core.model import Begun, Run


@dataclass(frozen=True, slots=True)
class Done:
    """The answer of the `probe=` of a `step`: the attempt in doubt was executed, and this is what it returned."""

    value: Any = None


@dataclass(frozen=True, slots=True)
class NotDone:
    """The answer of the `probe=` of a `step`: the attempt in doubt was not executed, and never will be."""


class Executes(Protocol):
    """Where a step's function is executed, if not here."""

    def call(
        self,
        run: Run,
        past: Begun,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        repeats: bool,
    ) -> Any:
        """What the function returns, or its error; ProcessDied if the process died in which it was executed.

        Unless it `repeats`, it is called once, also when it is not known whether it was this call that died.
        """
        ...


@dataclass(frozen=True, slots=True)
class Manner:
    """In which way a step is executed."""

    isolate: bool = False
    timeout_s: float | None = None
    memory_bytes: int | None = None
    at_most_once: bool = False
    probe: Callable[..., Any] | None = None
    executor: Executes | None = None

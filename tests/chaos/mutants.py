"""Bugs that are put into the production code of the worker processes on purpose: the oracle must find every one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from onward.core.model import Change, Refused
from onward.storage import guards
from onward.storage.guards import Guard
from onward.storage.postgres import store as store_module
from onward.storage.postgres.clock import DatabaseClock
from onward.storage.postgres.writer import Writer

_statements = store_module.statements


def _no_refusal(change: Change, guard: Guard | None) -> Refused | None:
    return None if guard is not None else Refused("missing", "simulated")


def _unguarded(schema: str) -> dict[str, str]:
    """The statements that go straight, without their look at the fence."""
    sql = dict(_statements(schema))
    for name, guard, instead in (
        ("add_alone", "AND fence = $15::bigint", "AND $15::bigint IS NOT NULL"),
        ("record", "AS given (no, fence) USING (no, fence)", "AS given (no, unread) USING (no)"),
    ):
        assert guard in sql[name], "the statement is written otherwise now, and so must the mutant be"
        sql[name] = sql[name].replace(guard, instead)
    return sql


def _no_fence() -> None:
    guards.refusal = _no_refusal
    store_module.statements = _unguarded


def _never_happened(self: Writer, link: Any, transaction: Any, changes: Any) -> bool:
    return False


def _always_happened(self: Writer, link: Any, transaction: Any, changes: Any) -> bool:
    return True


def _taken_as_failures() -> None:
    Writer._happened = _never_happened  # type: ignore[method-assign]


def _taken_as_successes() -> None:
    Writer._happened = _always_happened  # type: ignore[method-assign]


def _leases_by_the_wall() -> None:
    DatabaseClock.now = lambda self: time.time()  # type: ignore[method-assign]


class Mutant(NamedTuple):
    plant: Callable[[], None]
    often: tuple[str, ...] = ()  # faults that it takes to see it


_CUTS: Final = ("cut before COMMIT", "cut after COMMIT") * 4

MUTANTS: Final[dict[str, Mutant]] = {
    "no look at the fence": Mutant(_no_fence),
    "lost answers are failures": Mutant(_taken_as_failures, _CUTS),
    "lost answers are successes": Mutant(_taken_as_successes, _CUTS),
    "leases by the worker's clock": Mutant(_leases_by_the_wall),
}


def plant(name: str) -> None:
    """Change the code of this process."""
    MUTANTS[name].plant()

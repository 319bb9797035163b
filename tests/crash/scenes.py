"""What the crash programs must come to, worked out by hand: nothing here knows onward.

Further capabilities have files of their own, `scenes_NAME.py`; `corpus` collects them. See README.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Scene:
    """One program and its undisturbed outcome."""

    name: str  # of a function in programs.py or programs_NAME.py
    result: Any
    units: dict[str, int]  # how many entries of each kind are done in a complete run
    concurrency: int = 1  # how many units of a kind one kill can interrupt
    begins: bool = False  # items are begun durably before they are handed out
    rows: tuple[Any, ...] | None = None  # what rows.jsonl holds at the end
    parallel: bool = False  # the order of its writes is not the same in every run
    slow: bool = False  # a phase takes a second or so: fewer points of it are tried on every change
    alike: bool = (
        False  # it takes the way of another scene, but for a part: fewer points are tried on every change
    )
    forks: bool = (
        False  # it has workers that are forked off, and for a moment hold the lock of a process that died
    )
    silent: bool = False  # it does not say which calls have returned to it
    again: int = 0  # executions that one phase may add to a unit, because its failure was executed again
    blames: int = 0  # deaths that its own exceptions are charged as, at most, for one unit
    ends: str = "done"  # the state of its run at the end
    plain: tuple[str, ...] = ()  # how the ids of those of its runs begin that record no units
    # What else is wrong at the end, a sentence each: given the last moment (see oracle) and the folder.
    also: Callable[[Any, Path], Iterable[str]] | None = None


SCENES = (
    Scene("loop", None, {"item": 8}, begins=True),
    Scene(
        "loop_rows",
        None,
        {"item": 6, "value": 1},
        begins=True,
        rows=tuple({"x": x, "twice": 2 * x} for x in range(6)),
    ),
    Scene("loop_steps", None, {"item": 4, "step": 8}, begins=True),
    Scene("loop_async", None, {"item": 5, "step": 5}, begins=True),
    # Tiny items in groups: what a kill in the middle of a group takes back is the group, by promise.
    Scene("loop_grouped", None, {"item": 10}, concurrency=10, silent=True),
    Scene(
        "workflow",
        [10, 20, 30, 50, [1, 2], 60],
        {"step": 8, "sleep": 1, "value": 1},
        concurrency=2,
        parallel=True,
    ),
    Scene(
        "workflow_async",
        [10, 20, 50, [1, 2], 60],
        {"step": 7, "sleep": 1, "value": 1},
        concurrency=2,
        parallel=True,
    ),
    Scene("chores", None, {"step": 5}),
    Scene("workflow_nested", [30, 30], {"item": 6, "step": 5, "child": 1}, begins=True),
    Scene("map_threads", [0, 10, 20, 30, 40, 50, 60, 70], {"item": 8}, concurrency=3, parallel=True),
    Scene("map_tasks", [0, 10, 20, 30, 40, 50], {"item": 6, "step": 6}, concurrency=3, parallel=True),
)

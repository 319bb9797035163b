"""Sees which lines a process executes, in all its threads: notes the visits of each, or kills it at one of them.

Only lines of the product and of the programs count. Where `sys.monitoring` exists, lines that are of no interest cost
nothing after their first visit; before Python 3.12 a trace function is set, and entered only in code that holds the
line.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import onward

EVERY: Final = "*"
_PRODUCT: Final = str(Path(onward.__file__).parent) + os.sep
_PROGRAMS: Final = str(Path(__file__).parent / "programs")
_TOOL: Final = 3  # one that no debugger, profiler or coverage tool takes


class Lines:
    """What is looked for, and what was seen."""

    def __init__(self, line: str, visit: int, state: Callable[[], int]) -> None:
        self.every = line == EVERY
        self._state = state
        file, _, number = line.rpartition(":")
        self.file, self.number, self.visit = file, 0 if self.every else int(number), visit
        self._pid = os.getpid()  # what it forks off is not what is to die
        # How often, and the state of the disk at the first visit and at the last.
        self.seen: dict[tuple[str, int], list[int]] = {}
        self._visits = count(1)  # counts without a lock: one call in C
        self._holds: dict[CodeType, bool] = {}

    def holds(self, code: CodeType) -> bool:
        """Whether visits of lines of this code matter."""
        known = self._holds.get(code)
        if known is None:
            known = self._holds[code] = self._looked(code)
        return known

    def _looked(self, code: CodeType) -> bool:
        name = short(code.co_filename)
        if name is None or self.every:
            return name is not None
        return name == self.file and any(number == self.number for _, _, number in code.co_lines())

    def met(self, code: CodeType, number: int) -> None:
        """A line is about to be executed."""
        if self.every:
            state = self._state()
            seen = self.seen.setdefault((code.co_filename, number), [0, state, state])
            seen[0] += 1
            seen[2] = state
        elif number == self.number and os.getpid() == self._pid and next(self._visits) == self.visit:
            os.kill(self._pid, signal.SIGKILL)
            signal.pause()


def short(path: str) -> str | None:
    """`api/walk.py` of the product, `programs.py` of the corpus; None for all other code."""
    if path.startswith(_PRODUCT):
        return path.removeprefix(_PRODUCT)
    return os.path.basename(path) if path.startswith(_PROGRAMS) else None


def begin(line: str, visit: int, state: Callable[[], int]) -> Lines:
    """From now on see the lines of this thread and of those that it starts. `state` numbers the states of the disk."""
    lines = Lines(line, visit, state)
    if sys.version_info >= (3, 12):
        _monitor(lines)
    else:
        _trace(lines)
    return lines


def end(lines: Lines) -> dict[str, list[int]]:
    """See no more; by `file:number`: how often the line was visited, and the state at its first and its last visit."""
    if sys.version_info >= (3, 12):
        sys.monitoring.set_events(_TOOL, 0)
    else:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]
    seen = dict(lines.seen)  # in one go: threads that are still there go on counting
    return {f"{short(file)}:{number}": visits for (file, number), visits in sorted(seen.items())}


def _trace(lines: Lines) -> None:
    holds, met = lines.holds, lines.met

    def inside(frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            met(frame.f_code, frame.f_lineno)
        return inside

    def enter(frame: FrameType, event: str, arg: Any) -> Any:
        return inside if holds(frame.f_code) else None

    threading.settrace(enter)
    sys.settrace(enter)


def _monitor(lines: Lines) -> None:
    monitoring = sys.monitoring  # type: ignore[attr-defined,unused-ignore]

    def met(code: CodeType, number: int) -> Any:
        if not lines.holds(code) or not (lines.every or number == lines.number):
            return monitoring.DISABLE
        return lines.met(code, number)

    monitoring.use_tool_id(_TOOL, "line kills")
    monitoring.register_callback(_TOOL, monitoring.events.LINE, met)
    monitoring.set_events(_TOOL, monitoring.events.LINE)

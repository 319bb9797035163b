"""What a program leaves for `onward run`, which keeps it going, about how it ends: one line in a file of its process.

Its exit code does not say it: Python ends with 1 for every exception, and the program may have handled this one. What
counts is the last thing that it has met: a run that it begins or continues later takes the line back.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeVar

from onward.core.errors import (
    AlreadyRunning,
    JournalUnusable,
    NoJournal,
    OnwardError,
    RunCancelled,
    RunError,
    UsageError,
)

# The folder of these files. Processes that the program starts inherit it, so each writes to a file of its own.
FOLDER: Final = "ONWARD_PARTING"

Why = Literal["held", "busy", "paused", "cancelled", "unusable", "mistaken"]
_Error = TypeVar("_Error", bound=OnwardError)


class Parting(NamedTuple):
    """The last that a program has met: it held a run, or why it did not get or keep one.

    `run_id`: of a program that is "mistaken", what it was told.
    """

    why: Why
    run_id: str = ""


_held = ""


def holds(run_id: str) -> None:
    """The program has begun or continued this run."""
    global _held
    _held = run_id
    _write("held", run_id)


def stopped(error: RunError, asked: str | None) -> RunError:
    """`error`, which the program gets because a person has `asked` for it."""
    global _held
    if asked in ("pause", "cancel"):
        _held = ""
        _write("paused" if asked == "pause" else "cancelled", error.run_id)
    return error


def refused(error: _Error) -> _Error:
    """`error`, which the program gets instead of a run."""
    if isinstance(error, AlreadyRunning):
        _write("busy", error.run_id)
    elif isinstance(error, RunCancelled):
        _write("cancelled", error.run_id)
    return error


def uncaught(error: BaseException) -> None:
    """This error ends the program."""
    if isinstance(error, AlreadyRunning):
        refused(error)
    elif isinstance(error, JournalUnusable) and not isinstance(error, NoJournal):
        _write("unusable", "")
    elif isinstance(error, UsageError):
        _write("mistaken", str(error))
    elif not isinstance(error, OnwardError):  # whatever it has met before, it did not end of that
        _write("held", _held)


def read(folder: Path, pid: int) -> Parting | None:
    """What the process has left, once it has ended."""
    try:
        why, run_id = json.loads((folder / str(pid)).read_text())
    except (OSError, ValueError):  # nothing, or it was killed while it wrote
        return None
    return Parting(why, run_id)


def _write(why: Why, run_id: str) -> None:
    folder = os.environ.get(FOLDER)
    if folder:
        with suppress(OSError):  # without it the program is started again, as after any crash
            Path(folder, str(os.getpid())).write_text(json.dumps([why, run_id]))

"""The journal of a measurement: opened in a folder of its own, with a log that is recycled as after hours of work."""

from __future__ import annotations

from pathlib import Path

import onward
from onward.api import connect
from onward.core import limits

# Each of them writes two pages or more, so the log comes to the length at which housekeeping starts it over.
_FILLING = limits.WAL_PAGES * 3 // 4


@onward.step
def fill(number: int) -> str:
    return "x" * 500


@onward.workflow
def fill_the_log() -> None:
    for number in range(_FILLING):
        fill(number)


def opened(folder: Path) -> None:
    """A journal in steady state: its log has come to its length, is empty, and is overwritten from now on."""
    onward.connect(folder / "journal.db")
    fill_the_log()
    if (folder / "journal.db-wal").stat().st_size < 4_096 * limits.WAL_PAGES:
        raise SystemExit("the log has not come to its length; steps would be timed while it grows")
    recycle()


def recycle() -> None:
    """What the keeper of a process does every few seconds, now: between two measurements, not in one."""
    connect.engine().store.tidy()

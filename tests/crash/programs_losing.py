"""Programs in which everything fails for a while: the loop stops, and goes on when the cause is mended."""

from __future__ import annotations

import sys
from pathlib import Path

import onward
from crash.programs import world

MENDED, OUTAGE = Path("mended"), Path("outage.log")  # the items that were begun in vain


def loop_breaker() -> str:
    """An outage that lasts until the loop has stopped for it. Each exception ends the program, as onward sees it."""
    while True:
        try:
            for item in onward.each(range(5), name="breaker", stop_after=2):
                if not MENDED.exists():
                    with OUTAGE.open("a") as file:
                        file.write(f"\n{item}\n")  # a torn line must not spoil the next one
                world.effect(fails=not MENDED.exists())
        except ConnectionError as error:
            sys.excepthook(type(error), error, error.__traceback__)
        except onward.TooManyFailures:
            MENDED.touch()
        else:
            return "mended" if MENDED.exists() else "never stopped"

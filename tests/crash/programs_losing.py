"""Programs in which everything fails for a while: the loop stops, and goes on when the cause is mended."""

from __future__ import annotations

import sys

import onward
from crash.programs import world


def loop_breaker() -> str:
    """An outage that lasts until the loop has stopped for it. Each exception ends the program, as onward sees it."""
    mended = onward.cursor("mended", start=False)
    while True:
        try:
            for _ in onward.each(range(5), name="breaker", stop_after=2):
                world.effect(fails=not mended.value)
        except ConnectionError as error:
            sys.excepthook(type(error), error, error.__traceback__)
        except onward.TooManyFailures:
            mended.advance(True)
        else:
            stopped = mended.value
            mended.close()
            return "mended" if stopped else "never stopped"

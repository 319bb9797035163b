"""What a person sees while work goes on: where the journal is, what is continued, how far it is.

Messages go to stderr and to the logger `onward`; `ONWARD_QUIET=1` silences the former.
"""

from __future__ import annotations

import logging
import os
import sys

log = logging.getLogger("onward")
log.addHandler(logging.NullHandler())
_hushed = False


def say(message: str) -> None:
    """Tell the person at the terminal."""
    log.info(message)
    if not _hushed and not os.environ.get("ONWARD_QUIET"):
        sys.stderr.write(f"onward: {message}\n")
        sys.stderr.flush()


def hush() -> None:
    """From now on this process tells the person nothing: another one does."""
    global _hushed
    _hushed = True


def say_place(place: str) -> None:
    say(f"journal {place}")


def span(seconds: float) -> str:
    """A length of time for people: `45 s`, `12 min`, `2 h 10 min`, `3 days`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{round(hours / 24)} days"

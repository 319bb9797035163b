"""Functions that worker processes can find: what is mapped over an executor stands at the top level of a module."""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path

import onward


class Wrong(Exception):
    """An error that a worker cannot send home by itself: its constructor wants two arguments."""

    def __init__(self, what: str, number: int) -> None:
        self.number = number
        super().__init__(f"{what} {number}")


class Slow(Exception):
    """An error with the wish of a server."""

    retry_after = 0.05


def square(number: int) -> int:
    return number * number


def where(number: int) -> tuple[int, str, str, int]:
    here = onward.current()
    assert here is not None
    return os.getpid(), here.key, onward.idempotency_key(), here.attempt


def wrong(number: int) -> int:
    raise Wrong("no", number)


def slow(number: int) -> int:
    raise Slow


@onward.step(max_attempts=2, backoff=0)
def decorated(number: int) -> int:
    return -number


def calls_a_step(number: int) -> int:
    return decorated(number)


def maps(number: int) -> list[int]:
    return list(onward.map(square, [number], name="inner"))


def says_progress(number: int) -> None:
    onward.progress(number)


def beats(number: int) -> None:
    onward.heartbeat(number, wait=True)


def logs(number: int) -> bool:
    return onward.logger.isEnabledFor(logging.CRITICAL)


def noted(path_and_number: tuple[str, int]) -> int:
    """Counts its executions in a file."""
    path, number = path_and_number
    with open(path, "a") as file:
        file.write(f"{number}\n")
    return number


def deadly(path_and_number: tuple[str, int]) -> int:
    """The worker dies in item 3, as by a segmentation fault."""
    number = noted(path_and_number)
    time.sleep(0.02)
    if number == 3:
        os.kill(os.getpid(), signal.SIGSEGV)
    return number


def deadly_once(path_and_number: tuple[str, int]) -> int:
    """As `deadly`, but the first time only."""
    path, number = path_and_number
    if number == 3 and "3\n" not in (Path(path).read_text() if Path(path).exists() else ""):
        noted(path_and_number)
        time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGSEGV)
    return noted(path_and_number)


def lock(number: int) -> object:
    """Gives what cannot be sent home."""
    return (n for n in range(number))

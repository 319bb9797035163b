"""Steps that executors can find: at the top level of a module."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import onward


def processes() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(2, mp_context=get_context("forkserver"))


@onward.step(executor=processes)
def where(number: int, *, note: str = "") -> list[object]:
    here = onward.current()
    assert here is not None
    return [os.getpid(), here.key, here.attempt, number, note, onward.idempotency_key()]


@onward.step(executor=processes, max_attempts=2, backoff=0)
def wrong(number: int) -> int:
    raise ValueError(f"no {number}")


@onward.step(executor=processes, backoff=0)
def deadly(log: str, number: int, beside: Sequence[str] = ()) -> int:
    """Kills its worker each time, once those beside it have begun."""
    _note(log, f"deadly-{number}")
    while not set(beside) <= set(Path(log).read_text().split()):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
    return number


@onward.step(executor=processes, backoff=0, max_crashes=1)
def patient(log: str, number: int) -> int:
    """Takes a moment, and survives nothing: a single crash that is counted against it parks it."""
    _note(log, f"patient-{number}")
    time.sleep(0.5)
    return number


@onward.step(executor=processes, at_most_once=True, backoff=0)
def once(log: str, number: int) -> int:
    """Takes longer than anything beside it lives."""
    _note(log, f"once-{number}")
    time.sleep(30)
    return number


@onward.step(executor=processes)
def calls_a_step() -> object:
    return wrong(1)


def _note(log: str, word: str) -> None:
    with Path(log).open("a") as file:
        file.write(word + "\n")

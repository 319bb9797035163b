"""The commands that every contestant's script answers: setup, enqueue, hang, ask, work."""

import json
import random
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

import tasks

SETTING = sys.argv[1] if len(sys.argv) > 1 else "default"
TUNED = SETTING != "default"


class Contestant(Protocol):
    """One way to queue and execute the two tasks."""

    def setup(self) -> None: ...

    def enqueue(self) -> None:
        """Put `tasks.JOBS` no-op jobs there."""
        ...

    def hang(self) -> None:
        """Put the job there that stands still."""
        ...

    def start(self, number: int) -> Callable[[], Any] | None:
        """Put one no-op job there; what waits for its result, if there is such a thing."""
        ...

    def work(self) -> None:
        """Execute jobs until killed."""
        ...


def answer(contestant: Contestant) -> None:
    """Do what the command line asks."""
    match sys.argv[2]:
        case "enqueue":
            begun_at = time.perf_counter()
            contestant.enqueue()
            print(json.dumps(time.perf_counter() - begun_at), flush=True)
        case "ask":
            print(json.dumps(asked(contestant)), flush=True)
        case "work":
            tasks.ready()
            contestant.work()
        case command:
            getattr(contestant, command)()


def asked(contestant: Contestant) -> list[tuple[int, int, int | None]]:
    """(number, when it was started, when its result was there or None) of jobs started one by one, with pauses."""
    chance = random.Random(1)
    said: list[tuple[int, int, int | None]] = []
    for number in range(tasks.JOBS):
        time.sleep(chance.uniform(0.05, 0.15))
        begun = time.time_ns()
        wait = contestant.start(number)
        if wait is not None:
            wait()
        said.append((number, begun, None if wait is None else time.time_ns()))
    return said

"""Workers of a test: in its own thread until nothing is ready, or as other processes would see them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from onward.api import connect
from onward.core.model import Run
from onward.runtime.engine import Engine
from onward.runtime.worker import Ended, Worker
from onward.storage.sqlite.store import SqliteStore


def burst(engine: Engine | None = None, **options: object) -> list[Ended]:
    """Be a worker until nothing is ready; what it executed."""
    told: list[Ended] = []
    worker = Worker(engine or connect.engine(), told=told.append, **options)  # type: ignore[arg-type]
    worker.run(burst=True)
    assert worker.rest(5) == 0
    return told


def settle(**options: object) -> list[Ended]:
    """Be a worker until nothing is queued any more and nothing sleeps."""
    told = burst(**options)
    while connect.engine().store.runs(states=["pending", "waiting", "running"], limit=1):
        time.sleep(0.01)
        told += burst(**options)
    return told


def stored(run_id: str) -> Run:
    found = connect.engine().store.run(run_id)
    assert found is not None
    return found


def until(condition: Callable[[], object], seconds: float = 10) -> None:
    """Wait for it."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it has not come about"
        time.sleep(0.005)


@contextmanager
def other_process(*, lease_s: float = 30.0) -> Iterator[Engine]:
    """The journal as another process has it open, with a clock that can be set: `engine.shift[0]` seconds ahead."""
    shift = [0.0]
    place = connect.engine().store.place
    store = SqliteStore(place, durability="process", clock=lambda: time.time() + shift[0])
    engine = Engine(store, lease_s=lease_s, clock=lambda: time.monotonic() + shift[0], keeper=False)
    engine.shift = shift  # type: ignore[attr-defined]
    try:
        yield engine
    finally:
        engine.close()


def die(engine: Engine) -> None:
    """What a process leaves that was killed: rows that name it, and a lock that the kernel has freed."""
    engine.store._owners.close()  # type: ignore[attr-defined]

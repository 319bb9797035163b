"""A worker process of the chaos tests: what it executes, and the logs that say what really happened.

`python -m chaos.jobs URL FOLDER` works on the queues of the journal until it is ended. A line is written before and
after each effect, straight to the kernel: what is in the log at the moment of a kill has happened.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onward
from onward.api import connect
from onward.api.working import work
from onward.core import limits
from onward.core.model import Refused
from onward.runtime import current
from onward.runtime.engine import Engine
from onward.runtime.worker import Ended
from onward.storage.open import open_store

LEASE_S = 3.0
EFFECTS, WORKERS = "effects.log", "workers.log"
_files: dict[str, int] = {}


def enter(folder: Path) -> None:
    """Write to the logs in `folder` from now on."""
    for name in (EFFECTS, WORKERS):
        _files[name] = os.open(folder / name, os.O_CREAT | os.O_APPEND | os.O_WRONLY)


def note(name: str, **what: Any) -> None:
    os.write(_files[name], (json.dumps({**what, "pid": os.getpid(), "wall": time.time()}) + "\n").encode())


def effect(takes_s: float) -> str:
    """Do something that cannot be undone, in the step or job that runs now."""
    here = current.peek()
    assert here is not None, "effects happen inside of runs"
    unit = {
        "run": here.session.run.id,
        "key": here.key,
        "fence": here.session.run.fence,
        "attempt": here.attempt,
    }
    note(EFFECTS, at="before", **unit)
    time.sleep(takes_s)
    note(EFFECTS, at="after", **unit)
    return f"{here.session.run.id}/{here.key}"


@onward.step(max_crashes=50)
def act(takes_s: float) -> str:
    return effect(takes_s)


@onward.workflow(max_crashes=50)
def chain(n: int) -> list[str]:
    """Steps with a sleep in between that is longer than a worker waits in place."""
    first = act(0.2 + n % 5 / 5)
    onward.sleep(1.2)
    return [first, act(0.3)]


@onward.workflow(max_crashes=50)
def leaf(n: int) -> str:
    return act(0.2)


@onward.workflow(max_crashes=50)
def family(n: int) -> list[str]:
    """Others that are started and awaited side by side, next to a branch that works."""
    one, two = leaf.start(n), leaf.start(n + 1)

    def works() -> str:
        return act(0.5)

    return onward.gather(one.result, two.result, works)


@onward.workflow(max_crashes=50)
async def drip(n: int) -> list[str]:
    """Async branches that sleep for different times."""

    async def branch(seconds: float) -> str:
        await onward.aio.sleep(seconds)
        return act(0.2)

    return await onward.aio.gather(branch(0.9), branch(1.6))


@onward.workflow(max_crashes=50)
def bare(n: int) -> str:
    """A job without a step."""
    return effect(0.4)


KINDS = (chain, family, drip, bare)


def shorten() -> None:
    """Leases of a few seconds, so that a stopped worker loses them within a test."""
    limits.LEASE_MARGIN_S = 0.5  # type: ignore[misc]
    limits.SUSPEND_S = 0.5  # type: ignore[misc]
    limits.FAULT_PAUSE_S = 0.2  # type: ignore[misc]


def opened(url: str) -> Engine:
    """The journal at `url`, with short leases; writes down what it refuses."""
    shorten()
    store: Any = open_store(url)
    commit = store.commit

    def watched(changes: Sequence[Any]) -> list[Any]:
        answers: list[Any] = commit(changes)
        for answer in answers:
            if isinstance(answer, Refused) and answer.reason == "fence":
                note(WORKERS, what="refused")
        return answers

    store.commit = watched
    return Engine(store, lease_s=LEASE_S)


def told(ended: Ended) -> None:
    note(WORKERS, what=ended.how, run=ended.run.id, fence=ended.run.fence)


if __name__ == "__main__":
    from chaos import jobs  # as the module of that name, not as __main__

    url, folder = sys.argv[1], Path(sys.argv[2])
    jobs.enter(folder)
    connect._engine = jobs.opened(url)
    jobs.note(WORKERS, what="up")
    left = work(concurrency=4, drain_s=1.0, told=jobs.told)
    jobs.note(WORKERS, what="down", left=left)
    connect.disconnect()

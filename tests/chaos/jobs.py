"""What the workers of the chaos tests execute, and the logs that say what really happened.

A line is written before and after each effect, and after each answer of the journal, straight to the kernel: what is in
a log at the moment of a kill has happened. Lines have the time of the machine's monotonic clock, which all processes
share, so what one process did before another can be told, whatever the clock on their wall says.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onward
from onward.core import limits
from onward.core.decide import at_length
from onward.core.errors import OutcomeUnknown
from onward.core.model import Applied, Change, Claimed, Refused
from onward.runtime import current
from onward.runtime.engine import Engine
from onward.runtime.worker import Ended
from onward.storage.open import open_store
from onward.storage.postgres.store import PostgresStore
from onward.storage.postgres.writer import Writer

LEASE_S = 3.0
CALL_S = 1.0  # of a call to a database server: three fit into a lease
EFFECTS, WORKERS = "effects.log", "workers.log"
_files: dict[str, int] = {}


def enter(folder: Path) -> None:
    """Write to the logs in `folder` from now on."""
    for name in (EFFECTS, WORKERS):
        _files[name] = os.open(folder / name, os.O_CREAT | os.O_APPEND | os.O_WRONLY)


def note(name: str, **what: Any) -> None:
    line = json.dumps({**what, "pid": os.getpid(), "mono": time.monotonic()})
    os.write(_files[name], f"{line}\n".encode())


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
    limits.CALL_S = CALL_S  # type: ignore[misc]


def opened(url: str) -> Engine:
    """The journal at `url`, with short leases; writes down what it answers."""
    shorten()
    store: Any = PostgresStore(url, call_s=CALL_S) if url.startswith("postgresql:") else open_store(url)
    _watch_commits(store)
    _watch_renewals(store)
    return Engine(store, lease_s=LEASE_S)


def told(ended: Ended) -> None:
    note(WORKERS, what=ended.how, run=ended.run.id, fence=ended.run.fence)


# -- the evidence -------------------------------------------------------------------------------------------


def _watch_commits(store: Any) -> None:
    commit = store.commit

    def watched(orders: Sequence[Any]) -> list[Any]:
        asked = time.monotonic()
        try:
            answers: list[Any] = commit(orders)
        except OutcomeUnknown:
            note(WORKERS, what="left unknown")
            raise
        for order, answer in zip(at_length(orders), answers, strict=True):
            _answered(order, answer, asked)
        return answers

    store.commit = watched


def _answered(order: Any, answer: Any, asked: float) -> None:
    match answer:
        case Claimed(runs=runs):
            for run, _ in runs:
                note(WORKERS, what="claimed", no=run.no, fence=run.fence, asked=asked)
        case Refused(reason="fence"):
            note(WORKERS, what="refused", no=order.run_no, fence=order.fence)
        case Applied(run_no=no) if isinstance(order, Change):
            for entry in order.entries:
                if entry.kind == "step" and entry.state == "done":
                    note(WORKERS, what="recorded", no=no, key=entry.key, fence=entry.fence)
                elif entry.name in ("orphaned", "returned"):
                    note(WORKERS, what=entry.name, no=no, fence=order.fence)


def _watch_renewals(store: Any) -> None:
    renew = store.renew

    def watched(owner: str, until: float) -> list[Any]:
        asked = time.monotonic()
        held: list[Any] = renew(owner, until)
        off = store.now() - time.clock_gettime(time.CLOCK_REALTIME)  # the server's clock is this machine's
        note(WORKERS, what="renewed", nos=[no for no, _ in held], asked=asked, off=off)
        return held

    store.renew = watched


def watch_doubts() -> None:
    """Write down whenever the answer to what may have been a commit was lost, and what the look for it has found."""
    happened, transact = Writer._happened, Writer._transact

    def looked(self: Writer, link: Any, transaction: Any, changes: Any) -> bool:
        found = happened(self, link, transaction, changes)
        note(WORKERS, what="unknown", found=found)
        return found

    def sent_before(self: Writer, link: Any, changes: Any, sent: Any) -> list[Any]:
        answers = transact(self, link, changes, sent)
        if sent is not None:
            note(WORKERS, what="unknown", found=answers is sent.answers)
        return answers

    Writer._happened = looked  # type: ignore[method-assign]
    Writer._transact = sent_before  # type: ignore[method-assign]

"""Programs that queue runs and are their worker too."""

from __future__ import annotations

from typing import Any

import onward
from crash.programs import call, work, world
from onward.api import connect
from onward.core.model import ENDED
from onward.runtime.worker import Worker


@onward.workflow(name="queued_order")
def _order(x: int) -> list[int]:
    first = call("work#1", work, x)
    onward.sleep(0.06)  # longer than a worker waits in place: the run is a row meanwhile
    world.ack("sleep#1")
    return [first, call("work#2", work, 2 * x)]


def queued() -> Any:
    """One run from its start to its end, with as many workers as it takes: it rests between them."""
    return _worked(_order.options(id="order-{x}").start(4))


@onward.workflow(name="queued_parent")
def _parent(x: int) -> list[int]:
    return [call("work#1", work, x), *onward.gather(lambda: call("work#1", work, 2 * x), lambda: work(3 * x))]


def queued_bare() -> Any:
    """A run whose branches have steps side by side."""
    return _worked(_parent.options(id="bare-{x}").start(2))


@onward.workflow(name="queued_plain")
def _plain(n: int) -> Any:
    return call("work#1", work, 4) if n == 2 else 40


def queued_plain() -> Any:
    """Runs that ask for nothing durable, which have no sessions and end together, and one among them that does."""
    return {_worked(run) for run in _plain.options(id="plain-{n}").start_many(range(4))}.pop()


def _worked(run: Any) -> Any:
    while run.state not in ENDED:  # it sleeps, or its worker has died just now
        worker = Worker(connect.engine(), concurrency=2)
        worker.run(burst=True)
        assert worker.rest(5) == 0
    return run.result()

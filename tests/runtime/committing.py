"""A store of which only `commit` exists, told when to wait and when to fail; for tests of group commit."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence

from onward.core.model import Answer, Applied, Change, Refused
from onward.storage.committer import Committer
from onward.storage.ticket import Ticket

# Far more than any of these waits takes; only a lost wake-up or a lost answer makes a test wait so long.
SOON_S = 20


def change(number: int, fence: int = 1) -> Change:
    return Change(number, fence)


class Disk:
    """A store of which only `commit` exists. `script` is asked before each batch: it may wait or raise."""

    place = "the test's disk"

    def __init__(self, script: Callable[[int], None] = lambda batch: None) -> None:
        self.script = script
        self.batches: list[list[int]] = []
        self.tries = 0
        self.inside = 0

    def commit(self, changes: Sequence[Change]) -> list[Answer]:
        self.inside += 1
        try:
            assert self.inside == 1, "two batches at once"
            self.tries += 1
            self.script(self.tries)
            self.batches.append([c.run_no for c in changes])
            return [
                Applied(c.run_no, c.run_no * 10, None) if c.fence else Refused("fence", "old")
                for c in changes
            ]
        finally:
            self.inside -= 1

    @property
    def durable(self) -> list[int]:
        return [number for batch in self.batches for number in batch]


class Straight(Disk):
    """The same, which writes a single change without a mask."""

    def commit_alone(self, change: Change) -> list[Answer]:
        return self.commit([change])


class Gate:
    """Holds the first commit until it is let go."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Event(), threading.Event()

    def __call__(self, batch: int) -> None:
        if batch == 1:
            self.reached.set()
            assert self.open.wait(SOON_S)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < end, "it never came to pass"
        time.sleep(0.001)


async def submitted(committer: Committer, *changes: Change) -> list[Answer]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[list[Answer]] = loop.create_future()

    def notify(ticket: Ticket) -> None:
        assert asyncio.get_running_loop() is loop
        if ticket.error is not None:
            future.set_exception(ticket.error)
        else:
            future.set_result(ticket.result())

    committer.submit(changes, loop, notify)
    return await asyncio.wait_for(future, SOON_S)

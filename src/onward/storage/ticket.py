"""Changes that wait for the disk, and who is told what became of them: each of them, whatever that is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from onward.core.model import Answer, Answered, Order

if TYPE_CHECKING:
    import asyncio


class Ticket:
    """Changes on their way to the disk, and what became of them."""

    __slots__ = ("_gates", "answers", "changes", "due", "error", "loop", "notify", "waiter")

    def __init__(
        self,
        changes: Sequence[Order],
        due: float = 0.0,
        loop: asyncio.AbstractEventLoop | None = None,
        notify: Callable[[Ticket], None] | None = None,
        waiter: Any = None,  # of whoever is notified
    ) -> None:
        self.changes, self.due = changes, due
        self.loop, self.notify, self.waiter = loop, notify, waiter
        self.answers: list[Answered] | None = None
        self.error: BaseException | None = None
        self._gates: list[threading.Lock] = []  # one of each thread that waits

    @property
    def settled(self) -> bool:
        return self.answers is not None or self.error is not None

    def result(self) -> list[Answer]:
        """The answers of a settled ticket; raises what its commit raised."""
        if self.error is not None:
            raise self.error
        assert self.answers is not None, "the ticket is not settled yet"
        return self.answers  # type: ignore[return-value]  # of changes: only `claim` queues anything else

    def wait(self) -> None:
        """Block until the ticket is settled. Any number of threads may wait for it."""
        gate = threading.Lock()
        gate.acquire()
        self._gates.append(gate)
        # `settle` writes the answers before it looks for gates, so one of the two always sees the other.
        if not self.settled:
            gate.acquire()

    def settle(self, answers: list[Answered] | None, error: BaseException | None) -> None:
        self.answers, self.error = answers, error
        for gate in self._gates:
            gate.release()


def answer(batch: Sequence[Ticket], answers: list[Answered], error: BaseException | None) -> None:
    """Settle the tickets of a batch, each with its part of the answers, or all with the error.

    Threads go on at once. Each event loop is called once, for all of its tickets.
    """
    calls: dict[asyncio.AbstractEventLoop, list[Ticket]] = {}
    latest: asyncio.AbstractEventLoop | None = None  # as a rule there is one
    told: list[Ticket] = []
    at = 0
    for ticket in batch:
        end = at + len(ticket.changes)
        ticket.settle(answers[at:end] if error is None else None, error)
        at = end
        if ticket.loop is not None:
            if ticket.loop is not latest:
                latest = ticket.loop
                told = calls.setdefault(latest, [])
            told.append(ticket)
    for loop, tickets in calls.items():
        try:
            loop.call_soon_threadsafe(_notify, tickets)
        except RuntimeError:  # the loop is closed: nobody is left to hear the answer
            continue


def _notify(tickets: list[Ticket]) -> None:
    for ticket in tickets:
        assert ticket.notify is not None, "only tickets with a loop come here"
        ticket.notify(ticket)

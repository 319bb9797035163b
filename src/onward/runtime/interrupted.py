"""A cancellation that came while an outcome was being recorded: delivered at the next await instead.

What is executed and recorded is done, whatever the waiter wishes: a replay gives its value back at that place, so the
live code must have seen it there too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onward.core.keys import Scope
from onward.core.lazily import Lazily
from onward.core.model import Answer
from onward.runtime.current import Here, peek
from onward.storage.ticket import Ticket

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = Lazily("asyncio")


async def committed(ticket: Ticket, answered: asyncio.Future[list[Answer]] | None = None) -> list[Answer]:
    """The answers to a commit whose waiter was cancelled: those it has had, or once its ticket has them."""
    while answered is None and not ticket.settled:
        try:
            await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            continue
    answers = ticket.result() if answered is None else answered.result()
    Cancellation(asyncio.current_task(), peek())
    return answers


class Cancellation:
    """A cancellation of a task that is still to be delivered: by its next durable call, or its next await."""

    def __init__(self, task: asyncio.Task[Any] | None, place: Here | None) -> None:
        self._task, self._place, self._delivered = task, place, False
        if place is not None:
            place.scope = _Closed(self, place.scope)
        # Runs when the task has come to an await that really waits.
        asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        task = self._task
        # Nobody counts on it any more when the block that asked for it has been left.
        if self._delivered or task is None or task.done() or not task.cancelling():
            return
        task.uncancel()  # asked once more, it is still asked once
        task.cancel()

    def raise_at(self, scope: Scope, inner: Scope) -> None:
        """A durable call is made: it is the one that is cancelled, before anything of it begins."""
        if self._place is not None and self._place.scope is scope:
            self._place.scope = inner
        if self._task is not None and self._task.cancelling() and not self._delivered:
            self._delivered = True
            raise asyncio.CancelledError


class _Closed(Scope):
    """The scope of a task that is to be cancelled: its next call is refused."""

    __slots__ = ("_cancellation", "_inner")

    def __init__(self, cancellation: Cancellation, inner: Scope) -> None:
        super().__init__(inner.prefix, inner.depth)
        self._cancellation, self._inner = cancellation, inner

    def next(self, name: str) -> str:
        self._cancellation.raise_at(self, self._inner)
        return self._inner.next(name)

    def named(self, name: str, key: str) -> str:
        self._cancellation.raise_at(self, self._inner)
        return self._inner.named(name, key)

"""The calls that must be awaited in async code: `await onward.aio.sleep(...)`, `onward.aio.gather(...)`,
`onward.aio.now()`."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from onward.api.awaited import gather, now, sleep, sleep_until
from onward.api.deadline import timeout
from onward.api.heartbeat import heartbeat_async as heartbeat

if TYPE_CHECKING:
    from onward.api.cursor import Cursor

__all__ = ["advance", "gather", "heartbeat", "now", "sleep", "sleep_until", "timeout"]

T = TypeVar("T")


async def advance(cursor: Cursor[T], value: T) -> None:
    """Move a cursor, as `cursor.advance(value)`; the event loop is not blocked while that becomes durable.

        await onward.aio.advance(since, page.last_id)

    Raises what `cursor.advance` raises.
    """
    await cursor.advance_async(value)

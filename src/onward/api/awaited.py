"""The twins of `wait` for async code: the same promises, and the event loop is never blocked."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Awaitable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from onward.api import connect
from onward.api.wait import branch_place, seconds_of, timestamp
from onward.core.errors import UsageError
from onward.core.lazily import Lazily
from onward.runtime import current
from onward.runtime.current import Here
from onward.runtime.drive import drive_async
from onward.runtime.session import Fork

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = Lazily("asyncio")

T = TypeVar("T")


async def sleep(seconds: float = 0, *, days: float = 0, hours: float = 0, minutes: float = 0) -> None:
    """Sleep durably, as `onward.sleep`. Outside of a run a plain `asyncio.sleep`.

        await onward.aio.sleep(hours=1)

    Raises UsageError for a length below 0.
    """
    whole = seconds_of(seconds, days, hours, minutes)
    place = current.here()
    if place is None:
        await asyncio.sleep(whole)
        return
    flow = place.session.sleep(place.scope.next("sleep"), lambda now: now + whole)
    await drive_async(flow, connect.engine(), place.session)


async def sleep_until(when: dt.datetime) -> None:
    """Sleep durably until `when`, as `onward.sleep_until`. Outside of a run a plain `asyncio.sleep`.

        await onward.aio.sleep_until(order.created_at + timedelta(days=14))

    Raises UsageError for a time without a time zone.
    """
    at = timestamp(when)
    place = current.here()
    if place is None:
        await asyncio.sleep(max(0.0, at - time.time()))
        return
    flow = place.session.sleep(place.scope.next("sleep"), lambda now: at)
    await drive_async(flow, connect.engine(), place.session)


async def now() -> dt.datetime:
    """The time in UTC; inside a run recorded, so that a replay sees the same.

        begun_at = await onward.aio.now()

    Durable when it returns. Raises nothing of its own.
    """
    place = current.here()
    if place is None:
        return dt.datetime.now(dt.UTC)
    flow = place.session.take(place.scope.next("now"), "value", "now", float)
    return dt.datetime.fromtimestamp(await drive_async(flow, connect.engine(), place.session), dt.UTC)


async def gather(*branches: Awaitable[T]) -> list[T]:
    """Await the branches concurrently; their results in order.

        a, b = await onward.aio.gather(charge(order), reserve(order))

    Each branch names its steps apart from the others, and what it has recorded is not executed again. All branches come
    to rest before the first error, by order of arguments, is raised; cancelling the gather cancels them all.
    """
    for branch in branches:
        if not hasattr(branch, "__await__"):
            raise UsageError("onward.aio.gather takes awaitables: await onward.aio.gather(f(1), f(2))")
    place = current.here()
    unit = None if place is None else place.scope.next("gather")
    if not branches:
        return []
    fork = Fork() if place is None else place.session.fork(len(branches))
    tasks = [
        asyncio.ensure_future(_in_branch(place, unit, number, branch))
        for number, branch in enumerate(branches)
    ]
    for task in tasks:  # also of one that is cancelled before it begins
        task.add_done_callback(lambda _: fork.ended())
    try:
        results = await asyncio.gather(*tasks, return_exceptions=True)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    fork.join()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results  # type: ignore[return-value]


def _in_branch(
    place: Here | None, unit: str | None, number: int, branch: Awaitable[T]
) -> Coroutine[Any, Any, T]:
    async def run() -> T:
        if place is not None and unit is not None:
            inner = branch_place(place, unit, number)
            inner.own()
            current.set_here(inner)
        return await branch

    return run()

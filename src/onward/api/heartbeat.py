"""`heartbeat`: how far a step or item is, recorded while it is executed and given to its next attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onward.api import connect
from onward.api.wait import refuse_in_loop
from onward.core.lazily import Lazily
from onward.runtime import beats, current
from onward.runtime.current import Here
from onward.runtime.drive import drive, drive_async

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = Lazily("asyncio")


def heartbeat(details: Any = None, *, wait: bool = False) -> None:
    """Say how far the step or item is that is being executed; `onward.current().heartbeat` has the latest `details`.

        @onward.step(max_attempts=3)
        def copy(blob: str) -> int:
            at = onward.current().heartbeat or 0       # of an earlier attempt, also in another process
            for at in range(at, size(blob), CHUNK):
                send(blob, at)
                onward.heartbeat(at)

    Every heartbeat is recorded, in order, and none is left out: it rides with the next commit, within 5 ms, and costs
    the caller no wait. What was said in the last moments before a death may be missing; with `wait=True` it is durable
    when the call returns (in async code: `await onward.aio.heartbeat(...)`). `details` must be recordable. From the
    first heartbeat on, a death of the process counts against this step. Works from other threads to which the context
    was passed on, and in isolated steps. Outside of any run it does nothing.

    Raises NotRecordable for details that cannot be recorded, and BlockingCall for `wait=True` inside an event loop.
    """
    place = _place()
    if place is None:
        return
    text = beats.text_of(details)
    if beats.apart is not None:
        beats.apart.beat(place.key, text, wait=wait)
        return
    if wait:
        refuse_in_loop("onward.heartbeat(..., wait=True)", "await onward.aio.heartbeat(...)")
    key = beats.unit_of(place)
    if key is not None:
        drive(beats.beat(place.session, key, text, wait=wait), connect.engine(), place.session)


async def heartbeat_async(details: Any = None) -> None:
    """As `onward.heartbeat`, and durable when it returns.

        await onward.aio.heartbeat(position)

    Raises NotRecordable for details that cannot be recorded.
    """
    place = _place()
    if place is None:
        return
    text = beats.text_of(details)
    if beats.apart is not None:
        await asyncio.to_thread(beats.apart.beat, place.key, text, wait=True)
        return
    key = beats.unit_of(place)
    if key is not None:
        await drive_async(beats.beat(place.session, key, text, wait=True), connect.engine(), place.session)


def _place() -> Here | None:
    # In whatever order threads say it: only where no context was passed on, a heartbeat would go unrecorded.
    return current.peek() or current.here()

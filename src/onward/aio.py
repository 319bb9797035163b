"""The calls that must be awaited in async code: `await onward.aio.sleep(...)`, `onward.aio.gather(...)`,
`onward.aio.now()`."""

from __future__ import annotations

from onward.api.awaited import gather, now, sleep, sleep_until

__all__ = ["gather", "now", "sleep", "sleep_until"]

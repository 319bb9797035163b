"""Maps under pressure: with keys that exclude each other, at a pace, over executors."""

from __future__ import annotations

import asyncio
import ctypes
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

import onward
from crash.programs import world


def _convert(x: int) -> int:
    here = onward.current()
    assert here is not None
    world.effect(fails=x == 3 and here.attempt == 1)
    return x * 10


def _convert_slowly(x: int) -> int:
    """Long enough for another item to begin meanwhile."""
    here = onward.current()
    assert here is not None
    world.effect(fails=x == 3 and here.attempt == 1, takes_s=0.006)
    return x * 10


async def _convert_async(x: int) -> int:
    world.effect()
    await asyncio.sleep(0)
    return x * 10


OPTIONS: dict[str, Any] = {"key": lambda x: f"v{x}", "max_attempts": 2, "backoff": 0.001}
KEYS: dict[str, Any] = {"per_key": lambda x: x % 2, "rate": "2000/s burst 4", "per_key_rate": "2000/s"}


def _told(value: int) -> int:
    world.ack(f"map/v{value // 10}", value)
    return value


def map_keys() -> list[int]:
    mapped = onward.map(_convert_slowly, range(8), name="keys", concurrency=3, **KEYS, **OPTIONS)
    return [_told(value) for value in mapped]


def map_keys_async() -> list[int]:
    async def main() -> list[int]:
        mapped = onward.map(_convert_async, range(8), name="keys", concurrency=3, **KEYS, **OPTIONS)
        return [_told(value) async for value in mapped]

    return asyncio.run(main())


def map_pool() -> list[int]:
    """The pool is in this process, so that a kill may come at any write of its workers."""
    with ThreadPoolExecutor(2) as pool:
        return [
            _told(v)
            for v in onward.map(_convert, range(6), name="pool", concurrency=2, executor=pool, **OPTIONS)
        ]


def map_processes() -> list[int]:
    """Only the process that records is killed; its workers go on for a moment, as orphans."""
    make = partial(ProcessPoolExecutor, 2, mp_context=get_context("fork"), initializer=_disarmed)
    mapped = onward.map(_convert, range(6), name="processes", concurrency=2, executor=make, **OPTIONS)
    return [_told(value) for value in mapped]


def _disarmed() -> None:
    shim = ctypes.CDLL(None)
    if hasattr(shim, "crash_disarm"):
        shim.crash_disarm()

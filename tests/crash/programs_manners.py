"""Programs of steps in a manner of their own: heartbeats, at most once, deadlines, processes of their own."""

from __future__ import annotations

import asyncio
import json
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import onward
from crash.programs import call, call_async, work, work_async, world
from crash.world import EFFECTS

# -- heartbeats ---------------------------------------------------------------------------------------


@onward.step
def beaten(upto: int) -> int:
    """Goes on where its latest heartbeat was said, in whatever life."""
    here = onward.current()
    assert here is not None
    world.effect()
    for at in range((here.heartbeat or 0) + 1, upto + 1):
        onward.heartbeat(at, wait=True)
        world.ack(f"beat~{at}", at)
    return upto


@onward.workflow
def _heartbeats(n: int) -> list[int]:
    return [call("beaten#1", beaten, n), call("work#1", work, n)]


def heartbeats() -> list[int]:
    return _heartbeats(4)


def heartbeats_riding() -> None:
    """Heartbeats that nobody waits for: whatever is lost of them at a kill is said again, and nothing twice."""
    for x in onward.each("abcd", name="riding"):
        here = onward.current()
        assert here is not None
        world.effect()
        if here.heartbeat is None:
            onward.heartbeat(x)


# -- at most once -------------------------------------------------------------------------------------


def was_done(*_: Any) -> onward.Done | onward.NotDone:
    """What the world knows of the step that is in doubt here."""
    here = onward.current()
    assert here is not None
    lines = Path(EFFECTS).read_text().split("\n")
    told = [json.loads(line[:-2]) for line in lines if line.endswith(" .")]
    done = any((line["at"], line["run"], line["key"]) == ("after", here.run_id, here.key) for line in told)
    return onward.Done(f"receipt of {here.key}") if done else onward.NotDone()


@onward.step(at_most_once=True, probe=was_done, max_crashes=9, backoff=0)
def charge(cents: int) -> str:
    here = onward.current()
    assert here is not None
    world.effect()
    return f"receipt of {here.key}"


@onward.step(at_most_once=True, probe=was_done, max_crashes=9, backoff=0)
async def charge_async(cents: int) -> str:
    here = onward.current()
    assert here is not None
    world.effect()
    return f"receipt of {here.key}"


@onward.workflow
def _once(n: int) -> list[str]:
    return [call(f"charge#{k}", charge, k) for k in range(1, n + 1)]


@onward.workflow
async def _once_async(n: int) -> list[str]:
    receipts = [await call_async(f"charge_async#{k}", charge_async, k) for k in range(1, n + 1)]
    return [*receipts, str(await call_async("work_async#1", work_async, n))]


def once() -> list[str]:
    return _once(3)


def once_async() -> list[str]:
    return asyncio.run(_once_async(2))


# -- deadlines ----------------------------------------------------------------------------------------


@onward.workflow
async def _deadline(n: int) -> list[Any]:
    found: list[Any] = []
    async with onward.timeout(3600):
        found.append(await call_async("work_async#1", work_async, n))
    try:
        async with onward.timeout(0.01):
            await asyncio.sleep(3600)
    except TimeoutError:
        found.append("over")
    return [*found, await call_async("work_async/after", work_async.options(key="after"), 3 * n)]


def deadline() -> list[Any]:
    return asyncio.run(_deadline(1))


class Busy(Exception):
    """As a server says it."""

    retry_after = 0.002


@onward.step(max_attempts=2, backoff=3600)
def polite(x: int) -> int:
    """Its server says how long to wait: without that it would wait for an hour."""
    here = onward.current()
    assert here is not None
    world.effect()
    if here.attempt == 1:
        raise Busy
    return x * 10


@onward.step(executor=partial(ThreadPoolExecutor, 1))
def pooled(x: int) -> int:
    world.effect()
    return x * 10


@onward.workflow
def _asked(n: int) -> list[int]:
    return [call("polite#1", polite, n), call("pooled#1", pooled, 2 * n)]


def asked() -> list[int]:
    return _asked(1)


@onward.step(timeout=0.01, max_attempts=2, backoff=0)
async def hanging(x: int) -> int:
    here = onward.current()
    assert here is not None
    world.effect()
    if here.attempt == 1:
        await asyncio.sleep(3600)
    return x * 10


@onward.workflow
async def _timed_out(n: int) -> list[int]:
    return [await call_async("hanging#1", hanging, n), await call_async("work_async#1", work_async, 2 * n)]


def timed_out() -> list[int]:
    return asyncio.run(_timed_out(1))


# -- a process of its own -----------------------------------------------------------------------------


@onward.step(isolate=True, timeout=100, memory="4GB")
def apart(x: int) -> int:
    # In that process nobody has entered the world yet; it stands in the same folder.
    world.enter(Path.cwd(), int(os.environ["CRASH_PHASE"]))
    world.effect()
    return x * 10


@onward.workflow
def _isolated(n: int) -> list[int]:
    return [call(f"apart#{k}", apart, k) for k in range(1, n + 1)]


def isolated() -> list[int]:
    os.environ["CRASH_PHASE"] = str(world._phase)
    return _isolated(2)

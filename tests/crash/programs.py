"""The programs that are killed: small, and together they use every kind of unit, sync and async.

`scenes.py` says what each comes to. Each runs in a process of its own and is called again, unchanged, after a kill.
"""

from __future__ import annotations

import asyncio
from typing import Any

import onward
from crash.world import Unit, World

world = World()  # entered by the server in each process


# -- steps --------------------------------------------------------------------------------------------


@onward.step
def work(x: int) -> int:
    world.effect()
    return x * 10


@onward.step(max_attempts=3, backoff=0.001)
def flaky(x: int) -> int:
    here = onward.current()
    assert here is not None
    world.effect(fails=here.attempt == 1)
    return x * 10


@onward.step
def tagged(tag: str) -> int:
    """Called with a value drawn by the run: another one in a replay would be a divergence."""
    world.effect()
    return len(tag)


@onward.step
def chore(x: int) -> None:
    world.effect()


@onward.step
async def work_async(x: int) -> int:
    world.effect()
    await asyncio.sleep(0)
    return x * 10


@onward.step(max_attempts=3, backoff=0.001)
async def flaky_async(x: int) -> int:
    here = onward.current()
    assert here is not None
    world.effect(fails=here.attempt == 1)
    return x * 10


@onward.step
async def tagged_async(tag: str) -> int:
    world.effect()
    return len(tag)


def call(key: str, step: Any, *args: Any) -> Any:
    """Call a step and acknowledge its value."""
    value = step(*args)
    world.ack(key, value)
    return value


async def call_async(key: str, step: Any, *args: Any) -> Any:
    value = await step(*args)
    world.ack(key, value)
    return value


# -- loops --------------------------------------------------------------------------------------------


def _acknowledge(unit: Unit | None) -> None:
    """Asking for the next item has made this one done."""
    if unit is not None:
        world.ack(unit.key, run=unit.run)


def loop() -> None:
    last = None
    for _ in onward.each([3, 1, 4, 1, 5, 9, 2, 6], name="loop"):
        _acknowledge(last)
        last = world.effect()
    _acknowledge(last)


def loop_rows() -> None:
    out = onward.jsonl("rows.jsonl")
    last = None
    for x in onward.each(range(6), name="rows"):
        _acknowledge(last)
        last = world.effect()
        out.write({"x": x, "twice": 2 * x})
    _acknowledge(last)


def loop_steps() -> None:
    last = None
    for x in onward.each(["a", "b", "c", "d"], name="steps"):
        _acknowledge(last)
        last = world.effect()
        call("work#1", work, ord(x))
        call("flaky#1", flaky, ord(x))
    _acknowledge(last)


def loop_async() -> None:
    async def main() -> None:
        last = None
        async for x in onward.each(range(5), name="async"):
            _acknowledge(last)
            last = world.effect()
            await call_async("work_async#1", work_async, x)
        _acknowledge(last)

    asyncio.run(main())


def loop_grouped() -> None:
    for _ in onward.each(range(10), name="grouped", flush_ms=1):
        world.effect()


# -- workflows ----------------------------------------------------------------------------------------


@onward.workflow
def _workflow(x: int) -> list[Any]:
    first = [call(f"work#{n}", work, n * x) for n in (1, 2, 3)]
    retried = call("flaky#1", flaky, 5 * x)
    world.ack("now#1", onward.now().timestamp())
    tagged(str(onward.uuid4()))
    onward.sleep(0.01)
    world.ack("sleep#1")
    halves = onward.gather(lambda: _branch(1), lambda: _branch(2))
    return [*first, retried, halves, call("work#4", work, 6 * x)]


def _branch(n: int) -> int:
    call("work#1", work, n)
    return n


@onward.workflow
async def _workflow_async(x: int) -> list[Any]:
    first = [await call_async(f"work_async#{n}", work_async, n * x) for n in (1, 2)]
    retried = await call_async("flaky_async#1", flaky_async, 5 * x)
    world.ack("now#1", (await onward.aio.now()).timestamp())
    await tagged_async(str(onward.uuid4()))
    await onward.aio.sleep(0.01)
    world.ack("sleep#1")
    halves = await onward.aio.gather(_branch_async(1), _branch_async(2))
    return [*first, retried, halves, await call_async("work_async#3", work_async, 6 * x)]


async def _branch_async(n: int) -> int:
    await call_async("work_async#1", work_async, n)
    return n


@onward.workflow
def _chores() -> None:
    for n in range(1, 6):
        call(f"chore#{n}", chore, n)


@onward.workflow
def _child(x: int) -> int:
    return sum(call(f"work#{n}", work, n * x) for n in (1, 2))


@onward.workflow
def _nested(n: int) -> list[int]:
    total = 0
    # The bodies of items with steps run again in a replay, and their steps answer from the record ...
    for x in onward.each(range(n)):
        total += call("work#1", work, x)
    # ... and those without do not: they are units like any other.
    for _ in onward.each("abc", name="plain"):
        world.effect()
    return [total, call("_child#1", _child, 1)]


def workflow() -> list[Any]:
    return _workflow(1)


def workflow_async() -> list[Any]:
    return asyncio.run(_workflow_async(1))


def chores() -> None:
    _chores()


def workflow_nested() -> list[int]:
    return _nested(3)


# -- maps ---------------------------------------------------------------------------------------------


def _convert(x: int) -> int:
    world.effect(fails=x == 3 and _attempt() == 1)
    return x * 10


async def _convert_async(x: int) -> int:
    world.effect()
    return int(await call_async("work_async#1", work_async, x))


def _attempt() -> int:
    here = onward.current()
    assert here is not None
    return here.attempt


def map_threads() -> list[int]:
    results = []
    for value in onward.map(
        _convert,
        range(8),
        name="threads",
        key=lambda x: f"v{x}",
        concurrency=3,
        max_attempts=2,
        backoff=0.001,
    ):
        world.ack(f"map/v{value // 10}", value)
        results.append(value)
    return results


def map_tasks() -> list[int]:
    async def main() -> list[int]:
        results = []
        async for value in onward.map(
            _convert_async, range(6), name="tasks", key=lambda x: f"v{x}", concurrency=3
        ):
            world.ack(f"map/v{value // 10}", value)
            results.append(value)
        return results

    return asyncio.run(main())

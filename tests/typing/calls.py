"""What a type checker sees through the decorators and loops. Checked by mypy and pyright, never run."""

import random
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from typing import assert_type

import onward


@onward.step
def charge(order: str, *, cents: int = 0) -> int:
    return cents


@onward.step(max_attempts=3, backoff=0.5, retry_on=(OSError, ValueError))
async def ship(order: str) -> bytes:
    return b""


@onward.workflow
def checkout(order: str) -> float:
    assert_type(charge(order, cents=3), int)
    charge(17)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    charge(order, euros=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    onward.sleep(days=3)
    onward.sleep("3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    return 1.0


@onward.workflow(name="ship all", max_crashes=5)
async def ship_all(orders: list[str]) -> int:
    assert_type(await ship(orders[0]), bytes)
    assert_type(await onward.aio.gather(ship("a"), ship("b")), list[bytes])
    await onward.aio.sleep(minutes=1)
    return 1


class Shop:
    @onward.step
    def price(self, item: str) -> int:
        return 1

    @onward.workflow
    def sell(self, item: str) -> str:
        assert_type(self.price(item), int)
        self.price(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        return item


def size(name: str) -> int:
    return len(name)


async def asize(name: str) -> int:
    return len(name)


def use(names: list[str]) -> None:
    assert_type(checkout("a"), float)
    assert_type(checkout.options(id="order-{order}")("a"), float)
    assert_type(Shop().sell("a"), str)
    assert_type(charge.options(key="k", max_attempts=2)("a"), int)
    charge.options(max_attempts="2")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    for name in onward.each(names, name="names", key=lambda n: n.lower()):
        assert_type(name, str)
    for result in onward.map(size, names, name="sizes", concurrency=2, max_attempts=3):
        assert_type(result, int)
    for either in onward.map(size, names, name="sizes", on_error="continue"):
        assert_type(either, int | onward.Failure[str])
    with ProcessPoolExecutor(2) as pool:
        for afar in onward.map(size, names, name="sizes", executor=pool, rate="5/s", stop_after=None):
            assert_type(afar, int)
    for made in onward.map(
        size,
        names,
        name="sizes",
        executor=lambda: ProcessPoolExecutor(4),
        per_key=lambda n: n[0],
        per_key_rate="1/s",
    ):
        assert_type(made, int)
    onward.map(size, names, per_key=lambda n: n.nothing)  # type: ignore[arg-type, attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    onward.map(size, names, rate=5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    for awaited in onward.map(asize, names, name="sizes"):
        assert_type(awaited, int)
    onward.map(size, names, on_error="ignore")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    assert_type(onward.now(), datetime)
    assert_type(onward.uuid4(), uuid.UUID)
    assert_type(onward.rng(), random.Random)
    assert_type(onward.gather(lambda: size("a"), lambda: size("b")), list[int])
    assert_type(onward.idempotency_key(), str)
    assert_type(onward.current(), onward.Current | None)


async def use_async(names: AsyncIterator[str]) -> None:
    assert_type(await ship_all(["a"]), int)
    async for name in onward.each(names, name="names"):
        assert_type(name, str)
    async for result in onward.map(asize, names, name="sizes"):
        assert_type(result, int)


def probe(order: str) -> onward.Done | onward.NotDone:
    return onward.Done(3) if order else onward.NotDone()


@onward.step(isolate=True, timeout=30, memory="512MB")
def render(page: str) -> bytes:
    onward.heartbeat({"page": page}, wait=True)
    return b""


@onward.step(at_most_once=True, probe=probe, timeout=2.5)
async def pay(order: str) -> int:
    await onward.aio.heartbeat(1)
    return 1


@onward.workflow
async def harder(order: str) -> int:
    assert_type(render("a"), bytes)
    render(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async with onward.timeout(minutes=5) as deadline:
        assert_type(deadline, onward.Timeout)
        assert_type(await pay(order), int)
    render.options(timeout="3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    here = onward.current()
    return int(here.heartbeat or 0) if here else 0


@onward.schedule("0 3 * * *", tz="Europe/Rome", overlap="queue", catch_up="all", jitter=60)
@onward.workflow
def nightly(city: str = "Rome") -> int:
    here = onward.current()
    if here is not None:
        assert_type(here.scheduled_at, datetime | None)
    return 1


assert_type(nightly("Milan"), int)
assert_type(nightly.start("Milan"), onward.Handle[int])
assert_type(onward.schedule(every=60, catch_up=3_600)(nightly)("Rome"), int)
onward.schedule("0 3 * * *", overlap="wait")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
onward.schedule("0 3 * * *", catch_up="some")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
onward.schedule(every=60)(len)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]

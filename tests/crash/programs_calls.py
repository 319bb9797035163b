"""Programs that call in other ways: failed runs called again, methods, ids, keys, drawn values, what is nested."""

from __future__ import annotations

import asyncio
from typing import Any

import onward
from crash.programs import call, work, world

# -- a run that fails and is called again --------------------------------------------------------------


@onward.step
def brittle(x: int) -> int:
    """Fails the first time it is ever executed, whoever executed it."""
    world.effect(fails=world.is_first())
    return x * 10


@onward.workflow
def _reopening(x: int) -> list[int]:
    call("work#1", work, x)
    return [call("brittle#1", brittle, x), call("work#2", work, 2 * x)]


def reopened() -> list[int]:
    try:
        return _reopening(4)
    except ConnectionError:
        return _reopening(4)


# -- methods, ids, keys --------------------------------------------------------------------------------


class Shop:
    def __init__(self, rate: int) -> None:
        self.rate = rate

    @onward.step(max_attempts=2, backoff=0.001)
    def price(self, x: int, *, discount: int = 0) -> int:
        world.effect()
        return x * self.rate - discount

    @onward.workflow(name="shop-order")
    def order(self, x: int) -> list[int]:
        whole = call("Shop.price#1", self.price, x)
        dear = call("Shop.price/dear", self.price.options(key="dear"), 10)
        return [whole, dear, self.price(2, discount=5)]


def methods() -> Any:
    shop = Shop(7)
    return shop.order.options(id="order-{x}", if_running="wait", max_age=3600)(3)


# -- values that are drawn once ---------------------------------------------------------------------------


@onward.step
def sized(chance: float, token: str) -> int:
    """Called with what the run has drawn: in a replay other arguments would be a divergence."""
    world.effect()
    assert onward.idempotency_key() != token
    return len(token)


def drawn() -> list[int]:
    sizes = []
    for letter in onward.each("abcd", name="drawn", key=str.upper, total=4, max_age=3600, if_running="wait"):
        world.effect()
        world.ack("now#1", onward.now().timestamp())
        token = f"{letter}-{onward.uuid4()}"
        sizes.append(call("sized#1", sized, onward.rng().random(), token))
        onward.progress(len(sizes), 4)
    return sorted({*sizes, 38})


# -- loops and maps within others ---------------------------------------------------------------------------


def loop_nested() -> None:
    for x in onward.each("ab", name="outer"):
        for y in onward.each(range(2), name="inner"):
            world.effect()
            onward.logger.info("%s %s", x, y)


@onward.workflow
def _fanned(n: int) -> list[int]:
    found = list(onward.map(_tenfold, range(n), concurrency=2, max_attempts=2, backoff=0.001))
    return [*found, call("work#1", work, 7)]


def _tenfold(x: int) -> int:
    return int(call("work#1", work, x))


def map_nested() -> list[int]:
    return _fanned(4)


async def _slowly(x: int) -> int:
    await asyncio.sleep(0.001 * (5 - x))
    world.effect()
    return x * 10


def map_completed() -> list[int]:
    return sorted(onward.map(_slowly, range(5), name="completed", concurrency=2, as_completed=True))

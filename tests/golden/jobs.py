"""The program behind the golden journals: work of every kind, broken off in the middle when GOLDEN_DIE is set.

Run once with GOLDEN_DIE=1 it leaves a journal with runs in every state; run again without, it finishes all of them and
prints what each came to, and what was executed on the way. It must stay as it is: later versions of onward continue it.
"""

import asyncio
import dataclasses
import datetime as dt
import decimal
import enum
import json
import os
import sys
import uuid

import onward

DIES = os.environ.get("GOLDEN_DIE") == "1"
executed: list[str] = []


def world(what: str) -> None:
    """Something that can be seen from outside."""
    executed.append(what)


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Order:
    id: int
    price: decimal.Decimal
    at: dt.datetime
    tags: frozenset[str]
    color: Color = Color.RED


class Refused(Exception):
    """An error of the program's own."""


# -- loops and maps -----------------------------------------------------------------------------------


def a_loop() -> list[str]:
    for letter in onward.each(list("abcab"), name="letters"):
        if DIES and letter == "c":
            return ["left"]
        world(f"letter {letter}")
    return ["through"]


def a_loop_that_is_killed() -> str:
    for letter in onward.each(list("pqr"), name="killed"):
        if DIES and letter == "q":
            os._exit(0)
        world(f"killed {letter}")
    return "through"


def a_loop_over_odd_items() -> str:
    items = [1, "1", (1, 2), {"k": b"\x00"}, decimal.Decimal("1.0"), dt.date(2026, 1, 1), None, "x" * 200]
    for number, _ in enumerate(onward.each(items, name="odd items")):
        if DIES and number == 5:
            break
        world(f"odd {number}")
    return "through"


def a_keyed_loop() -> str:
    for row in onward.each([{"id": n} for n in range(4)], name="rows", key=lambda row: f"row-{row['id']}"):
        if DIES and row["id"] == 2:
            break
        world(f"row {row['id']}")
    return "through"


def half(number: int) -> float:
    if DIES and number == 3:
        raise Refused("three is odd")
    world(f"half {number}")
    return number / 2


def a_map() -> list[object]:
    found = onward.map(half, [1, 2, 3, 4], name="halves", concurrency=1, on_error="continue")
    return [type(one).__name__ if isinstance(one, onward.Failure) else one for one in found]


# -- workflows ----------------------------------------------------------------------------------------


@onward.step
def fetch(number: int) -> Order:
    world(f"fetch {number}")
    at = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    return Order(number, decimal.Decimal("9.90"), at, frozenset({"new"}))


@onward.step
def refuse(order: Order) -> str:
    if DIES:
        raise Refused(f"not {order.id}")
    world(f"accepted {order.id}")
    return f"accepted {order.id} at {order.price}"


@onward.step(max_attempts=3, backoff=0.001)
def shaky(number: int) -> int:
    if onward.current().attempt < 3:  # type: ignore[union-attr]
        raise OSError("not yet")
    world(f"shaky {number}")
    return number


@onward.workflow
def failing(number: int) -> str:
    return refuse(fetch(number))


@onward.workflow
def child(number: int) -> int:
    return shaky(number) + 1


@onward.workflow
def nested(numbers: list[int]) -> dict[str, object]:
    stamp = onward.now()
    drawn = onward.rng().random()
    seen = []
    for number in onward.each(numbers):
        order = fetch(number)
        seen.append(order.id)
    left, right = onward.gather(lambda: fetch(10).id, lambda: child(11))
    onward.sleep(0.001)
    if DIES:
        raise KeyboardInterrupt
    caught = ""
    try:
        known_to_fail()
    except Refused as error:
        caught = str(error)
    return {
        "seen": seen,
        "both": [left, right],
        "caught": caught,
        "kept": (stamp.year > 2000, 0 <= drawn < 1),
    }


@onward.step
def known_to_fail() -> None:
    raise Refused("as ever")


@onward.workflow
async def concurrent(numbers: list[int]) -> list[int]:
    async def branch(number: int) -> int:
        return await afetch(number)

    first = await onward.aio.gather(*(branch(number) for number in numbers))
    if DIES:
        raise KeyboardInterrupt
    return [*first, await afetch(99)]


@onward.step
async def afetch(number: int) -> int:
    world(f"afetch {number}")
    return number


@onward.workflow
def with_an_id(key: uuid.UUID) -> str:
    world(f"id {key}")
    return str(key)


def interruptible(call: object) -> object:
    try:
        return call()  # type: ignore[operator]
    except KeyboardInterrupt:
        return "interrupted"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def main() -> None:
    key = uuid.UUID(int=7)
    calls = {
        "letters": a_loop,
        "odd items": a_loop_over_odd_items,
        "rows": a_keyed_loop,
        "halves": a_map,
        "failing": lambda: failing(1),
        "nested": lambda: nested([1, 2]),
        "concurrent": lambda: asyncio.run(concurrent([1, 2, 3])),
        "with an id": lambda: with_an_id.options(id="the-one")(key),
    }
    outcomes = {name: outcome_of(call) for name, call in calls.items()}
    if not DIES:
        outcomes["killed"] = outcome_of(a_loop_that_is_killed)
    json.dump(outcomes, sys.stdout, indent=1, default=str)
    sys.stdout.flush()
    if DIES:
        a_loop_that_is_killed()


def outcome_of(call: object) -> dict[str, object]:
    """What a job came to, and what was executed for it."""
    executed.clear()
    outcome = interruptible(call)
    return {"came to": outcome, "executed": sorted(executed)}


if __name__ == "__main__":
    main()

"""Programs over other sources: batches, what is done once for ever, cursors that move with an item or a workflow."""

from __future__ import annotations

import onward
from crash.programs import work, world
from crash.world import Unit


def _handle(batch: list[int]) -> list[Unit]:
    """The effects of a batch: one for each item, under the key that records it."""
    here = onward.current()
    assert here is not None, "a batch has a body"
    units = [Unit(here.run_id, f"each/{item}", here.attempt) for item in batch]
    for unit in units:
        world.effect_of(unit)
    return units


def batches() -> None:
    out = onward.jsonl("rows.jsonl")
    last: list[Unit] = []
    for batch in onward.each(range(10), name="batches", batch=3):
        for unit in last[-1:]:  # one for each commit
            world.ack(unit.key, run=unit.run)
        last = _handle(batch)
        for item in batch:
            out.write({"x": item})
    for unit in last[-1:]:
        world.ack(unit.key, run=unit.run)


@onward.step
def save(item: int) -> int:
    """The effect of an item is that of its step: the body of a batch runs again in a replay, the step does not."""
    unit = world.effect()
    world.effect_of(Unit(unit.run, f"each#1/{item}", 1))
    return item


@onward.workflow
def _in_batches() -> int:
    return sum([sum([save(item) for item in batch]) for batch in onward.each(range(5), batch=2)])


def batches_replayed() -> int:
    return _in_batches()


def once_for_ever() -> None:
    for _ in onward.each([3, 1, 4, 1, 5, 9], name="feed", once=True):
        world.effect()


def cursor_with_items() -> None:
    """Where the cursor stands when an item begins tells how many are done: neither runs ahead of the other."""
    last = onward.cursor("pages", start=0)
    for page in onward.each(range(1, 6), name="pages"):
        world.effect()
        assert last.value % 5 == page - 1, f"page {page} began with the cursor at {last.value}"
        last.advance(last.value + 1)
    last.close()


@onward.workflow
def _moving() -> int:
    last = onward.cursor("ids", start=0)
    moves = 0
    for _ in range(4):
        work(1)
        last.advance(last.value + 1)
        moves += 1
    return moves


def cursor_in_workflow() -> int:
    return _moving()

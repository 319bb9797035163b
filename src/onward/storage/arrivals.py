"""How a store answers an Arrival: an item joins the run that takes many and has not begun. The same for all stores."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from onward.core import codec, limits
from onward.core.claiming import filled, submitted
from onward.core.model import Answer, Arrival, Arrived, Change, Refused, Run


class Batch(NamedTuple):
    """A run that takes more items: how many it has, and how many characters they are."""

    run_no: int
    run_id: str
    items: int
    chars: int


class Tray(Protocol):
    """What a store has of runs that take many items, within one transaction."""

    def arrival(self, name: str, key: str) -> tuple[int, str, int] | None:
        """(run number, run id, checksum) of the item that came under this key."""
        ...

    def open_batch(self, single: str) -> Batch | None: ...

    def add_arrival(self, batch: Batch, order: Arrival, checksum: int) -> None: ...

    def take_one(self, no: int) -> Run: ...

    def apply(self, change: Change) -> Answer: ...


def arrive(tray: Tray, order: Arrival, now: float) -> Arrived | Refused:
    """Put an item into the run that takes more, once; a new run if there is none or it is full."""
    checksum = codec.checksum(order.item)
    if order.key is not None:
        known = tray.arrival(order.run.name, order.key)
        if known is not None:
            same = known[2] == checksum
            return Arrived(known[0], known[1], new=False) if same else _other(order, known[1])
    assert order.run.single is not None, "a run that takes many is found by it"
    batch = tray.open_batch(order.run.single)
    if batch is not None and batch.chars + len(order.item) > limits.BATCH_CHARS:
        _fill(tray, batch, now)
        batch = None
    if batch is None:
        answer = tray.apply(submitted(order.run, now=now))
        if isinstance(answer, Refused):
            return answer
        batch = Batch(answer.run_no, order.run.id, 0, 0)
    tray.add_arrival(batch, order, checksum)
    if batch.items + 1 >= order.at_most:
        _fill(tray, batch, now)
    return Arrived(batch.run_no, batch.run_id, new=True)


def _fill(tray: Tray, batch: Batch, now: float) -> None:
    tray.apply(filled(tray.take_one(batch.run_no), now=now))


def _other(order: Arrival, run_id: str) -> Refused:
    return Refused("key", f"{order.run.name} has taken another item as `{order.key}`, in run {run_id}")

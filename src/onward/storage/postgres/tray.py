"""The runs of a PostgreSQL journal that take many items, as arrivals see them within their transaction.

What a batch of arrivals may need is read at once, before the first of them; what they change is kept here, so that the
next one sees it. Two processes never fill the same run at once: they hold a lock of its `single`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from onward.core.model import Answer, Arrival, Change, Refused, Run
from onward.storage.arrivals import Batch
from onward.storage.guards import Guard
from onward.storage.postgres import locks
from onward.storage.postgres.arrays import ints, texts
from onward.storage.postgres.link import Link, Row, Step


class Transaction(Protocol):
    """What the arrivals are part of."""

    def know(self, no: int, guard: Guard) -> None: ...

    def apply(self, change: Change) -> Answer: ...

    def arrive(self, row: Row) -> None: ...


def reads(orders: Sequence[Arrival], schema: str) -> list[Step]:
    """What these arrivals want to know; the last three answers are a Tray's."""
    singles = sorted({order.run.single for order in orders if order.run.single is not None})
    keyed = [(order.run.name, order.key) for order in orders if order.key is not None]
    held: list[Step] = [("hold", (locks.number(schema, "batch", single),)) for single in singles]
    return [
        *held,
        ("arrival", (texts([name for name, _ in keyed]), texts([key for _, key in keyed]))),
        ("open_batch", (texts(singles),)),
        ("batch_sizes", (texts(singles),)),
    ]


class Tray:
    """See `storage.arrivals.Tray`."""

    def __init__(self, link: Link, transaction: Transaction, found: Sequence[Sequence[Row]]) -> None:
        self._link, self._transaction = link, transaction
        known, batches, sizes = found[-3:]
        self._known = {(name, key): (no, run_id, checksum) for name, key, no, run_id, checksum in known}
        size = {single: (items, chars) for single, items, chars in sizes}
        self._open = {single: Batch(no, run_id, *size[single]) for no, run_id, single in batches}
        self._created: dict[int, Run] = {}

    def arrival(self, name: str, key: str) -> tuple[int, str, int] | None:
        return self._known.get((name, key))

    def open_batch(self, single: str) -> Batch | None:
        return self._open.get(single)

    def add_arrival(self, batch: Batch, order: Arrival, checksum: int) -> None:
        chars = batch.chars + len(order.item)
        assert order.run.single is not None, "a run that takes many is found by it"
        self._open[order.run.single] = Batch(batch.run_no, batch.run_id, batch.items + 1, chars)
        if order.key is not None:
            self._known[order.run.name, order.key] = batch.run_no, batch.run_id, checksum
        self._transaction.arrive(
            (batch.run_no, batch.items, order.run.name, order.key, order.item, checksum, chars)
        )

    def take_one(self, no: int) -> Run:
        created = self._created.get(no)
        if created is not None:
            return created
        asked = ints([no])
        [row], [(_, seq)] = self._link.all(("ready_runs", (asked,)), ("last_seqs", (asked,)))
        run = Run._make(row)
        self._transaction.know(no, Guard(run.fence, run.request, run.owner, run.lease_until, run.state, seq))
        return run

    def apply(self, change: Change) -> Answer:
        answer = self._transaction.apply(change)
        run = change.after
        assert run is not None, "a run is added, or has enough"
        if isinstance(answer, Refused):
            return answer
        if change.create:
            self._created[answer.run_no] = run._replace(no=answer.run_no)
        else:  # full: the next item opens another one
            self._open = {
                single: batch for single, batch in self._open.items() if batch.run_no != change.run_no
            }
        return answer

"""A batch of changes as it was written: what it answers, and by what one can tell later whether it was committed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import apsw

from onward.core.model import Answered, Entry, Order, Refused
from onward.storage import guards
from onward.storage.guards import Guard
from onward.storage.sqlite.transaction import UNWRITABLE, Clash, Transaction
from onward.storage.sqlite.wide import Row


class Batch:
    """What a transaction answers, and by what one can tell afterwards whether it was committed."""

    def __init__(
        self,
        answers: list[Answered],
        found: dict[int, Guard],
        left: dict[int, Guard],
        untold: dict[int, Entry],
    ) -> None:
        """`untold`: the marks of its claims that have no entry."""
        self.answers, self.found, self.left, self.untold = answers, found, left, untold

    def seen(self, guard_of: Callable[[int], Row | None]) -> bool | None:
        """Whether the transaction shows in what `guard_of` reads; None if none of its runs tells."""
        for no, left in self.left.items():
            found = self.found.get(no)
            if left == found:
                continue
            row = guard_of(no)
            if row == left:
                return True
            if row == found:
                return False
        return None


def one_by_one(
    connection: apsw.Connection, sql: Mapping[str, str], orders: Sequence[Order], now: Callable[[], float]
) -> Batch:
    """Apply the changes so that each stands or falls alone: the slow way, after the batch as a whole has failed."""
    batch = Batch([], {}, {}, {})
    for order in orders:
        connection.execute(sql["savepoint"])
        alone = Transaction(connection, sql, now)
        try:
            answer = alone.answer(order)
            alone.flush()
        except Clash as clash:
            answer = clash.refused
        except UNWRITABLE as problem:
            answer = guards.unwritable(problem)
        if isinstance(answer, Refused):
            connection.execute(sql["take_back"])
        else:
            batch.found.update({no: guard for no, guard in alone.found.items() if no not in batch.found})
            batch.left.update(alone.left)
            batch.untold.update(alone.untold)
        connection.execute(sql["release"])
        batch.answers.append(answer)
    return batch

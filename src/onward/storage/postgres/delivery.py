"""What a worker hands in and what it gets for it: ends of its runs, and the claim of the next ones, in two round trips.

As on the straight way nothing is locked and read before it is written: the statement that ends runs checks their
guards, under the number that each one's last entry is known to have. The second round trip commits. So as long as its
answers are not known nothing is written, and when its own answer is lost its entries tell what became of it. A claim
that is not plain is answered within the same transaction as all others are; whatever else is not as it was left takes
the way of a whole `Transaction`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from onward.core.claiming import first_claimed
from onward.core.decide import end_of, returned_mark
from onward.core.model import Answered, Change, Claim, Claimed, End, Entry, Order, applied, run_of
from onward.core.transitions import freed
from onward.storage.postgres import rows
from onward.storage.postgres.arrays import columns, texts
from onward.storage.postgres.link import Link, Row, Step
from onward.storage.postgres.transaction import Transaction

_UNKNOWN: Final = (-1, -1)  # no fence is negative


class Delivery:
    """A batch of which every order is an end, but for one claim among them, which sees all that ends."""

    def __init__(self, known: Mapping[int, tuple[int, int]]) -> None:
        self._known = known  # run -> fence and number of the last entry
        self._ends: list[Row] = []
        self._ids: list[str] = []
        self._claim: Claim | None = None
        self._place = 0  # of the claim's answer
        self._answers: list[Answered] = []
        self.ended: set[int] = set()

    def add(self, order: Order) -> bool:
        """Whether the order can be part of it."""
        if type(order) is Claim:
            if self._claim is not None:
                return False
            self._claim, self._place = order, len(self._answers)
            return True
        end = end_of(order) if type(order) is Change else order
        return type(end) is End and self._add_end(end)

    def _add_end(self, end: End) -> bool:
        run, value, at = end
        no, fence, single = run[29], run[7], run[25]
        known, seq = self._known.get(no, _UNKNOWN)
        if known != fence or no in self.ended:
            return False
        self.ended.add(no)
        self._ids.append(run[0])
        self._ends.append((no, fence, seq + 1, value, None if single is None else freed(single, "end"), at))
        self._answers.append(applied(no, seq + 1))
        return True

    def send(self, link: Link, transaction: Transaction, now: float, *first: Step) -> bool:
        """Write it in a transaction that begins with `first`, and is to be committed; if not, to be taken back."""
        begin: list[Step] = [("begin", ()), *first]
        ending, claiming = self._ending(now), self.claiming(now)
        found = link.all(*begin, *ending, *claiming)[len(begin) :]
        if ending:
            if found[1] != [(len(self._ends),)]:
                return False  # a lease is lost, or somebody asked something
            no, fence, seq, *_, at = self._ends[0]
            transaction.ended(rows.entry_row(no, seq, returned_mark(fence, at)))
        transaction.answers += self._answers
        if self._claim is not None:
            claimed = _claimed(found[len(ending) + 1])
            if claimed is not None:
                transaction.claimed(claimed, _mark_of(self._claim, now))
            answer = transaction.answer(self._claim) if claimed is None else claimed
            transaction.answers.insert(self._place, answer)
        return True

    def _ending(self, now: float) -> list[Step]:
        if not self._ends:
            return []
        self._ends.sort()
        numbers, *values = columns(rows.ENDS, self._ends)
        mark, ids = returned_mark(0, 0.0), texts(self._ids)
        return [
            ("lock_awaited", (numbers, ids)),
            ("end_runs", (numbers, *values, *mark[:4], mark.attempt)),
            ("end_waiters", (ids, now)),
        ]

    def claiming(self, now: float) -> list[Step]:
        """The statements that claim."""
        order = self._claim
        if order is None:
            return []
        mark = _mark_of(order, now)
        asked = (texts(order.queues), texts(order.names), order.limit, now, order.owner, now + order.lease_s)
        marked = (*mark[:4], mark.value, mark.checksum, mark.fence)
        return [("unsorted", ()), ("claim_plain", (*asked, *marked)), ("sorted", ())]


def _mark_of(order: Claim, now: float) -> Entry:
    """What is recorded of each run that is claimed."""
    leasing = first_claimed((), owner=order.owner, now=now, lease_s=order.lease_s)
    assert leasing is not None, "no run is not plain"
    return leasing.mark


def _claimed(found: Sequence[Row]) -> Claimed | None:
    """What a claim got; None if it is not plain."""
    is_plain, next_at = found[0][:2]
    if not is_plain:
        return None
    runs = [run_of(row[2:]) for row in found if row[2] is not None]
    return Claimed(tuple([(run, run[13]) for run in runs]), next_at)  # its leased_seq

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

from onward.core.claiming import claimed_mark
from onward.core.decide import end_of, returned_mark
from onward.core.model import Answered, Change, Claim, Claimed, End, Entry, Order, applied, run_of
from onward.core.transitions import freed
from onward.storage.postgres import rows
from onward.storage.postgres.arrays import columns, ints, texts
from onward.storage.postgres.link import Link, Row, Step
from onward.storage.postgres.transaction import Transaction

# What this process knows of a run: its fence, the number of its last entry, and the last entries that its row tells.
Known = tuple[int, int, Sequence[Entry]]
UNKNOWN: Final[Known] = (-1, -1, ())  # no fence is negative


class Delivery:
    """A batch of which every order is an end, but for one claim among them, which sees all that ends."""

    def __init__(self, known: Mapping[int, Known]) -> None:
        self._known = known
        self._ends: list[Row] = []
        self._untold: list[Row] = []  # of runs of whose claims only their rows tell
        self._first: Row | None = None  # an entry that tells of the ends
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
        known, seq, untold = self._known.get(no, UNKNOWN)
        if known != fence or no in self.ended:
            return False
        self.ended.add(no)
        self._ids.append(run[0])
        if untold:
            self._untold.append((no, fence, seq, value, at))
        else:
            single = None if single is None else freed(single, "end")
            self._ends.append((no, fence, seq + 1, value, single, at))
        if self._first is None:
            self._first = rows.entry_row(no, seq + 1, returned_mark(fence, at))
        self._answers.append(applied(no, seq + 1))
        return True

    def send(self, link: Link, transaction: Transaction, now: float, *first: Step) -> bool:
        """Write it in a transaction that begins with `first`, and is to be committed; if not, to be taken back."""
        begin: list[Step] = [("begin", ()), *first]
        ending, claiming = self._ending(now), self.claiming(now)
        found = link.all(*begin, *ending, *claiming)[len(begin) :]
        if self._first is not None:
            asked = zip(ending, found, strict=False)
            ended = sum(answer[0][0] for (name, _), answer in asked if name in ("end_runs", "end_untold"))
            if ended != len(self.ended):
                return False  # a lease is lost, or somebody asked something
            transaction.ended(self._first)
        transaction.answers += self._answers
        if self._claim is not None:
            claimed = _claimed(found[len(ending) + 1])
            if claimed is not None:
                mark = claimed_mark(self._claim.owner, 1, now)
                transaction.claimed([run for run, _ in claimed.runs], mark)
            answer = transaction.answer(self._claim) if claimed is None else claimed
            transaction.answers.insert(self._place, answer)
        return True

    def _ending(self, now: float) -> list[Step]:
        if not self.ended:
            return []
        self._ends.sort()
        self._untold.sort()
        numbers, ids = ints(sorted(self.ended)), texts(self._ids)
        steps: list[Step] = [("lock_awaited", (numbers, ids))]
        if self._ends and self._untold:  # each statement locks in the order of numbers, but only its own
            steps.append(("guards", (numbers,)))
        if self._ends:
            mark = returned_mark(0, 0.0)
            steps.append(("end_runs", (*columns(rows.ENDS, self._ends), *mark[:4], mark.attempt)))
        if self._untold:
            steps.append(("end_untold", columns(rows.UNTOLD_ENDS, self._untold)))
        return [*steps, ("end_waiters", (ids, now))]

    def claiming(self, now: float) -> list[Step]:
        """The statements that claim."""
        order = self._claim
        if order is None:
            return []
        asked = (texts(order.queues), texts(order.names), order.limit, now, order.owner, now + order.lease_s)
        return [("unsorted", ()), ("claim_plain", asked), ("sorted", ())]


def _claimed(found: Sequence[Row]) -> Claimed | None:
    """What a claim got; None if it is not plain."""
    is_plain, next_at = found[0][:2]
    if not is_plain:
        return None
    runs = [run_of(row[2:]) for row in found if row[2] is not None]
    return Claimed(tuple([(run, run[13]) for run in runs]), next_at)  # its leased_seq

"""Marks that the row of a run tells, so that no entries are written for them.

Nearly every queued run is claimed once, does what it does without a step, and returns. Two marks would say so: of what
such a run costs, a third. Its row says the same: who holds or held it and since when, what it returned and when. So a
store may leave those marks untold, and count them in the row. They are the last entries of the run, with numbers like
all others, and whoever reads entries gets them. Whoever writes anything else of the run writes them first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from onward.core.claiming import claimed_mark
from onward.core.decide import returned_mark
from onward.core.model import Entry


class Untold(NamedTuple):
    """What a row says of a run's first claim, and of its end where `marks` is 2."""

    marks: int
    seq: int  # of the claim's mark
    fence: int
    owner: str
    claimed_at: float
    returned_at: float

    def entries(self) -> Iterator[Entry]:
        """The marks, with their numbers."""
        yield claimed_mark(self.owner, self.fence, self.claimed_at)._replace(seq=self.seq)
        if self.marks > 1:
            yield returned_mark(self.fence, self.returned_at)._replace(seq=self.seq + 1)


def with_untold(stored: Sequence[Any], untold: Untold, *, after: int, limit: int | None) -> list[Any]:
    """Stored entries of a run that come after a number, and behind them those that are untold; None: no limit."""
    entries = [*stored, *(entry for entry in untold.entries() if entry.seq > after)]
    return entries if limit is None else entries[:limit]

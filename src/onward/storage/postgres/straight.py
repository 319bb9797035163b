"""The straight way for the commonest commits: one statement, one round trip, with the guard in it.

For changes that only record entries and units in flight, of runs to which this process has just written: it knows the
number of their last entry. Whoever else writes to a run raises its fence, which the statement compares under the lock
of the run's row; a number that is wrong all the same is refused by the primary key. In any doubt the changes take the
way of a whole `Transaction`, which reads what is stored.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Final

from psycopg.pq import Format

from onward.core.model import Answered, Applied, Begun, Change, Entry, Order, applied
from onward.storage.guards import Guard
from onward.storage.postgres import rows
from onward.storage.postgres.arrays import Packed, columns, ints
from onward.storage.postgres.delivery import UNKNOWN, Delivery, Known
from onward.storage.postgres.link import Link, Row
from onward.storage.postgres.longtext import long, short

# How many runs are remembered; beyond it all are forgotten, and read once more.
_RUNS: Final = 10_000
# Of `add_alone`: all in the server's format, which for a time costs a fifth of its text, and may hold any text.
_ALONE_FORMATS: Final = [Format.BINARY] * (len(rows.ENTRY) + 1)
_TOLD_FORMATS: Final = [*_ALONE_FORMATS, *([Format.BINARY] * 7)]
_int8, _float8 = struct.Struct(">q").pack, struct.Struct(">d").pack
# What follows the entries of a change that is nothing else.
_NO_MORE: Final = list(Change(0, 0)[3:])


class Plan:
    """A batch that can go straight: what is sent, and what is answered if it is written."""

    def __init__(self) -> None:
        self.fences: dict[int, int] = {}
        self.last: dict[int, int] = {}  # run -> number of the last entry
        self.untold: dict[int, Sequence[Entry]] = {}  # run -> its last entries, if the row tells them
        self.told: dict[int, list[Row]] = {}  # run -> the same, if it gets others
        self.entries: list[Row] = []
        self.answers: list[Answered] = []
        self.begun: dict[tuple[int, str], Begun | None] = {}

    def send(self, link: Link) -> bool:
        """Whether all of it was written; if not, nothing was."""
        if link.direct:
            values = [packed.data for packed in self._values()]
            return link.straight("record", values, [Format.BINARY] * len(values)) == 1
        return len(link.ask("record", *self._values())) == 1

    def _values(self) -> list[Packed]:
        ended = [(no, short(key)) for (no, key), begun in self.begun.items() if begun is None]
        started = [rows.begun_row(no, begun) for (no, _), begun in self.begun.items() if begun is not None]
        return [
            ints(list(self.fences)),
            ints(list(self.fences.values())),
            ints([len(self.untold.get(no, ())) for no in self.fences]),
            *columns(rows.ENTRY, [*chain.from_iterable(self.told.values()), *self.entries]),
            *columns(rows.ENDED, ended),
            *columns(rows.BEGUN, started),
        ]


class Alone(Plan):
    """The same for a change that is one entry and nothing else, as nearly all of a sequential program are."""

    def __init__(self, no: int, fence: int, seq: int, entry: Entry, untold: Sequence[Entry]) -> None:
        self._no, self._fence, self._seq, self._entry = no, fence, seq, entry
        self.fences, self.last, self.untold, self.told, self.begun = {no: fence}, {no: seq}, {}, {}, {}
        if untold:
            self.untold[no], self.told[no] = untold, rows.mark_rows(no, seq - 1, untold)
        self.answers = [applied(no, seq)]
        self.entries = [rows.entry_row(no, seq, entry)]

    def send(self, link: Link) -> bool:
        if not link.direct:
            return super().send(link)
        key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at, _ = (
            self._entry
        )
        overlong = long(key)
        values = (
            _int8(self._no),
            _int8(self._seq),
            short(key).encode(),
            kind.encode(),
            state.encode(),
            name.encode(),
            fingerprint,
            None if value is None else value.encode(),
            None if checksum is None else _int8(checksum),
            _int8(attempt),
            _int8(fence),
            None if begun_at is None else _float8(begun_at),
            _float8(ended_at),
            None if overlong is None else overlong.encode(),
            _int8(self._fence),
        )
        if not self.untold:
            return link.straight("add_alone", values, _ALONE_FORMATS) == 1
        (mark,) = self.untold[self._no]
        key, kind, state, name, _, value, checksum, *_, ended_at, _ = mark
        assert value is not None, "it names the owner"
        assert checksum is not None, "as every value"
        told = (
            *(key.encode(), kind.encode(), state.encode(), name.encode()),
            *(value.encode(), _int8(checksum), _float8(ended_at)),
        )
        return link.straight("add_told", (*values, *told), _TOLD_FORMATS) == 2


class Straight:
    """What this process knows of the runs it writes to."""

    def __init__(self) -> None:
        self._known: dict[int, Known] = {}

    def plan(self, changes: Sequence[Order]) -> Plan | None:
        """How the changes can go straight; None if they cannot."""
        if len(changes) == 1 and (alone := self._alone(changes[0])) is not None:
            return alone
        plan = Plan()
        for change in changes:
            if type(change) is not Change:
                return None
            no, fence, entries, begun, ended, after, before, progress, create, beside, _ = change
            if create or beside or after is not None or before is not None or progress is not None:
                return None
            known, last, untold = self._known.get(no, UNKNOWN)
            if known != fence:
                return None
            if untold:
                plan.untold[no] = untold
                if entries and no not in plan.told:
                    plan.told[no] = rows.mark_rows(no, last, untold)
            seq = plan.last.get(no, last)
            for entry in entries:
                seq += 1
                plan.entries.append(rows.entry_row(no, seq, entry))
            for key in ended:
                plan.begun[no, key] = None
            for one in begun:
                plan.begun[no, one.key] = one
            plan.last[no], plan.fences[no] = seq, fence
            plan.answers.append(Applied(no, seq, None))
        return plan

    def _alone(self, change: Order) -> Alone | None:
        """The change if it is a single entry."""
        if type(change) is not Change:
            return None
        no, fence, entries, *more = change
        known, seq, untold = self._known.get(no, UNKNOWN)
        if known != fence or len(entries) != 1 or more != _NO_MORE:
            return None
        return Alone(no, fence, seq + 1, entries[0], untold)

    def delivery(self, orders: Sequence[Order]) -> Delivery | None:
        """How ends and a claim can go straight; None if they cannot, or are something else."""
        delivery = Delivery(self._known)
        return delivery if all(map(delivery.add, orders)) else None

    def delivered(
        self, delivery: Delivery, left: Mapping[int, Guard], untold: Mapping[int, Sequence[Entry]]
    ) -> None:
        """It is durable; `left` and `untold` are of the runs that were claimed."""
        for no in delivery.ended:
            self._known.pop(no, None)
        self.learn(left, untold)

    def learn(self, left: Mapping[int, Guard], untold: Mapping[int, Sequence[Entry]]) -> None:
        """Take in how a transaction that is durable left its runs, and of which entries only their rows tell."""
        if len(self._known) > _RUNS:
            self._known.clear()
        for no, guard in left.items():
            if guard.state == "running":  # nobody writes to the others in a hurry
                self._known[no] = guard.fence, guard.seq, untold[no] if guard.untold else ()

    def went(self, plan: Plan) -> None:
        """What was planned is durable."""
        for no, seq in plan.last.items():
            self._known[no] = plan.fences[no], seq, () if no in plan.told else plan.untold.get(no, ())

    def forget(self) -> None:
        """Something went wrong: what is stored must be read again."""
        self._known.clear()

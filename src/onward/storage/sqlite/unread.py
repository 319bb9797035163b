"""Leases of runs that are read only once they are durable, when other processes have their turn to write already.

Of what a claim costs, a good third is reading rows and making runs of them. That changes nothing, so nobody need wait
for it: under the turn runs are leased by their numbers alone, behind a guard that lets through only what was never
leased. Nobody else changes such a run while its lease lasts, but for a request to its holder, which comes on its way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import apsw

from onward.core.claiming import claimed_mark
from onward.core.model import Claim, Claimed, Entry, Run
from onward.core.model import run_of as made_run


class NotNew(Exception):
    """Among the runs is one that was leased before, or waits for something; the transaction must be taken back."""


class Unread:
    """What a claim has leased and not read yet."""

    def __init__(self, connection: apsw.Connection, sql: Mapping[str, str]) -> None:
        self._connection, self._sql = connection, sql
        self._numbers: str | None = None  # None if nothing was leased this way
        self._queue = self._name = self._owner = ""
        self._at = self._until = 0.0
        self.mark: Entry | None = None  # of each of them, which its row tells

    def lease(self, queue: str, name: str, order: Claim, now: float) -> bool:
        """Lease the first runs of a workflow in a queue; False, and nothing written, if they are to be read first.

        Raises NotNew.
        """
        execute = self._connection.execute
        numbers, count, begun = next(execute(self._sql["first_ready"], (queue, name, order.limit)))
        if begun:
            return False
        owner, until = order.owner, now + order.lease_s
        if count:
            execute(self._sql["lease_new"], (numbers, owner, until, now))
            if self._connection.changes() != count:
                raise NotNew
        self._numbers, self._queue, self._name, self._owner = numbers, queue, name, owner
        self._at, self._until = now, until
        self.mark = claimed_mark(owner, 1, now)
        return True

    def read(self, claimed: Claimed, connection: apsw.Connection) -> Claimed:
        """The claim's answer, complete, once its transaction is durable."""
        if self._numbers is None:
            return claimed
        queue, name, owner, at, until = self._queue, self._name, self._owner, self._at, self._until
        rows = connection.execute(self._sql["leased_runs"], (self._numbers, owner))
        # What all of them share is not read for each, which takes a third longer.
        runs = [
            (
                made_run((
                    one, kind, name, identity, args, False, "running", 1, owner, until, None, None, 0, seq, None, None,
                    command, total, done, counted, created, at, queue, priority, lane, None, tags, parent, attempt, no,
                )),
                seq,
            )
            for one, kind, identity, args, seq, command, total, done, counted, created, priority, lane, tags, parent,
            attempt, no in rows
        ]  # fmt: skip
        return Claimed(tuple(runs), claimed.next_at)


def new_run(row: tuple[Any, ...]) -> Run:
    """A run that has never been leased, of a row of `new_runs`."""
    return made_run((
        *row[:5], False, "pending", 0, None, None, None, None, 0, row[5], None, None, *row[6:15], None, *row[15:19],
    ))  # fmt: skip

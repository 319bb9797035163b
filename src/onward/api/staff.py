"""Who works on a journal's queues, and which of their runs nobody works on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from onward.api.journal import Journal
from onward.core import limits
from onward.core.model import Run, WorkerRow

# Runs that are looked through for those that nobody knows.
_LOOKED_THROUGH = 100_000

WorkerState = Literal["working", "draining", "silent", "dead"]


class WorkerView(NamedTuple):
    """A worker as it stands."""

    row: WorkerRow
    host: str
    pid: int
    state: WorkerState
    active: int  # runs that it holds


class Staff(NamedTuple):
    """All workers of a journal, and what is left alone: (queue, workflow, runs, created_at of the oldest)."""

    workers: list[WorkerView]
    left_alone: list[tuple[str, str, int, float]]

    @classmethod
    def of(cls, journal: Journal) -> Staff:
        """Read who has announced himself, and what waits."""
        store = journal.store
        views = [_view(journal, row) for row in store.workers()]
        living = [one.row for one in views if one.state in ("working", "draining")]
        ready = store.ready(now=store.now(), at_most=_LOOKED_THROUGH)
        return cls(views, [one for one in ready if not any(_serves(row, one[0], one[1]) for row in living)])

    def serves(self, run: Run) -> bool:
        """Whether a worker that takes runs knows this one's workflow and serves its queue."""
        return any(_serves(one.row, run.queue, run.name) for one in self.workers if one.state == "working")

    def sentences(self) -> Iterator[str]:
        """What a person should know of what nobody works on."""
        for queue, name, count, _ in self.left_alone:
            runs = "1 run" if count == 1 else f"{count:,} runs"
            waits = "waits" if count == 1 else "wait"
            yield (
                f"{runs} of `{name}` {waits} in queue {queue}, and no living worker knows that workflow and serves "
                f"that queue; start one with: onward worker TARGET"
            )


def _view(journal: Journal, row: WorkerRow) -> WorkerView:
    store = journal.store
    owner = store.owner(row.owner)
    state: WorkerState = row.state
    if owner is None or store.owner_is_dead(row.owner):
        state = "dead"
    elif journal.now() - row.seen_at > limits.SILENT_S:
        state = "silent"
    active = len(store.runs_held(row.owner, limit=limits.MAP_CONCURRENCY))
    return WorkerView(
        row, "" if owner is None else owner.host, 0 if owner is None else owner.pid, state, active
    )


def _serves(row: WorkerRow, queue: str, name: str) -> bool:
    return name in row.names and (not row.queues or queue in row.queues)

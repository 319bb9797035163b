"""The port: what every store promises. `tests/storage` checks each line of it on each store.

A store knows rows and guards, not rules: which change a fact means is decided in `core.decide`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from onward.core.model import Answer, Begun, Change, Entry, Owner, Request, Run, RunState


class Store(Protocol):
    """A journal. Safe to use from many threads; `commit` is called by one thread at a time (see committer)."""

    @property
    def place(self) -> str:
        """Where it is, for people: a path, or a URL without its password."""
        ...

    def now(self) -> float:
        """The store's clock: leases and timers are judged by it alone. Seconds since the epoch."""
        ...

    # -- writing ------------------------------------------------------------------------------------

    def commit(self, changes: Sequence[Change]) -> list[Answer]:
        """Apply the changes in one transaction, in order, and return one answer each once it is durable.

        A change whose guard does not hold is answered `Refused` and leaves no trace; the others go through. Entries get
        the next numbers of their run: dense, from 0. Units leave the set of begun ones before others enter it. A value
        that no journal can hold (half a surrogate pair) refuses its change alone.

        `after` does not undo what others have written since: a lease that its change keeps is never shortened, and a
        request that the writer has not seen stays unless this change grants it. Id, kind, name, identity, direct and
        created_at of a run never change; the number of a deleted run is never given again.

        Raises JournalFull (nothing applied, may be repeated), JournalBusy (likewise), JournalBroken (nothing may be
        acknowledged any more), OutcomeUnknown.
        """
        ...

    def renew(self, owner: str, until: float) -> list[tuple[int, Request | None]]:
        """Extend all live leases of `owner` to `until`; return the runs it still holds and what is asked of them.

        A lease that has ended is extended too if nobody has claimed the run since: the fence decides.
        """
        ...

    def request(self, run_no: int, request: Request | None) -> bool:
        """Ask the holder of the run's lease to pause or cancel; False if there is no such run."""
        ...

    def register(self, owner: Owner) -> None:
        """Make this process known; its death is noticed at once where the store can tell."""
        ...

    def unregister(self, owner: str) -> None: ...

    def delete(self, run_no: int) -> None:
        """Remove a run and everything of it."""
        ...

    # -- reading ------------------------------------------------------------------------------------

    def run(self, run_id: str) -> Run | None: ...

    def open_run(self, identity: str) -> Run | None:
        """The unfinished direct run of this identity (neither done nor cancelled); at most one exists."""
        ...

    def latest_run(self, identity: str) -> Run | None: ...

    def runs(
        self,
        *,
        states: Sequence[RunState] = (),
        name: str | None = None,
        limit: int = 100,
        before_no: int | None = None,
    ) -> list[Run]:
        """Newest first."""
        ...

    def entries(self, run_no: int, *, after: int = -1, limit: int = -1) -> list[Entry]:
        """Entries with seq > `after`, in order."""
        ...

    def last_seq(self, run_no: int) -> int:
        """The number of the run's last entry; -1 if it has none."""
        ...

    def done_items(self, run_no: int, depth_key: str, *, after: int, limit: int) -> list[tuple[int, str]]:
        """(seq, key) of the done items directly under `depth_key`, with seq > `after`, in order of seq.

        Directly: after that prefix the key holds no further scope, so an item's own inner items are not among them.
        """
        ...

    def outcome(self, run_no: int, key: str) -> Entry | None:
        """What is recorded under the key: its `done` entry, else its latest `failed` one, unless it was reopened."""
        ...

    def scope_entries(self, run_no: int, prefix: str) -> list[Entry]:
        """The outcomes (done, failed, reopened) of all that starts with `prefix`, in order of seq.

        Costs as much as there are, however long the run is. Attempts and marks are not among them.
        """
        ...

    def failed_items(self, run_no: int) -> list[Entry]:
        """The latest failed entry of every item that has not been done or reopened since, in order of seq."""
        ...

    def count_items(self, run_no: int, after: int) -> int:
        """How many top-level items were done after entry number `after`."""
        ...

    def begun(self, run_no: int) -> list[Begun]:
        """Units begun and without outcome, oldest first."""
        ...

    def owner(self, owner_id: str) -> Owner | None: ...

    def owner_is_dead(self, owner_id: str) -> bool:
        """True only if it is proven that the process is dead: its lock is free, on this boot and mount."""
        ...

    def version(self) -> object:
        """A cheap value that changes when anybody has written: waiting without polling the rows."""
        ...

    def problems(self) -> Iterator[str]:
        """What is wrong with the stored data, a sentence each: structure, checksums, numbering."""
        ...

    # -- life -----------------------------------------------------------------------------------------

    def tidy(self) -> None:
        """Housekeeping off the commit path (a WAL checkpoint); called now and then by the owner's keeper."""
        ...

    def abandon(self) -> None:
        """Forget every handle without closing it: what a forked child does with its parent's store."""
        ...

    def close(self) -> None: ...

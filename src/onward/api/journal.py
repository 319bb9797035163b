"""`Journal`: look at the runs that are recorded, and act on them from outside.

What the command line and the dashboard do, programs can do too. Acts on a run that a living process holds are requests
to that process; on any other run they happen at once. Every act records who did it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from onward.api import connect
from onward.api.failures import FailedItem, failed_items, to_retry, to_skip
from onward.api.finding import Finder
from onward.api.identity import has_own_id
from onward.api.opening import RESET, Reopen
from onward.api.overview import Acted, Overview, actor
from onward.api.queues import Queues
from onward.api.schedules import Schedules
from onward.core.acts import acted, forgotten, reopened, skipped
from onward.core.claiming import may_claim
from onward.core.errors import AlreadyRunning, JournalBusy, NoJournal, UsageError
from onward.core.estimates import PACES, estimate, rate
from onward.core.model import CLOSED, Applied, Change, Entry, ItemCounts, Run
from onward.core.texts import plain
from onward.core.timeline import ShownState, Timeline, beat_of, shown_state, timeline
from onward.runtime.engine import Engine
from onward.storage import Store
from onward.storage.open import open_store

# Latest entries of a run that a timeline is made of: a screen never shows more, and a loop may have millions.
WINDOW: Final = 20_000
# Somebody else changed the run between our look and our act: look again, this often.
_TRIES: Final = 20


class Journal:
    """The runs of a journal; without arguments, of the one that this process uses.

        journal = onward.Journal()
        for run in journal.list(limit=10):
            print(run.name, run.state)
        journal.retry("scrape-venues")

    Runs are named by their id, by its beginning if that is unique, or by their name, which means the latest run of it.
    What acts on a run raises RunNotFound if there is none, UsageError if it is in no state for that, and JournalBusy if
    it changes all the time; then nothing was changed. What was done is durable when the call returns.
    """

    def __init__(self, engine: Engine | None = None) -> None:
        self._engine = engine or connect.engine()
        self._store = self._engine.store
        self._finder = Finder(self._store)
        self._find = self._finder.run

    @classmethod
    def existing(cls, url: str | None = None) -> Journal:
        """The journal at `url`, or at the usual place, opened beside the one of this process; `close` it.

        Raises NoJournal if there is none: looking never creates one.
        """
        address = connect.resolved(url or connect.find_url())
        path = connect.journal_file(address)
        # Not `path.exists()`, which raises for a name that is too long.
        if path is not None and not os.path.exists(path):
            raise NoJournal(f"there is no journal at {path}; nothing has been recorded yet here")
        return cls(Engine(open_store(address, create=False), keeper=False))

    @property
    def place(self) -> str:
        """Where it is."""
        return self._store.place

    @property
    def store(self) -> Store:
        """The store behind it: for what concerns whole runs, see `transfer`, `retention` and `renaming`."""
        return self._store

    @property
    def schedules(self) -> Schedules:
        """Its schedules: look at them and act on them.

        journal.schedules.pause("nightly")
        """
        return Schedules(self._engine)

    @property
    def queues(self) -> Queues:
        """Its queues: look at them and act on them.

        journal.queues.pause("scrape")
        """
        return Queues(self)

    def close(self) -> None:
        """Close a journal that was opened for looking; `with` does it at the end.

        The one that this process uses stays open: the program goes on with it. `onward.connect` closes that.
        """
        if not connect.uses(self._engine):
            self._engine.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- looking ------------------------------------------------------------------------------------

    def now(self) -> float:
        """The journal's clock."""
        return self._store.now()

    def version(self) -> object:
        """A value that changes when anybody has written: cheap enough to be asked many times a second."""
        return self._store.version()

    def search(
        self, text: str, *, states: Sequence[ShownState] = (), name: str | None = None, limit: int = 100
    ) -> list[Overview]:
        """The latest runs with `text` in their id, name, arguments or error, whatever its case."""
        return self._shown(self._finder.containing(text, states, name), states, limit)

    def _shown(self, runs: Iterator[Run], states: Sequence[ShownState], limit: int) -> list[Overview]:
        found: list[Overview] = []
        for run in runs:
            one = self.overview(run)
            if not states or one.state in states:
                found.append(one)
                if len(found) >= limit:
                    break
        return found

    def get(self, run_id: str) -> Overview:
        """One run. Raises RunNotFound, which names the nearest one."""
        return self.overview(self._find(run_id))

    def timeline(self, run_id: str) -> Timeline:
        """What happened in a run: its leases, its latest steps and items, and all failed items."""
        run = self._find(run_id)
        # The claim of the current lease, which a long pass leaves far behind, the failed items, and what came last.
        found = self._store.entries(run.no, after=run.leased_seq - 1, limit=1) if run.leased_seq > 0 else []
        found += self._store.failed_items(run.no)
        found += self._store.entries(run.no, after=self._window(run, WINDOW))
        entries = sorted({entry.seq: entry for entry in found}.values(), key=lambda entry: entry.seq)
        begun = self._store.begun(run.no)
        dead = run.state == "running" and self._engine.is_dead(run)
        kept = None
        if run.kind != "workflow" and run.fence > 1:
            kept = self.counts(run).done - self._store.count_items(run.no, run.leased_seq)
        return timeline(run, entries, begun, now=self.now(), holder_is_dead=dead, kept=kept)

    def counts(self, run: Run) -> ItemCounts:
        """How many items of a run are done and have failed, and how many there are."""
        if run.kind == "workflow":
            return ItemCounts(run.done, 0, run.total)
        done = run.done + self._store.count_items(run.no, run.counted_seq)
        return ItemCounts(done, len(self._store.failed_items(run.no)), run.total)

    def overview(self, run: Run) -> Overview:
        """A run as it stands, with what its row does not tell."""
        running = run.state == "running"
        state = shown_state(run, holder_is_dead=running and self._engine.is_dead(run))
        counts = self.counts(run)
        latest = self._store.entries(run.no, after=self._window(run, 2 * PACES)) if running else []
        left = estimate(counts, latest) if state == "running" else None
        pace = rate(latest, run.fence) if state == "running" else None
        silent_s = max(0.0, self.now() - (run.lease_until or self.now())) if state == "running" else 0.0
        holder = self._engine.holder(run) if running else None
        last_sign_at = max([run.updated_at, *(entry.ended_at for entry in latest)])
        ended = {entry.key for entry in latest if entry.state in ("done", "failed")}
        beats = [beat_of(entry) for entry in latest if entry.kind == "beat"]
        said = next((beat for beat in reversed(beats) if beat.key not in ended), None)
        return Overview(run, state, counts, left, pace, holder, silent_s, last_sign_at, said)

    def outcomes(self, run: Run) -> int:
        """How many steps, items and values of a run are recorded as done. Reads all of a workflow's entries."""
        if run.kind == "workflow":
            return sum(1 for entry in self._store.entries(run.no) if entry.state == "done")
        return self.counts(run).done

    def problems(self) -> Iterator[str]:
        """What is wrong with the stored data, a sentence each."""
        return self._store.problems()

    # -- acting -------------------------------------------------------------------------------------

    def cancel(self, run_id: str, *, by: str | None = None) -> Acted:
        """End a run for good; what it has recorded is kept, and its next call starts afresh.

        A call with the id of a cancelled run raises RunCancelled instead, until that run is `reset`.
        """
        for run in self._tries(run_id):
            if run.state in CLOSED:
                raise UsageError(f"run {run.id} is {run.state} already; nothing was changed")
            if self.is_held(run):
                if self._store.request(run.no, "cancel"):
                    return Acted(run, asked=True)
                continue
            if self._applied(acted(run, "cancelled", by=by or actor(), now=self.now())):
                return Acted(self._find(run.id))
        raise self._busy(run_id)

    def pause(self, run_id: str, *, by: str | None = None) -> Acted:
        """Stop a run at its next step, or before it begins; `resume` lets it go on, as its own call does."""
        for run in self._tries(run_id):
            if run.state not in ("pending", "running", "waiting"):
                raise UsageError(f"run {run.id} is {run.state}, so it cannot be paused; nothing was changed")
            if self.is_held(run):
                if run.request == "cancel":
                    raise UsageError(
                        f"run {run.id} is being cancelled, so it cannot be paused; nothing was changed"
                    )
                if self._store.request(run.no, "pause"):
                    return Acted(run, asked=True)
                continue
            if self._applied(acted(run, "paused", by=by or actor(), now=self.now())):
                return Acted(self._find(run.id))
        raise self._busy(run_id)

    def resume(self, run_id: str, *, by: str | None = None) -> Acted:
        """Let a paused run go on: a worker takes it again; a direct one waits for its own call."""
        for run in self._tries(run_id):
            if run.state == "running" and run.request == "pause":  # not heard of yet
                if self._store.request(run.no, None):
                    return Acted(run, asked=True)
                continue
            if run.state != "paused":
                raise UsageError(f"run {run.id} is {run.state}, not paused; nothing was changed")
            if self._applied(acted(run, "resumed", by=by or actor(), now=self.now())):
                return Acted(self._find(run.id))
        raise self._busy(run_id)

    def reset(self, run_id: str, *, by: str | None = None) -> Acted:
        """Forget a run's progress: it is cancelled, so that its next call starts afresh. Its history is kept.

        That of a run with an id of its own only until that call, which takes the id: so too if it was cancelled before.
        """
        who = f"{by or actor()} {RESET}"
        run = self._find(run_id)
        if run.state != "cancelled" or not has_own_id(run):
            return self.cancel(run.id, by=who)
        if not self._applied(forgotten(run, by=who, now=self.now())):
            raise self._busy(run.id)
        return Acted(run)

    def failed(self, run_id: str) -> Sequence[FailedItem]:
        """The items of a run that failed for good or were parked, in that order, with their inputs."""
        return failed_items(self._store.failed_items(self._find(run_id).no))

    def retry(self, run_id: str, *keys: str, by: str | None = None) -> Acted:
        """Make a failed or stuck run ready to be continued; what failed will be executed again, nothing else.

        With `keys`, only the failed items of these keys. Direct runs are then continued by their own call:
        `Acted.run.command` says what to type.
        """
        for run in self._tries(run_id):
            self._refuse_ended(run, "retry")
            entries = (
                self._to_reopen(run) if not keys else to_retry(run, self._store.failed_items(run.no), keys)
            )
            if self._applied(self._retried(run, entries, by or actor())):
                return Acted(self._find(run.id), units=len(entries))
        raise self._busy(run_id)

    def retry_of(self, run: Run, *, by: str) -> Change:
        """The change that makes a failed run ready again, as `retry` does; refused if the run goes on meanwhile."""
        return self._retried(run, self._to_reopen(run), by)

    def skip(self, run_id: str, key: str, *, by: str | None = None) -> Acted:
        """Declare a failed or crashed item of a run as done: it is not tried again. In a map its result is None."""
        for run in self._tries(run_id):
            self._refuse_ended(run, "skip")
            entry = to_skip(run, self._store.failed_items(run.no), self._store.begun(run.no), key)
            if self._applied(skipped(run, entry, by=by or actor(), now=self.now())):
                return Acted(self._find(run.id), units=1)
        raise self._busy(run_id)

    def act(self, run_id: str, act: str, change: Callable[[Run], Change]) -> Acted:
        """Do to a run that nobody executes what `change` makes of it; `act` names that in messages."""
        for run in self._tries(run_id):
            self._refuse_ended(run, act)
            if self._applied(change(run)):
                return Acted(self._find(run.id), units=1)
        raise self._busy(run_id)

    def _refuse_ended(self, run: Run, act: str) -> None:
        if run.state in CLOSED:
            raise UsageError(
                f"run {run.id} is {run.state}, so there is nothing to {act}; nothing was changed. "
                f"Its own call starts a new run."
            )
        if self.is_held(run):
            holder = plain(self._engine.holder(run))
            raise AlreadyRunning(run.id, f"`{plain(run.name)}`", holder, refused="changed")

    def _to_reopen(self, run: Run) -> Sequence[Entry]:
        if run.kind == "workflow":
            return Reopen(self._engine)(run)
        return self._store.failed_items(run.no)

    def _retried(self, run: Run, entries: Sequence[Entry], by: str) -> Change:
        now = self.now()
        change = reopened(run, entries, now=now)
        ready = acted(run, "reset", by=by, now=now)
        if ready is None:  # interrupted: its own call claims it as it is
            return change
        return ready._replace(entries=change.entries + ready.entries, ended=change.ended)

    def is_held(self, run: Run) -> bool:
        """Whether a living process executes the run, or may."""
        return run.state == "running" and not may_claim(
            run, now=self.now(), owner_is_dead=self._engine.is_dead(run)
        )

    def _applied(self, change: Change | None) -> bool:
        assert change is not None, "refused above"
        return isinstance(self._engine.committer.commit(change)[0], Applied)

    def _tries(self, run_id: str) -> Iterator[Run]:
        run = self._find(run_id)
        for _ in range(_TRIES):
            yield run
            run = self._find(run.id)

    def _busy(self, run_id: str) -> JournalBusy:
        return JournalBusy(f"run {run_id} changes all the time; nothing was changed. Repeat the command.")

    def _window(self, run: Run, entries: int) -> int:
        """The entry after which to read, to get so many of the latest ones."""
        return max(-1, self._store.last_seq(run.no) - entries)

    # Last in the class: after it, `list` in an annotation would mean this method.
    def list(
        self, *, states: Sequence[ShownState] = (), name: str | None = None, limit: int = 100
    ) -> list[Overview]:
        """The latest runs, newest first."""
        return self._shown(self._finder.walk(states, name), states, limit)

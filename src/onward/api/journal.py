"""`Journal`: look at the runs that are recorded, and act on them from outside.

What the command line and the dashboard do, programs can do too. Acts on a run that a living process holds are requests
to that process; on any other run they happen at once. Every act records who did it.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from onward.api import connect, ground
from onward.api.failures import FailedItem, chosen, failed_items
from onward.api.identity import has_own_id
from onward.api.opening import RESET, Reopen
from onward.api.overview import Acted, Overview, actor
from onward.api.queues import Queues
from onward.api.schedules import Schedules
from onward.core import keys, limits
from onward.core.acts import acted, forgotten, reopened, skipped
from onward.core.claiming import may_claim
from onward.core.errors import (
    AlreadyRunning,
    JournalBusy,
    NoJournal,
    RunNotFound,
    UsageError,
)
from onward.core.estimates import PACES, estimate, rate
from onward.core.model import CLOSED, Applied, Change, Entry, ItemCounts, Run, RunState
from onward.core.texts import plain
from onward.core.timeline import ShownState, Timeline, beat_of, shown_state, timeline
from onward.runtime.engine import Engine
from onward.storage import Store
from onward.storage.open import open_store

# Runs looked through for an abbreviated id or a text; beyond it the full id is needed.
_LOOKED_THROUGH: Final = 20_000
_PAGE: Final = 500
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

    @classmethod
    def existing(cls, url: str | None = None) -> Journal:
        """The journal at `url`, or at the usual place, opened beside the one of this process; `close` it.

        Raises NoJournal if there is none: looking never creates one.
        """
        address = connect.resolved(url or connect.find_url())
        path = journal_file(address)
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
        wanted, found = text.casefold(), []
        for run in self._walk(_stored_states(states), name):
            texts = (run.id, run.name, run.args or "", run.error or "")
            if any(wanted in one.casefold() for one in texts):
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
            entries = self._to_reopen(run) if not keys else self._chosen(run, keys)
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
            entry = self._to_skip(run, key)
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

    def _chosen(self, run: Run, keys: Sequence[str]) -> Sequence[Entry]:
        found = chosen(self._store.failed_items(run.no), keys)
        missing = next((key for key, entry in found.items() if entry is None), None)
        if missing is not None:
            raise UsageError(
                f"run {run.id} has no failed item `{plain(missing, 80)}`, so it cannot be retried; nothing was "
                f"changed. `onward failed {run.id}` lists those that can be."
            )
        return list({entry.key: entry for entry in found.values() if entry is not None}.values())

    def _retried(self, run: Run, entries: Sequence[Entry], by: str) -> Change:
        now = self.now()
        change = reopened(run, entries, now=now)
        ready = acted(run, "reset", by=by, now=now)
        if ready is None:  # interrupted: its own call claims it as it is
            return change
        return ready._replace(entries=change.entries + ready.entries, ended=change.ended)

    def _to_skip(self, run: Run, key: str) -> Entry:
        failed = {entry.key: entry for entry in self._store.failed_items(run.no)}
        for one in self._store.begun(run.no):
            if one.kind == "item":
                failed.setdefault(one.key, Entry(one.key, "item", "crashed", one.name, fence=run.fence))
        short = {full.partition("/")[2]: entry for full, entry in failed.items()}
        entry = failed.get(key) or short.get(key)
        if entry is not None:
            return entry
        near = difflib.get_close_matches(key[: limits.KEY_CHARS], list(short)[:1_000], 1)
        hint = (
            f" Did you mean `{plain(near[0])}`?"
            if near
            else f" `onward show {run.id}` lists those that can be."
        )
        raise UsageError(
            f"run {run.id} has no failed item `{plain(key, 80)}`, so it cannot be skipped; nothing was changed.{hint}"
        )

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

    # -- finding ------------------------------------------------------------------------------------

    def _find(self, wanted: str) -> Run:
        """The run of this id, of the only id that begins so, or the latest one of this name."""
        shown = plain(wanted, 80)
        if not wanted.isprintable() or not 0 < len(wanted) <= limits.NAME_CHARS:
            raise RunNotFound(shown, self.place)
        run = self._store.run(wanted)
        if run is not None:
            return run
        named = self._latest_named(wanted)
        if named is not None:
            return named
        begins = [run for run in self._walk((), None) if run.id.startswith(wanted)]
        if len(begins) == 1:
            return begins[0]
        if begins:
            listed = ", ".join(run.id for run in begins[:3]) + (", …" if len(begins) > 3 else "")
            raise UsageError(
                f"`{shown}` fits {len(begins)} runs ({listed}); nothing was changed. Type more of the id."
            )
        raise RunNotFound(shown, self.place, self._near(wanted))

    def _latest_named(self, wanted: str) -> Run | None:
        """The latest run of this name; in the user's own journal the one of this folder, if there is one."""
        folder, name = ground.named(wanted, self.place)
        found = self._store.runs(name=name, limit=_PAGE if folder else 1)
        here = [run for run in found if not folder or keys.ground_of(run.identity) == folder]
        return next(iter(here or (found if name == wanted else ())), None)

    def _near(self, wanted: str) -> str | None:
        names = [name for run in self._store.runs(limit=_PAGE) for name in (run.id, run.name)]
        near = difflib.get_close_matches(wanted, names, 1, 0.5)
        return plain(near[0]) if near else None

    def _walk(self, states: Sequence[RunState], name: str | None) -> Iterator[Run]:
        before: int | None = None
        if name is not None and not name.isprintable():
            return  # what no run can be called, no journal can be asked for
        for _ in range(_LOOKED_THROUGH // _PAGE):
            page = self._store.runs(states=states, name=name, limit=_PAGE, before_no=before)
            yield from page
            if len(page) < _PAGE:
                return
            before = page[-1].no

    def _window(self, run: Run, entries: int) -> int:
        """The entry after which to read, to get so many of the latest ones."""
        return max(-1, self._store.last_seq(run.no) - entries)

    # Last in the class: after it, `list` in an annotation would mean this method.
    def list(
        self, *, states: Sequence[ShownState] = (), name: str | None = None, limit: int = 100
    ) -> list[Overview]:
        """The latest runs, newest first."""
        found: list[Overview] = []
        for run in self._walk(_stored_states(states), name):
            one = self.overview(run)
            if not states or one.state in states:
                found.append(one)
                if len(found) >= limit:
                    break
        return found


def journal_file(url: str) -> Path | None:
    """The file of a SQLite journal; None for any other."""
    address = url.partition("?")[0] if url.startswith("sqlite:") else url
    if address.startswith("sqlite:///"):
        return Path(unquote(address.removeprefix("sqlite:///"))).absolute()
    return Path(address).absolute() if "://" not in address and address.endswith(".db") else None


def _stored_states(states: Sequence[ShownState]) -> list[RunState]:
    return list({"running" if state == "interrupted" else state for state in states})

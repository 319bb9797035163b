"""Looking after queues: how much waits in each, what limits it, and what to do about what has failed."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from onward.api.overview import actor
from onward.api.queue import checked_limits
from onward.core import limits
from onward.core.acts import acted
from onward.core.errors import QueueNotFound, UsageError
from onward.core.flow import FIELDS, Limits, Settings, fields_of, text_of
from onward.core.model import Applied, QueueCounts, Run
from onward.core.texts import failure_of, plain

if TYPE_CHECKING:
    from onward.api.journal import Journal

_PAGE: Final = 500
# What people call the limits, and what they are called where they are kept.
OPTIONS: Final = {
    "concurrency": "concurrency",
    "per_worker": "per_worker",
    "per_key_concurrency": "per_key",
    "rate": "rate",
    "per_key_rate": "key_rate",
}


class QueueView(NamedTuple):
    """A queue as it stands. Counts end at `counted`: a queue of millions costs no more to look at."""

    settings: Settings
    counts: QueueCounts
    oldest_s: float | None  # how long the oldest pending run waits
    counted: int

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def limits(self) -> Limits:
        """What holds now."""
        return self.settings.limits

    @property
    def chosen(self) -> frozenset[str]:
        """The limits that a person has set, by their names in `Limits`; the others come from the code."""
        return frozenset(fields_of(self.settings.chosen))


class Dead(NamedTuple):
    """Which of the failed runs of a queue are meant: those that fit all that is given."""

    workflow: str | None = None
    error: str | None = None  # part of the error's class or message, whatever its case
    older_s: float | None = None  # failed so long ago
    tag: str | None = None

    def fits(self, run: Run, now: float) -> bool:
        """Whether the run is meant."""
        if self.workflow is not None and run.name != self.workflow:
            return False
        if self.older_s is not None and now - run.updated_at < self.older_s:
            return False
        if self.tag is not None and self.tag not in (json.loads(run.tags) if run.tags else ()):
            return False
        if self.error is None:
            return True
        failure = failure_of(run.error)
        text = "" if failure is None else f"{failure.class_name}: {failure.message}"
        return self.error.casefold() in text.casefold()


class Queues:
    """The queues of a journal.

    queues = onward.Journal().queues
    queues.pause("scrape")
    queues.set("scrape", concurrency=5)
    queues.retry("scrape", onward.Dead(error="Timeout"))
    """

    def __init__(self, journal: Journal) -> None:
        self._journal, self._store = journal, journal.store

    # -- looking ------------------------------------------------------------------------------------

    def get(self, name: str, *, exactly: bool = False) -> QueueView:
        """One queue. `exactly`: count all of it, however long that takes. Raises QueueNotFound."""
        return self._view(self._settings(name), exactly=exactly)

    def dead(
        self,
        name: str,
        *,
        workflow: str | None = None,
        error: str | None = None,
        older_s: float | None = None,
        tag: str | None = None,
    ) -> Iterator[Run]:
        """The runs of a queue that have failed for good, newest first: those that fit all that is given.

        `error`: part of the error's class or message, whatever its case; `older_s`: they failed so long ago.
        """
        self._settings(name)
        return self._dead(name, Dead(workflow, error, older_s, tag))

    def _view(self, settings: Settings, *, exactly: bool) -> QueueView:
        counted = 2**62 if exactly else limits.COUNTED
        counts = self._store.queue_counts(settings.name, at_most=counted)
        oldest_s = None if counts.oldest_at is None else max(0.0, self._store.now() - counts.oldest_at)
        return QueueView(settings, counts, oldest_s, counted)

    def _settings(self, name: str) -> Settings:
        known = self._store.queues()
        for settings in known:
            if settings.name == name:
                return settings
        near = difflib.get_close_matches(name[: limits.NAME_CHARS], [one.name for one in known], 1)
        raise QueueNotFound(plain(name, 80), self._journal.place, plain(near[0]) if near else None)

    def _dead(self, name: str, which: Dead) -> Iterator[Run]:
        now = self._store.now()
        before: int | None = None
        while page := self._store.dead_runs(name, limit=_PAGE, before_no=before):
            yield from (run for run in page if which.fits(run, now))
            before = page[-1].no

    # -- acting -------------------------------------------------------------------------------------

    def pause(self, name: str) -> QueueView:
        """Let no run of the queue begin, or go on after it has waited, until `resume`. What is executed goes on."""
        self._settings(name)
        self._store.set_queue(name, paused=True)
        return self.get(name)

    def resume(self, name: str) -> QueueView:
        """Let a paused queue go on."""
        self._settings(name)
        self._store.set_queue(name, paused=False)
        return self.get(name)

    def set(self, name: str, **chosen: int | str | None) -> QueueView:
        """Set limits that hold from the next claim on, everywhere, whatever the code declares; None lifts one.

            queues.set("scrape", concurrency=5, rate=None)

        By their names in `onward.Queue`. They go before those of the code until `hand_back`. Raises UsageError.
        """
        settings = self._settings(name)
        unknown = next((option for option in chosen if option not in OPTIONS), None)
        if unknown is not None:
            raise UsageError(
                f"there is no limit {unknown!r}; nothing was changed. There are: {', '.join(OPTIONS)}"
            )
        given: dict[str, Any] = {OPTIONS[option]: value for option, value in chosen.items()}
        checked: Mapping[str, Any] = checked_limits(**given)
        lifted = {field: None for field, value in given.items() if value is None}
        fields = {**fields_of(settings.chosen), **checked, **lifted}
        self._store.set_queue(name, chosen=text_of(fields))
        return self.get(name)

    def hand_back(self, name: str, *options: str) -> QueueView:
        """Let the limits that the code declares hold again: these, or all of them."""
        settings = self._settings(name)
        back = {OPTIONS.get(option, option) for option in options} or set(FIELDS)
        left = {field: value for field, value in fields_of(settings.chosen).items() if field not in back}
        self._store.set_queue(name, chosen=text_of(left))
        return self.get(name)

    def retry(
        self,
        name: str,
        *,
        workflow: str | None = None,
        error: str | None = None,
        older_s: float | None = None,
        tag: str | None = None,
        by: str | None = None,
    ) -> int:
        """Make failed runs of a queue ready again, those that `dead` gives; how many it were.

        What failed is executed again, the rest is kept. Some in each transaction, so that others write in between; can
        be interrupted and repeated.
        """
        runs = self.dead(name, workflow=workflow, error=error, older_s=older_s, tag=tag)
        count = 0
        while batch := list(islice(runs, limits.RETRY_RUNS)):
            changes = [self._journal.retry_of(run, by=by or actor()) for run in batch]
            answers = self._store.commit(
                changes
            )  # of a batch each stands alone: one that went on meanwhile is left
            count += sum(isinstance(answer, Applied) for answer in answers)
        return count

    def clear(self, name: str, *, by: str | None = None) -> int:
        """Cancel what waits in a queue and has never begun; how many runs it were. What has begun is left."""
        self._settings(name)
        count = 0
        before: int | None = None
        while page := self._store.runs(states=["pending", "waiting"], limit=_PAGE, before_no=before):
            changes = [
                change
                for run in page
                if run.queue == name and not run.direct and run.fence == 0
                if (change := acted(run, "cancelled", by=by or actor(), now=self._store.now())) is not None
            ]
            answers = self._store.commit(changes) if changes else []
            count += sum(isinstance(answer, Applied) for answer in answers)
            before = page[-1].no
        return count

    # Last in the class: after it, `list` in an annotation would mean this method.
    def list(self, *, exactly: bool = False) -> list[QueueView]:
        """All queues that ever had a run or were given limits, by name."""
        return [self._view(settings, exactly=exactly) for settings in self._store.queues()]

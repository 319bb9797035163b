"""What the journal, which is only read here, says of a script that `onward run` keeps going: whether it gets on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from onward.api.journal import Journal
from onward.api.overview import Overview
from onward.api.parting import Parting
from onward.cli.group import FINISHED
from onward.cli.output import command_text, state_code
from onward.core.errors import JournalError
from onward.core.losses import stopped_early
from onward.core.model import Run

# Runs of a script that are looked at: a script with more unfinished ones is not helped by looking at them all.
_RUNS: Final = 200


class Witness:
    """Looks at the runs that a script has begun, whatever its arguments were then."""

    def __init__(self, script: str) -> None:
        self._script = script
        self._begun_at = time.time()
        self._done: dict[str, int] = {}  # by run: the most that was ever seen
        self._failures: dict[str, set[str]] = {}  # by run: the items that were given up
        self._written: dict[str, float] = {}  # by run: when its row was written last
        self._latest: list[Run] = []  # what the last life of the script has written
        self.got_on()

    def got_on(self) -> bool:
        """Whether anything came to its end since the last look; a mere restart does not count.

        An item that was given up does, once: what comes after it has its turn now.
        """
        further = False
        self._latest = []
        with self._journal() as journal:
            for run in () if journal is None else [one.run for one in self._ours(journal)]:
                assert journal is not None, "it has runs"
                if run.updated_at != self._written.get(run.id):
                    self._latest.append(run)
                    self._written[run.id] = run.updated_at
                done = journal.outcomes(run)
                further |= done > self._done.get(run.id, 0)
                self._done[run.id] = max(done, self._done.get(run.id, 0))
                known = self._failures.setdefault(run.id, set())
                failed = () if run.kind == "workflow" else journal.failed(run.id)
                given_up = {one.key for one in failed if one.failed_at >= self._begun_at}
                further |= not given_up <= known
                known |= given_up
        return further

    def stopped_early(self) -> Run | None:
        """The run that the last life of the script has stopped because everything failed, if that was its end."""
        latest = max(self._latest, key=lambda run: run.updated_at, default=None)
        return latest if latest is not None and stopped_early(latest) else None

    def stopped_meanwhile(self, run_id: str) -> Parting | None:
        """Whether somebody has paused or cancelled this run while no process had it."""
        with self._journal() as journal:
            run = None if journal is None else journal.store.run(run_id)
        if run is None or run.state not in ("paused", "cancelled"):
            return None
        return Parting("paused" if run.state == "paused" else "cancelled", run.id)

    def began_anew(self) -> bool:
        """Whether the script has begun a run of its own."""
        with self._journal() as journal:
            return journal is not None and any(
                one.run.created_at >= self._begun_at for one in self._ours(journal)
            )

    def outcome(self) -> int:
        """The exit code of a script that ended well: failed items, or work that waits, still show in it."""
        with self._journal() as journal:
            ours = [] if journal is None else self._ours(journal)
        touched = [one for one in ours if one.run.updated_at >= self._begun_at]
        return max((state_code(one) for one in touched if one.state != "cancelled"), default=FINISHED)

    @contextmanager
    def _journal(self) -> Iterator[Journal | None]:
        try:
            journal = Journal.existing()
        except JournalError:  # none yet, or unusable: the script itself says what is wrong with it
            yield None
            return
        with journal:
            yield journal

    def _ours(self, journal: Journal) -> list[Overview]:
        return [one for one in journal.list(limit=_RUNS) if self._is_ours(one)]

    def _is_ours(self, one: Overview) -> bool:
        command = command_text(one.run)
        return command == self._script or command.startswith(self._script + " ")

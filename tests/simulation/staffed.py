"""A world whose processes are workers: queues with limits, drains, and an operator who pauses, resumes and cancels."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from onward.api.journal import Journal
from onward.core.errors import JournalError, OnwardError
from onward.core.model import Run
from onward.storage import Store
from simulation import queued
from simulation.log import Wish
from simulation.mutants import Mutant
from simulation.processes import Code, Killed, Process
from simulation.staff import StaffProcess
from simulation.world import HEALING_S, World

_UNFINISHED = ("pending", "running", "waiting", "paused")


class StaffedWorld(World):
    """One story of workers."""

    def __init__(
        self, seed: int, open_journal: Callable[[Callable[[], float]], Store], mutant: Mutant
    ) -> None:
        super().__init__(seed, open_journal, self._programs, mutant)

    @staticmethod
    def _programs(chance: random.Random) -> Sequence[Any]:
        return queued.some(chance)

    def begin(self) -> None:
        queued.limit(self.journal)
        super().begin()
        self.add(self._watch(), None)
        if self.chance.random() < 0.7:
            self.add(self._deploy(), None)

    def process(self, name: str, programs: Sequence[Any]) -> Process:
        return StaffProcess(self, name, programs)

    def run(self) -> None:
        """Until all that was started has ended, or it is too late."""
        end = self.heals_at + HEALING_S
        while not all(program.over for program in self.programs) or self._unfinished():
            if not self.healed and self.at >= self.heals_at:
                self._heal()
            if self.at > end or not self.step():
                left = [f"{run.id} is {run.state}" for run in self._unfinished()]
                waiting = [program.name for program in self.programs if not program.over]
                self.log.breaches.append(f"44: {HEALING_S} s after healing {left}, {waiting} wait")
                return

    def _unfinished(self) -> Sequence[Any]:
        return [run for run in self.journal.runs(limit=-1) if run.state in _UNFINISHED]

    def _watch(self) -> Code:
        """Nothing lies about for long that a healthy worker would have to see to."""
        since: dict[tuple[Any, ...], float] = {}
        while True:
            yield 0.5
            found = set()
            for run in self.journal.runs(limit=-1):
                what = self._neglected(run)
                if what is not None:
                    found.add((run.id, run.fence, what))
            since = {one: since.get(one, self.at) for one in found}
            for (run_id, fence, what), first in since.items():
                holder = next((c.process for c in reversed(self.log.claims) if c.run_id == run_id), "")
                process = next((p for p in self.processes.values() if p.name == holder), None)
                calm = process is not None and process.alive and process.disturbed_at < first
                if process in self.busy:
                    since[run_id, fence, what] = self.at  # an answer is on its way to it
                elif calm and self.at - first > 6.0:
                    self.log.breaches.append(
                        f"44: {run_id} of fence {fence} {what} for {self.at - first:.1f} s"
                    )
                    return

    def _neglected(self, run: Run) -> str | None:
        if run.state == "running":
            engine = self.processes[run.owner or ""].engine
            debt = engine._owed.get(run.id)
            known = engine.holds(run) or (debt is not None and debt.is_due(run))
            return None if known else "is leased to a worker that knows nothing of it"
        if run.request is not None and run.state in ("pending", "waiting", "failed"):
            return f"is {run.state} and was asked to {run.request}"
        return None

    # -- people ------------------------------------------------------------------------------------------------

    def _deploy(self) -> Code:
        """Somebody who ends a worker in order now and then; another one comes up."""
        while not self.healed:
            yield self.chance.uniform(8, 40)
            alive = [p for p in self.processes.values() if p.alive and not p.worker._draining]  # type: ignore[attr-defined]
            if alive and not self.healed:
                process: Any = self.chance.choice(alive)
                self.add(process.drain(self.chance.uniform(0, 6)), process)

    def _operate(self) -> Code:
        """Somebody who pauses and cancels runs, in whatever state they are, and lets paused ones go on."""
        while True:
            yield self.chance.uniform(1, 6)
            alive = [
                process for process in self.processes.values() if process.alive and process not in self.busy
            ]
            runs = self._unfinished()
            if not alive or not runs:
                continue
            run = self.chance.choice(runs)
            what = "resume" if run.state == "paused" else self.chance.choice(("pause", "pause", "cancel"))
            if what != "resume" and (self.healed or self.chance.random() < 0.5):
                continue
            self._act(self.chance.choice(alive), run.id, what)

    def _act(self, process: Process, run_id: str, what: Any) -> None:
        after_seq = self.journal.last_seq(self.journal.run(run_id).no)  # type: ignore[union-attr]
        try:
            acted = getattr(Journal(process.engine), what)(run_id, by="somebody")
        except (JournalError, OnwardError, Killed):
            self.log.counts["acts that failed"] += 1
            return
        self.log.counts["acts"] += 1
        if acted.asked and what != "resume":
            self.log.counts["wishes"] += 1
            self.log.wishes.append(Wish(run_id, what, after_seq))

"""Worker processes of the simulated world: the production engine and committer over a journal that misbehaves.

Replaced are only the clock, the threads (the committer's service thread and the engine's keeper become jobs that the
world schedules) and the way to the store, on which requests and answers are delayed, refused and lost.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

from onward.core.decide import at_length
from onward.core.errors import JournalBroken, JournalBusy, JournalFull, OutcomeUnknown
from onward.core.model import (
    Answer,
    Answered,
    Applied,
    Change,
    Claimed,
    Entry,
    Order,
    Owner,
    Refused,
    Request,
    Run,
)
from onward.core.model import Claim as Asked
from onward.runtime.engine import Engine
from onward.storage import Store
from onward.storage.committer import Committer
from onward.storage.ticket import Ticket
from simulation.log import Claim, Grant, Orphan, Written

if TYPE_CHECKING:
    from simulation.world import Job, World

LEASE_S = 10.0
Code = Generator[float, None, Any]  # yields how long, in the world's seconds, until it goes on


class Killed(BaseException):
    """The process is gone; what its code would have done next never happens."""


class Process:
    """A process that runs simulated programs; killed ones are followed by another Process with the same programs."""

    def __init__(self, world: World, name: str, programs: Sequence[Any]) -> None:
        self.world, self.name, self.programs = world, name, programs
        self.offset = world.chance.uniform(0, 1e6)  # its own clock starts anywhere
        self.paused_until = 0.0
        self.disturbed_at = world.at  # when it was last kept from renewing its leases in time
        self.alive = True
        self.in_service = False
        self.confirmed = 0.0  # when, by its clock, it sent the last request that prolonged its leases
        self.store = Line(world, self)
        self.committer = QueuedCommitter(self)
        self.engine = Engine(
            self.store, committer=self.committer, lease_s=LEASE_S, clock=self.clock, keeper=False
        )
        self.service: Job = world.add(self.serve(), self, due=float("inf"))
        world.add(self.keep(), self)

    def clock(self) -> float:
        return self.world.at + self.offset

    def serve(self) -> Code:
        """The committer's service thread."""
        while True:
            while self.committer.has_work():
                self.in_service = True
                self.committer.work()
                self.in_service = False
                yield self.world.latency()
            yield self.committer.idle_s()

    def keep(self) -> Code:
        """The engine's keeper thread."""
        renewed = self.clock()
        while True:
            yield self.world.chance.uniform(0.5, 1.5)
            sessions = list(self.engine.sessions.values())
            if sessions:
                renewed = self.engine.look_after(sessions, renewed)


class QueuedCommitter(Committer):
    """The production committer, whose service thread is a job of the world."""

    def __init__(self, process: Process) -> None:
        super().__init__(process.store, clock=process.clock, sleep=lambda seconds: None)
        self._process = process

    def _ensure_service(self) -> None:
        world = self._process.world
        world.wake(self._process.service, 0.0 if self._handed else world.latency())

    def commit(self, *changes: Change) -> list[Answer]:
        while self._handed:  # the service thread would go first
            self.work()
        return super().commit(*changes)

    def commit_and_claim(self, changes: Sequence[Change], claim: Asked) -> tuple[list[Answer], Claimed]:
        while self._handed:
            self.work()
        return super().commit_and_claim(changes, claim)

    def wait_for(self, ticket: Ticket) -> list[Answer]:
        while self._handed:
            self.work()
        return super().wait_for(ticket)

    def has_work(self) -> bool:
        overdue = bool(self._later) and self._later[0].due <= self._clock()
        return self._handed or (overdue and not self._leading)

    def work(self) -> None:
        self._leading, self._handed = True, False
        self._lead()

    def idle_s(self) -> float:
        """How long the service may sleep."""
        return max(1e-6, self._later[0].due - self._clock()) if self._later else float("inf")


class Line:
    """The way from one process to the shared journal: slow, lossy, and it writes down what came through."""

    def __init__(self, world: World, process: Process) -> None:
        self._world, self._process = world, process
        self._journal: Store = world.journal

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    # -- writing ------------------------------------------------------------------------------------

    def commit(self, orders: Sequence[Order]) -> list[Answered]:
        changes = at_length(orders)
        world, process, faults = self._world, self._process, self._world.faults
        sent_at = process.clock()
        world.meanwhile(process)
        fault = world.draw(busy=faults.busy, full=faults.full if process.in_service else 0.0)
        if fault is not None:
            world.log.counts[fault] += 1
            raise JournalBusy("simulated") if fault == "busy" else JournalFull("simulated")
        answers = self._apply(changes)
        rows = [self._note(order, answer) for order, answer in zip(changes, answers, strict=True)]
        world.meanwhile(process)
        claimed = any(isinstance(order, Asked) for order in changes) and any(rows)
        fault = world.draw(unknown=faults.lost * (4 if claimed else 1), broken=faults.lost / 2)
        if fault is not None:
            world.log.counts["lost answers"] += 1
            if claimed:
                world.log.counts["claims whose answer was lost"] += 1
            if fault == "broken":
                raise JournalBroken("simulated: the answer was lost")
            raise OutcomeUnknown("simulated: the answer was lost")
        self._heard(changes, answers, rows, sent_at)
        return answers

    def _apply(self, changes: Sequence[Order]) -> list[Answered]:
        return self._world.mutant.apply(self._world, self._process, self._journal, changes)

    def renew(self, owner: str, until: float) -> list[tuple[int, Request | None]]:
        world, process = self._world, self._process
        sent_at = process.clock()
        world.meanwhile(process)
        held = self._journal.renew(owner, until)
        for no, _ in held:
            run_id, fence = world.held[no]
            world.log.grants.append(Grant(run_id, fence, until))
        world.meanwhile(process)
        if world.draw(lost=world.faults.lost):
            world.log.counts["lost answers"] += 1
            world.disturb(process, world.at)
            raise OutcomeUnknown("simulated: the answer to a renewal was lost")
        process.confirmed = max(process.confirmed, sent_at)
        kept = {no for no, _ in held}
        for no, session in self._process.engine.sessions.items():
            if no not in kept:
                self.fenced(session.run.id, session.run.fence)
        return held

    def register(self, owner: Owner) -> None:
        self._world.processes[owner.id] = self._process
        self._journal.register(owner)

    def owner_is_dead(self, owner_id: str) -> bool:
        return self._world.is_proven_dead(owner_id)

    def tidy(self) -> None:
        """Nothing to do: checkpoints are the store's own tests' matter."""

    # -- what came through --------------------------------------------------------------------------

    def _note(self, order: Order, answer: Answered) -> list[tuple[str, int]]:
        """Write down what a change or a claim did; the (run id, seq) of its entries."""
        world, process = self._world, self._process
        if isinstance(order, Asked):
            assert isinstance(answer, Claimed)
            return [one for run, seq in answer.runs for one in self._note_leased(run, seq)]
        change = order
        if not isinstance(answer, Applied):
            return []
        run = change.after
        if run is not None and run.state == "running" and run.owner == process.engine.owner:
            self._note_claim(change, answer.run_no)
        if change.create and run is not None and run.state != "running":
            world.held[answer.run_no] = (run.id, run.fence)
        if any(entry.name == "orphaned" for entry in change.entries):
            self._note_orphan(change)
        run_id = world.held[answer.run_no][0]
        first = answer.seq - len(change.entries) + 1
        return [self._note_entry(run_id, first + at, entry) for at, entry in enumerate(change.entries)]

    def _note_entry(self, run_id: str, seq: int, entry: Entry) -> tuple[str, int]:
        self._world.log.written.append(
            Written(
                run_id,
                seq,
                entry.key,
                entry.state,
                entry.fence,
                entry.value,
                self._process.name,
                self._world.at,
            )
        )
        return run_id, seq

    def _note_leased(self, run: Run, seq: int) -> list[tuple[str, int]]:
        """A run that a Claim got."""
        self._note_claim(Change(run.no, run.fence - 1, after=run), run.no)
        (mark,) = self._journal.entries(run.no, after=seq - 1, limit=1)
        return [self._note_entry(run.id, seq, mark)]

    def _note_orphan(self, change: Change) -> None:
        world, before = self._world, change.before
        assert before is not None
        assert before.owner is not None
        holder = world.processes[before.owner]
        # An owner that ended in order has taken its name away before anybody else could see it.
        proven = (
            holder is self._process or world.is_proven_dead(before.owner) or self.owner(before.owner) is None
        )
        healthy = world.is_healthy(holder) and holder is not self._process
        if holder.alive and not proven:
            world.log.counts["stolen leases"] += 1
        world.held[change.run_no] = (before.id, before.fence + 1)
        world.log.orphans.append(Orphan(before.id, before.fence + 1, world.wall(), proven, healthy))

    def _note_claim(self, change: Change, run_no: int) -> None:
        world, run, before = self._world, change.after, change.before
        assert run is not None
        assert run.lease_until is not None
        holder = None if before is None or before.owner is None else world.processes.get(before.owner)
        held = before is not None and before.state == "running"
        proven = held and (
            holder is self._process or (before is not None and world.is_proven_dead(before.owner or ""))
        )
        healthy = held and holder is not None and world.is_healthy(holder) and holder is not self._process
        if held and holder is not None and holder.alive and not proven:
            world.log.counts["stolen leases"] += 1
        world.held[run_no] = (run.id, run.fence)
        world.log.claims.append(
            Claim(
                run.id,
                run.fence,
                self._process.name,
                world.at,
                world.wall(),
                run.lease_until,
                proven,
                healthy,
            )
        )
        world.log.grants.append(Grant(run.id, run.fence, run.lease_until))

    def _heard(
        self,
        changes: Sequence[Order],
        answers: Sequence[Answered],
        rows: list[list[tuple[str, int]]],
        sent_at: float,
    ) -> None:
        for change, answer, seqs in zip(changes, answers, rows, strict=True):
            if isinstance(answer, Refused):
                assert isinstance(change, Change)
                if answer.reason == "fence" and change.run_no in self._world.held:
                    self._world.log.counts["refused stale writes"] += 1
                continue
            self._world.log.heard.update(seqs)
            if isinstance(change, Asked):
                if seqs:
                    self._process.confirmed = max(self._process.confirmed, sent_at)
                continue
            if change.after is not None and change.after.owner == self._process.engine.owner:
                self._process.confirmed = max(self._process.confirmed, sent_at)

    def fenced(self, run_id: str, fence: int) -> None:
        """The process has heard that its lease is lost."""
        fenced = self._world.log.fenced
        fenced[self._process.name, run_id] = max(fence, fenced.get((self._process.name, run_id), 0))

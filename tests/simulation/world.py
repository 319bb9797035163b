"""A world in one thread: processes, one journal, a clock, and all faults, chosen by one seeded generator.

Whatever could happen at the same time happens here one after the other, in an order drawn by the seed: the same seed
gives the same story. Faults stop at `heals_at`; from then on everything must come to its end.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from onward.core.model import Request
from onward.storage import Store
from simulation.log import Log, Wish
from simulation.mutants import Mutant
from simulation.processes import LEASE_S, Code, Killed, Process

EPOCH = 1_700_000_000.0
NEVER = float("inf")
# Everything is over this long after the last fault: leases run out, retries come, the longest step lasts 25 s.
HEALING_S = 600.0
WISHES: tuple[Request, ...] = ("pause", "pause", "cancel")


@dataclass
class Faults:
    """How likely each fault is, each time it could happen."""

    kill: float = 0.0
    pause: float = 0.0
    busy: float = 0.0
    full: float = 0.0
    lost: float = 0.0
    delay: float = 0.0
    jump: float = 0.0

    @classmethod
    def drawn(cls, chance: random.Random) -> Faults:
        return cls(
            kill=chance.choice((0, 0.005, 0.02)),
            pause=chance.choice((0, 0.005, 0.02)),
            busy=chance.choice((0, 0.01)),
            full=chance.choice((0, 0.02)),
            lost=chance.choice((0, 0.01, 0.03)),
            delay=chance.choice((0.02, 0.1)),
            jump=chance.choice((0, 0.002)),
        )


class Job:
    """Code of one process (or of the world itself), and when it goes on."""

    __slots__ = ("code", "due", "parent", "process", "tie")

    def __init__(self, code: Code, process: Process | None, due: float, tie: float) -> None:
        self.code, self.process, self.due, self.tie = code, process, due, tie
        self.parent: Job | None = None


class World:
    """One story."""

    def __init__(
        self,
        seed: int,
        open_journal: Callable[[Callable[[], float]], Store],
        programs: Callable[[random.Random], Sequence[Any]],
        mutant: Mutant,
    ) -> None:
        self.chance = random.Random(seed)
        self.mutant = mutant
        self.at = self.skew = 0.0
        self.log = Log()
        self.jobs: list[Job] = []
        self.buried: list[Job] = []  # jobs of dead processes: never continued, not even to be closed
        self.busy: list[Process] = []  # in the middle of a request to the journal
        self.processes: dict[str, Process] = {}  # by owner id
        self.proven: set[str] = set()  # owners whose death can be proven
        self.held: dict[int, tuple[str, int]] = {}  # run number -> id and newest fence
        self.serial = 0
        self.faults = Faults.drawn(self.chance)
        self.heals_at = self.chance.uniform(30, 90)
        self.healed = False
        self.journal = open_journal(self.wall)
        self.programs = programs(self.chance)
        self.current: Job | None = None
        if self.chance.random() < 0.4:
            self.add(self._operate(), None)
        self.begin()

    def begin(self) -> None:
        """The first processes come up."""
        for number in range(3):
            own = [p for at, p in enumerate(self.programs) if at % 3 != number]
            self.boot(f"p{number}", own)

    # -- time and chance ----------------------------------------------------------------------------

    def wall(self) -> float:
        """The journal's clock: jumps are in it."""
        return EPOCH + self.at + self.skew

    def latency(self) -> float:
        return self.chance.uniform(1e-4, 0.01)

    def draw(self, **likely: float) -> str | None:
        """The name of the fault that happens now, if any."""
        rest = self.chance.random()
        for name, probability in likely.items():
            if not self.healed and rest < probability:
                return name
            rest -= probability
        return None

    def _operate(self) -> Code:
        """Somebody who asks the holders of runs to pause or to cancel; a paused run goes on when it is called again."""
        while not self.healed:
            yield self.chance.uniform(3, 25)
            running = [run for run in self.journal.runs(limit=-1) if run.state == "running"]
            if not running:
                continue
            run, what = self.chance.choice(running), self.chance.choice(WISHES)
            after_seq = self.journal.last_seq(run.no)
            if self.journal.request(run.no, what):
                self.log.counts["wishes"] += 1
                self.log.wishes.append(Wish(run.id, what, after_seq))

    # -- processes ----------------------------------------------------------------------------------

    def boot(self, name: str, programs: Sequence[Any]) -> None:
        process = self.process(name, programs)
        for program in programs:
            self.add(program.calls(process), process, due=self.at + self.chance.uniform(0, 5))

    def process(self, name: str, programs: Sequence[Any]) -> Process:
        return Process(self, name, programs)

    def kill(self, process: Process) -> None:
        """The process is gone at once; another one with the same programs comes up later."""
        self.log.counts["kills"] += 1
        if self.chance.random() < 0.6:
            self.proven.add(process.engine.owner)
        self.end(process)

    def end(self, process: Process) -> None:
        """Nothing more of the process happens; another one with the same programs comes up later."""
        assert process.alive
        process.alive = False
        self.buried += [job for job in self.jobs if job.process is process]
        self.jobs = [job for job in self.jobs if job.process is not process]
        base, _, life = process.name.partition(".")
        wait_s = self.chance.uniform(0.1, 15)
        self.add(
            self._reboot(wait_s, f"{base}.{int(life or 0) + 1}", process.programs), None, due=self.at + wait_s
        )

    def _reboot(self, wait_s: float, name: str, programs: Sequence[Any]) -> Code:
        self.boot(name, programs)
        return
        yield wait_s

    def is_proven_dead(self, owner_id: str) -> bool:
        return owner_id in self.proven

    def is_healthy(self, process: Process) -> bool:
        """Whether nothing has come in the way of its renewals for a whole lease."""
        return process.alive and process not in self.busy and self.at >= process.disturbed_at + LEASE_S

    def disturb(self, process: Process, until: float) -> None:
        process.disturbed_at = max(process.disturbed_at, until)

    # -- jobs ---------------------------------------------------------------------------------------

    def add(self, code: Code, process: Process | None, due: float | None = None) -> Job:
        job = Job(code, process, self.at if due is None else due, self.chance.random())
        self.jobs.append(job)
        return job

    def wake(self, job: Job, after_s: float) -> None:
        job.due = min(job.due, self.at + after_s)

    def run(self) -> None:
        """Until all programs are over, or it is too late."""
        end = self.heals_at + HEALING_S
        while not all(program.over for program in self.programs):
            if not self.healed and self.at >= self.heals_at:
                self._heal()
            if self.at > end or not self.step():
                unfinished = [p.name for p in self.programs if not p.over]
                self.log.breaches.append(f"44: not over {HEALING_S} s after healing: {unfinished}")
                return

    def _heal(self) -> None:
        self.healed = True
        self.faults = Faults()
        self.heals_at = self.at
        for process in self.processes.values():
            process.paused_until = min(process.paused_until, self.at)

    def step(self, until: float = NEVER) -> bool:
        """Continue the job whose time comes first; False if there is none before `until`."""
        job, due = self._next()
        if job is None or due > until:
            return False
        self.at = max(self.at, due)
        process = job.process
        if process is not None and self._strikes(process):
            return True
        self._continue(job)
        return True

    def _next(self) -> tuple[Job | None, float]:
        first, best = None, (NEVER, 0.0)
        for job in self.jobs:
            if job.due == NEVER or job.process in self.busy:
                continue
            due = job.due if job.process is None else max(job.due, job.process.paused_until)
            if (due, job.tie) < best:
                first, best = job, (due, job.tie)
        return first, best[0]

    def _strikes(self, process: Process) -> bool:
        """Perhaps kill or pause the process just now."""
        faults = self.faults
        fault = self.draw(kill=faults.kill, pause=faults.pause, jump=faults.jump)
        if fault is None:
            return False
        if fault == "kill":
            self.kill(process)
        elif fault == "pause":
            self.log.counts["pauses"] += 1
            process.paused_until = self.at + LEASE_S * self.chance.uniform(0.3, 3)
            self.disturb(process, process.paused_until)
        else:
            self.log.counts["clock jumps"] += 1
            self.skew += self.chance.uniform(-1.5, 1.5) * LEASE_S
            for each in self.processes.values():
                self.disturb(each, self.at)
        return True

    def _continue(self, job: Job) -> None:
        process, outer = job.process, self.current
        try:
            self.current = job
            job.due = NEVER  # unless it says otherwise, or is woken meanwhile
            wait_s = next(job.code)
        except StopIteration:
            self._end(job)
        except Killed:
            self.buried.append(job)
        else:
            if process is not None and not process.alive:
                return
            job.due = min(job.due, self.at + wait_s)
            job.tie = self.chance.random()
        finally:
            self.current = outer

    def _end(self, job: Job) -> None:
        if job in self.jobs:
            self.jobs.remove(job)
        if job.parent is not None:
            self.wake(job.parent, 0.0)

    # -- the way to the journal -----------------------------------------------------------------------

    def meanwhile(self, process: Process) -> None:
        """A request or an answer is on its way: others may go on, and the process may die or stall."""
        if not process.alive:
            raise Killed
        faults = self.faults
        fault = self.draw(kill=faults.kill / 2, pause=faults.pause / 2, delay=faults.delay)
        if fault is None:
            return
        if fault == "kill":
            self.kill(process)
            raise Killed
        stall_s = LEASE_S * self.chance.uniform(0.3, 2.5) if fault == "pause" else self.chance.uniform(0, 2)
        self.log.counts["pauses" if fault == "pause" else "delayed commits"] += 1
        self.pass_time(process, stall_s)

    def pass_time(self, process: Process, seconds: float) -> None:
        """Let the other processes go on for so long while `process` stands still."""
        until = self.at + seconds
        if len(self.busy) < 2:
            with self._stalled(process):
                while self.step(until):
                    continue
        self.at = max(self.at, until)
        self.disturb(process, self.at)

    @contextmanager
    def _stalled(self, process: Process) -> Iterator[None]:
        self.busy.append(process)
        try:
            yield
        finally:
            self.busy.remove(process)

    def close(self) -> None:
        """After the story: let go of everything that was left in the middle."""
        for job in [*self.jobs, *self.buried]:
            try:
                job.code.close()
            except (Killed, RuntimeError):
                continue
        for program in self.programs:
            program.close()
        self.journal.close()

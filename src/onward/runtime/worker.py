"""A worker: leases queued runs whose workflows it knows, executes them, and takes over what dead workers left.

One claim at a time asks for runs in batches, ahead of what is executed, and rides in one transaction with the outcomes
of what has ended: whoever ends a run makes the next claim, the claimer's thread does where nothing ends. Nobody else is
needed: no server, no scheduler beside it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Literal

from onward.core import limits
from onward.core.errors import PASSING, JournalError
from onward.core.model import Answer, Change, Claimed, End, Run, WorkerRow
from onward.runtime import executing, observe, registry
from onward.runtime.endings import Ended, Ending, Endings
from onward.runtime.engine import Engine
from onward.runtime.hands import Hands, Work
from onward.runtime.light import Light
from onward.runtime.registry import Job
from onward.runtime.ring import Ring
from onward.runtime.scheduler import Scheduler
from onward.runtime.served import Served

__all__ = ["Ended", "Worker"]

# How fast the average length of a run follows the latest ones.
_FOLLOWS: Final = 0.1


class Worker:
    """Executes queued runs in this process until it is drained."""

    # How it lets time pass and executes plain runs: what a simulation does in its own way.
    _sleep = staticmethod(time.sleep)
    _execute: Any = staticmethod(executing.execute)

    def __init__(
        self,
        engine: Engine,
        *,
        names: Sequence[str] | None = None,
        queues: Sequence[str] = (),
        concurrency: int = limits.CONCURRENCY,
        told: Callable[[Ended], None] | None = None,
    ) -> None:
        self.engine, self.endings = engine, Endings(engine, self, told)
        self._names = tuple(registry.names() if names is None else names)
        self._queues, self._concurrency = tuple(queues), concurrency
        plans = (plan for plan in registry.plans() if plan.spec.workflow in self._names)
        self._scheduler = Scheduler(engine, plans, self._names)
        self._hands = Hands(concurrency, self._call)
        self._bell = threading.Condition()
        self._claiming = threading.Lock()
        self._held: dict[int, Run] = {}  # leased and not ended yet
        self._at_most: int | None = None
        self._draining = False
        self._ring = Ring(engine.store.doorbell())
        self._mean_s = 1.0  # how long a run takes, lately
        self._ahead = 0  # how many runs are claimed ahead of what is executed, lately
        self._is_short = False  # whether the last claim got less than it asked for
        self._next_at: float | None = None  # when the next run is due, as of `_asked_at`
        self._asked_at = float("-inf")
        self._looked_at = self._announced_at = float("-inf")
        # Runs whose workers have died again and again: one of them is executed at a time, beside all others.
        self._suspects: deque[Work] = deque()
        self._suspect: Run | None = None
        self._turns = threading.Lock()
        self.executed = 0

    # -- life -----------------------------------------------------------------------------------------------

    def run(self, *, burst: bool = False, at_most: int | None = None) -> None:
        """Claim and execute until drained; with `burst` until nothing is ready, with `at_most` after so many runs."""
        self._at_most = at_most
        self._enter()
        while not self._draining:
            # Asked before the claim: what ends after that may be due again at once, and the claim has not seen it.
            was_busy = bool(self._held)
            version, got = self.turn()
            if at_most is not None and self.executed >= at_most:
                return
            if got == 0 and burst and not (was_busy or self._held or self._is_more_soon()):
                return
            if got:
                self._ring.found()
            else:
                self._await(version)

    def _enter(self) -> None:
        """Make this worker and its queues known, as soon as the journal takes it."""
        while not self._draining:
            try:
                self.engine.register()
                for queue in registry.queues():
                    self.engine.declare(queue.name, queue.limits_text)
                self._announce("working")
                return
            except PASSING as error:
                observe.log.warning("this worker begins as soon as it can: %s", error)
                self._sleep(limits.FULL_RETRY_S)

    def turn(self) -> tuple[object, int | None]:
        """Look once for what there is to do; what was seen, and how many runs it got: None if it could not ask."""
        version: object = None
        got = None
        try:
            version = self.engine.store.version()
            if self.engine.clock() - self._announced_at > limits.RENEW_S:
                self._announce("working")
            self._take_over()
            self._scheduler.look(version)
            got = self._claim()
        except PASSING as error:
            observe.log.warning("runs are claimed again soon: %s", error)
            self._sleep(limits.FULL_RETRY_S)
        self.endings.settle()
        return version, got

    def _announce(self, state: Literal["working", "draining"]) -> None:
        """Let people see this worker, what it knows, and that it lives."""
        self._announced_at = self.engine.clock()
        store = self.engine.store
        row = WorkerRow(self.engine.owner, self._names, self._queues, self._concurrency, state, store.now())
        store.announce(row)

    def drain(self) -> None:
        """Claim nothing more; what is executed goes on. Safe to call from a signal handler."""
        self._draining = True
        self._ring.ring()

    def rest(self, within_s: float = limits.DRAIN_S) -> int:
        """Wait until what is executed has come to rest: at the next step once the time is over. How many have not.

        What was claimed and has not begun goes back at once.
        """
        end = time.monotonic() + within_s
        self._draining = True
        self._give_back_unbegun()
        if self._held:
            with suppress(JournalError):
                self._announce("draining")
        with self._bell:
            while self._held and time.monotonic() < end:
                self._bell.wait(min(0.1, max(0.0, end - time.monotonic())))
                self.endings.settle()
        self.engine.lights.raise_all()
        for no in list(self._held):
            session = self.engine.sessions.get(no)
            if session is not None:
                session.drain()
        with self._bell:
            end = time.monotonic() + 1.0
            while self._held and time.monotonic() < end:
                self._bell.wait(0.05)
                self.endings.settle()
        self._hands.close()
        return len(self._held)

    def _give_back_unbegun(self) -> None:
        with self._turns:
            works = [*self._hands.take_back(), *self._suspects]
            self._suspects.clear()
        if works:
            # Then the keeper gives them back, or, from a journal that is gone, the process that takes over.
            with suppress(JournalError):
                self.engine.give_back([work.run for work in works])
        for work in works:
            self._forget(work.run)

    def _forget(self, run: Run) -> None:
        if self._held.get(run.no) is run:  # else a later lease of it is meant
            del self._held[run.no]

    @property
    def active(self) -> int:
        """How many runs are leased now."""
        return len(self._held)

    # -- claiming ---------------------------------------------------------------------------------------------

    def _claim(self) -> int | None:
        """Claim as many runs as there is room for; how many it were, None if there is no room."""
        with self._claiming:
            wanted = self._wanted()
            if wanted <= 0:
                return None
            claimed, _ = self._end_and_claim((), wanted)
            return len(claimed.runs)

    def _end_and_claim(self, ended: Sequence[Change | End], wanted: int) -> tuple[Claimed, list[Answer]]:
        """Commit ends and a claim, and begin what it got."""
        self._asked_at = self.engine.store.now()
        claimed, safe_until, answers = self.engine.end_and_claim(ended, self._names, self._queues, wanted)
        self._begin_all(claimed, safe_until, wanted)
        return claimed, answers

    def _wanted(self, ending: int = 0) -> int:
        """How many runs are to be asked for when so many are just ending."""
        wanted = 0 if self._draining or not self._names else self._room(ending)
        if self._at_most is not None:
            wanted = min(wanted, self._at_most - self.executed - len(self._held))
        return wanted

    def _room(self, ending: int = 0) -> int:
        ahead = int(limits.CLAIM_AHEAD_S * self._concurrency / max(self._mean_s, 1e-6))
        # Not many after a few short ones: the next ones may be long, and other workers idle.
        ahead = min(ahead, limits.CLAIM_RUNS, limits.CONCURRENCY + 2 * self.executed)
        self._ahead = ahead
        # Those that wait for their turn, or for the disk, are in nobody's way.
        held = len(self._held) - len(self._suspects) - ending - self.endings.on_their_way
        free = self._concurrency + ahead - held
        # Not one by one as each ends: a claim costs a commit.
        return min(free, limits.CLAIM_RUNS) if free * 2 > ahead else 0

    def _await(self, version: object) -> None:
        """Wait for something to do: a run that has ended, a timer, or another process that has written."""
        store = self.engine.store
        until = time.monotonic() + limits.TAKE_OVER_S
        # What was due already when it was asked for, and was not claimed, is held back by a limit. What has become due
        # since then is not; but while there is no room nobody asks.
        if self._next_at is not None and self._next_at > self._asked_at and self._wanted() > 0:
            until = min(until, time.monotonic() + max(0.0, self._next_at - store.now()))
        if self._scheduler.next_at is not None:
            until = min(until, time.monotonic() + max(0.0, self._scheduler.next_at - store.now()))
        self._ring.wait(until, lambda: self._is_news(version), self._may_claim)

    def _is_news(self, version: object) -> bool:
        """Whether a claim may get something: there is room, and somebody has written."""
        self.endings.settle()
        return self._may_claim() and self.engine.store.version() != version

    def _may_claim(self) -> bool:
        # While hands are full, whoever ends a run makes the next claim.
        return not self._hands.waiting and self._room() > 0

    def _is_more_soon(self) -> bool:
        """Whether a run that was seen is due within the moment that a worker waits in place, or a schedule at once."""
        if self._scheduler.is_due:
            return True
        return self._next_at is not None and self._next_at <= self.engine.store.now() + limits.SUSPEND_S

    # -- taking over --------------------------------------------------------------------------------------------

    def _take_over(self) -> None:
        """Make what dead workers left ready for whoever has room for it and knows its workflow."""
        at = self.engine.clock()
        if at - self._looked_at < limits.TAKE_OVER_S:
            return
        self._looked_at = at
        count = self.engine.take_over()
        if count > 0:
            observe.log.info("%d runs are ready again, whose workers have died", count)

    # -- executing ----------------------------------------------------------------------------------------------

    def _call(self, work: Work) -> Any:
        """Execute a run, or give the coroutine that does."""
        execute = executing.execute_async if work.job.is_async else self._execute
        return execute(self, *work)

    def _begin_all(self, claimed: Claimed, safe_until: float, wanted: int) -> None:
        self._next_at, self._is_short = claimed.next_at, len(claimed.runs) < wanted
        self._held.update([(run[29], run) for run, _ in claimed.runs])
        self._begin(claimed.runs, safe_until)

    def _begin(self, runs: Sequence[tuple[Run, int]], safe_until: float) -> None:
        works: list[Work] = []
        jobs: dict[str, Job] = {}  # mostly one, for all of them
        for run, last_seq in runs:
            job = jobs.get(run[2]) or jobs.setdefault(run[2], self._job(run))
            work = Work.made(run, job, last_seq, safe_until)
            if run[12] >= limits.SUSPECT_DEATHS:
                self._suspects.append(work)
                self._next_suspect()
            else:
                works.append(work)
        self._hands.begin(*works)

    @staticmethod
    def _job(run: Run) -> Job:
        job = registry.get(run.name)
        assert job is not None, "only what is known is claimed"
        return job

    def _next_suspect(self, ended: Run | None = None) -> None:
        """Let the next one begin whose workers have died, if none is executed, or none after the run `ended`."""
        with self._turns:
            if self._suspect is not None and self._suspect is not ended:
                return
            work = self._suspects.popleft() if self._suspects else None
            self._suspect = None if work is None else work.run
        if work is not None:
            self._hands.begin(work)

    def adopt(self, run: Run, last_seq: int, safe_until: float) -> Served | None:
        """A session on a run whose turn has come; None if it has gone back, because the worker is to end, or was leased
        again meanwhile.
        """
        if not self._draining:
            return self.engine.adopt(run, last_seq, safe_until)
        self.engine.give_back((run,))
        return None

    def light(self, run: Run, last_seq: int, safe_until: float, job: Job) -> Light | None:
        """A place in a run whose turn has come, without a session; None if it needs one before it begins."""
        if self._draining:
            return None
        return self.engine.light(run, last_seq, safe_until, job)

    def may_wait(self) -> bool:
        """Whether the outcome of a run may wait for others: there is something to execute, and no time for a claim."""
        waiting = self._hands.waiting
        if not waiting:
            return False
        # What was claimed last was all there was: that is asked again when the hands are empty.
        return self._is_short or waiting * 2 >= self._ahead or self._claiming.locked() or self._wanted(1) <= 0

    def commit(self, change: Change | End) -> list[Answer]:
        """Commit how a run has ended, with the next claim if it is time for one that nobody else makes."""
        if self._claiming.acquire(blocking=False):
            try:
                wanted = self._wanted(1)
                if wanted > 0:
                    return self._end_and_claim((change,), wanted)[1]
            finally:
                self._claiming.release()
        return self.engine.committer.commit(change)

    def let_go(self, endings: Sequence[Ending]) -> None:
        """Executions are over, in one way or another: there is room for other runs."""
        for run, _, _ in endings:
            if self._suspect is run:
                self._next_suspect(run)
        with self._bell:
            held, executed, mean_s = self._held, self.executed, self._mean_s
            for run, _, seconds in endings:
                # The first ones tell as much of how long they take as those before them together.
                executed += 1
                mean_s += (seconds - mean_s) * max(_FOLLOWS, 1 / executed)
                no = run[29]
                if held.get(no) is run:  # as `_forget`
                    del held[no]
            self.executed, self._mean_s = executed, mean_s
            if not held or (not self._hands.waiting and self._room() > 0):
                self._ring.ring()
                self._bell.notify()

"""A worker: leases queued runs whose workflows it knows, executes them, and takes over what dead workers left.

One claim at a time asks for runs in batches, ahead of what is executed, and rides in one transaction with the outcomes
of what has ended. Whoever ends a run makes the next claim; the claimer's thread does where nothing ends.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Literal

from onward.core import limits
from onward.core.errors import PASSING, JournalError, Suspended
from onward.core.flow import Limits
from onward.core.model import Answer, Change, Claim, Claimed, Run, WorkerRow
from onward.runtime import executing, observe, registry
from onward.runtime.engine import Engine
from onward.runtime.executing import Ended, Ending, Lease
from onward.runtime.hands import Hands
from onward.runtime.served import Served

__all__ = ["Ended", "Worker"]

# How fast the average length of a run follows the latest ones.
_FOLLOWS: Final = 0.1


class Worker:
    """Executes queued runs in this process until it is drained."""

    def __init__(
        self,
        engine: Engine,
        *,
        names: Sequence[str] | None = None,
        queues: Sequence[str] = (),
        concurrency: int = limits.CONCURRENCY,
        told: Callable[[Ended], None] = lambda ended: None,
    ) -> None:
        self.engine, self._told = engine, told
        self._names = tuple(registry.names() if names is None else names)
        self._queues, self._concurrency = tuple(queues), concurrency
        self._hands = Hands(concurrency)
        self._bell = threading.Condition()
        self._claiming = threading.Lock()
        self._held: dict[int, Run] = {}  # leased and not ended yet
        self._endings: deque[Ending] = deque()  # of those, the ones whose outcome is on its way to the disk
        self._at_most: int | None = None
        self.draining = False
        self._rung = False
        self._doubtful = False  # whether a claim was not answered: runs may be leased that nobody executes
        self._mean_s = 1.0  # how long a run takes, lately
        self._next_at: float | None = None
        self._looked_at = self._announced_at = float("-inf")
        self.suspects = threading.Lock()  # whoever may have killed its worker is executed alone
        self.executed = 0

    # -- life -----------------------------------------------------------------------------------------------

    def run(self, *, burst: bool = False, at_most: int | None = None) -> None:
        """Claim and execute until drained; with `burst` until nothing is ready, with `at_most` after so many runs."""
        self.engine.register()
        self._at_most = at_most
        for queue in registry.queues():
            self.engine.declare(queue.name, queue.limits_text)
        self._announce("working")
        while not self.draining:
            version = self.engine.store.version()
            try:
                if time.monotonic() - self._announced_at > limits.RENEW_S:
                    self._announce("working")
                self._take_over()
                got = self._claim()
            except PASSING as error:
                observe.log.warning("runs are claimed again soon: %s", error)
                got = None
                time.sleep(limits.FULL_RETRY_S)
            self._settle()
            if at_most is not None and self.executed >= at_most:
                return
            if got == 0 and burst and not self._held and not self._is_more_soon():
                return
            if not got:
                self._await(version)

    def _announce(self, state: Literal["working", "draining"]) -> None:
        """Let people see this worker, what it knows, and that it lives."""
        self._announced_at = time.monotonic()
        store = self.engine.store
        row = WorkerRow(self.engine.owner, self._names, self._queues, self._concurrency, state, store.now())
        store.announce(row)

    def drain(self) -> None:
        """Claim nothing more; what is executed goes on. Safe to call from a signal handler."""
        self.draining = True
        self._rung = True  # no lock: the claimer looks at it at every turn

    def rest(self, within_s: float = limits.DRAIN_S) -> int:
        """Wait until what is executed has come to rest: at the next step once the time is over. How many have not."""
        end = time.monotonic() + within_s
        self.draining = True
        if self._held:
            with suppress(JournalError):
                self._announce("draining")
        with self._bell:
            while self._held and time.monotonic() < end:
                self._bell.wait(min(0.1, max(0.0, end - time.monotonic())))
                self._settle()
        for no in list(self._held):
            session = self.engine.sessions.get(no)
            if session is not None:
                session.drain()
        with self._bell:
            end = time.monotonic() + 1.0
            while self._held and time.monotonic() < end:
                self._bell.wait(0.05)
                self._settle()
        self._hands.close()
        return len(self._held)

    @property
    def active(self) -> int:
        """How many runs are leased now."""
        return len(self._held)

    # -- claiming ---------------------------------------------------------------------------------------------

    def _claim(self) -> int | None:
        """Claim as many runs as there is room for; how many it were, None if there is no room."""
        with self._claiming:
            if self._doubtful:
                self._give_back_strays()
            claim = self._next_claim()
            if claim is None:
                return None
            safe_until = self.engine.safe_until()
            try:
                claimed = self.engine.committer.claim(claim)
            except JournalError:
                self._doubtful = True
                raise
            self._dispatch(claimed, safe_until)
            return len(claimed.runs)

    def _next_claim(self, ending: int = 0) -> Claim | None:
        """What is to be asked for when so many runs are just ending; None while there is enough."""
        wanted = 0 if self.draining else self._room(ending)
        if self._at_most is not None:
            wanted = min(wanted, self._at_most - self.executed - len(self._held))
        if wanted <= 0 or not self._names:
            return None
        return Claim(self.engine.owner, self.engine.lease_s, self._names, self._queues, wanted)

    def _dispatch(self, claimed: Claimed, safe_until: float) -> None:
        engine = self.engine
        self._next_at = claimed.next_at
        self._held.update((run.no, run) for run, _ in claimed.runs)
        for run, last_seq in claimed.runs:
            self._begin(run, lambda run=run, seq=last_seq: engine.adopt(run, seq, safe_until))  # type: ignore[misc]

    def _room(self, ending: int = 0) -> int:
        ahead = min(
            int(limits.CLAIM_AHEAD_S * self._concurrency / max(self._mean_s, 1e-6)), limits.CLAIM_RUNS
        )
        in_hand = len(self._held) - len(self._endings) - ending
        free = self._concurrency + ahead - in_hand
        # Not one by one as each ends: a claim costs a commit.
        return min(free, limits.CLAIM_RUNS) if free * 2 > ahead else 0

    def _give_back_strays(self) -> None:
        """A claim may have been written though its answer was lost: what nobody executes here is released."""
        engine = self.engine
        for run in engine.store.runs_held(engine.owner, limit=limits.MAP_CONCURRENCY):
            if run.no not in self._held and not engine.holds(run):
                engine.owe(run)
        self._doubtful = False

    def _await(self, version: object) -> None:
        """Wait for something to do: a run that has ended, a timer, or another process that has written."""
        store = self.engine.store
        until = time.monotonic() + limits.TAKE_OVER_S
        if self._next_at is not None:
            until = min(until, time.monotonic() + max(0.0, self._next_at - store.now()))
        while not self._rung and time.monotonic() < until:
            with self._bell:
                if not self._rung:
                    self._bell.wait(min(limits.LOOK_S, max(0.0, until - time.monotonic())))
            self._settle()
            if self._room() > 0 and store.version() != version:
                break
        self._rung = False

    def _is_more_soon(self) -> bool:
        """Whether a run that was seen is due within the moment that a worker waits in place."""
        return self._next_at is not None and self._next_at <= self.engine.store.now() + limits.SUSPEND_S

    # -- taking over --------------------------------------------------------------------------------------------

    def _take_over(self) -> None:
        """Lease what dead workers left, as far as there is room and this worker knows its workflows."""
        at = time.monotonic()
        if at - self._looked_at < limits.TAKE_OVER_S:
            return
        self._looked_at = at
        engine = self.engine
        queues: dict[str, Limits] | None = None
        for owner, lease_until in engine.store.holders():
            if owner == engine.owner or not engine.is_gone(owner, lease_until):
                continue
            if queues is None:
                queues = {one.name: one.limits for one in engine.store.queues()}
            for run in engine.store.runs_held(owner, limit=self._concurrency):
                if self._may_take(run, queues.get(run.queue)):
                    self._take(run)

    def _may_take(self, run: Run, queue: Limits | None) -> bool:
        """Whether a run that a dead worker left is for this one: then it goes on in the place that it holds."""
        if self._room() <= 0 or run.name not in self._names or run.no in self._held:
            return False
        if self._queues and run.queue not in self._queues:
            return False
        if queue is None:
            return True
        here = sum(held.queue == run.queue for held in list(self._held.values()))
        return not queue.paused and (queue.per_worker is None or here < queue.per_worker)

    def _take(self, run: Run) -> None:
        session = self.engine.claim(run)
        if session is not None:
            observe.log.info("continuing %s, which its worker left", run.id)
            self._held[run.no] = session.run
            self._begin(session.run, lambda: session)

    # -- executing ----------------------------------------------------------------------------------------------

    def _begin(self, run: Run, lease: Lease) -> None:
        job = registry.get(run.name)
        assert job is not None, "only what is known is claimed"
        if job.is_async:
            self._hands.submit(executing.execute_async(self, run, job, lease))
        else:
            self._hands.execute(lambda: executing.execute(self, run, job, lease))

    def finish(self, run: Run, session: Served, change: Change, seconds: float) -> None:
        """A run has ended plainly, and `change` records it: with others where others wait to be executed.

        So nobody waits for the disk between short runs; what has ended is on it after limits.JOIN_S at the latest. The
        last one in hand is committed at once, together with the next claim.
        """
        if self._hands.waiting and (self._claiming.locked() or self._room(1) <= 0):
            ticket = self.engine.committer.later(change)
            self._endings.append(Ending(run, session, seconds, ticket))
            return
        answers = self._commit(change)
        self._finished(run, session, answers, seconds)
        self._settle()

    def _commit(self, change: Change) -> list[Answer]:
        """Commit it, with the next claim if it is time for one that nobody else makes."""
        committer = self.engine.committer
        if self._claiming.acquire(blocking=False):
            try:
                claim = self._next_claim(ending=1)
                if claim is not None:
                    safe_until = self.engine.safe_until()
                    try:
                        answers, claimed = committer.commit_and_claim((change,), claim)
                    except JournalError:
                        self._doubtful = True
                        raise
                    self._dispatch(claimed, safe_until)
                    return answers
            finally:
                self._claiming.release()
        return committer.commit(change)

    def _settle(self) -> None:
        """Let go of the runs whose outcome has come to the disk meanwhile."""
        while self._endings:
            try:
                ending = self._endings.popleft()
            except IndexError:  # another thread was faster
                return
            run, session, seconds, ticket = ending
            if not ticket.settled:
                self._endings.appendleft(ending)
                return
            try:
                answers = ticket.result()
            except BaseException as error:
                self.ended(run, session, error, seconds)
            else:
                self._finished(run, session, answers, seconds)

    def _finished(self, run: Run, session: Served, answers: Sequence[Answer], seconds: float) -> None:
        try:
            session.applied(answers)
        except BaseException as lost:
            self.ended(run, session, lost, seconds)
            return
        session.given_back = True
        self.ended(run, session, None, seconds)

    def ended(self, run: Run, session: Served | None, error: BaseException | None, seconds: float) -> None:
        """However an execution has ended: let go of its run."""
        try:
            if session is not None:
                self._let_go(session)
            else:
                self.engine.owe(run)
            self._told(Ended(run, executing.how(session, error), seconds, error))
        except Exception as fault:  # of ours, or of a journal that is gone: the run is continued by lease
            observe.log.error("run %s could not be given back: %r", run.id, fault)
        with self._bell:
            self._mean_s += (seconds - self._mean_s) * _FOLLOWS
            self.executed += 1
            self._held.pop(run.no, None)
            if not self._held or self._room() > 0:
                self._rung = True
                self._bell.notify()

    def _let_go(self, session: Served) -> None:
        self.engine.let_go(session)
        if session.asked is not None and session.given_back and isinstance(session.unwinding, Suspended):
            # It was asked while it went to sleep: nobody holds it now who could do so.
            self.engine.grant_asleep(session.run.id)

"""A worker: leases queued runs whose workflows it knows, executes them, and takes over what dead workers left.

One claim at a time asks for runs in batches, ahead of what is executed, and rides in one transaction with the outcomes
of what has ended: whoever ends a run makes the next claim, the claimer's thread does where nothing ends. Nobody else is
needed: no server, no scheduler beside it.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, Literal

from onward.core import limits
from onward.core.errors import PASSING, JournalError, LeaseLost
from onward.core.model import Answer, Applied, Change, Claimed, Run, WorkerRow
from onward.runtime import executing, observe, registry
from onward.runtime.engine import Engine
from onward.runtime.executing import Ended, Ending
from onward.runtime.hands import Hands, Work
from onward.runtime.lease import refusal
from onward.runtime.light import Light
from onward.runtime.registry import Job
from onward.runtime.ring import Ring
from onward.runtime.scheduler import Scheduler
from onward.runtime.served import Served
from onward.storage.committer import Ticket

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
        self.engine, self._told = engine, told
        self._names = tuple(registry.names() if names is None else names)
        self._queues, self._concurrency = tuple(queues), concurrency
        plans = (plan for plan in registry.plans() if plan.spec.workflow in self._names)
        self._scheduler = Scheduler(engine, plans, self._names)
        self._hands = Hands(concurrency)
        self._bell = threading.Condition()
        self._claiming = threading.Lock()
        self._held: dict[int, Run] = {}  # leased and not ended yet
        # Of those, the ones whose outcomes are on their way to the disk: tickets whose `waiter` lists Endings.
        self._endings: deque[Ticket] = deque()
        self._at_most: int | None = None
        self._draining = False
        self._ring = Ring(engine.store.doorbell())
        self._mean_s = 1.0  # how long a run takes, lately
        self._ahead = 0  # how many runs are claimed ahead of what is executed, lately
        self._is_short = False  # whether the last claim got less than it asked for
        self._next_at: float | None = None
        self._looked_at = self._announced_at = float("-inf")
        # Runs whose workers have died again and again: one of them is executed at a time, beside all others.
        self._suspects: deque[Work] = deque()
        self._suspect: Run | None = None
        self._turns = threading.Lock()
        self._process = os.getpid()
        self.executed = 0

    # -- life -----------------------------------------------------------------------------------------------

    def run(self, *, burst: bool = False, at_most: int | None = None) -> None:
        """Claim and execute until drained; with `burst` until nothing is ready, with `at_most` after so many runs."""
        self._at_most = at_most
        self._enter()
        while not self._draining:
            version, got = self.turn()
            if at_most is not None and self.executed >= at_most:
                return
            if got == 0 and burst and not self._held and not self._is_more_soon():
                return
            if not got:
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
        self._settle()
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
                self._settle()
        self.engine.lights.raise_all()
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
            claimed, safe_until, _ = self.engine.end_and_claim((), self._names, self._queues, wanted)
            self._begin_all(claimed, safe_until, wanted)
            return len(claimed.runs)

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
        ending += sum(len(ticket.waiter) for ticket in list(self._endings))
        held = len(self._held) - len(self._suspects) - ending
        free = self._concurrency + ahead - held
        # Not one by one as each ends: a claim costs a commit.
        return min(free, limits.CLAIM_RUNS) if free * 2 > ahead else 0

    def _await(self, version: object) -> None:
        """Wait for something to do: a run that has ended, a timer, or another process that has written."""
        store = self.engine.store
        until = time.monotonic() + limits.TAKE_OVER_S
        wait_s = 0.0 if self._next_at is None else self._next_at - store.now()
        if wait_s > 0:  # what is due already and was not claimed is held back by a limit
            until = min(until, time.monotonic() + wait_s)
        if self._scheduler.next_at is not None:
            until = min(until, time.monotonic() + max(0.0, self._scheduler.next_at - store.now()))
        self._ring.wait(until, lambda: self._is_news(version))

    def _is_news(self, version: object) -> bool:
        """Whether a claim may get something: there is room, and somebody has written."""
        self._settle()
        # While hands are full, whoever ends a run makes the next claim.
        return not self._hands.waiting and self._room() > 0 and self.engine.store.version() != version

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

    def _begin_all(self, claimed: Claimed, safe_until: float, wanted: int) -> None:
        self._next_at, self._is_short = claimed.next_at, len(claimed.runs) < wanted
        self._held.update((run.no, run) for run, _ in claimed.runs)
        self._begin(claimed.runs, safe_until)

    def _begin(self, runs: Sequence[tuple[Run, int]], safe_until: float) -> None:
        works = []
        for run, last_seq in runs:
            job = registry.get(run.name)
            assert job is not None, "only what is known is claimed"
            execute = executing.execute_async if job.is_async else self._execute
            work = Work(run, partial(execute, self, run, job, last_seq, safe_until), job.is_async)
            if run.stalls >= limits.SUSPECT_DEATHS:
                self._suspects.append(work)
                self._next_suspect()
            else:
                works.append(work)
        self._hands.begin(*works)

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

    def finish(self, run: Run, session: Served | None, change: Change, seconds: float) -> None:
        """A run has ended plainly, and `change` records it: with others where others wait to be executed.

        So nobody waits for the disk between short runs; what has ended is on it after limits.ENDED_S at the latest. The
        last one in hand is committed at once, together with the next claim. Without a session it never needed one.
        """
        ending = Ending(run, session, seconds)
        if self._may_wait():
            self._join(ending, change)
            return
        self._let_go_all((ending,), self._commit(change), None)
        self._settle()

    def _may_wait(self) -> bool:
        """Whether the outcome of a run may wait for others: there is something to execute, and no time for a claim."""
        waiting = self._hands.waiting
        if not waiting:
            return False
        # What was claimed last was all there was: that is asked again when the hands are empty.
        return self._is_short or waiting * 2 >= self._ahead or self._claiming.locked() or self._wanted(1) <= 0

    def _join(self, ending: Ending, change: Change) -> None:
        """Let it go to the disk with what has ended just before, and with what ends just after it."""
        committer = self.engine.committer
        try:
            ticket = self._endings[-1]
        except IndexError:
            pass
        else:
            left_s = committer.join(ticket, change, ending)
            if left_s is not None:
                # By this thread rather than by the committer's own, which would take turns with this one.
                if left_s < limits.ENDED_S / 8:
                    with suppress(Exception):  # told to each of them
                        committer.wait_for(ticket)
                    self._settle()
                return
        self._endings.append(committer.later(change, within_s=limits.ENDED_S, waiter=ending))

    def _commit(self, change: Change) -> list[Answer]:
        """Commit it, with the next claim if it is time for one that nobody else makes."""
        if self._claiming.acquire(blocking=False):
            try:
                wanted = self._wanted(1)
                if wanted > 0:
                    claimed, safe_until, answers = self.engine.end_and_claim(
                        (change,), self._names, self._queues, wanted
                    )
                    self._begin_all(claimed, safe_until, wanted)
                    return answers
            finally:
                self._claiming.release()
        return self.engine.committer.commit(change)

    def _settle(self) -> None:
        """Let go of the runs whose outcome has come to the disk meanwhile."""
        while self._endings:
            try:
                ticket = self._endings.popleft()
            except IndexError:  # another thread was faster
                return
            if not ticket.settled:
                self._endings.appendleft(ticket)
                return
            try:
                answers: Sequence[Answer] = ticket.result()
            except BaseException as error:
                self._let_go_all(ticket.waiter, (), error)
            else:
                self._let_go_all(ticket.waiter, answers, None)

    def _let_go_all(
        self, endings: Sequence[Ending], answers: Sequence[Answer], error: BaseException | None
    ) -> None:
        """The journal has answered to how these have ended, each by one answer, or all of them by an error."""
        light: list[Ending] = []
        if error is not None:
            for run, session, seconds in endings:
                self.ended(run, session, error, seconds)
        for ending, answer in zip(endings, answers, strict=False):
            run, session, seconds = ending
            if session is not None:
                self._finished(run, session, (answer,), seconds)
            elif isinstance(answer, Applied):
                light.append(ending)
            else:
                self.ended(run, None, refusal(run, answer), seconds)
        if light:
            self._ended_lightly(light)

    def _ended_lightly(self, endings: Sequence[Ending]) -> None:
        """As `ended`, for many runs that are done and had no session."""
        if os.getpid() != self._process:
            return
        self.engine.settled([run for run, _, _ in endings])
        if self._told is not None:
            for run, _, seconds in endings:
                try:
                    self._told(Ended(run, "done", seconds, None))
                except BaseException as fault:
                    observe.log.error("run %s could not be given back: %r", run.id, fault)
        with self._bell:
            held = self._held
            for run, _, seconds in endings:
                self._took(seconds)
                no = run[29]
                if held.get(no) is run:  # as `_forget`
                    del held[no]
            self._ring_if_free()

    def _took(self, seconds: float) -> None:
        """A run has been executed in this time: the first ones tell as much as those before them together."""
        self.executed += 1
        self._mean_s += (seconds - self._mean_s) * max(_FOLLOWS, 1 / self.executed)

    def _ring_if_free(self) -> None:
        if not self._held or (not self._hands.waiting and self._room() > 0):
            self._ring.ring()
            self._bell.notify()

    def _finished(self, run: Run, session: Served, answers: Sequence[Answer], seconds: float) -> None:
        try:
            session.applied(answers)
        except BaseException as lost:
            self.ended(run, session, lost, seconds)
            return
        session.given_back = True
        self.ended(run, session, None, seconds)

    def ended(self, run: Run, session: Served | None, error: BaseException | None, seconds: float) -> None:
        if os.getpid() != self._process:
            return  # user code has forked, and the child has come out of it: nothing of this is its own
        try:
            if session is not None:
                self._let_go(session)
            elif isinstance(error, LeaseLost):
                self.engine.settled((run,))
            elif error is not None:
                self.engine.owe(run, limits.FAULT_PAUSE_S)
            if self._told is not None and (session is not None or error is not None):
                self._told(Ended(run, executing.how(session, error), seconds, error))
        except BaseException as fault:  # of ours, or of a journal that is gone: the run is continued by lease
            observe.log.error("run %s could not be given back: %r", run.id, fault)
        if self._suspect is run:
            self._next_suspect(run)
        with self._bell:
            self._took(seconds)
            self._forget(run)
            self._ring_if_free()

    def _let_go(self, session: Served) -> None:
        self.engine.let_go(session)
        if session.asked is not None and session.given_back:
            # It was asked while it went to sleep or was given back: nobody holds it now who could do so.
            self.engine.grant_late(session.run.id)

"""A worker: leases queued runs whose workflows it knows, executes them, and takes over what dead workers left.

One claimer a process asks for runs in batches, ahead of what is executed, and its claims ride in one transaction with
the outcomes of what has ended. Nobody else is needed: no server, no scheduler beside it.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, Literal, NamedTuple

from onward.core import codec, limits
from onward.core.decide import Raised, decide
from onward.core.errors import PASSING, JournalError, LeaseLost, Suspended, Unwind
from onward.core.model import Run, WorkerRow
from onward.runtime import observe, registry
from onward.runtime.drive import drive, drive_async
from onward.runtime.engine import Engine
from onward.runtime.hands import Hands, Work
from onward.runtime.registry import Job
from onward.runtime.served import Served

# How fast the average length of a run follows the latest ones.
_FOLLOWS: Final = 0.1


class Ended(NamedTuple):
    """How one execution of a run went, for whoever watches the worker."""

    run: Run
    how: str  # done, failed, waiting, released, ...
    seconds: float
    error: BaseException | None


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
        self._held: dict[int, Run] = {}  # leased and not ended yet
        self._draining = False
        self._rung = False
        self._mean_s = 1.0  # how long a run takes, lately
        self._next_at: float | None = None
        self._looked_at = self._announced_at = float("-inf")
        # Runs whose workers have died again and again: one of them is executed at a time, beside all others.
        self._suspects: deque[Work] = deque()
        self._suspect: int | None = None
        self._turns = threading.Lock()
        self._process = os.getpid()
        self.executed = 0

    # -- life -----------------------------------------------------------------------------------------------

    def run(self, *, burst: bool = False, at_most: int | None = None) -> None:
        """Claim and execute until drained; with `burst` until nothing is ready, with `at_most` after so many runs."""
        self.engine.register()
        self._announce("working")
        while not self._draining:
            version = self.engine.store.version()
            got = self.turn(at_most)
            if got is None:
                time.sleep(limits.FULL_RETRY_S)
            if at_most is not None and self.executed >= at_most:
                return
            if not got:
                if burst and not self._held and got is not None and not self._is_more_soon():
                    return
                self._await(version)

    def turn(self, at_most: int | None = None) -> int | None:
        """Look once for what there is to do; how many runs it got, None if the journal takes nothing just now."""
        try:
            if self.engine.clock() - self._announced_at > limits.RENEW_S:
                self._announce("working")
            self._take_over()
            return self._claim(at_most)
        except PASSING as error:
            observe.log.warning("runs are claimed again soon: %s", error)
            return None

    def _announce(self, state: Literal["working", "draining"]) -> None:
        """Let people see this worker, what it knows, and that it lives."""
        self._announced_at = self.engine.clock()
        store = self.engine.store
        row = WorkerRow(self.engine.owner, self._names, self._queues, self._concurrency, state, store.now())
        store.announce(row)

    def drain(self) -> None:
        """Claim nothing more; what is executed goes on. Safe to call from a signal handler."""
        self._draining = True
        self._rung = True  # no lock: the claimer looks at it at every turn

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
        for no in list(self._held):
            session = self.engine.sessions.get(no)
            if session is not None:
                session.drain()
        with self._bell:
            end = time.monotonic() + 1.0
            while self._held and time.monotonic() < end:
                self._bell.wait(0.05)
        self._hands.close()
        return len(self._held)

    def _give_back_unbegun(self) -> None:
        with self._turns:
            works = [*self._hands.take_back(), *self._suspects]
            self._suspects.clear()
        if works:
            with suppress(*PASSING):  # then the keeper gives them back
                self.engine.give_back([work.run for work in works])
        for work in works:
            self._held.pop(work.run.no, None)

    @property
    def active(self) -> int:
        """How many runs are leased now."""
        return len(self._held)

    # -- claiming ---------------------------------------------------------------------------------------------

    def _claim(self, at_most: int | None) -> int:
        """Claim as many runs as there is room for; how many it were."""
        wanted = self._room()
        if at_most is not None:
            wanted = min(wanted, at_most - self.executed - len(self._held))
        if wanted <= 0 or not self._names:
            return 0
        claimed, safe_until = self.engine.claim_ready(self._names, self._queues, wanted)
        self._next_at = claimed.next_at
        for run, last_seq in claimed.runs:
            self._held[run.no] = run
            self._begin(run, last_seq, safe_until)
        return len(claimed.runs)

    def _room(self) -> int:
        ahead = int(limits.CLAIM_AHEAD_S * self._concurrency / max(self._mean_s, 1e-6))
        ahead = min(ahead, limits.CLAIM_RUNS)
        held = len(self._held) - len(self._suspects)  # those that wait for their turn are in nobody's way
        free = self._concurrency + ahead - held
        # Not one by one as each ends: a claim costs a commit.
        return min(free, limits.CLAIM_RUNS) if free * 2 > ahead else 0

    def _await(self, version: object) -> None:
        """Wait for something to do: a run that has ended, a timer, or another process that has written."""
        store = self.engine.store
        until = time.monotonic() + limits.TAKE_OVER_S
        wait_s = None if self._next_at is None else self._next_at - store.now()
        if wait_s is not None and wait_s > 0:  # else a limit holds back what is due already
            until = min(until, time.monotonic() + wait_s)
        with self._bell:
            while not self._rung and time.monotonic() < until:
                self._bell.wait(min(limits.LOOK_S, max(0.0, until - time.monotonic())))
                if self._room() > 0 and store.version() != version:
                    break
            self._rung = False

    def _is_more_soon(self) -> bool:
        """Whether a run that was seen is due within the moment that a worker waits in place."""
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

    def _begin(self, run: Run, last_seq: int, safe_until: float) -> None:
        job = registry.get(run.name)
        assert job is not None, "only what is known is claimed"
        execute = self._execute_async if job.is_async else self._execute
        work = Work(run, partial(execute, run, job, last_seq, safe_until), job.is_async)
        if run.stalls >= limits.SUSPECT_DEATHS:
            self._suspects.append(work)
            self._next_suspect()
        else:
            self._hands.begin(work)

    def _next_suspect(self, ended: int | None = None) -> None:
        """Let the next one begin whose workers have died, if none is executed, or none after the run `ended`."""
        with self._turns:
            if self._suspect is not None and self._suspect != ended:
                return
            work = self._suspects.popleft() if self._suspects else None
            self._suspect = None if work is None else work.run.no
        if work is not None:
            self._hands.begin(work)

    def _execute(self, run: Run, job: Job, last_seq: int, safe_until: float) -> None:
        with _Execution(self, run) as it:
            session = it.begin(last_seq, safe_until)
            if session is not None:
                args, kwargs = self._arguments(session, job)
                drive(session.whole(job.fn, args, kwargs), self.engine, session)

    async def _execute_async(self, run: Run, job: Job, last_seq: int, safe_until: float) -> None:
        with _Execution(self, run) as it:
            session = it.begin(last_seq, safe_until)
            if session is not None:
                args, kwargs = self._arguments(session, job)
                await drive_async(session.whole(job.fn, args, kwargs), self.engine, session)

    def _arguments(self, session: Served, job: Job) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What the run was started with; if that cannot be read the run has failed, and this raises why."""
        session.policy = job.whole
        try:
            args, kwargs = codec.decode(session.run.args or "[[],{}]")
            return tuple(args), dict(kwargs)
        except Exception as problem:
            now = self.engine.store.now()
            change = decide(session.run, Raised(codec.encode_error(problem)), now=now)
            session.applied(self.engine.committer.commit(change))
            session.given_back = True
            raise

    def adopt(self, run: Run, last_seq: int, safe_until: float) -> Served | None:
        """A session on a run whose turn has come; None if it has gone back, because the worker is to end."""
        if not self._draining:
            return self.engine.adopt(run, last_seq, safe_until)
        self.engine.give_back((run,))
        return None

    def ended(self, run: Run, session: Served | None, error: BaseException | None, seconds: float) -> None:
        if os.getpid() != self._process:
            return  # user code has forked, and the child has come out of it: nothing of this is its own
        try:
            if session is not None:
                self._let_go(session)
            elif error is not None:
                self.engine.owe(run, limits.FAULT_PAUSE_S)
            if session is not None or error is not None:
                self._told(Ended(run, _how(session, error), seconds, error))
        except BaseException as fault:  # of ours, or of a journal that is gone: the run is continued by lease
            observe.log.error("run %s could not be given back: %r", run.id, fault)
        self._mean_s += (seconds - self._mean_s) * _FOLLOWS
        self.executed += 1
        self._held.pop(run.no, None)
        self._next_suspect(run.no)
        if self._room() > 0 or not self._held:
            with self._bell:
                self._rung = True
                self._bell.notify()

    def _let_go(self, session: Served) -> None:
        self.engine.let_go(session)
        if session.asked is not None and session.given_back:
            # It was asked while it went to sleep or was given back: nobody holds it now who could do so.
            self.engine.grant_late(session.run.id)


class _Execution:
    """One execution of a run: however it ends, the worker hears of it, and the thread goes on to the next."""

    def __init__(self, worker: Worker, run: Run) -> None:
        self._worker, self._run = worker, run
        self.session: Served | None = None

    def __enter__(self) -> _Execution:
        self._began = self._worker.engine.clock()
        return self

    def begin(self, last_seq: int, safe_until: float) -> Served | None:
        self.session = self._worker.adopt(self._run, last_seq, safe_until)
        return self.session

    def __exit__(self, kind: object, error: BaseException | None, tb: object) -> bool:
        self._worker.ended(self._run, self.session, error, self._worker.engine.clock() - self._began)
        return True


def _how(session: Served | None, error: BaseException | None) -> str:
    if error is None:
        return "done"
    if isinstance(error, Suspended):
        return "waiting"
    if isinstance(error, LeaseLost):
        return "taken over"
    if isinstance(error, Unwind) or session is None or isinstance(error, JournalError):
        return "given back"
    return "failed"

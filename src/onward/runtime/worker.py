"""A worker: leases queued runs whose workflows it knows, executes them, and takes over what dead workers left.

One claimer a process asks for runs in batches, ahead of what is executed, and its claims ride in one transaction with
the outcomes of what has ended. Nobody else is needed: no server, no scheduler beside it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from onward.core import codec, limits
from onward.core.decide import Raised, decide
from onward.core.errors import PASSING, JournalError, LeaseLost, Suspended, Unwind
from onward.core.lazily import Lazily
from onward.core.model import Claim, Run, WorkerRow
from onward.runtime import observe, registry
from onward.runtime.drive import drive, drive_async
from onward.runtime.engine import Engine
from onward.runtime.hands import Hands
from onward.runtime.registry import Job
from onward.runtime.served import Served

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = Lazily("asyncio")

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
        self._begun = 0  # of those, the ones that are executed
        self._draining = False
        self._rung = False
        self._mean_s = 1.0  # how long a run takes, lately
        self._next_at: float | None = None
        self._looked_at = self._announced_at = float("-inf")
        self._suspects = threading.Lock()  # whoever may have killed its worker is executed alone
        self.executed = 0

    # -- life -----------------------------------------------------------------------------------------------

    def run(self, *, burst: bool = False, at_most: int | None = None) -> None:
        """Claim and execute until drained; with `burst` until nothing is ready, with `at_most` after so many runs."""
        self.engine.register()
        for queue in registry.queues():
            self.engine.declare(queue.name, queue.limits_text)
        self._announce("working")
        while not self._draining:
            version = self.engine.store.version()
            try:
                if time.monotonic() - self._announced_at > limits.RENEW_S:
                    self._announce("working")
                self._take_over()
                got = self._claim(at_most)
            except PASSING as error:
                observe.log.warning("runs are claimed again soon: %s", error)
                got = 0
                time.sleep(limits.FULL_RETRY_S)
            if at_most is not None and self.executed >= at_most:
                return
            if got == 0:
                if burst and not self._held and not self._is_more_soon():
                    return
                self._await(version)

    def _announce(self, state: Literal["working", "draining"]) -> None:
        """Let people see this worker, what it knows, and that it lives."""
        self._announced_at = time.monotonic()
        store = self.engine.store
        row = WorkerRow(self.engine.owner, self._names, self._queues, self._concurrency, state, store.now())
        store.announce(row)

    def drain(self) -> None:
        """Claim nothing more; what is executed goes on. Safe to call from a signal handler."""
        self._draining = True
        self._rung = True  # no lock: the claimer looks at it at every turn

    def rest(self, within_s: float = limits.DRAIN_S) -> int:
        """Wait until what is executed has come to rest: at the next step once the time is over. How many have not."""
        end = time.monotonic() + within_s
        self._draining = True
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
        engine = self.engine
        safe_until = engine.safe_until()
        claim = Claim(engine.owner, engine.lease_s, self._names, self._queues, wanted)
        claimed = engine.committer.claim(claim)
        self._next_at = claimed.next_at
        for run, last_seq in claimed.runs:
            self._held[run.no] = run
            self._begin(run, lambda run=run, seq=last_seq: engine.adopt(run, seq, safe_until))  # type: ignore[misc]
        return len(claimed.runs)

    def _room(self) -> int:
        ahead = int(limits.CLAIM_AHEAD_S * self._concurrency / max(self._mean_s, 1e-6))
        free = self._concurrency + min(ahead, limits.CLAIM_RUNS) - len(self._held)
        # Not one by one as each ends: a claim costs a commit.
        return min(free, limits.CLAIM_RUNS) if free * 2 > ahead else 0

    def _await(self, version: object) -> None:
        """Wait for something to do: a run that has ended, a timer, or another process that has written."""
        store = self.engine.store
        until = time.monotonic() + limits.TAKE_OVER_S
        if self._next_at is not None:
            until = min(until, time.monotonic() + max(0.0, self._next_at - store.now()))
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
        """Lease what dead workers left, as far as there is room and this worker knows its workflows."""
        at = time.monotonic()
        if at - self._looked_at < limits.TAKE_OVER_S:
            return
        self._looked_at = at
        engine = self.engine
        for owner, lease_until in engine.store.holders():
            if owner == engine.owner or not engine.is_gone(owner, lease_until):
                continue
            for run in engine.store.runs_held(owner, limit=self._concurrency):
                if self._room() > 0 and run.name in self._names and run.no not in self._held:
                    self._take(run)

    def _take(self, run: Run) -> None:
        session = self.engine.claim(run)
        if session is not None:
            observe.log.info("continuing %s, which its worker left", run.id)
            self._held[run.no] = session.run
            self._begin(session.run, lambda: session)

    # -- executing ----------------------------------------------------------------------------------------------

    def _begin(self, run: Run, lease: Callable[[], Any]) -> None:
        job = registry.get(run.name)
        assert job is not None, "only what is known is claimed"
        if job.is_async:
            self._hands.submit(self._execute_async(run, job, lease))
        else:
            self._hands.execute(lambda: self._execute(run, job, lease))

    def _execute(self, run: Run, job: Job, lease: Callable[[], Served]) -> None:
        with _Execution(self, run) as it:
            it.session = session = lease()
            args = self._arguments(session, job)
            if args is not None:
                with self._turn(session):
                    drive(session.whole(job.fn, *args), self.engine, session)

    async def _execute_async(self, run: Run, job: Job, lease: Callable[[], Served]) -> None:
        with _Execution(self, run) as it:
            it.session = session = lease()
            args = self._arguments(session, job)
            if args is not None:
                is_suspect = session.is_suspect
                if is_suspect:
                    await asyncio.to_thread(self._suspects.acquire)
                try:
                    await drive_async(session.whole(job.fn, *args), self.engine, session)
                finally:
                    if is_suspect:
                        self._suspects.release()

    def _turn(self, session: Served) -> AbstractContextManager[object]:
        return self._suspects if session.is_suspect else nullcontext()

    def _arguments(self, session: Served, job: Job) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """What the run was started with; None if that cannot be read: then it has failed, or goes back undone."""
        session.policy = registry.policy_of(job, session.run.queue)
        if self._draining:
            drive(session.release(), self.engine, session)
            return None
        try:
            args, kwargs = codec.decode(session.run.args or "[[],{}]")
            return tuple(args), dict(kwargs)
        except Exception as problem:
            now = self.engine.store.now()
            change = decide(session.run, Raised(codec.encode_error(problem)), now=now)
            session.applied(self.engine.committer.commit(change))
            session.given_back = True
            raise

    def ended(self, run: Run, session: Served | None, error: BaseException | None, seconds: float) -> None:
        try:
            if session is not None:
                self._let_go(session)
            else:
                self.engine.owe(run)
            self._told(Ended(run, _how(session, error), seconds, error))
        except Exception as fault:  # of ours, or of a journal that is gone: the run is continued by lease
            observe.log.error("run %s could not be given back: %r", run.id, fault)
        self._mean_s += (seconds - self._mean_s) * _FOLLOWS
        self.executed += 1
        self._held.pop(run.no, None)
        if self._room() > 0 or not self._held:
            with self._bell:
                self._rung = True
                self._bell.notify()

    def _let_go(self, session: Served) -> None:
        self.engine.let_go(session)
        if session.asked is not None and session.given_back and isinstance(session.unwinding, Suspended):
            # It was asked while it went to sleep: nobody holds it now who could do so.
            self.engine.grant_asleep(session.run.id)


class _Execution:
    """One execution of a run: however it ends, the worker hears of it, and the thread goes on to the next."""

    def __init__(self, worker: Worker, run: Run) -> None:
        self._worker, self._run = worker, run
        self.session: Served | None = None

    def __enter__(self) -> _Execution:
        self._began = time.monotonic()
        return self

    def __exit__(self, kind: object, error: BaseException | None, tb: object) -> bool:
        self._worker.ended(self._run, self.session, error, time.monotonic() - self._began)
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

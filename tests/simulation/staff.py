"""Simulated processes that are workers too: the production worker, whose hands are jobs of the world.

Replaced are only its threads and how it waits; what it claims, takes over, begins, gives back and how it drains is the
product's own code.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from onward.core import limits
from onward.core.errors import JournalError
from onward.core.model import Change, Run
from onward.core.retry import Policy
from onward.runtime import executing
from onward.runtime.hands import Hands, Work
from onward.runtime.served import Served
from onward.runtime.worker import Worker
from simulation.processes import Code, Killed, Process
from simulation.usercode import UserCode

if TYPE_CHECKING:
    from simulation.world import World

CONCURRENCY = 3


class Kind:
    """A workflow as the registry knows it; its body is a generator of the world."""

    is_async, says_attempts = False, True

    def __init__(self, name: str, body: Any, whole: Policy) -> None:
        self.name, self.body, self.whole = name, body, whole

    @property
    def fn(self) -> Any:
        return self.body


class StaffProcess(Process):
    """A process that works on the queues, besides what its own programs do."""

    def __init__(self, world: World, name: str, programs: Sequence[Any]) -> None:
        super().__init__(world, name, programs)
        self.engine.register()
        self.worker = SimulatedWorker(self)
        world.add(self.work(), self)

    def keep(self) -> Code:
        """The engine's keeper thread."""
        engine, renewed = self.engine, self.clock()
        while True:
            yield self.world.chance.uniform(0.3, 1.0)
            if engine.sessions or engine._owed or engine._in_doubt or engine._ahead:
                renewed = engine.look_after(list(engine.sessions.values()), renewed)

    def work(self) -> Code:
        """The worker's claimer thread."""
        while not self.worker._draining:
            yield self.world.chance.uniform(0.01, limits.TAKE_OVER_S)
            try:
                self.worker.turn()
            except JournalError:  # none that passes
                self.world.kill(self)
                yield float("inf")

    def drain(self, within_s: float) -> Code:
        """As `Worker.rest` after a SIGTERM, and then the end of the process."""
        worker, engine, world = self.worker, self.engine, self.world
        worker.drain()
        until = world.at + within_s
        worker._give_back_unbegun()
        while worker.active and world.at < until:
            yield 0.1
        for no in list(worker._held):
            session = engine.sessions.get(no)
            if session is not None:
                session.drain()
        yield 1.0
        for session in engine._take_from_their_code():
            engine.let_go(session)
        for run in list(engine._ahead.values()):
            engine.owe(run)
        try:
            engine.leave()
        except JournalError:
            world.log.counts["drains cut short"] += 1
        world.log.counts["drains"] += 1
        world.end(self)
        yield float("inf")


class SimulatedHands(Hands):
    """Hands whose threads are jobs of the world."""

    def __init__(self, process: StaffProcess, call: Any) -> None:
        super().__init__(CONCURRENCY, call)
        self._of = process

    def _start(self, work: Work) -> None:
        if not self._of.alive:
            raise Killed
        self._of.world.add(self._executing(work), self._of)

    def _executing(self, work: Work) -> Code:
        yield self._of.world.latency()
        code: Any = self._call(work)
        yield from code
        following = self._next(plain=True)
        if following is not None:
            self._start(following)


class SimulatedWorker(Worker):
    """The production worker of one simulated process."""

    def __init__(self, process: StaffProcess) -> None:
        super().__init__(process.engine, concurrency=CONCURRENCY)
        self.process = process
        self._hands = SimulatedHands(process, self._call)

    _sleep = staticmethod(lambda seconds: None)
    _execute = staticmethod(lambda worker, *of: worker.executing(*of))

    def _claim(self) -> int | None:
        # Runs take seconds here, so a worker would claim nothing ahead; in a story of kills it must.
        self._mean_s = self.process.world.chance.choice((0.03, 1.0))
        return super()._claim()

    def executing(self, run: Run, job: Any, last_seq: int, safe_until: float) -> Code:
        """As `runtime.executing.execute`."""
        world, session = self.process.world, None
        began = world.at
        try:
            session = self.adopt(run, last_seq, safe_until)
            if session is not None:
                code = UserCode(self.process, session, asynchronous=world.chance.random() < 0.5)
                args, _ = executing._arguments(self, session, job)
                change = yield from self._straight(code, session, job, args)
                if change is not None:
                    self.endings.finish(run, session, change, world.at - began)
                    self._must_live()
                    return
        except (Killed, GeneratorExit):
            raise
        except BaseException as error:
            self.endings.ended(run, session, error, world.at - began)
        else:
            self.endings.ended(run, session, None, world.at - began)
        self._must_live()

    def _straight(
        self, code: UserCode, session: Served, job: Any, args: tuple[Any, ...]
    ) -> Generator[float, None, Change | None]:
        body = partial(job.body, code)
        if not session.is_called_straight():
            yield from code.drive(session.whole(body, args, {}))
            return None
        outcome = yield from code.call(body, args, session.place())
        change = session.returned_straight(outcome)
        if change is None:
            yield from code.drive(session.finish(outcome))
        return change

    def _must_live(self) -> None:
        """What has just been committed may have been the last that this process did."""
        if not self.process.alive:
            raise Killed

"""Simulated processes that are workers too: the production worker, whose hands are jobs of the world.

Replaced are only its threads and how it waits; what it claims, takes over, begins, gives back and how it drains is the
product's own code.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from onward.core import limits
from onward.core.errors import JournalBroken, JournalError
from onward.core.model import Run
from onward.core.retry import Policy
from onward.runtime.hands import Hands, Work
from onward.runtime.worker import Worker, _Execution
from simulation.processes import Code, Killed, Process
from simulation.usercode import UserCode

if TYPE_CHECKING:
    from simulation.world import World

CONCURRENCY = 3


class Kind:
    """A workflow as the registry knows it; its body is a generator of the world."""

    is_async = False

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
            except JournalBroken:
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

    def __init__(self, process: StaffProcess) -> None:
        super().__init__(CONCURRENCY)
        self._of = process

    def _start(self, work: Work) -> None:
        if not self._of.alive:
            raise Killed
        self._of.world.add(self._executing(work), self._of)

    def _executing(self, work: Work) -> Code:
        yield self._of.world.latency()
        code: Any = work.call()
        yield from code
        following = self._next()
        if following is not None:
            self._start(following)


class SimulatedWorker(Worker):
    """The production worker of one simulated process."""

    def __init__(self, process: StaffProcess) -> None:
        super().__init__(process.engine, concurrency=CONCURRENCY)
        self._of = process
        self._hands = SimulatedHands(process)

    def _claim(self, at_most: int | None) -> int:
        # Runs take seconds here, so a worker would claim nothing ahead; in a story of kills it must.
        self._mean_s = self._of.world.chance.choice((0.03, 1.0))
        return super()._claim(at_most)

    def _execute(  # type: ignore[override]
        self, run: Run, job: Any, last_seq: int, safe_until: float
    ) -> Generator[float, None, None]:
        it = _Execution(self, run)
        it.__enter__()
        try:
            session = it.begin(last_seq, safe_until)
            if session is not None:
                code = UserCode(self._of, session, asynchronous=self._of.world.chance.random() < 0.5)
                args, kwargs = self._arguments(session, job)
                yield from code.drive(session.whole(partial(job.body, code), args, kwargs))
        except (Killed, GeneratorExit):
            raise
        except BaseException as error:
            self._end(it, error)
        else:
            self._end(it, None)

    def _end(self, it: _Execution, error: BaseException | None) -> None:
        it.__exit__(None if error is None else type(error), error, None)
        if not self._of.alive:
            raise Killed

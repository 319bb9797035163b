"""Simulated user code, and the third driver: performs a flow's effects one by one, under the world's eyes.

What a user writes as `charge(order)` is `yield from code.step(here, "charge", ...)` here; the flows behind it
are those of the product.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

from onward.api import starting
from onward.api.queuing import Queuing
from onward.core import codec
from onward.core.errors import JournalError, StepCrashed, Stopped
from onward.core.model import Answer, Change, Refused
from onward.core.retry import Policy
from onward.runtime.current import Here
from onward.runtime.effects import Call, Flow, Join, Keep, Later, Look, Now, Outcome, Reconfirm, Wait
from onward.runtime.session import Session, Unit
from onward.runtime.waiting import await_run
from onward.storage.ticket import Ticket
from simulation.log import Effect, Received
from simulation.processes import LEASE_S, Code, Killed, Process

STEP = Policy(max_attempts=3, max_crashes=60, backoff_s=1.0, backoff_max_s=4.0)
POISONED = Policy(max_crashes=2)


class BodyFailed(Exception):
    """What a step's body raises."""


class _Loop:
    """Stands for an event loop."""

    def call_soon_threadsafe(self, call: Callable[[list[Ticket]], None], tickets: list[Ticket]) -> None:
        call(tickets)


class UserCode:
    """What simulated user code of one session can do."""

    def __init__(self, process: Process, session: Session, *, asynchronous: bool) -> None:
        self.process, self.session, self.asynchronous = process, session, asynchronous
        self.world = process.world
        self.branch = ""

    # -- what users write ---------------------------------------------------------------------------

    def step(
        self,
        here: Here,
        name: str,
        *given: Any,
        lasts_s: float = 0.0,
        fails: float = 0.0,
        poisons: bool = False,
        certain: bool = False,
        policy: Policy = STEP,
    ) -> Generator[float, None, Any]:
        """A step whose body takes `lasts_s`, raises with probability `fails`, or kills its process.

        A `certain` one begins only after its beginning is recorded.
        """
        fingerprint = codec.fingerprint(given)
        unit = Unit(here.scope.next(name), "step", name, policy, fingerprint, certain_start=certain)

        def body(place: Here) -> Code:
            effect = self.begin_effect(place.key, place.attempt, certain=certain)
            yield self.world.chance.uniform(0, lasts_s)
            if poisons:
                effect.deadly = True
                yield from self.die()
            effect.ended_at = self.world.at
            if self.world.chance.random() < fails:
                raise BodyFailed(f"{name} did not work")
            effect.value = self.world.serial = self.world.serial + 1
            return effect.value

        return (yield from self.received(unit.key, self.session.perform(unit, body, (), {})))

    def child(self, here: Here, name: str, fn: Callable[[Here], Code]) -> Generator[float, None, Any]:
        """A workflow called within a workflow."""
        unit = Unit(here.scope.next(name), "child", name, STEP, codec.fingerprint(()), inside_step=False)
        return (yield from self.received(unit.key, self.session.perform(unit, fn, (), {})))

    def now(self, here: Here) -> Generator[float, None, Any]:
        key = here.scope.next("now")
        return (yield from self.received(key, self.session.take(key, "value", "now", float)))

    def sleep(self, here: Here, seconds: float) -> Generator[float, None, None]:
        key = here.scope.next("sleep")
        yield from self.drive(self.session.sleep(key, lambda now: now + seconds))
        self.world.log.woke.append((self.session.run.id, key, self.world.wall()))

    def start(self, here: Here, name: str, *given: Any) -> Generator[float, None, Any]:
        """Queue a run from within this one; the same run however often this place is replayed."""
        session, engine = self.session, self.process.engine
        key = here.scope.next(f"start {name}")
        run_id = f"{name}-{session.seed(key).hex()[:12]}"
        run = Queuing().run(name, run_id, codec.encode([list(given), {}]), now=self.world.wall())
        run = run._replace(parent=session.run.id)
        unit = Unit(key, "child", f"start {name}", Policy(), starting.digest_of(run), inside_step=True)

        def queue(place: Here) -> Code:
            yield self.world.latency()
            self.world.log.asked.setdefault(run_id, self.world.wall())
            try:
                return starting.submit(engine, run, Queuing()).id
            except JournalError as error:
                raise self._broken(error) from error

        return (yield from self.received(key, session.perform(unit, queue, (), {})))

    def result(self, here: Here, run_id: str) -> Generator[float, None, Any]:
        """Wait for another run, and take its result."""
        key = here.scope.next("result")
        flow = await_run(self.session, key, run_id, None, place="the world")
        return (yield from self.received(key, _plainly(flow)))

    def begin_body(self) -> None:
        """The body of a run without steps begins: all of it is one effect."""
        self.begin_effect("the body", 1, certain=False)

    def gather(
        self, here: Here, *branches: Callable[[UserCode, Here], Code]
    ) -> Generator[float, None, list[Any]]:
        """All branches at the same time; the first error by order, once all have come to rest."""
        unit = here.scope.next("gather")
        fork = self.session.fork(len(branches))
        outcomes: list[Any] = [None] * len(branches)
        open_jobs: list[Any] = []

        def run(at: int) -> Code:
            code = UserCode(self.process, self.session, asynchronous=True)
            code.branch = f"{self.branch}{unit}/{at}"
            try:
                outcomes[at] = (yield from branches[at](code, self.session.place(f"{unit}/{at}"))), None
            except Killed:
                raise
            except BaseException as error:
                outcomes[at] = None, error
            fork.ended()
            open_jobs.pop()

        me = self.world.current
        for at in range(len(branches)):
            open_jobs.append(at)
            self.world.add(run(at), self.process).parent = me
        while open_jobs:
            yield float("inf")
        fork.join()
        for _, error in outcomes:
            if error is not None:
                raise error
        return [value for value, _ in outcomes]

    # -- what the world sees --------------------------------------------------------------------------

    def begin_effect(self, key: str, attempt: int, *, certain: bool) -> Effect:
        session, process = self.session, self.process
        token = session.seed(f"idempotency/{key}").hex()
        safe_until = process.confirmed + LEASE_S
        effect = Effect(
            session.run.id,
            key,
            attempt,
            session.run.fence,
            token,
            process.name,
            process.clock(),
            safe_until,
        )
        fenced = self.world.log.fenced.get((process.name, session.run.id), 0)
        if fenced >= session.run.fence:
            self.world.log.breaches.append(f"18: {key} of {session.run.id} began after its lease was lost")
        if certain:
            self._intended(key, attempt)
        self.world.log.effects.append(effect)
        return effect

    def _intended(self, key: str, attempt: int) -> None:
        """The journal knows of this very attempt, unless another process has it by now."""
        run = self.session.run
        self.world.log.counts["certain beginnings"] += 1
        known = [(b.attempt, b.fence) for b in self.world.journal.begun(run.no) if b.key == key]
        held = self.world.held[run.no][1] == run.fence
        if held and known != [(attempt, run.fence)]:
            self.world.log.breaches.append(
                f"21: attempt {attempt} of {key} began, recorded as begun is {known}"
            )

    def die(self) -> Code:
        """The code kills its own process."""
        self.world.log.counts["poisoned"] += 1
        self.world.kill(self.process)
        yield float("inf")

    def received(self, key: str, flow: Flow[Any]) -> Generator[float, None, Any]:
        try:
            value = yield from self.drive(flow)
        except StepCrashed:
            self._receive(key, "crashed")
            raise
        except BodyFailed as error:
            self._receive(key, str(error))
            raise
        self._receive(key, value)
        return value

    def _receive(self, key: str, value: Any) -> None:
        self.world.log.received.append(
            Received(self.session.run.id, key, self.session.run.fence, value, self.branch)
        )

    # -- performing effects -----------------------------------------------------------------------------

    def drive(self, flow: Flow[Any]) -> Generator[float, None, Any]:
        engine, world = self.process.engine, self.world
        reply: Any = None
        try:
            while True:
                effect = flow.send(reply)
                match effect:
                    case Call(fn, args, kwargs, here, everything):
                        reply = yield from self._call(fn, args, kwargs, here, everything)
                    case Keep(changes):
                        yield world.latency()
                        reply = yield from self._keep(changes)
                    case Now():
                        reply = world.wall()
                    case Later(change):
                        reply = self._later(change)
                    case Join(ticket):
                        yield world.latency()
                        reply = yield from self._join(ticket)
                    case Wait(seconds):
                        yield min(seconds, 5.0)
                        reply = self.session.woken.is_set()
                    case Look(run_id):
                        yield world.latency()
                        reply = self.process.store.run(run_id)
                    case Reconfirm():
                        yield world.latency()
                        reply = engine.reconfirm(self.session)
        except StopIteration as stop:
            return stop.value

    def call(self, fn: Any, args: tuple[Any, ...], here: Here) -> Generator[float, None, Outcome]:
        """A run's function, called without a flow."""
        return (yield from self._call(fn, args, {}, here, everything=True))

    def _call(
        self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], here: Here, everything: bool
    ) -> Generator[float, None, Outcome]:
        began_at = self.world.wall()
        try:
            value = yield from fn(here, *args, **kwargs)
            return Outcome(value, None, began_at, self.world.wall())
        except (Killed, GeneratorExit):
            raise
        except Exception as error:
            return Outcome(None, error, began_at, self.world.wall())
        except BaseException as error:
            if not everything:
                raise
            return Outcome(None, error, began_at, self.world.wall())

    def _keep(self, changes: Sequence[Change]) -> Generator[float, None, list[Answer]]:
        committer = self.process.committer
        try:
            if not self.asynchronous:
                return self._heard(committer.commit(*changes))
            job, settled = self.world.current, []
            assert job is not None

            def notify(ticket: Ticket) -> None:
                settled.append(ticket)
                self.world.wake(job, self.world.latency())

            loop: Any = _Loop()
            committer.submit(changes, loop, notify)
            while not settled:
                yield float("inf")
            return self._heard(settled[0].result())
        except JournalError as error:
            raise self._broken(error) from error

    def _later(self, change: Change) -> Ticket:
        try:
            return self.process.committer.later(change)
        except JournalError as error:
            raise self._broken(error) from error

    def _join(self, ticket: Ticket) -> Generator[float, None, list[Answer]]:
        try:
            while self.asynchronous and not ticket.settled:
                yield self.world.latency()
            return self._heard(self.process.committer.wait_for(ticket))
        except JournalError as error:
            raise self._broken(error) from error

    def _heard(self, answers: list[Answer]) -> list[Answer]:
        """Now the session knows: on its way from the thread that commits, an answer takes its time."""
        if any(isinstance(answer, Refused) and answer.reason == "fence" for answer in answers):
            self.process.store.fenced(self.session.run.id, self.session.run.fence)
        return answers

    def _broken(self, error: JournalError) -> BaseException:
        return self.session.unwind(Stopped(str(error)), cause=error)


def _plainly(flow: Flow[Any]) -> Flow[Any]:
    """A flow whose calls are plain functions, as those of the world are generators."""
    reply: Any = None
    try:
        while True:
            effect = flow.send(reply)
            if isinstance(effect, Call):
                effect = effect._replace(fn=_generator(effect.fn))
            reply = yield effect
    except StopIteration as stop:
        return stop.value


def _generator(fn: Callable[..., Any]) -> Callable[..., Code]:
    def call(place: Here, *args: Any) -> Code:
        yield 0.0
        return fn(*args)

    return call

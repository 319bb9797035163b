"""Steps with a manner of their own: isolated, elsewhere, with a timeout, at most once. The flow that attempts them.

An isolated step's process may die without the run: that counts as a crash of the step, which is begun again until it
has crashed `max_crashes` times. An at-most-once step is never begun again after an attempt of which nobody knows
whether it happened: its process died, it was cut off, its record was lost. Then its probe answers, or a person.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from onward.core import codec
from onward.core.decide import Died, Released, Retried, decide
from onward.core.errors import InDoubt, NotRecordable, StepCrashed, StepFailed, StepTimeout, Stopped
from onward.core.lazily import Lazily
from onward.core.model import Begun, Entry
from onward.core.retry import backoff_s, delay_s
from onward.runtime import isolate, orders, wire
from onward.runtime.effects import Call, Flow, Keep, Now, Outcome
from onward.runtime.engine import Engine
from onward.runtime.manner import Done, Manner, NotDone
from onward.runtime.outcomes import blame, payload
from onward.runtime.remake import holds_files, present
from onward.runtime.session import Session, Unit

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = Lazily("asyncio")


class Care:
    """One call of a step with a manner of its own."""

    def __init__(
        self,
        engine: Engine,
        session: Session,
        unit: Unit,
        manner: Manner,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self._engine, self._session, self._unit, self._manner = engine, session, unit, manner
        self._fn, self._args, self._kwargs = fn, args, kwargs
        self._is_async = inspect.iscoroutinefunction(fn)
        self._what = f"{unit.kind} `{unit.name}`"
        self._ordered: wire.Order | None = None

    def perform(self) -> Flow[Any]:
        """The step's outcome: the recorded one, or that of executing it now, recorded before it is returned."""
        session, unit = self._session, self._unit
        entry = session.recorded.get(unit.key)
        if entry is not None:
            yield from session.agree(entry, unit)
            if holds_files(entry) and not self._manner.at_most_once:
                return (yield from present(session, unit, entry, self._again(entry), (), {}))
            return session.replay(entry)
        session.goes_on(unit.key)
        past = session.begun.get(unit.key) or Begun(unit.key, unit.kind, unit.name)
        if self._manner.isolate:
            self._order(past)  # what cannot be ordered is refused before anything has begun
        if self._manner.at_most_once and past.fence:
            why = "its process ended before its outcome was recorded"
            settled = yield from self._in_doubt(past, why)
            if settled is not None:
                return settled.value
            past = yield from self._once_more(past, self._overdue())
        if past.crashes >= unit.policy.max_crashes:
            yield from self._give_up(past, "its process died")
        if past.due_at is not None:
            yield from session.until(past.due_at, unit.key)
        flow = self._attempts(past)
        return (yield from flow if session.suspects is None else session.in_turn(unit.key, flow))

    def _attempts(self, past: Begun) -> Flow[Any]:
        while True:
            outcome: Outcome = yield from self._attempt(past)
            error = outcome.error
            if error is None:
                answered = self._answer(outcome)
                if isinstance(answered, isolate.Answer):
                    yield from self._session.record(self._unit, answered.text, past, outcome, ok=True)
                    return answered.value
                error = answered
            assert isinstance(error, Exception), "only `everything` calls catch more"
            if self._manner.at_most_once and isinstance(error, (isolate.ProcessDied, StepTimeout)):
                past = yield from self._cut_off(past, error, outcome)
                settled = yield from self._in_doubt(past, str(error))
                if settled is not None:
                    return settled.value
                past = yield from self._once_more(past, error)
            elif isinstance(error, isolate.ProcessDied):
                past = yield from self._died(past, error, outcome)
            else:
                past = yield from self._failed(past, error, outcome)

    def _attempt(self, past: Begun) -> Flow[Outcome]:
        session, unit, manner = self._session, self._unit, self._manner
        if session.hindered():
            yield from session.check()
        if manner.isolate or manner.at_most_once or unit.certain_start or session.careful(past):
            yield from session.start_certainly(past)
        else:
            session.start(past, session.clock())
        place = session.place(unit.key, past.attempt, unit.inside_step)
        fn, args, kwargs = self._body(past)
        if manner.at_most_once:
            session.once.add(unit.key)  # stays there if this attempt is cancelled
        outcome: Outcome = yield Call(fn, args, kwargs, place)
        session.once.discard(unit.key)
        if session.unwinding is not None:
            raise session.unwinding
        return outcome

    # -- what is called ---------------------------------------------------------------------------------

    def _body(self, past: Begun) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
        manner = self._manner
        if manner.isolate:
            call = isolate.Call(self._engine, self._session, self._order(past), manner.timeout_s)
            return (isolate.answer_async, (call,), {}) if self._is_async else (call.answer, (), {})
        if manner.executor is not None:
            there = partial(manner.executor.call, repeats=not manner.at_most_once)
            return there, (self._session.run, past, self._fn, self._args, self._kwargs), {}
        if manner.timeout_s is None:
            return self._fn, self._args, self._kwargs
        return self._limited, self._args, self._kwargs

    def _again(self, entry: Entry) -> Callable[[], Any]:
        """The step as a plain function: to be executed once more because a file that it made is not there."""
        fn, args, kwargs = self._body(Begun(entry.key, entry.kind, entry.name))

        def again() -> Any:
            value = fn(*args, **kwargs)
            return value.value if isinstance(value, isolate.Answer) else value

        async def again_async() -> Any:
            value = await fn(*args, **kwargs)
            return value.value if isinstance(value, isolate.Answer) else value

        return again_async if self._is_async else again

    def _order(self, past: Begun) -> wire.Order:
        session, key = self._session, past.key
        order = self._ordered
        if order is None:
            memory = self._manner.memory_bytes
            order = self._ordered = orders.order(
                session.run, key, self._what, self._fn, self._args, self._kwargs, memory_bytes=memory
            )
        beat = session.beats.get(key)
        return order._replace(attempt=past.attempt, beat=None if beat is None else beat.value)

    async def _limited(self, *args: Any, **kwargs: Any) -> Any:
        seconds = self._manner.timeout_s
        assert seconds is not None
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await self._fn(*args, **kwargs)
        except TimeoutError as error:
            if not limit.expired():  # one of the step's own
                raise
            raise StepTimeout(self._what, seconds, "cancelled") from error

    def _answer(self, outcome: Outcome) -> isolate.Answer | NotRecordable:
        if isinstance(outcome.value, isolate.Answer):
            return outcome.value
        try:
            return isolate.Answer(outcome.value, payload(outcome.value, self._what))
        except NotRecordable as refused:
            return refused

    # -- attempts that failed ---------------------------------------------------------------------------

    def _failed(self, past: Begun, error: Exception, outcome: Outcome) -> Flow[Begun]:
        """What follows an exception: the next attempt, or its end as the step's outcome."""
        policy = self._unit.policy
        chance = random.random()
        delay = delay_s(policy, attempt=past.attempt, error=error, now=outcome.ended_at, random=chance)
        if delay is None:
            yield from self._end(past, error, outcome)
        again = past._replace(attempt=past.attempt + 1, due_at=outcome.ended_at + (delay or 0.0), fence=0)
        yield from self._keep(again, Retried(again, _text(error), outcome.begun_at), outcome.ended_at)
        yield from self._session.until(outcome.ended_at + (delay or 0.0), past.key)
        return again

    def _died(self, past: Begun, error: isolate.ProcessDied, outcome: Outcome) -> Flow[Begun]:
        """Count the death of the step's own process against it, and wait a moment."""
        pause = backoff_s(self._unit.policy, past.crashes + 1, random=random.random())
        again = past._replace(crashes=past.crashes + 1, due_at=outcome.ended_at + pause, fence=0)
        yield from self._keep(again, Died(again, _text(error), outcome.begun_at), outcome.ended_at)
        if again.crashes >= self._unit.policy.max_crashes:
            yield from self._give_up(again, str(error))
        yield from self._session.until(outcome.ended_at + pause, past.key)
        return again

    def _give_up(self, past: Begun, why: str) -> Flow[NoReturn]:
        now: float = yield Now()
        times = "" if past.crashes == 1 else f"; it died {past.crashes} times in this step"
        error = StepCrashed(f"{why}{times}. {self._what} (`{past.key}`) is not begun again by itself.")
        yield from self._end(past, error, Outcome(None, None, now, now))
        raise AssertionError("an error ends it")

    def _end(self, past: Begun, error: Exception, outcome: Outcome) -> Flow[None]:
        """Record an error as the step's outcome and raise it as a replay will."""
        yield from self._session.record(self._unit, _text(error), past, outcome, ok=False)
        failure = error
        if not codec.error_is_faithful(error):
            failure = StepFailed(f"{type(error).__module__}:{type(error).__qualname__}", str(error))
            failure.__cause__ = error
        blame(failure, past.key)
        raise failure

    def _keep(self, again: Begun, fact: Died | Retried, now: float) -> Flow[None]:
        session = self._session
        session.settle_marker(again.key)
        session.applied((yield Keep((decide(session.run, fact, now=now),))))
        session.begun[again.key] = again

    # -- at most once -----------------------------------------------------------------------------------

    def _cut_off(self, past: Begun, error: Exception, outcome: Outcome) -> Flow[Begun]:
        """Record how an attempt was cut off. The unit stays begun, so that the doubt outlives this process too."""
        here = self._session.run.fence
        fact: Died | Retried
        if isinstance(error, isolate.ProcessDied):
            again = past._replace(crashes=past.crashes + 1, fence=here, begun_at=outcome.begun_at)
            fact = Died(again, _text(error), outcome.begun_at)
        else:
            again = past._replace(attempt=past.attempt + 1, fence=here, begun_at=outcome.begun_at)
            fact = Retried(again, _text(error), outcome.begun_at)
        yield from self._keep(again, fact, outcome.ended_at)
        return again

    def _in_doubt(self, past: Begun, why: str) -> Flow[isolate.Answer | None]:
        """Ask the probe: what the attempt returned, or None if it was not executed. No answer: the run is stuck."""
        session = self._session
        if session.hindered():
            yield from session.check()
        probe = self._manner.probe
        if probe is None:
            yield from self._stuck(why, None)
        place = session.place(past.key, past.attempt, inside_step=True)
        outcome: Outcome = yield Call(self._probe, self._args, self._kwargs, place)
        if session.unwinding is not None:
            raise session.unwinding
        said = outcome.value
        if outcome.error is not None:
            yield from self._stuck(f"{why}, and its probe raised {outcome.error!r}", outcome.error)
        if isinstance(said, NotDone):
            return None
        if not isinstance(said, Done):
            yield from self._stuck(
                f"{why}, and its probe returned {said!r}, not Done(...) or NotDone()", None
            )
        return (yield from self._known(past, why, said.value))

    def _known(self, past: Begun, why: str, value: Any) -> Flow[isolate.Answer]:
        """Record what the probe says the attempt returned."""
        text = None
        try:
            text = payload(value, self._what)
        except NotRecordable as refused:
            yield from self._stuck(
                f"{why}, and what its probe returned cannot be recorded ({refused})", refused
            )
        now: float = yield Now()
        attempt = Outcome(value, None, past.begun_at, now)
        yield from self._session.record(self._unit, text, past, attempt, ok=True)
        return isolate.Answer(value, text)

    @property
    def _probe(self) -> Callable[..., Any]:
        probe = self._manner.probe
        assert probe is not None
        if not self._is_async or inspect.iscoroutinefunction(probe):
            return probe

        async def ask(*args: Any, **kwargs: Any) -> Any:
            return probe(*args, **kwargs)

        return ask

    def _once_more(self, past: Begun, error: Exception) -> Flow[Begun]:
        """The probe says that the attempt was not executed: the next one, if there is to be one."""
        unit = self._unit
        now: float = yield Now()
        if past.crashes >= unit.policy.max_crashes:
            yield from self._give_up(past, str(error))
        if past.attempt > unit.policy.max_attempts:
            yield from self._end(
                past._replace(attempt=past.attempt - 1), error, Outcome(None, None, now, now)
            )
        pause = backoff_s(unit.policy, past.attempt + past.crashes - 1, random=random.random())
        yield from self._session.until(now + pause, past.key)
        return past

    def _overdue(self) -> StepTimeout:
        """The error of an attempt that an earlier lease cut off: of a crash, no attempt is missing."""
        return StepTimeout(self._what, self._manner.timeout_s or 0.0, "ended")

    def _stuck(self, why: str, cause: BaseException | None) -> Flow[NoReturn]:
        session = self._session
        doubt = InDoubt(session.run.id, self._unit.key, why)
        doubt.__cause__ = cause
        stuck = Released("doubted", codec.encode_error(doubt))
        session.applied((yield Keep((decide(session.run, stuck, now=(yield Now())),))))
        session.given_back = True
        raise session.unwind(Stopped(str(doubt)), cause=doubt)


def _text(error: Exception) -> str:
    """What is recorded of an error: for one of an isolated step what its own process saw of it, traceback included."""
    recorded: str | None = getattr(error, "__onward_recorded__", None)
    return codec.encode_error(error) if recorded is None else recorded

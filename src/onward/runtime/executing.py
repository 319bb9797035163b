"""One execution of a queued run: however it ends, its worker hears of it, and the thread goes on to the next."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

from onward.core import codec
from onward.core.decide import Raised, decide
from onward.core.errors import NotRecordable
from onward.core.model import Change, End, Run, end_of_run
from onward.runtime import registry
from onward.runtime.current import reset_here, set_here
from onward.runtime.drive import drive, drive_async, whole
from onward.runtime.effects import Outcome
from onward.runtime.endings import Endings
from onward.runtime.engine import Engine
from onward.runtime.light import Light
from onward.runtime.outcomes import blame, payload
from onward.runtime.registry import Job
from onward.runtime.served import Served


class Executor(Protocol):
    """The worker, as an execution sees it."""

    engine: Engine
    endings: Endings

    def adopt(self, run: Run, last_seq: int, safe_until: float) -> Served | None: ...

    def light(self, run: Run, last_seq: int, safe_until: float, job: Job) -> Light | None: ...


def execute(worker: Executor, run: Run, job: Job, last_seq: int, safe_until: float) -> None:
    """Execute a run in this thread. Raises nothing."""
    began = time.monotonic()
    session: Served | None = None
    light: Light | None = None
    change: Change | End | None
    try:
        given = _plain_arguments(run)
        if given is not None:
            light = worker.light(run, last_seq, safe_until, job)
        if light is None or given is None:
            session = worker.adopt(run, last_seq, safe_until)
            change = None if session is None else _adopted(worker, session, job)
        else:
            ended = _called(worker.engine, light, job, *given)
            if isinstance(ended, Outcome):
                session = light.served
                change = _finished(worker.engine, session, ended)
            else:
                change = ended
        if change is not None:
            worker.endings.finish(run, session, change, time.monotonic() - began)
            return
    except BaseException as error:
        if light is not None and session is None:
            session = light.served
        worker.endings.ended(run, session, error, time.monotonic() - began)
    else:
        worker.endings.ended(run, session, None, time.monotonic() - began)


def _plain_arguments(run: Run) -> tuple[list[Any], dict[str, Any]] | None:
    """What the run was started with; None if that cannot be read, which `_arguments` has to say."""
    try:
        args, kwargs = codec.decode(run.args or "[[],{}]")
    except Exception:
        return None
    return args, kwargs


def _called(
    engine: Engine, light: Light, job: Job, args: Sequence[Any], kwargs: dict[str, Any]
) -> End | Outcome:
    """What records what the function of a run has returned without having asked for anything durable.

    How it went otherwise, or where it cannot be recorded: what becomes of that its session says.
    """
    now = engine.store.now
    token = set_here(light)
    try:
        value = job.fn(*args, **kwargs)
        ended_at = now()
    except BaseException as error:
        if isinstance(error, StopIteration):
            blame(error)
        return Outcome(None, error, 0.0, now())
    finally:
        reset_here(token)
    try:
        text = payload(value, None)
    except NotRecordable:
        return Outcome(value, None, 0.0, ended_at)
    if engine.lights.put_out(light):
        return end_of_run(light.run, text, ended_at)
    return Outcome(value, None, 0.0, ended_at)


def _adopted(worker: Executor, session: Served, job: Job) -> Change | None:
    """Execute a run with a session: the change that records how it ended, or None if that is recorded already."""
    engine = worker.engine
    args, kwargs = _arguments(worker, session, job)
    if session.is_called_straight():
        return _finished(engine, session, whole(engine, session, job.fn, args, kwargs))
    drive(session.whole(job.fn, args, kwargs), engine, session)
    return None


def _finished(engine: Engine, session: Served, outcome: Outcome) -> Change | None:
    """As `_adopted`, of a run whose function has come to its end."""
    change = session.returned_straight(outcome)
    if change is None:
        drive(session.finish(outcome), engine, session)
    return change


async def execute_async(worker: Executor, run: Run, job: Job, last_seq: int, safe_until: float) -> None:
    """As `execute`, in the running event loop."""
    began = time.monotonic()
    session: Served | None = None
    try:
        session = worker.adopt(run, last_seq, safe_until)
        if session is not None:
            args, kwargs = _arguments(worker, session, job)
            await drive_async(session.whole(job.fn, args, kwargs), worker.engine, session)
    except BaseException as error:
        worker.endings.ended(run, session, error, time.monotonic() - began)
    else:
        worker.endings.ended(run, session, None, time.monotonic() - began)


def _arguments(worker: Executor, session: Served, job: Job) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What the run was started with; if that cannot be read the run has failed, and this raises why."""
    session.policy = registry.policy_of(job, session.run.queue)
    try:
        args, kwargs = codec.decode(session.run.args or "[[],{}]")
        return tuple(args), dict(kwargs)
    except Exception as problem:
        now = worker.engine.store.now()
        change = decide(session.run, Raised(codec.encode_error(problem)), now=now)
        session.applied(worker.engine.committer.commit(change))
        session.given_back = True
        raise

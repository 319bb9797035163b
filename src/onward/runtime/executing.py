"""One execution of a queued run: however it ends, its worker hears of it, and the thread goes on to the next."""

from __future__ import annotations

import time
from typing import Any, NamedTuple, Protocol

from onward.core import codec
from onward.core.decide import Raised, decide
from onward.core.errors import JournalError, LeaseLost, Suspended, Unwind
from onward.core.model import Change, Run
from onward.runtime import registry
from onward.runtime.drive import drive, drive_async, whole
from onward.runtime.engine import Engine
from onward.runtime.registry import Job
from onward.runtime.served import Served
from onward.storage.committer import Ticket


class Ended(NamedTuple):
    """How one execution of a run went, for whoever watches the worker."""

    run: Run
    how: str  # done, failed, waiting, released, ...
    seconds: float
    error: BaseException | None


class Ending(NamedTuple):
    """An execution whose outcome is on its way to the disk."""

    run: Run
    session: Served
    seconds: float
    ticket: Ticket


class Executor(Protocol):
    """The worker, as an execution sees it."""

    engine: Engine

    def adopt(self, run: Run, last_seq: int, safe_until: float) -> Served | None: ...

    def finish(self, run: Run, session: Served, change: Change, seconds: float) -> None: ...

    def ended(
        self, run: Run, session: Served | None, error: BaseException | None, seconds: float
    ) -> None: ...


def execute(worker: Executor, run: Run, job: Job, last_seq: int, safe_until: float) -> None:
    """Execute a run in this thread. Raises nothing."""
    began = time.monotonic()
    session: Served | None = None
    engine = worker.engine
    try:
        session = worker.adopt(run, last_seq, safe_until)
        if session is not None:
            args, kwargs = _arguments(worker, session, job)
            if session.is_called_straight():
                outcome = whole(engine, session, job.fn, args, kwargs)
                change = session.returned_straight(outcome)
                if change is not None:
                    worker.finish(run, session, change, time.monotonic() - began)
                    return
                drive(session.finish(outcome), engine, session)
            else:
                drive(session.whole(job.fn, args, kwargs), engine, session)
    except BaseException as error:
        worker.ended(run, session, error, time.monotonic() - began)
    else:
        worker.ended(run, session, None, time.monotonic() - began)


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
        worker.ended(run, session, error, time.monotonic() - began)
    else:
        worker.ended(run, session, None, time.monotonic() - began)


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


def how(session: Served | None, error: BaseException | None) -> str:
    """How an execution has ended, in a word."""
    if error is None:
        return "done"
    if isinstance(error, Suspended):
        return "waiting"
    if isinstance(error, LeaseLost):
        return "taken over"
    if isinstance(error, Unwind) or session is None or isinstance(error, JournalError):
        return "given back"
    return "failed"

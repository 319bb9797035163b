"""Perform a flow's effects. The only place where sync and async differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from onward.core.errors import JournalError, Stopped
from onward.core.lazily import Lazily
from onward.core.model import Answer, Change
from onward.runtime import disk
from onward.runtime.current import Here, reset_here, set_here
from onward.runtime.effects import Call, Flow, Inspect, Join, Keep, Later, Look, Now, Outcome, Reconfirm, Wait
from onward.runtime.engine import Engine
from onward.runtime.outcomes import blame
from onward.runtime.session import Session, Unit
from onward.storage.ticket import Ticket

if TYPE_CHECKING:
    import asyncio

    from onward.runtime import interrupted
else:
    asyncio = Lazily("asyncio")
    interrupted = Lazily("onward.runtime.interrupted")

T = TypeVar("T")

# While it waits, a flow looks this often whether its session has begun to unwind (seconds).
_LOOK_S = 1.0


def perform(
    engine: Engine,
    place: Here,
    unit: Unit,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """The outcome of a unit, as `drive(session.perform(...))`: by a flow only where something is in the way.

    A first attempt that returns is what nearly all steps are. A flow for it costs as much as its commit.
    """
    session = place.session
    if not session.begins_straight(unit):
        return drive(session.perform(unit, fn, args, kwargs), engine, session)
    now = engine.store.now
    value = outcome = change = None
    ended_at = 0.0
    token = set_here(place.within(unit[0], unit[6]))
    begun_at = now()
    try:
        value = fn(*args, **kwargs)
        ended_at = now()
    except Exception as error:
        outcome = _raised(error, begun_at, now())
    finally:
        reset_here(token)
    if outcome is None:
        change = session.ended_straight(unit, value, begun_at, ended_at)
    if change is None:
        outcome = outcome or Outcome(value, None, begun_at, ended_at)
        return drive(session.attempts(unit, unit.first(), fn, args, kwargs, outcome), engine, session)
    try:
        answers = engine.committer.commit(change)
    except JournalError as error:
        raise _broken(session, error) from error
    session.kept(answers, change)
    return value


def whole(
    engine: Engine, session: Session, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Outcome:
    """How the function of a run went, as the first effect of `session.whole`; nothing of it is recorded yet."""
    return _call(engine, Call(fn, args, kwargs, session.place(), everything=True))


async def perform_async(
    engine: Engine,
    place: Here,
    unit: Unit,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """As `perform`, in the running event loop."""
    session = place.session
    if not session.begins_straight(unit):
        return await drive_async(session.perform(unit, fn, args, kwargs), engine, session)
    now = engine.store.now
    value = outcome = change = None
    ended_at = 0.0
    key = unit[0]
    if session.visited is not None:
        session.met(key)
    here = place.within(key, unit[6])
    here.own()  # perhaps another task than the one that made the call
    token = set_here(here)
    begun_at = now()
    try:
        value = await fn(*args, **kwargs)
        ended_at = now()
    except Exception as error:
        outcome = Outcome(None, error, begun_at, now())
    except BaseException as error:
        _left(engine, here, error)
        raise
    finally:
        reset_here(token)
    if outcome is None:
        change = session.ended_straight(unit, value, begun_at, ended_at)
    if change is None:
        outcome = outcome or Outcome(value, None, begun_at, ended_at)
        flow = session.attempts(unit, unit.first(), fn, args, kwargs, outcome)
        return await drive_async(flow, engine, session)
    try:
        answers = await _commit(engine, (change,))
    except JournalError as error:
        raise _broken(session, error) from error
    session.kept(answers, change)
    return value


def drive(flow: Flow[T], engine: Engine, session: Session) -> T:  # noqa: C901  (one case an effect)
    """Run a flow in the calling thread; returns what it returns, raises what it raises."""
    reply: Any = None
    try:
        while True:
            effect = flow.send(reply)
            try:
                match effect:
                    case Call():
                        reply = _call(engine, effect)
                    case Keep(changes):
                        reply = engine.committer.commit(*changes)
                    case Now():
                        reply = engine.store.now()
                    case Later(change, timed):
                        reply = engine.committer.later(change, timed=timed)
                    case Join(ticket):
                        reply = engine.committer.wait_for(ticket)
                    case Wait(seconds):
                        reply = engine.nap(session.woken, min(seconds, _LOOK_S))
                    case Reconfirm():
                        reply = engine.reconfirm(session)
                    case Inspect(files):
                        reply = disk.altered(files)
                    case Look(run_id):
                        reply = engine.store.run(run_id)
            except JournalError as error:
                raise _broken(session, error) from error
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    except RuntimeError as error:
        raise _as_it_was(error) from error.__cause__


async def drive_async(flow: Flow[T], engine: Engine, session: Session) -> T:  # noqa: C901  (one case an effect)
    """As `drive`, in the running event loop, which is never blocked."""
    reply: Any = None
    try:
        while True:
            effect = flow.send(reply)
            try:
                match effect:
                    case Call():
                        reply = await _call_async(engine, effect)
                    case Keep(changes):
                        reply = await _commit(engine, changes)
                    case Now():
                        reply = engine.store.now()
                    case Later(change, timed):
                        reply = engine.committer.later(change, timed=timed)
                    case Join(ticket):
                        reply = await asyncio.to_thread(engine.committer.wait_for, ticket)
                    case Wait(seconds):
                        reply = await engine.nap_async(session.woken, min(seconds, _LOOK_S))
                    case Reconfirm():
                        reply = await asyncio.to_thread(engine.reconfirm, session)
                    case Inspect(files):
                        reply = await asyncio.to_thread(disk.altered, files)
                    case Look(run_id):
                        reply = await asyncio.to_thread(engine.store.run, run_id)
            except JournalError as error:
                raise _broken(session, error) from error
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


def _call(engine: Engine, call: Call) -> Outcome:
    fn, args, kwargs, here, everything = call
    now = engine.store.now
    here.own()
    token = set_here(here)
    begun_at = now()
    try:
        return Outcome(fn(*args, **kwargs), None, begun_at, now())
    except Exception as error:
        return _raised(error, begun_at, now())
    except BaseException as error:
        if not everything:
            raise
        return Outcome(None, error, begun_at, now())
    finally:
        reset_here(token)


def _raised(error: Exception, begun_at: float, ended_at: float) -> Outcome:
    if isinstance(error, StopIteration):
        blame(error)
    return Outcome(None, error, begun_at, ended_at)


def _as_it_was(error: RuntimeError) -> BaseException:
    """A StopIteration of user code, which Python turned into a RuntimeError on its way out of a flow; else `error`."""
    cause = error.__cause__
    # A RuntimeError that user code raised itself, from a StopIteration of its own, carries keys too.
    is_ours = hasattr(cause, "__onward_keys__") and not hasattr(error, "__onward_keys__")
    return cause if isinstance(cause, StopIteration) and is_ours else error


async def _call_async(engine: Engine, call: Call) -> Outcome:
    fn, args, kwargs, here, everything = call
    now = engine.store.now
    here.own()
    token = set_here(here)
    begun_at = now()
    try:
        return Outcome(await fn(*args, **kwargs), None, begun_at, now())
    except Exception as error:
        return Outcome(None, error, begun_at, now())
    except BaseException as error:
        if not everything:
            _left(engine, here, error)
            raise
        return Outcome(None, error, begun_at, now())
    finally:
        reset_here(token)


def _left(engine: Engine, here: Here, error: BaseException) -> None:
    """A unit was cancelled and the run may go on: a later death of this process is no fault of that unit."""
    change = here.session.cut_off(here.key) if isinstance(error, asyncio.CancelledError) else None
    if change is not None:
        engine.committer.later(change)


async def _commit(engine: Engine, changes: Sequence[Change]) -> list[Answer]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[list[Answer]] = loop.create_future()
    ticket = engine.committer.submit(changes, loop, _settled, future)
    try:
        return await future
    except asyncio.CancelledError:
        if not future.done():  # thrown in by other means than a cancelled task
            raise
        # Cancelled together with the waiter, or answered just before the waiter was.
        answered = None if future.cancelled() else future
        return await interrupted.committed(ticket, answered)


def _settled(ticket: Ticket) -> None:
    future: asyncio.Future[list[Answer]] = ticket.waiter
    if future.cancelled():
        return  # `interrupted` looks at the ticket itself
    if ticket.error is not None:
        future.set_exception(ticket.error)
    else:
        future.set_result(ticket.answers)  # type: ignore[arg-type]  # as ticket.result()


def _broken(session: Session, error: JournalError) -> BaseException:
    """The journal took nothing: the run ends here, whatever user code catches."""
    return session.unwind(Stopped(str(error)), cause=error)

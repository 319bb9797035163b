"""Perform a flow's effects. The only place where sync and async differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from onward.core.errors import JournalError, Stopped
from onward.core.lazily import Lazily
from onward.core.model import Answer, Change
from onward.runtime.current import reset_here, set_here
from onward.runtime.effects import Call, Flow, Join, Keep, Later, Now, Outcome, Reconfirm, Wait
from onward.runtime.engine import Engine
from onward.runtime.session import Session
from onward.storage.committer import Ticket

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = Lazily("asyncio")

T = TypeVar("T")

# While it waits, a flow looks this often whether its session has begun to unwind (seconds).
_LOOK_S = 1.0


def drive(flow: Flow[T], engine: Engine, session: Session) -> T:
    """Run a flow in the calling thread; returns what it returns, raises what it raises."""
    reply: Any = None
    try:
        while True:
            effect = flow.send(reply)
            match effect:
                case Call():
                    reply = _call(engine, effect)
                case Keep(changes):
                    try:
                        reply = engine.committer.commit(*changes)
                    except JournalError as error:
                        raise _broken(session, error) from error
                case Now():
                    reply = engine.store.now()
                case Later(change):
                    reply = engine.committer.later(change)
                case Join(ticket):
                    try:
                        reply = engine.committer.wait_for(ticket)
                    except JournalError as error:
                        raise _broken(session, error) from error
                case Wait(seconds):
                    reply = engine.nap(session.woken, min(seconds, _LOOK_S))
                case Reconfirm():
                    reply = engine.reconfirm(session)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


async def drive_async(flow: Flow[T], engine: Engine, session: Session) -> T:
    """As `drive`, in the running event loop, which is never blocked."""
    reply: Any = None
    try:
        while True:
            effect = flow.send(reply)
            match effect:
                case Call():
                    reply = await _call_async(engine, effect)
                case Keep(changes):
                    try:
                        reply = await _commit(engine, changes)
                    except JournalError as error:
                        raise _broken(session, error) from error
                case Now():
                    reply = engine.store.now()
                case Later(change):
                    reply = engine.committer.later(change)
                case Join(ticket):
                    try:
                        reply = await asyncio.to_thread(engine.committer.wait_for, ticket)
                    except JournalError as error:
                        raise _broken(session, error) from error
                case Wait(seconds):
                    reply = await engine.nap_async(session.woken, min(seconds, _LOOK_S))
                case Reconfirm():
                    reply = await asyncio.to_thread(engine.reconfirm, session)
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
        return Outcome(None, error, begun_at, now())
    except BaseException as error:
        if not everything:
            raise
        return Outcome(None, error, begun_at, now())
    finally:
        reset_here(token)


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
            raise
        return Outcome(None, error, begun_at, now())
    finally:
        reset_here(token)


async def _commit(engine: Engine, changes: Sequence[Change]) -> list[Answer]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[list[Answer]] = loop.create_future()

    def settled(ticket: Ticket) -> None:
        if future.cancelled():
            return
        if ticket.error is not None:
            future.set_exception(ticket.error)
        else:
            future.set_result(ticket.result())

    engine.committer.submit(changes, loop, settled)
    return await future


def _broken(session: Session, error: JournalError) -> BaseException:
    """The journal took nothing: the run ends here, whatever user code catches."""
    return session.unwind(Stopped(str(error)), cause=error)

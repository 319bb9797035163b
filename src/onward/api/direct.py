"""A workflow called directly: a run of its own, which the caller executes here and now.

Called again after an interruption it continues that run; what has ended under an id gives its recorded result. A
caller that is cancelled while its run is being opened gives it back, and a signal that ended the run is raised as the
error that its caller knows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from onward.api import connect, parting
from onward.api.ended import result_of
from onward.api.endings import Graceful
from onward.api.opening import LOOK_S, Looks, is_set_aside, look, outward, patiently
from onward.core.acts import acted
from onward.core.errors import AlreadyRunning, RunCancelled, RunConflict, Unwind
from onward.core.lazily import Lazily
from onward.core.model import CLOSED, Refused, Run
from onward.runtime import current, observe
from onward.runtime.drive import drive, drive_async
from onward.runtime.engine import Engine
from onward.runtime.session import Session

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = Lazily("asyncio")

# Looks for the run that a call with these arguments means.
Obtaining = Callable[[Engine, tuple[Any, ...], dict[str, Any]], Looks]


def called(
    name: str, fn: Callable[..., Any], obtaining: Obtaining, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """What the run comes to that `obtaining` finds or begins, executed in this thread."""
    if current.running_task() is not None:
        observe.log.warning("workflow %s blocks the event loop that calls it", name)
    engine = connect.engine()
    got = patiently(obtaining(engine, args, kwargs))
    if isinstance(got, Run):
        return result_of(got)
    with Graceful():
        try:
            value = drive(got.whole(fn, args, kwargs), engine, got)
        except Unwind as signal:
            raise outward(signal, got) from signal.__cause__
        finally:
            engine.let_go(got)
    _say_unused(got)
    return value


async def called_async(
    fn: Callable[..., Any], obtaining: Obtaining, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """As `called`; the event loop goes on while the run is looked for and executed."""
    engine = connect.engine()
    got = await _obtained(engine, obtaining(engine, args, kwargs))
    if isinstance(got, Run):
        return result_of(got)
    with Graceful():
        try:
            value = await drive_async(got.whole(fn, args, kwargs), engine, got)
        except Unwind as signal:
            raise outward(signal, got) from signal.__cause__
        finally:
            engine.let_go(got)
    _say_unused(got)
    return value


async def _obtained(engine: Engine, looks: Looks) -> Session | Run:
    while True:
        # Opening reads and commits: in a thread, so that many can begin at once and share their commits.
        looking = asyncio.ensure_future(asyncio.to_thread(_look_aside, looks))
        try:
            got = await asyncio.shield(looking)
        except asyncio.CancelledError:
            looking.add_done_callback(functools.partial(_give_back, engine))
            raise
        if got is not None:
            return got
        # Here, not in the thread: those who wait would keep all threads from the run that they wait for.
        await asyncio.sleep(LOOK_S)


def _look_aside(looks: Looks) -> Session | Run | None:
    got = look(looks)
    if isinstance(got, Session):
        got.thread = 0  # a task executes it: whichever thread it was opened in may wait for it
    return got


def _give_back(engine: Engine, opening: asyncio.Future[Session | Run | None]) -> None:
    """The caller was cancelled while its run was being opened: nobody is left to execute it."""
    if opening.cancelled() or opening.exception() is not None:
        return
    session = opening.result()
    if isinstance(session, Session):
        drive(session.release(), engine, session)
        engine.let_go(session)


def _say_unused(session: Session) -> None:
    if session.visited is None:
        return
    unused = [
        e.key
        for e in session.recorded.values()
        if e.kind != "mark"
        and e.fence < session.run.fence
        and e.key not in session.visited
        and " > " not in e.key
    ]
    if unused:
        observe.say(
            f"{session.run.name}: {len(unused)} recorded steps were not used by the present code, first `{unused[0]}`"
        )


def known(engine: Engine, want: Run, *, replaces: bool) -> Run | None:
    """What is already there under this id, if it has ended or cannot be continued."""
    run = engine.store.run(want.id)
    if run is None:
        return None
    if run.name != want.name or run.kind != "workflow":
        raise RunConflict(
            run.id, f"the id {run.id} belongs to `{run.name}`; nothing was started. Choose another id."
        )
    if run.args != want.args and want.args is not None:
        if not replaces:
            raise RunConflict(
                run.id,
                f"run {run.id} was begun with other arguments; nothing was started. Use another id, or "
                "replace=True "
                f"to forget that run.",
            )
        # Cancelled first, which is refused if somebody else has continued it since it was read.
        closing = acted(run, "cancelled", by="replace=True", now=engine.store.now())
        is_held = run.state == "running" and not engine.is_dead(run)
        if is_held or (closing and isinstance(engine.committer.commit(closing)[0], Refused)):
            raise RunConflict(run.id, f"run {run.id} is running with other arguments; nothing was started")
        engine.store.delete(run.no)
        return None
    if not run.direct and run.state not in CLOSED:
        raise parting.refused(AlreadyRunning(run.id, f"`{run.name}`", f"a worker's queue ({run.queue})"))
    if run.state == "cancelled":
        if not is_set_aside(engine, run):
            raise parting.refused(RunCancelled(run.id))
        engine.store.delete(run.no)  # two runs cannot have one id
        return None
    return run if run.state == "done" else None

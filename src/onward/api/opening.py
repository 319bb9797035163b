"""Find or begin the run that a direct call means."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from onward.api import connect, ground, parting
from onward.api.identity import command_line, fresh_id
from onward.core import codec, keys
from onward.core.acts import acted
from onward.core.errors import (
    AlreadyRunning,
    JournalError,
    LeaseLost,
    RunCancelled,
    RunConflict,
    RunError,
    RunStuck,
    Stopped,
    TooManyFailures,
    Unwind,
    UsageError,
)
from onward.core.lazily import Lazily
from onward.core.losses import stopped_early
from onward.core.model import CLOSED, Entry, Refused, Run, RunKind
from onward.core.texts import cursor_text
from onward.runtime import current, observe
from onward.runtime.engine import Engine
from onward.runtime.session import Session

if TYPE_CHECKING:
    import asyncio

    from onward.api import moved
else:
    asyncio, moved = Lazily("asyncio"), Lazily("onward.api.moved")

IfRunning = Literal["raise", "wait"]
# Yields when there is nothing to do but to look again a moment later; returns what was obtained.
Looks = Generator[None, None, Session | Run]

# How often a caller that waits for another process looks (seconds).
LOOK_S: Final = 0.05
# A run in one of these states comes to an end by itself, or when its next caller claims it.
_GOING_ON = ("running", "pending", "waiting")
# What is never finished: what is done once over all passes, and cursors. They wait between uses; `--fresh` leaves them.
STANDING: Final = ("once:", "cursor:")
# How the name of who cancelled a run ends if that was done to let its next call begin afresh.
RESET: Final = "(reset)"
_AFRESH: Final = (RESET, "--fresh", "replace=True")
_freshened: set[str] = set()
# The asyncio task that obtained a session.
_tasks: weakref.WeakKeyDictionary[Session, asyncio.Task[Any]] = weakref.WeakKeyDictionary()


def wanted(
    kind: RunKind, name: str, identity: str, *, args: str | None = None, total: int | None = None
) -> Run:
    """The run that would be begun if there is no unfinished one of this identity."""
    identity = keys.grounded(identity, ground.of_program(connect.engine().store.place))
    return Run(fresh_id(name), kind, name, identity, args=args, total=total, command=command_line())


def obtain(
    engine: Engine,
    want: Run,
    *,
    if_running: IfRunning = "raise",
    max_age_s: float | None = None,
    fresh: bool = False,
) -> Session | Run:
    """A session on the unfinished run of this identity, or on a new one.

    Returns the ended Run instead if another process had it and `if_running="wait"` waited for its end.
    """
    return patiently(obtaining(engine, want, if_running, max_age_s, engine.held_here, fresh=fresh))


def patiently(looks: Looks) -> Session | Run:
    """Look until there is something to be had, blocking the calling thread."""
    while True:
        got = look(looks)
        if got is not None:
            return got
        time.sleep(LOOK_S)


def look(looks: Looks) -> Session | Run | None:
    """Look once; None if it is to be done again a moment (`LOOK_S`) later."""
    try:
        next(looks)
    except StopIteration as got:
        return got.value  # type: ignore[no-any-return]
    return None


async def obtain_async(
    engine: Engine,
    want: Run,
    *,
    if_running: IfRunning = "raise",
    max_age_s: float | None = None,
    fresh: bool = False,
) -> Session | Run:
    """As `obtain`; the event loop goes on while it waits, also for another task of this very loop."""

    def held_here(run: Run) -> bool:
        session = engine.sessions.get(run.no)
        holder = None if session is None else _tasks.get(session)
        return engine.held_here(run) and holder in (None, current.running_task())

    looks = obtaining(engine, want, if_running, max_age_s, held_here, fresh=fresh)
    while (got := look(looks)) is None:
        await asyncio.sleep(LOOK_S)
    task = current.running_task()
    if isinstance(got, Session) and task is not None:
        _tasks[got] = task
    return got


def obtaining(
    engine: Engine,
    want: Run,
    if_running: IfRunning,
    max_age_s: float | None,
    held_here: Callable[[Run], bool],
    *,
    fresh: bool,
) -> Looks:
    """What `obtain` does, for callers that wait in their own way."""
    if if_running not in ("raise", "wait"):
        raise UsageError(
            f'if_running={if_running!r} is not possible: give "raise" or "wait"; nothing was started'
        )
    fresh = fresh or (not want.identity.startswith(STANDING) and _freshen(want.identity))
    waited: Run | None = None
    while True:
        run = engine.store.open_run(want.identity)
        if run is None:
            got = _begun(engine, want) if waited is None else engine.store.run(waited.id) or waited
            if got is not None:
                return got
            continue
        if fresh and _set_aside(engine, run, want):
            continue
        if not fresh and max_age_s is not None and engine.store.now() - run.created_at > max_age_s:
            raise _too_old(engine, run, max_age_s)
        if waited is not None and run.state not in _GOING_ON:
            return run  # what it came to: failed, or somebody stopped it
        session = engine.claim(run, _reopen(engine))
        if session is not None:
            _say_continuing(engine, run, session)
            parting.holds(run.id)
            return session
        if engine.store.run(run.id) == run:  # else it moved between the read and the claim
            # Who waits for itself would wait for ever.
            if if_running == "raise" or held_here(run):
                raise parting.refused(AlreadyRunning(run.id, f"`{run.name}`", engine.holder(run)))
            if waited is None:
                observe.say(f"{run.name} is running already ({engine.holder(run)}); waiting for it")
            waited = run
            yield


def _begun(engine: Engine, want: Run) -> Session | Run | None:
    """The new run; None if another one of its identity came first and is to be looked at."""
    session = engine.open(want)
    if session is not None:
        moved.tell(engine.store, session.run)
        parting.holds(session.run.id)
        return session
    ended = engine.store.run(want.id)
    # The id was given, and somebody else has brought that run to its end meanwhile.
    return ended if ended is not None and ended.state in CLOSED else None


def _freshen(identity: str) -> bool:
    """Whether `--fresh` applies: once for each identity in a process."""
    if os.environ.get("ONWARD_FRESH") != "1" or identity in _freshened:
        return False
    _freshened.add(identity)
    return True


def _set_aside(engine: Engine, run: Run, want: Run) -> bool:
    """Cancel an unfinished run that nobody executes, so that `want` can begin."""
    if run.state == "running" and not engine.is_dead(run):
        return False
    change = acted(run, "cancelled", by="--fresh", now=engine.store.now())
    if change is None:
        return False
    if isinstance(engine.committer.commit(change)[0], Refused):
        return True  # somebody else has just continued it: to be looked at again
    observe.say(f"{run.name}: the unfinished run {run.id} was cancelled, starting afresh")
    if run.id == want.id:
        engine.store.delete(run.no)  # a run with `id=` can only begin afresh under the same id
    return True


def is_set_aside(engine: Engine, run: Run) -> bool:
    """Whether a run was cancelled so that its next call begins afresh (`onward reset`, `--fresh`, `replace=True`)."""
    store = engine.store
    for entry in reversed(store.entries(run.no, after=max(-1, store.last_seq(run.no) - 50))):
        if entry.kind == "mark" and entry.name == "cancelled" and entry.value is not None:
            by = codec.decode(entry.value)
            return isinstance(by, str) and by.endswith(_AFRESH)
    return False


def _reopen(engine: Engine) -> Reopen:
    return Reopen(engine)


class Reopen:
    """Which failed outcomes are executed again when a run is continued."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __call__(self, run: Run) -> Sequence[Entry]:
        if run.state != "failed" or run.identity.startswith(STANDING):
            return ()  # what is parked in a pass that comes again and again waits for a person
        if run.kind != "workflow":
            return () if self._broke_off(run) else self._engine.store.failed_items(run.no)
        entries = self._engine.store.entries(run.no)
        marks = [e for e in entries if e.kind == "mark" and e.name == "raised" and e.value]
        if not marks or marks[-1].value is None:
            return ()
        keys = set(codec.decode(marks[-1].value))
        latest = {e.key: e for e in entries if e.key in keys}
        return [e for e in latest.values() if e.state == "failed"]

    def _broke_off(self, run: Run) -> bool:
        """Whether the last pass did not come to its end: it goes on before what it parked is retried."""
        if run.kind == "loop" and stopped_early(run):
            return True  # what it had parked in vain is open again
        store = self._engine.store
        latest = store.entries(run.no, after=store.last_seq(run.no) - 50)
        marks = [entry.name for entry in latest if entry.kind == "mark" and entry.name != "renamed"]
        return bool(marks) and marks[-1] == "released"


def _say_continuing(engine: Engine, run: Run, session: Session) -> None:
    if run.state == "waiting" and run.identity.startswith(STANDING):
        return  # nothing was interrupted
    age = observe.span(max(0.0, engine.store.now() - run.created_at))
    if run.kind == "workflow":
        entries = session.recorded.count("step", "item")
        steps = "1 recorded step" if entries == 1 else f"{entries:,} recorded steps"
        observe.say(f"continuing {run.name} ({run.id}), begun {age} ago, {steps} kept")
        return
    if run.identity.startswith("cursor:"):  # its place is its value, and no count
        at = "" if run.result is None else f", at {cursor_text(run.result)}"
        observe.say(f"continuing {run.name}, begun {age} ago{at}")
        return
    of = f" of {session.total:,}" if session.total is not None else ""
    observe.say(f"continuing {run.name}, begun {age} ago, at {session.done:,}{of}")


def _too_old(engine: Engine, run: Run, max_age_s: float) -> RunConflict:
    age = observe.span(engine.store.now() - run.created_at)
    return RunConflict(
        run.id,
        f"the unfinished run {run.id} of `{run.name}` was begun {age} ago, which is more than "
        f"max_age={observe.span(max_age_s)}; nothing was begun. Continue it without max_age=, or set it aside with "
        f"`onward cancel {run.id}`.",
    )


def outward(signal: Unwind, session: Session) -> BaseException:
    """What the caller of a direct call sees of a signal that ended its run."""
    cause = signal.__cause__
    if isinstance(signal, Stopped) and isinstance(
        cause, (RunStuck, JournalError, RunConflict, TooManyFailures)
    ):
        return cause
    if isinstance(signal, Stopped):
        asked, run_id = session.asked, session.run.id
        error = RunCancelled(run_id) if asked == "cancel" else RunError(run_id, str(signal))
        return parting.stopped(error, None if session.withdrawn else asked)
    if isinstance(signal, LeaseLost):
        return RunError(
            session.run.id, f"{signal}; what it had recorded is kept and the new holder continues it"
        )
    return signal

"""Find or begin the run that a direct call means."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Literal

from onward.api.identity import command_line, fresh_id
from onward.core import codec
from onward.core.decide import acted
from onward.core.errors import (
    AlreadyRunning,
    Diverged,
    JournalError,
    LeaseLost,
    OnwardError,
    RunCancelled,
    RunConflict,
    RunError,
    Stopped,
    Unwind,
)
from onward.core.model import Entry, Run, RunKind
from onward.runtime import observe
from onward.runtime.engine import Engine
from onward.runtime.session import Session

IfRunning = Literal["raise", "wait"]

# How often a caller that waits for another process looks (seconds).
_LOOK_S = 0.05
_freshened: set[str] = set()


def wanted(kind: RunKind, name: str, identity: str, *, args: str | None = None, total: int | None = None) -> Run:
    """The run that would be begun if there is no unfinished one of this identity."""
    return Run(
        fresh_id(name), kind, name, identity, args=args, total=total, command=command_line()
    )


def obtain(
    engine: Engine, want: Run, *, if_running: IfRunning = "raise", max_age_s: float | None = None, fresh: bool = False
) -> Session | Run:
    """A session on the unfinished run of this identity, or on a new one.

    Returns the ended Run instead if another process had it and `if_running="wait"` waited for its end.
    """
    if if_running not in ("raise", "wait"):
        raise OnwardError(f'if_running={if_running!r} is not possible; give "raise" or "wait"')
    fresh = fresh or _freshen(want.identity)
    waited: Run | None = None
    while True:
        run = engine.store.open_run(want.identity)
        if run is None:
            if waited is not None:
                return engine.store.run(waited.id) or waited
            session = engine.open(want)
            if session is not None:
                return session
            continue
        if max_age_s is not None and engine.store.now() - run.created_at > max_age_s and not fresh:
            raise _too_old(engine, run, max_age_s)
        if fresh and _cancel(engine, run):
            continue
        session = None if waited is not None and run.state != "running" else engine.claim(run, _reopen(engine))
        if session is not None:
            _say_continuing(engine, run, session)
            return session
        current = engine.store.run(run.id)
        if current is None or current != run:
            continue  # it moved between the read and the claim
        if run.owner == engine.owner or if_running == "raise":
            raise AlreadyRunning(run.id, f"`{run.name}`", engine.holder(run))
        waited = run
        time.sleep(_LOOK_S)


def _freshen(identity: str) -> bool:
    """Whether `--fresh` applies: once for each identity in a process."""
    if os.environ.get("ONWARD_FRESH") != "1" or identity in _freshened:
        return False
    _freshened.add(identity)
    return True


def _cancel(engine: Engine, run: Run) -> bool:
    if run.state == "running" and not engine.is_dead(run):
        return False
    change = acted(run, "cancelled", by="--fresh", now=engine.store.now())
    if change is None:
        return False
    engine.committer.commit(change)
    observe.say(f"{run.name}: the unfinished run {run.id} was cancelled, starting afresh")
    return True


def _reopen(engine: Engine) -> "Reopen":
    return Reopen(engine)


class Reopen:
    """Which failed outcomes are executed again when a run is continued."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __call__(self, run: Run) -> Sequence[Entry]:
        if run.state != "failed":
            return ()
        if run.kind != "workflow":
            return self._engine.store.failed_items(run.no)
        entries = self._engine.store.entries(run.no)
        marks = [e for e in entries if e.kind == "mark" and e.name == "raised" and e.value]
        if not marks or marks[-1].value is None:
            return ()
        keys = set(codec.decode(marks[-1].value))
        latest = {e.key: e for e in entries if e.key in keys}
        return [e for e in latest.values() if e.state == "failed"]


def _say_continuing(engine: Engine, run: Run, session: Session) -> None:
    age = observe.span(max(0.0, engine.store.now() - run.created_at))
    if run.kind == "workflow":
        entries = sum(1 for e in session.recorded.values() if e.kind in ("step", "item"))
        observe.say(f"continuing {run.name} ({run.id}), begun {age} ago, {entries:,} recorded steps kept")
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
    if isinstance(signal, Stopped) and isinstance(cause, (Diverged, JournalError)):
        return cause
    if isinstance(signal, Stopped):
        return RunCancelled(session.run.id) if session.asked == "cancel" else RunError(session.run.id, str(signal))
    if isinstance(signal, LeaseLost):
        return RunError(session.run.id, f"{signal}; what it had recorded is kept and the new holder continues it")
    return signal

"""Where the code that runs now stands: in which run, which scope, which attempt.

A context variable carries it. Threads of a bare pool do not inherit it and asyncio tasks inherit a copy, so each place
also remembers the thread and task that own it: a step called from anywhere else could get no stable key.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from onward.core.errors import WrongThread
from onward.core.keys import SEPARATOR, Scope
from onward.core.lazily import Lazily

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = Lazily("asyncio")

if TYPE_CHECKING:
    from onward.runtime.session import Session


class Here:
    """One place in a run: the scope that names calls made in it, and who may make them."""

    __slots__ = ("attempt", "inside_step", "key", "opened", "process", "rows", "session", "task", "thread")

    def __init__(
        self,
        session: Session,
        key: str,
        attempt: int = 1,
        inside_step: bool = False,  # noqa: FBT001, FBT002  (made for every step: keywords would cost as much again)
        thread: int = 0,  # these three are set by the driver, when the code begins
        task: Any = None,
        process: int = 0,
    ) -> None:
        self.session = session
        self.key = key
        self.attempt = attempt
        self.inside_step = inside_step
        self.thread = thread
        self.task = task
        self.process = process
        # What the body of a loop's item has written to sinks so far; None where rows have no item to go with.
        self.rows: dict[Any, list[str]] | None = None
        self.opened: Scope | None = None  # its scope, once that is made

    @property
    def scope(self) -> Scope:
        """Names what is called here. Made when it is first asked for: most steps call nothing durable."""
        scope = self.opened
        if scope is None:
            key = self.key
            self.opened = scope = Scope(key + SEPARATOR, key.count(SEPARATOR) + 1) if key else Scope()
        return scope

    @scope.setter
    def scope(self, scope: Scope) -> None:
        self.opened = scope

    def own(self) -> None:
        """The calling thread and task are the ones that may call steps here."""
        self.thread, self.task, self.process = _get_ident(), running_task(), _process

    def within(self, key: str, inside_step: bool) -> Here:  # noqa: FBT001
        """The place inside of a unit that the thread and task which stand here execute at once."""
        # As Here(...), whose constructor is a call from Python to C and back.
        here = _new(Here)
        here.session, here.key, here.attempt, here.inside_step = self.session, key, 1, inside_step
        here.thread, here.task, here.process = self.thread, self.task, self.process
        here.rows = here.opened = None
        return here


_new = object.__new__
_get_ident = threading.get_ident
_modules = sys.modules
_process = os.getpid()  # kept here, so that no step asks the system
_here: ContextVar[Here | None] = ContextVar("onward_here", default=None)
# Sessions that execute user code in this process, with the threads that existed when each began.
_active: weakref.WeakKeyDictionary[Session, frozenset[int]] = weakref.WeakKeyDictionary()
# Places that have no session yet: see `light`.
_lights: dict[Here, frozenset[int]] = {}


def here(*, begins_run: bool = False) -> Here | None:
    """The place of the calling code, or None outside any run. Raises WrongThread where its order is lost.

    What `begins_run` where there is none is recorded in any case, so threads that onward did not start may call it.
    """
    place = _here.get()
    if place is None:
        if (_active or _lights) and not begins_run:
            _refuse_stray()
        return None
    # Without asyncio there is no task; asked here, because every step comes by.
    task = running_task() if "asyncio" in _modules else None
    if place.task is not task or place.thread != _get_ident() or place.process != _process:
        raise WrongThread("a step or other durable call", _stray_name(place), place.session.run.id)
    return place


def peek() -> Here | None:
    """As `here`, for calls whose order does not matter (logging, `current`)."""
    return _here.get()


set_here = _here.set
reset_here = _here.reset


def go_back(place: Here | None) -> None:
    """The body of a loop is left: the code stands where it stood before, if that run goes on still."""
    _here.set(None if place is not None and place.session.over else place)


def running_task() -> asyncio.Task[Any] | None:
    """The asyncio task that runs in this thread, if any. Cheap where there is no loop."""
    loop = asyncio._get_running_loop() if "asyncio" in _modules else None
    return None if loop is None else asyncio.current_task(loop)  # which would ask for the loop once more


def begin(session: Session) -> None:
    _active[session] = _threads()


# The threading module's own list of threads, where Python has it: read in a tenth of the time of a copy of it.
_running: dict[int, object] | None = getattr(threading, "_active", None)


def _threads() -> frozenset[int]:
    """The threads that exist now."""
    if _running is not None:
        return frozenset(_running)
    return frozenset(t.ident for t in threading.enumerate() if t.ident is not None)


def end(session: Session) -> None:
    _active.pop(session, None)


def begin_light(place: Here) -> None:
    """As `begin`, of a place whose session does not exist yet."""
    _lights[place] = _threads()


def end_light(place: Here) -> None:
    _lights.pop(place, None)


def raise_light(place: Here, session: Session) -> None:
    """The session of the place exists: its user code began when the place did."""
    before = _lights.pop(place, None)
    _active[session] = _threads() if before is None else before


def _refuse_stray() -> None:
    """Raise if this thread looks like a part of a run that onward did not start: its calls would go unrecorded."""
    thread = threading.current_thread()
    if thread is threading.main_thread():
        return
    pooled = thread in _pool_threads()
    for session, before in list(_active.items()):
        if pooled or thread.ident not in before:
            raise WrongThread("a step or other durable call", f"thread {thread.name}", session.run.id)
    for place, before in list(_lights.items()):
        if pooled or thread.ident not in before:
            raise WrongThread("a step or other durable call", f"thread {thread.name}", place.session.run.id)


def _pool_threads() -> Any:
    # The standard library's own list of executor threads; without it (another Python) only newer threads are noticed.
    pools = sys.modules.get("concurrent.futures.thread")
    return getattr(pools, "_threads_queues", ())


def _stray_name(place: Here) -> str:
    if place.process != _process:
        return f"process {os.getpid()}, a fork of the one that holds the run"
    if place.thread != _get_ident():
        return f"thread {threading.current_thread().name}"
    task = running_task()
    return f"task {task.get_name()}" if task is not None else "outside the task that owns it"


def _forget_in_child() -> None:
    global _process
    _process = os.getpid()
    _active.clear()
    _lights.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)

"""The cursors that this process holds: their leases, where they stand, and moves that wait for their item."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from typing import Any

from onward.api import connect, endings
from onward.api.opening import obtain, outward, wanted
from onward.core import codec
from onward.core.decide import moved
from onward.core.errors import Unwind
from onward.core.model import Change, Refused, Run
from onward.runtime import current
from onward.runtime.drive import drive
from onward.runtime.effects import Flow, Keep, Now
from onward.runtime.engine import Engine
from onward.runtime.outcomes import payload
from onward.runtime.session import Session


class Held:
    """One cursor that this process holds, for all that use it here."""

    def __init__(self, engine: Engine, session: Session, start: Any) -> None:
        self.engine, self.session, self.users = engine, session, 0
        self.value, self.at = start, None
        if session.run.result is not None:
            row = codec.decode(session.run.result)
            self.value, self.at = row["value"], row["at"]
        self._durable: tuple[Any, float | None] = (self.value, self.at)
        self._graceful = endings.Graceful()
        self._graceful.__enter__()

    @property
    def released(self) -> bool:
        return self.session.run.no not in self.engine.sessions

    def change(self, value: Any, now: float) -> Change:
        """The change that moves the cursor."""
        return moved(self.session.run, _row(value, now), now=now)

    def moved(self, value: Any, now: float) -> None:
        """Take in that this change is durable."""
        after = self.change(value, now).after
        assert after is not None, "a move writes the run's row"
        self.session.run = after
        self.value, self.at = self._durable = value, now

    def move(self, value: Any) -> Flow[None]:
        """Move it by itself, durably."""
        yield from self.session.check()
        now: float = yield Now()
        self.session.applied((yield Keep((self.change(value, now),))))
        self.moved(value, now)

    def expect(self, value: Any, now: float) -> None:
        """It will stand there, once the item is done in whose body that was said."""
        self.value, self.at = value, now

    def go_back(self) -> None:
        """The item has not ended: it stands where it stood."""
        self.value, self.at = self._durable

    def end(self) -> None:
        """Give the run back: it waits for the next process that wants it."""
        try:
            if self.session.unwinding is None and not self.released:
                drive(self.session.rest(), self.engine, self.session)
        except Unwind:
            pass  # the journal or the lease is gone, and with it what there was to give back
        finally:
            self.engine.let_go(self.session)
            if threading.current_thread() is threading.main_thread():
                self._graceful.__exit__(None, None, None)


def _row(value: Any, now: float) -> str:
    text = payload({"value": value, "at": now}, "the cursor")
    assert text is not None, "a dict has a text"
    return text


class Moves:
    """What cursors do in the body of a loop's item: it becomes durable with the item, or is dropped with it."""

    def __init__(self) -> None:
        self._new: dict[Held, Any] = {}

    def add(self, held: Held, value: Any) -> None:
        self._new[held] = value
        held.expect(value, held.engine.store.now())

    def made(self, end: Callable[[tuple[Change, ...]], Flow[Refused | None]]) -> Flow[None]:
        """Let `end` record the item together with the moves: all of it, or nothing."""
        now: float = yield Now()
        try:
            for held in self._new:
                try:
                    yield from held.session.check()
                except Unwind as signal:
                    raise outward_of(signal, held) from signal.__cause__
            refused = yield from end(tuple(held.change(value, now) for held, value in self._new.items()))
            if refused is not None:
                raise self._lost(refused)
        except BaseException:
            self.dropped()
            raise
        for held, value in self._new.items():
            held.moved(value, now)

    def _lost(self, refused: Refused) -> BaseException:
        """What the loop's caller sees when somebody else has taken one of the cursors meanwhile."""
        held = next(held for held in self._new if held.session.run.no == refused.run_no)
        return outward_of(held.session.refused(refused), held)

    def dropped(self) -> None:
        for held in self._new:
            held.go_back()


def outward_of(signal: Unwind, held: Held) -> BaseException:
    """What a person sees of a signal that ended the hold on a cursor."""
    return outward(signal, held.session)


_held: dict[str, Held] = {}
_lock = threading.RLock()
_at_exit = False


def hold(name: str, start: Any) -> Held:
    """The cursor of this name, held by this process. Raises AlreadyRunning if another one holds it."""
    global _at_exit
    engine = connect.engine()
    with _lock:
        held = _held.get(name)
        if held is None or held.engine is not engine or held.released:
            want = wanted("loop", f"cursor {name}", f"cursor:{name}")
            session = obtain(engine, want)
            assert not isinstance(session, Run), "who does not wait gets no ended run"
            # No user code is executed in this run: threads that others start have nothing to do with it.
            current.end(session)
            held = _held[name] = Held(engine, session, start)
            if not _at_exit:
                _at_exit = True
                atexit.register(
                    _end_all
                )  # before the journal is closed: what was registered last is called first
        held.users += 1
        return held


def release(held: Held) -> None:
    """One user less; the last one gives the cursor back."""
    with _lock:
        held.users -= 1
        if held.users > 0:
            return
        for name, one in list(_held.items()):
            if one is held:
                del _held[name]
        held.end()


def some_moved() -> bool:
    """Whether this process holds a cursor that has been moved: then a source may begin where that stands."""
    with _lock:
        return any(held.session.run.result is not None for held in _held.values())


def _end_all() -> None:
    with _lock:
        for held in list(_held.values()):
            held.end()
        _held.clear()


def _forget_in_child() -> None:
    global _lock
    _lock = threading.RLock()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)

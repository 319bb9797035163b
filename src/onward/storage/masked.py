"""Hold back Python signal handlers for a moment, so that Ctrl-C cannot cut a commit in two.

Python runs signal handlers in the main thread, between any two bytecodes; what a handler raises appears there.
A mask of
the operating system does not help: another thread takes the signal and the handler still runs in the main one. So
while a mask is on, handlers written in Python are replaced by one that remembers the signal; they are called at the
end.
Signals with their default action (a plain SIGTERM, SIGKILL) are not touched: they end the process, which is safe.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

# Those that people, supervisors and batch systems send, and alarms that time-out helpers turn into exceptions.
_SIGNALS = tuple(
    int(getattr(signal, name))
    for name in (
        *("SIGINT", "SIGTERM", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGQUIT"),
        *("SIGXCPU", "SIGVTALRM", "SIGPROF"),
    )
    if hasattr(signal, name)
)
# The functions below those of the `signal` module, which turn every number into an enum and back: 2 µs instead of 40.
_raw: Any = vars(signal)["_signal"]
_get, _set = _raw.getsignal, _raw.signal


_get_ident = threading.get_ident
_main = threading.main_thread().ident
_outermost: Masked | None = None  # that of the main thread


class Patient:
    """A handler that heeds the mask by itself, so that none of its signals need a replacement."""

    def __init__(self, handler: Callable[[int, FrameType | None], object]) -> None:
        self._handler = handler

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if _outermost is None:
            self._handler(number, frame)
        else:
            _outermost.note(number, frame)


class Ending(Patient):
    """A patient handler that does nothing but raise what ends the program."""


class Masked:
    """A context manager. Costs next to nothing outside the main thread, about 2 µs in it.

    What every step passes through calls `put_on` and `take_off` instead: a `with` and a constructor double its cost.
    """

    # Of the class until there is something to remember: no constructor is called.
    _came: list[tuple[int, FrameType | None]] | tuple[()] = ()
    _replaced: tuple[tuple[int, Any], ...] | None = None

    def put_on(self) -> None:
        """Hold signals back. Nothing is to stand between this and the `try` whose `finally` takes it off again."""
        global _outermost
        if _get_ident() != _main:
            return
        if _outermost is None:
            _outermost = self
        try:
            handlers = tuple(map(_get, _SIGNALS))
            # Noted first: a signal that strikes between the two lines finds its own handler still in place.
            self._replaced = replaced = _found if handlers == _seen else _replaceable(handlers)
            if replaced:
                note = self.note
                for number, handler in replaced:
                    before = _set(number, note)
                    if before is not handler:  # another handler, which ran meanwhile, has changed it
                        self._replaced = (*self._replaced, (number, before))
        except BaseException:  # raised by a handler that was not replaced yet
            self._restore()
            raise

    def take_off(self) -> None:
        """Call the handlers of the signals that came; raises what the first of them raised."""
        if self._replaced or _outermost is self:
            self._restore()

    __enter__ = put_on

    def note(self, number: int, frame: FrameType | None) -> None:
        """A signal came; its handler is called when the mask is taken off."""
        self._came = [*self._came, (number, frame)]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.take_off()

    def _restore(self) -> None:
        """Put every handler back, then let those run whose signals came; raises what the first of them raised."""
        global _outermost
        raised: BaseException | None = None
        while True:
            try:
                for number, handler in self._replaced or ():
                    _set(number, handler)
                self._replaced = None
                if _outermost is self:
                    _outermost = None
                while self._came:
                    # Called, not raised anew: an event loop was woken when the signal came, and would hear it twice.
                    first, *self._came = self._came
                    _call(*first)
                break
            except BaseException as interruption:  # the rest must be put back all the same
                raised = raised or interruption
        if raised is not None:
            raise raised


def _call(number: int, frame: FrameType | None) -> None:
    handler = _get(number)
    if callable(handler):
        handler(number, frame)
    else:  # changed by another handler on the way: then it is for the system to act
        signal.raise_signal(number)


# All handlers as they were seen last, and those that have to be replaced, with their numbers. Handlers change so seldom
# that looking at all of them in one call and comparing is a third of the cost of sorting them out again.
_seen: tuple[Any, ...] = ()
_found: tuple[tuple[int, Any], ...] = ()


def _replaceable(handlers: tuple[Any, ...]) -> tuple[tuple[int, Any], ...]:
    """The signals whose handlers are written in Python and know nothing of the mask, with these handlers."""
    global _seen, _found
    _seen = ()  # interrupted below, neither is taken for the other's
    _found = found = tuple(
        (number, handler)
        for number, handler in zip(_SIGNALS, handlers, strict=True)
        # Else the default action, or none that Python knows of.
        if callable(handler) and type(handler) is not int and not isinstance(handler, Patient)
    )
    _seen = handlers
    return found


# All handlers when they were judged last, and whether none of them does anything but end a call.
_judged: tuple[Any, ...] = ()
_ends_only = False


def ends_only() -> bool:
    """Whether a signal can do no more to the calling thread than end what it does, as by a KeyboardInterrupt.

    So it is in every thread but the main one, and in that one as long as the program has set no handler. Any other may
    want of the journal what the interrupted call holds, and wait for it for ever.
    """
    global _judged, _ends_only
    if _get_ident() != _main:
        return True
    handlers = tuple(map(_get, _SIGNALS))
    if handlers != _judged:
        _judged = ()  # interrupted below, neither is taken for the other's
        _ends_only = all(
            handler is signal.default_int_handler or type(handler) in (int, Ending) or not callable(handler)
            for handler in handlers
        )
        _judged = handlers
    return _ends_only


def _forget_in_child() -> None:
    global _main, _outermost
    _main = threading.get_ident()  # the thread that forked is the child's main one
    _outermost = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)

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


class Masked:
    """A context manager. Costs next to nothing outside the main thread, about 2 µs in it."""

    __slots__ = ("_came", "_replaced")

    def __init__(self) -> None:
        self._came: list[tuple[int, FrameType | None]] = []
        self._replaced: list[tuple[int, Any]] | None = None

    def __enter__(self) -> None:
        global _outermost
        if _get_ident() != _main:
            return
        if _outermost is None:
            _outermost = self
        try:
            handlers = tuple(map(_get, _SIGNALS))
            numbers = _numbers if handlers == _seen else _replaceable(handlers)
            if numbers:
                replaced = self._replaced = []
                note = self.note
                for number in numbers:
                    # Noted first: a signal that strikes between the two lines finds its own handler still in place.
                    replaced.append((number, _get(number)))
                    _set(number, note)
        except BaseException:  # raised by a handler that was not replaced yet
            self._restore()
            raise

    def note(self, number: int, frame: FrameType | None) -> None:
        """A signal came; its handler is called when the mask is taken off."""
        self._came.append((number, frame))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._replaced or _outermost is self:
            self._restore()

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
                    _call(*self._came.pop(0))
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


# All handlers as they were seen last, and the numbers of those that have to be replaced. Handlers change so seldom
# that looking at all of them in one call and comparing is a third of the cost of sorting them out again.
_seen: tuple[Any, ...] = ()
_numbers: tuple[int, ...] = ()


def _replaceable(handlers: tuple[Any, ...]) -> tuple[int, ...]:
    """The signals whose handlers are written in Python and know nothing of the mask."""
    global _seen, _numbers
    _seen = ()  # interrupted below, neither is taken for the other's
    _numbers = tuple(
        number
        for number, handler in zip(_SIGNALS, handlers, strict=True)
        # Else the default action, or none that Python knows of.
        if callable(handler) and type(handler) not in (int, Patient)
    )
    _seen = handlers
    return _numbers


def _forget_in_child() -> None:
    global _main, _outermost
    _main = threading.get_ident()  # the thread that forked is the child's main one
    _outermost = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)

"""How a process ends while a loop is open: politely on SIGTERM, and with the blame where an exception puts it.

A generator cannot see the exception that leaves the body of its loop: `break`, `return` and `raise` all look
alike. So an
item left open is remembered, and if the program then ends with an exception that passed through that loop, the
exception hook counts it against the item.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
from types import CodeType, FrameType, TracebackType
from typing import Any, Final, NamedTuple

from onward.api import parting
from onward.core import codec
from onward.core.acts import blamed
from onward.core.errors import OnwardError, StepFailed, Unwind
from onward.core.model import Begun, Run
from onward.runtime.engine import Engine
from onward.storage.masked import Ending


class Graceful:
    """While it is on, SIGTERM and SIGHUP end the program like Ctrl-C: the run is given back, nothing is blamed.

    Only in the main thread, and only where the program has no handler of its own.
    """

    _depth = 0
    _replaced: dict[int, Any] = {}  # noqa: RUF012  (signal handlers belong to the process, not to an instance)

    def __enter__(self) -> None:
        self._on = threading.current_thread() is threading.main_thread()
        if not self._on:
            return
        Graceful._depth += 1
        for number in (signal.SIGTERM, signal.SIGHUP) if hasattr(signal, "SIGHUP") else (signal.SIGTERM,):
            if signal.getsignal(number) is signal.SIG_DFL:
                Graceful._replaced[number] = signal.SIG_DFL
                signal.signal(number, _stop)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        if not self._on:
            return
        self._on = False
        Graceful._depth -= 1
        # A loop that was forgotten ends in whatever thread collects the garbage, where no handler can be set: the next
        # one that ends in the main thread does it.
        if Graceful._depth == 0 and threading.current_thread() is threading.main_thread():
            while Graceful._replaced:
                number, handler = Graceful._replaced.popitem()
                if signal.getsignal(number) is _stop:
                    signal.signal(number, handler)


@Ending
def _stop(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


class _Left(NamedTuple):
    engine: Engine
    run: Run
    begun: tuple[Begun, ...]
    # Where the body was left: in the loop's function, or behind a progress bar.
    lines: frozenset[tuple[CodeType, int]]


# As inspect.CO_GENERATOR.
_GENERATOR: Final = 0x20
_left: list[_Left] = []
_hooked = False


def left_open(
    engine: Engine, run: Run, begun: tuple[Begun, ...], lines: frozenset[tuple[CodeType, int]]
) -> None:
    """An item's body was left before its end, at one of these lines of code; why is not known yet."""
    _left[:] = [*(one for one in _left if one.run.no != run.no), _Left(engine, run, begun, lines)][-20:]


def lines_of(frame: FrameType | None) -> frozenset[tuple[CodeType, int]]:
    """Where `frame` stands now, and if it is a generator that hands items on, those it hands them to."""
    lines: set[tuple[CodeType, int]] = set()
    while frame is not None:
        lines.add((frame.f_code, frame.f_lineno))
        frame = frame.f_back if frame.f_code.co_flags & _GENERATOR else None
    return frozenset(lines)


def install_hook() -> None:
    """Look at the exception that ends the program, then pass it on to the hook that was there.

    An error of onward's own is shown as its sentence and the line of the program it came from, without a
    traceback through onward.
    """
    global _hooked
    if _hooked:
        return
    _hooked = True
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, tb: TracebackType | None) -> None:
        parting.uncaught(error)
        if isinstance(error, Exception) and not isinstance(error, OnwardError):
            _blame(error, tb)
        # StepFailed stands for an error of the program's own, whose traceback the person needs.
        if isinstance(error, (OnwardError, Unwind)) and type(error) is not StepFailed:
            sys.stderr.write(f"onward: {error}{_line_of(tb)}\n")
            return
        before(kind, error, tb)

    sys.excepthook = hook


def _line_of(tb: TracebackType | None) -> str:
    """The innermost line of the program itself that an error passed through."""
    frames = [f for f in traceback.extract_tb(tb) if not f.filename.startswith("<")]
    lines = [f for f in frames if not _is_between(os.path.abspath(f.filename))]
    if not lines:
        return ""
    last = lines[-1]
    return f"\n  {last.filename}, line {last.lineno}" + (f": {last.line}" if last.line else "")


def _is_between(file: str) -> bool:
    """Whether a file is of onward, or of Python's own that it passes through, such as contextlib."""
    if file.startswith(os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep):
        return True
    # What is installed may lie within the folder of the standard library.
    standard = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
    return file.startswith(standard) and not file.startswith(os.path.join(standard, "site-packages", ""))


def _blame(error: Exception, tb: TracebackType | None) -> None:
    lines = set()
    while tb is not None:
        lines.add((tb.tb_frame.f_code, tb.tb_lineno))
        tb = tb.tb_next
    for left in _left:
        # The line too: an error further down in the function is no fault of an item that a `break` left.
        if not left.lines.isdisjoint(lines):
            # Whatever goes wrong here, the program's own error is what the person must see.
            with contextlib.suppress(Exception):
                now = left.engine.store.now()
                left.engine.committer.commit(blamed(left.run, left.begun, codec.encode_error(error), now=now))
    _left.clear()


install_hook()

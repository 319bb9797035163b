"""Execute a function in a process of its own, from the side of the process that waits for it.

Functions go there by name and values as the codec writes them, so nothing is pickled. Whatever happens in the other
process (a crash, a limit, a timeout), this one gets a single answer, and then nothing of the other is left.
"""

from __future__ import annotations

import contextlib
import contextvars
import select
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from onward.core import codec, limits
from onward.core.errors import NotRecordable, OnwardError, PayloadError, StepTimeout, Unwind
from onward.core.lazily import Lazily
from onward.runtime import beats, wardens, wire
from onward.runtime.drive import drive
from onward.runtime.engine import Engine
from onward.runtime.session import Session

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = Lazily("asyncio")

# How often a wait looks whether its lease is lost (seconds).
_LOOK_S: Final = 0.5


class ProcessDied(OnwardError):
    """The process of an isolated step ended before there was an outcome; the message says how."""


class ChildTraceback(Exception):
    """Where in its own process a step failed: the cause of the error that is raised here."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class Answer(NamedTuple):
    """What an isolated step returned: the value, and its text as the journal holds it."""

    value: Any
    text: str | None


# -- one call ---------------------------------------------------------------------------------------


class Call:
    """One order on its way: begun, watched, and over when `answer` returns or raises."""

    def __init__(self, engine: Engine, session: Session, order: wire.Order, timeout_s: float | None) -> None:
        self._engine, self._session, self._order, self._timeout_s = engine, session, order, timeout_s
        self._warden: wardens.Warden | None = None
        self._frames = wire.Frames()
        self._outcome: tuple[bytes, bytes] | None = None
        self._deadline: float | None = None
        self._timed_out = self._stopped = False

    def stop(self) -> None:
        """End it from another thread."""
        self._stopped = True
        warden = self._warden
        if warden is not None:
            warden.kill()

    def answer(self) -> Answer:
        """What the function returned. Raises its error, StepTimeout, or ProcessDied."""
        code = self._execute()
        if self._timed_out and self._outcome is None:
            assert self._timeout_s is not None
            raise StepTimeout(self._order.what, self._timeout_s, "ended with its process")
        if self._outcome is None:
            raise ProcessDied(f"the process of {self._order.what} {how(code)}")
        letter, body = self._outcome
        text = wire.untext(body)
        if letter == wire.ERROR:
            raise _error(text)
        return _value(text, self._order.what)

    def _execute(self) -> int | None:
        """Wait for the worker's end; its exit code, None when the warden is gone too."""
        warden = self._warden = wardens.take()
        whole = False
        try:
            with warden.begin(self._order) as line:
                if self._timeout_s is not None:
                    self._deadline = time.monotonic() + limits.LOAD_S + self._timeout_s
                code = self._watch(warden, line)
            whole = code is not None
            return code
        except (BrokenPipeError, ConnectionResetError):
            return None
        finally:
            if whole:
                wardens.put_back(warden)
            else:
                warden.end()

    def _watch(self, warden: wardens.Warden, line: socket.socket) -> int | None:
        poll = select.poll()
        poll.register(warden.control, select.POLLIN)
        poll.register(line, select.POLLIN)
        if self._stopped:
            warden.kill()
        while True:
            ready = {fd for fd, _ in poll.poll(1000 * self._patience())}
            if line.fileno() in ready and not self._listen(line):
                poll.unregister(line)
            if warden.control.fileno() in ready:
                frame = wire.receive(warden.control)
                self._listen(line)  # what the worker said last
                return None if frame is None else wire.code_of(frame[1])
            self._look(warden)

    def _patience(self) -> float:
        if self._deadline is None:
            return _LOOK_S
        return min(_LOOK_S, max(0.0, self._deadline - time.monotonic()))

    def _look(self, warden: wardens.Warden) -> None:
        if self._session.unwinding is not None and not self._stopped:
            self.stop()
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self._timed_out = self._outcome is None
            self._deadline = None
            warden.kill()

    # -- what the worker says ---------------------------------------------------------------------------

    def _listen(self, line: socket.socket) -> bool:
        """Take in all that has arrived; False when nothing more can come."""
        while True:
            try:
                data = line.recv(1 << 20)
            except BlockingIOError:
                return True
            except ConnectionResetError:
                return False
            if not data:
                return False
            for letter, body in self._frames.feed(data):
                self._hear(line, letter, body)

    def _hear(self, line: socket.socket, letter: bytes, body: bytes) -> None:
        if letter == wire.BEGUN:
            self._deadline = None if self._timeout_s is None else time.monotonic() + self._timeout_s
        elif letter in (wire.VALUE, wire.ERROR):
            self._outcome = letter, body
            self._deadline = time.monotonic() + limits.LEAVE_S
        else:
            self._beat(line, wire.untext(body), wait=letter == wire.SURE_BEAT)

    def _beat(self, line: socket.socket, text: str, *, wait: bool) -> None:
        flow = beats.beat(self._session, self._order.key, text, wait=wait)
        try:
            drive(flow, self._engine, self._session)
        except Unwind as signal:  # the worker is ended for it, and hears why until then
            if wait:
                wire.send(line, wire.REFUSED, wire.text(signal))
            return
        if wait:
            wire.send(line, wire.KEPT)


def _error(text: str) -> Exception:
    error = codec.decode_error(text)
    error.__cause__ = ChildTraceback(codec.decode(text)["traceback"])
    error.__onward_recorded__ = text  # type: ignore[attr-defined]
    return error


def _value(text: str, what: str) -> Answer:
    if text == "null":
        return Answer(None, None)
    try:
        return Answer(codec.decode(text), text)
    except PayloadError as problem:
        cure = f"it cannot be read here ({problem.problem})"
        raise NotRecordable(f"the result of {what}", "$", "value", cure) from problem


def how(code: int | None) -> str:
    """How a process ended, for a sentence."""
    if code is None:
        return "and the one that watched it were killed"
    if code >= 0:
        return f"ended with exit code {code} before it returned"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = ", as the system does when memory runs out" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"


# -- for async callers ------------------------------------------------------------------------------


async def answer_async(call: Call) -> Answer:
    """As `call.answer()`, in the running event loop. Cancelled, it returns when the process is gone."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Answer] = loop.create_future()

    def settle(answer: Answer | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            assert answer is not None, "it has one or the other"
            future.set_result(answer)

    def work() -> None:
        answer, error = None, None
        try:
            answer = call.answer()
        except BaseException as problem:
            error = problem
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to hear
            loop.call_soon_threadsafe(settle, answer, error)

    # A thread of its own, as there is a process of its own: a pool's threads may all be waiting for each other.
    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(work,), name="onward-isolate", daemon=True).start()
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        call.stop()
        await asyncio.wait([future], timeout=limits.LEAVE_S)
        if future.done() and not future.cancelled():
            future.exception()  # it is taken note of: the cancellation is what the caller hears
        raise

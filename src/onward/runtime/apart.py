"""What a worker does: execute one isolated step in a process of its own and say what came of it.

The step's process holds no journal. What happens there in the run's name (heartbeats) is said to the process that
holds the lease; durable calls, which only that process could record, are refused with a sentence.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import resource
import runpy
import socket
import sys
import threading
import time
import types
from typing import TYPE_CHECKING, Any, Final

from onward.core import codec
from onward.core.errors import UsageError
from onward.core.lazily import Lazily
from onward.core.model import Change, Entry, Progress, Run
from onward.runtime import beats, observe, wire
from onward.runtime.current import Here, set_here
from onward.runtime.outcomes import payload
from onward.runtime.session import Session

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = Lazily("asyncio")

# The name under which the caller's script is executed here, so that its `if __name__ == "__main__":` does not hold.
_MAIN: Final = "__onward_main__"


def work(line: socket.socket, body: bytes) -> None:
    """Execute the order and send its value or its error; the process then ends as any Python process does."""
    order, around = wire.unpack(body)
    observe.hush()
    try:
        _move_in(around, order)
        value = _call(line, order)
        letter, text = wire.VALUE, payload(value, order.what) or "null"
    except Exception as error:
        if isinstance(error, MemoryError) and order.memory_bytes is not None:
            error.add_note(f"{order.what} may use {order.memory_bytes:,} bytes (memory=)")
        letter, text = wire.ERROR, codec.encode_error(error)
    _flush()
    wire.send(line, letter, wire.text(text))


def _flush() -> None:
    """Write out what was printed. What cannot be is lost, and never the outcome of a step that was executed."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # closed by the step, taken away, or nobody reads any more
            stream.flush()


def _move_in(around: wire.Surroundings, order: wire.Order) -> None:
    os.environ.clear()
    os.environ.update(around.environ)
    os.chdir(around.cwd)
    sys.path[:], sys.argv[:] = around.path, around.argv
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # of a fresh interpreter: text files
    if order.memory_bytes is not None:
        # RLIMIT_DATA counts what is allocated and not what is merely reserved or mapped from files, so that libraries
        # with large address spaces live with it; Linux enforces it for all private memory since 4.7 (setrlimit(2)).
        which = resource.RLIMIT_DATA if sys.platform == "linux" else resource.RLIMIT_AS
        resource.setrlimit(which, (order.memory_bytes, order.memory_bytes))


def _call(line: socket.socket, order: wire.Order) -> Any:
    place = Away(order)
    beats.apart = Line(line, place.session)
    set_here(place)
    fn = _function(order)
    args, kwargs = codec.decode(order.args)
    wire.send(line, wire.BEGUN)
    if order.is_async:
        return asyncio.run(_awaited(fn(*args, **kwargs)))
    return fn(*args, **kwargs)


async def _awaited(coroutine: Any) -> Any:
    return await coroutine


# -- finding the function ---------------------------------------------------------------------------


def _function(order: wire.Order) -> Any:
    if order.script is not None:
        _load_main(order.script, order.script_module)
    for name in order.modules:
        importlib.import_module(name)
    is_main = order.module == "__main__"
    module = sys.modules["__main__"] if is_main else importlib.import_module(order.module)
    found = wire.stands_for(module, order.qualname)
    for _ in range(order.unwraps):
        found = found.__wrapped__
    return found


def _load_main(path: str, module: str | None) -> None:
    """Execute the caller's script under another name, and let what it defines be found as in the caller."""
    if module is not None:
        found = runpy.run_module(module, run_name=_MAIN, alter_sys=True)
    else:
        found = runpy.run_path(path, run_name=_MAIN)
    main = types.ModuleType("__main__")
    main.__dict__.update(found, __name__="__main__", __file__=path)
    sys.modules["__main__"] = sys.modules[_MAIN] = main
    _relabel(vars(main))


def _relabel(members: Any) -> None:
    """Classes of the script belong to `__main__`: so they are recorded, wherever the step was executed."""
    for one in list(members.values()):
        if isinstance(one, type) and one.__module__ == _MAIN:
            one.__module__ = "__main__"
            _relabel(vars(one))


# -- the place of an isolated step ------------------------------------------------------------------


class Away(Here):
    """A place whose run is held by another process: it says where the code stands, and durable calls are refused."""

    __slots__ = ()

    def __init__(self, order: wire.Order) -> None:
        run_id, kind, name = order.run
        run: Any = Run(run_id, kind, name, "")  # type: ignore[arg-type]  # a kind, as its holder wrote it
        session = AwaySession(run, last_seq=-1, safe_until=0.0, clock=time.monotonic)
        if order.beat is not None:
            session.beats[order.key] = _beat(order.key, order.beat)
        super().__init__(session, order.key, order.attempt, inside_step=True)

    # Every durable call asks first which thread may call it here.
    @property
    def thread(self) -> int:
        raise UsageError(
            f"a step or other durable call was made inside `{self.key}`, which is isolated: its process holds no "
            f"journal, so nothing could be recorded and nothing was executed. Make the call in the workflow or loop "
            f"around it and pass the result in; in a script, put what starts its work below "
            f'`if __name__ == "__main__":`.'
        )

    @thread.setter
    def thread(self, thread: int) -> None: ...


class AwaySession(Session):
    """What an isolated step may know of its run."""

    def progress_change(self, progress: Progress) -> Change:
        raise UsageError(
            "onward.progress was called in an isolated step, whose process holds no journal; nothing was recorded. "
            "Use onward.heartbeat."
        )


class Line:
    """Sends heartbeats to the process that records them, in order."""

    def __init__(self, line: socket.socket, session: Session) -> None:
        self._line, self._session = line, session
        self._lock = threading.Lock()

    def beat(self, key: str, text: str, *, wait: bool) -> None:
        """Pass a heartbeat on; with `wait` returns once it is durable, raises if it cannot be recorded."""
        with self._lock:
            wire.send(self._line, wire.SURE_BEAT if wait else wire.BEAT, wire.text(text))
            self._session.beats[key] = _beat(key, text)
            answer = wire.receive(self._line) if wait else (wire.KEPT, b"", [])
        if answer is None or answer[0] != wire.KEPT:
            why = "its run is gone" if answer is None else wire.untext(answer[1])
            raise UsageError(f"the heartbeat of `{key}` was not recorded: {why}")


def _beat(key: str, text: str) -> Entry:
    return Entry(key, "beat", "done", "heartbeat", value=text, checksum=codec.checksum(text))

"""What happens in an executor's worker: the function of a map or step is called there, and its outcome sent home.

Importing this is all that a fresh worker process needs of onward. Nothing is recorded here, so steps and other durable
calls are refused; `onward.current()`, `onward.idempotency_key()` and `onward.logger` work as at home.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from onward.core import codec
from onward.core.errors import WrongThread
from onward.core.keys import SEPARATOR, Scope
from onward.core.model import Run
from onward.core.retry import retry_after_s
from onward.runtime import current
from onward.runtime.current import Here
from onward.runtime.session import Session

# An orphaned worker notices this often (seconds) that the process that feeds it is gone.
_LOOK_S = 1.0


class WorkerDied(BaseException):
    """The worker that executed an item or step has died. `alone`: nothing else was in flight in its executor."""

    def __init__(self, error: BaseException, *, alone: bool, begun_at: float) -> None:
        self.error, self.alone, self.begun_at = error, alone, begun_at
        super().__init__(str(error))


class Unusable(BaseException):
    """There is no executor to go on with; says why. Not an error of the item or step that finds out."""


class Sent(NamedTuple):
    """Where an item or step belongs that is executed elsewhere."""

    run_id: str
    run_name: str
    key: str
    attempt: int
    home: int  # the process that records its outcome


class ByName(NamedTuple):
    """A decorated function: its module calls something else by that name, so that it cannot be sent itself."""

    module: str
    qualified: str

    def value(self) -> Any:
        """What the module calls so. Raises ImportError or AttributeError."""
        value: Any = importlib.import_module(self.module)
        for name in self.qualified.split("."):
            value = getattr(value, name)
        return value

    def found(self) -> Callable[..., Any]:
        """The function that was decorated."""
        return self.value().fn  # type: ignore[no-any-return]


def named(fn: Callable[..., Any]) -> Callable[..., Any] | ByName:
    """`fn` in a form that can be sent to another process."""
    module, qualified = getattr(fn, "__module__", None), getattr(fn, "__qualname__", None)
    if isinstance(module, str) and isinstance(qualified, str):
        there = ByName(module, qualified)
        try:
            value = there.value()
        except (ImportError, AttributeError):
            return fn
        if value is not fn and getattr(value, "fn", None) is fn:
            return there
    return fn


class Away(Session):
    """What a worker knows of the run: enough for the calls that only ask where they are. It leases nothing."""

    def __init__(self, sent: Sent) -> None:
        run = Run(sent.run_id, "map", sent.run_name, "")
        super().__init__(run, last_seq=-1, safe_until=0.0, clock=time.monotonic)

    def progress_change(self, progress: object) -> NoReturn:
        raise refusal(self.run.id)


class Elsewhere(Here):
    """The place of an item in a worker. Durable calls ask for its task and thread, and are refused."""

    __slots__ = ()

    def __init__(self, sent: Sent) -> None:
        self.session, self.scope, self.key = Away(sent), Scope(sent.key + SEPARATOR, 1), sent.key
        self.attempt, self.inside_step, self.rows = sent.attempt, True, None

    @property
    def task(self) -> object:
        raise refusal(self.session.run.id)

    @property
    def thread(self) -> int:  # type: ignore[override]
        raise refusal(self.session.run.id)


def refusal(run_id: str) -> WrongThread:
    """The error of a durable call in a worker."""
    return WrongThread(
        "a step or other durable call",
        f"a worker of an executor (process {os.getpid()})",
        run_id,
        "Call it from the program itself, with what comes back, or leave executor= out.",
    )


def execute(
    fn: Callable[..., Any] | ByName, args: tuple[Any, ...], kwargs: dict[str, Any], sent: Sent
) -> tuple[bool, Any, float | None]:
    """Call the function: (True, result, None), or (False, the error's record, seconds to wait).

    The error travels as its record, because one that cannot be unpickled would break the whole pool.
    """
    _watch(sent.home)
    token = current.set_here(Elsewhere(sent))
    try:
        return True, (fn.found() if isinstance(fn, ByName) else fn)(*args, **kwargs), None
    except Exception as error:
        return False, codec.encode_error(error), retry_after_s(error, now=time.time())
    finally:
        current.reset_here(token)


_watches = 0  # the process that has a watch already; a forked child needs its own


def _watch(home: int) -> None:
    """End this process when the one that feeds it is gone: killed, it leaves workers that wait for ever."""
    global _watches
    if _watches == os.getpid() or os.getpid() == home:
        return
    feeds = _feeder(home)
    if feeds is not None:
        _watches = os.getpid()
        threading.Thread(target=_end_when_orphaned, args=(feeds,), name="onward-watch", daemon=True).start()


def _feeder(home: int) -> Callable[[], bool] | None:
    """What tells whether the process `home` lives; None if this one is no child of it, as in a cluster."""
    if os.getppid() == home:
        return lambda: os.getppid() == home
    # Started by a fork server, which is its parent; `multiprocessing` knows for whom. Whoever it has started has it.
    multiprocessing = sys.modules.get("multiprocessing.process")
    parent = None if multiprocessing is None else multiprocessing.parent_process()
    return parent.is_alive if parent is not None and parent.pid == home else None


def _end_when_orphaned(feeds: Callable[[], bool]) -> None:
    while feeds():
        time.sleep(_LOOK_S)
    os._exit(1)

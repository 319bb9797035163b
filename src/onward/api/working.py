"""Be a worker: execute queued runs in this process until it is asked to end."""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, Final, get_args

from onward.api import connect
from onward.core import limits
from onward.core.errors import UsageError
from onward.core.model import CLOSED, RunState
from onward.runtime import observe, registry
from onward.runtime.engine import was_moved
from onward.runtime.worker import Ended, Worker

_UNFINISHED: Final[tuple[RunState, ...]] = tuple(
    state for state in get_args(RunState) if state not in CLOSED and state != "failed"
)


def load(targets: Sequence[str]) -> None:
    """Import the modules or scripts that define the workflows; raises UsageError with what is wrong with one."""
    for target in targets:
        if target.endswith(".py") or os.sep in target:
            _load_script(Path(target))
        else:
            _load_module(target)
    registry.refuse_clashes()


def _load_module(name: str) -> ModuleType:
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise
        raise UsageError(
            f"there is no module `{name}` here ({os.getcwd()}); no worker was started. Name a module or a script, such "
            f"as app.py."
        ) from None


def _load_script(path: Path) -> None:
    """Execute a script as a module of its name: what stands below `if __name__ == "__main__"` is left out."""
    if not path.is_file():
        raise UsageError(f"there is no script {path}; no worker was started")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name = path.stem
    if name.isidentifier() and name not in sys.modules:
        _load_module(name)
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is no Python script; no worker was started")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(name, module)
    spec.loader.exec_module(module)


def work(
    *,
    queues: Sequence[str] = (),
    concurrency: int = limits.CONCURRENCY,
    burst: bool = False,
    at_most: int | None = None,
    drain_s: float = limits.DRAIN_S,
    told: Callable[[Ended], None] = lambda ended: None,
) -> int:
    """Execute queued runs of the workflows that this process has defined; how many were left unfinished at the end.

    Returns after SIGTERM or Ctrl-C: what is executed gets `drain_s` seconds to end, then it is given back at its next
    step. A second signal ends the process at once, which is safe. With `burst` it returns when nothing is ready.
    """
    if not registry.names():
        raise UsageError(
            "no workflow is defined here, so there is nothing to work on; no worker was started. Name the module or "
            "script that defines them: onward worker app.py"
        )
    worker = Worker(connect.engine(), queues=queues, concurrency=concurrency, told=told)
    with Signals(worker.drain):
        worker.run(burst=burst, at_most=at_most)
        return worker.rest(drain_s)


def refuse_moved() -> None:
    """Refuse to work where nothing is left to be done: everything of the journal goes on elsewhere.

    Something may be left by a move that was interrupted, and has to be executed before it can be carried.
    """
    store = connect.engine().store
    if store.moved_to() is not None and not store.runs(states=_UNFINISHED, limit=1):
        raise was_moved(store)


class Signals:
    """While it is on, the first SIGTERM, SIGHUP or Ctrl-C calls `drain`, the next one ends the process at once."""

    def __init__(self, drain: Callable[[], None]) -> None:
        self._drain = drain
        self._asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGTERM", "SIGINT", "SIGHUP"):
                number = getattr(signal, name, None)
                # What is ignored stays so: nohup, and a shell's `&`, mean that the program goes on.
                if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            os._exit(128 + number)
        self._asked = True
        observe.say("ending: no new runs; what is executed may end. Once more to end at once, which is safe")
        self._drain()

"""Steps whose function runs in an executor: one pool a process for all that name it, whatever runs they belong to."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Final, cast

from onward.api.elsewhere import Unusable, WorkerDied, named
from onward.core.errors import UsageError
from onward.core.lazily import Lazily
from onward.core.model import Begun, Run
from onward.runtime.isolate import ProcessDied

if TYPE_CHECKING:
    from onward.api import pool
else:
    pool = Lazily("onward.api.pool")

Given = Executor | Callable[[], Executor]


class StepExecutor:
    """The executor that steps name. What makes it is called when the first of them is executed, once a process."""

    def __init__(self, given: Given) -> None:
        self._given = given
        self._lock = threading.Lock()
        self._executors: pool.Executors | None = None
        self._pid = 0

    def call(
        self,
        run: Run,
        past: Begun,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        repeats: bool,
    ) -> Any:
        """What the function returns. Raises its error; ProcessDied if it killed its worker; ExecutorBroken.

        If its worker died and somebody else was in the executor too, nobody knows who it was: then it is called again
        with nobody beside it, unless not to be repeated.
        """
        executors = self._hired()
        executors.refuse_local(fn)
        order = pool.Order(named(fn), args, kwargs, pool.sent(run, past.key, past.attempt), time.time)
        alone = past.crashes > 0
        try:
            while True:
                try:
                    return executors.call(order, alone=alone)
                except WorkerDied as died:
                    executors.ready()
                    if died.alone or not repeats:
                        why = f"a worker of the executor of step `{past.name}` died ({died.error})"
                        raise ProcessDied(why) from died.error
                    alone = True
        except Unusable as why:
            raise pool.broken(run, f"the executor of step `{past.name}`", str(why)) from why.__cause__

    def _hired(self) -> pool.Executors:
        with self._lock:
            if self._executors is None or self._pid != os.getpid():
                self._executors, self._pid = pool.Executors(self._given), os.getpid()
            return self._executors


_known: Final[dict[Any, StepExecutor]] = {}


def step_executor(given: Any) -> StepExecutor:
    """The one for this executor, or for this function that makes one."""
    if not callable(given) and not callable(getattr(given, "submit", None)):
        raise UsageError(
            f"executor= takes a concurrent.futures.Executor, or a function that makes one, not {given!r}"
        )
    return _known.setdefault(given, StepExecutor(cast("Given", given)))

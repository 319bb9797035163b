"""Calls in an executor: a process pool, a cluster, whatever has the interface of `concurrent.futures`.

The function runs there; its outcome is recorded here. A worker that dies takes nothing with it but what was in flight:
a call that was alone is convicted, several become suspects, and each of them is executed again with nobody beside it.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor
from functools import partial
from typing import Any, NamedTuple

from onward.api.elsewhere import ByName, Sent, Unusable, WorkerDied, execute, named
from onward.api.settings import Pool as Given
from onward.api.step import Step
from onward.core import codec
from onward.core.errors import ExecutorBroken, NotRecordable, UsageError
from onward.core.model import Run
from onward.runtime.session import Unit


class Turns:
    """Lets many in at once, or one alone: whoever asks first comes in first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Future[None], bool]] = deque()
        self._alone = False
        self.inside = 0

    def enter(self, *, alone: bool) -> Future[None]:
        """A future that is done when the caller is in; cancel it to give up waiting."""
        turn: Future[None] = Future()
        with self._lock:
            self._waiting.append((turn, alone))
            self._let_in()
        return turn

    def leave(self) -> None:
        with self._lock:
            self.inside -= 1
            self._alone = False
            self._let_in()

    def _let_in(self) -> None:
        while self._waiting:
            turn, alone = self._waiting[0]
            if self._alone or (alone and self.inside):
                return
            self._waiting.popleft()
            if not turn.set_running_or_notify_cancel():
                continue
            self.inside, self._alone = self.inside + 1, alone
            turn.set_result(None)


class Order(NamedTuple):
    """A call for an executor."""

    fn: Callable[..., Any] | ByName
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    sent: Sent
    clock: Callable[[], float]


class _Generation(NamedTuple):
    """One executor, until it breaks."""

    number: int
    executor: Executor


class Executors:
    """One executor at a time: one that a function made is ours, and replaced when it breaks."""

    def __init__(self, given: Given) -> None:
        self._make = given if callable(given) and not hasattr(given, "submit") else None
        executor = given if self._make is None else self._make()
        if not hasattr(executor, "submit"):
            raise UsageError(
                f"executor= made a {type(executor).__qualname__}, which is no concurrent.futures.Executor; nothing "
                f"was started"
            )
        self._now = _Generation(1, executor)  # type: ignore[arg-type]
        self._lock = threading.Lock()
        self._turns = Turns()
        # Of each that is broken: why, and whether it had one call only.
        self._broken: dict[int, tuple[BaseException, bool]] = {}

    def close(self) -> None:
        """Give back the executor, if it is ours."""
        if self._make is not None:
            self._now.executor.shutdown(wait=True, cancel_futures=True)

    def refuse_local(self, fn: Callable[..., Any]) -> None:
        """Raises UsageError for a function that the executor can never be sent."""
        if isinstance(self._now.executor, ProcessPoolExecutor):
            _refuse_local(fn)

    def call(self, order: Order, *, alone: bool) -> Any:
        """What the function returns; raises its error, WorkerDied or Unusable."""
        self._turns.enter(alone=alone).result()
        try:
            generation, future, begun_at = self._submit(order)
            try:
                answer = future.result()
            except BaseException as error:
                raise self._trouble(error, generation, begun_at, order) from error
            return _opened(answer)
        finally:
            self._turns.leave()

    async def call_async(self, order: Order, *, alone: bool) -> Any:
        """As `call`, in an event loop."""
        turn = self._turns.enter(alone=alone)
        try:
            await asyncio.wrap_future(turn)
        except asyncio.CancelledError:
            if not turn.cancel() and not turn.cancelled():
                self._turns.leave()
            raise
        try:
            generation, future, begun_at = self._submit(order)
            try:
                answer = await asyncio.wrap_future(future)
            except asyncio.CancelledError:
                raise
            except BaseException as error:
                raise self._trouble(error, generation, begun_at, order) from error
            return _opened(answer)
        finally:
            self._turns.leave()

    def _submit(self, order: Order) -> tuple[_Generation, Future[Any], float]:
        while True:
            generation = self._now
            try:
                future = generation.executor.submit(execute, order.fn, order.args, order.kwargs, order.sent)
                return generation, future, order.clock()
            except BrokenExecutor as error:  # broken since we looked: this call was not in it
                self._break(generation, error)
                self._replace(generation)
            except RuntimeError as error:  # the standard library's word for one that was shut down
                raise Unusable(str(error)) from error

    # -- trouble --------------------------------------------------------------------------------------

    def _trouble(
        self, error: BaseException, generation: _Generation, begun_at: float, order: Order
    ) -> BaseException:
        """What an error of the executor itself means: those of the function come as an answer."""
        if isinstance(error, BrokenExecutor):
            alone = self._break(generation, error)
            return WorkerDied(error, alone=alone, begun_at=begun_at)
        if isinstance(error, CancelledError):
            return Unusable("it was shut down")
        if isinstance(error, Exception) and "pickl" in f"{type(error).__name__} {error}".lower():
            return NotRecordable(
                "the executor",
                "argument or result",
                ", ".join(type(value).__qualname__ for value in (*order.args, *order.kwargs.values())),
                f"cannot be sent to another process ({error}); use a function of a module's top level over plain data",
            )
        return error

    def _break(self, generation: _Generation, error: BaseException) -> bool:
        """Note that an executor is broken; whether only one call was in it."""
        with self._lock:
            # Everybody who was in it is still inside: nobody leaves before he has been here.
            return self._broken.setdefault(generation.number, (error, self._turns.inside == 1))[1]

    def ready(self) -> None:
        """Make sure that there is an executor to go on with; raises Unusable if there is none."""
        generation = self._now
        if generation.number in self._broken:
            self._replace(generation)

    def _replace(self, generation: _Generation) -> None:
        with self._lock:
            if self._now.number != generation.number:
                return
            if self._make is None:
                raise Unusable(str(self._broken[generation.number][0]))
            generation.executor.shutdown(wait=False, cancel_futures=True)
            self._now = _Generation(generation.number + 1, self._make())


class Pool:
    """Executes the items of one map in an executor."""

    def __init__(self, given: Given, fn: Callable[..., Any]) -> None:
        self._executors = Executors(given)
        self._executors.refuse_local(fn)
        self._fn = named(fn)
        self._run: Run | None = None
        self.close, self.ready = self._executors.close, self._executors.ready

    def open(self, run: Run, clock: Callable[[], float]) -> None:
        """From now on items of this run are executed; `clock` is the journal's."""
        self._run, self._clock = run, clock

    def call(self, unit: Unit, attempt: int, item: Any, *, alone: bool) -> Any:
        """The result of the function on an item; raises its error, or WorkerDied."""
        return self._executors.call(self._order(unit, attempt, item), alone=alone)

    async def call_async(self, unit: Unit, attempt: int, item: Any, *, alone: bool) -> Any:
        """As `call`, in an event loop."""
        return await self._executors.call_async(self._order(unit, attempt, item), alone=alone)

    def _order(self, unit: Unit, attempt: int, item: Any) -> Order:
        assert self._run is not None, "opened before it is used"
        return Order(self._fn, (item,), {}, sent(self._run, unit.key, attempt), self._clock)

    def unusable(self, why: str) -> ExecutorBroken:
        """The error that ends the map."""
        assert self._run is not None, "opened before it is used"
        return broken(self._run, f"`{self._run.name}` stopped: its executor", why)


def sent(run: Run, key: str, attempt: int) -> Sent:
    """Where a unit of the run belongs that is executed elsewhere, for this process."""
    return Sent(run.id, run.name, key, attempt, os.getpid())


def broken(run: Run, what: str, why: str) -> ExecutorBroken:
    """The error when there is no executor to go on with."""
    return ExecutorBroken(
        run.id,
        f"{what} can execute nothing any more ({why}). What is done is kept; call "
        f"again to go on. Pass a function that makes the executor, as in executor=lambda: ProcessPoolExecutor(4), "
        f"and a broken one is replaced.",
    )


def _opened(answer: tuple[bool, Any, float | None]) -> Any:
    ok, value, retry_after = answer
    if ok:
        return value
    error = codec.decode_error(value)
    error.__cause__ = InWorker(codec.decode(value)["traceback"])
    if retry_after is not None and getattr(error, "retry_after", None) is None:
        error.retry_after = retry_after  # type: ignore[attr-defined]
    raise error


class InWorker(Exception):
    """The traceback of an error where it happened, in another process."""

    def __init__(self, text: str) -> None:
        super().__init__(f"in the worker:\n{text}")


def _refuse_local(fn: Callable[..., Any]) -> None:
    """What a process pool can never be sent; said before anything is started."""
    while isinstance(fn, partial):
        fn = fn.func
    name = fn.fn.__qualname__ if isinstance(fn, Step) else getattr(fn, "__qualname__", "")
    if "<lambda>" in name or "<locals>" in name:
        raise UsageError(
            f"{name} cannot be sent to another process: executor= needs a function of a module's top level, so that "
            f"its workers can find it; nothing was started"
        )

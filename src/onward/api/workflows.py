"""The decorator `@onward.workflow`: what it makes of a function is in `workflow` and `batching`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

from onward.api.batching import Batched
from onward.api.queue import Queue
from onward.api.queuing import DEFAULT
from onward.api.step import function_name
from onward.api.workflow import Workflow
from onward.core import limits
from onward.core.retry import Exceptions, Policy
from onward.runtime import registry

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


@overload
def workflow(fn: Callable[P, R], /) -> Workflow[P, R]: ...
@overload
def workflow(
    *,
    name: str | None = None,
    max_crashes: int = ...,
    queue: str | Queue = ...,
    max_attempts: int = ...,
    backoff: float = ...,
    backoff_max: float = ...,
    retry_on: Exceptions = ...,
    give_up_on: Exceptions = ...,
) -> Callable[[Callable[P, R]], Workflow[P, R]]: ...
@overload
def workflow(
    *,
    batch: int,
    batch_s: float = ...,
    name: str | None = None,
    max_crashes: int = ...,
    queue: str | Queue = ...,
    max_attempts: int = ...,
    backoff: float = ...,
    backoff_max: float = ...,
    retry_on: Exceptions = ...,
    give_up_on: Exceptions = ...,
) -> Callable[[Callable[[list[T]], R]], Batched[T, R]]: ...
def workflow(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    max_crashes: int = limits.MAX_CRASHES,
    queue: str | Queue = DEFAULT,
    max_attempts: int | None = None,
    backoff: float | None = None,
    backoff_max: float | None = None,
    retry_on: Exceptions | None = None,
    give_up_on: Exceptions | None = None,
    batch: int | None = None,
    batch_s: float = limits.BATCH_S,
) -> Any:
    """Make a function a workflow: its steps are recorded, and an interrupted call continues after the last of them.

        @onward.workflow
        def checkout(order: Order) -> str:
            receipt = charge(order)
            onward.sleep(days=3)
            return ship(order, receipt)

    A call continues the unfinished run of the same name and arguments, and begins a new one otherwise. Code
    between steps
    runs again when it continues; it must take time, randomness and data of the world from steps or from `onward.now`,
    `onward.uuid4`, `onward.rng`. Raises what the function raises.

    Started (`checkout.start(order)`) it waits in `queue` for a worker. If it fails there as a whole it is attempted up
    to `max_attempts` times, after a back-off (seconds): what failed is executed again, what succeeded is kept. What is
    not said is left to the queue, if that says it.

    With `batch=100` its function takes a list, and each `start` brings one item of it: a run begins with up to so many
    items, or `batch_s` seconds after the first one.

        @onward.workflow(batch=100, batch_s=5)
        def load(rows: list[Row]) -> int: ...

        load.start(row)
    """
    attempts = {
        "max_attempts": max_attempts,
        "backoff_s": backoff,
        "backoff_max_s": backoff_max,
        "retry_on": retry_on,
        "give_up_on": give_up_on,
    }
    said: dict[str, Any] = {field: value for field, value in attempts.items() if value is not None}
    policy = Policy(max_crashes=max_crashes, **said)

    def make(fn: Callable[..., Any]) -> Workflow[..., Any]:
        called, says = function_name(fn, name, "workflow"), bool(said)
        made: Workflow[..., Any] = (
            Workflow(fn, called, policy, queue, says_attempts=says)
            if batch is None
            else Batched(fn, called, policy, queue, says_attempts=says, batch=batch, batch_s=batch_s)
        )
        registry.add(made)
        return made

    return make if fn is None else make(fn)

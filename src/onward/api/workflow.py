"""`@onward.workflow`: a durable function. Called directly it runs here and now (`direct`), started it is queued for
workers (`starting`). This file knows the function, what was given as options, and which run a call means by both.
"""

from __future__ import annotations

import copy
import datetime as dt
import functools
import inspect
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

from onward.api import connect, direct
from onward.api.handle import Handle
from onward.api.identity import digest
from onward.api.opening import IfRunning, Looks, obtaining, wanted
from onward.api.queue import Queue
from onward.api.queuing import Queuing, Unique, checked_id, checked_key, filled
from onward.api.starting import One, declared_queue, lane_in, started, started_many
from onward.api.step import Arguments
from onward.core import codec, limits
from onward.core.errors import NotRecordable, UsageError
from onward.core.model import Run
from onward.core.retry import Policy
from onward.runtime import current, registry
from onward.runtime.current import Here
from onward.runtime.drive import drive, drive_async
from onward.runtime.engine import Engine
from onward.runtime.session import Unit

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")
Q = ParamSpec("Q")
U = TypeVar("U")
_NOTHING = object()
# What is recorded as it is, wherever it stands.
_SCALARS = frozenset((str, int))


class Workflow(Generic[P, R]):
    """What `workflow` makes of a function: call it like the function it was made from."""

    def __init__(
        self, fn: Callable[P, R], name: str, policy: Policy, queue: str | Queue, *, says_attempts: bool = True
    ) -> None:
        functools.update_wrapper(self, fn)
        self.fn, self.name = fn, name
        self.is_async: bool = inspect.iscoroutinefunction(fn)
        self.whole, self.says_attempts = policy, says_attempts
        self._arguments = Arguments(fn)
        self._policy = Policy(max_crashes=policy.max_crashes)
        self._queuing = Queuing(name_of(queue))
        self._bound: Any = _NOTHING
        self._id: str | None = None
        self._if_running: IfRunning = "raise"
        self._max_age_s: float | None = None
        self._fresh = self._replace = False

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        place = current.here(begins_run=True)
        actual: tuple[Any, ...] = args if self._bound is _NOTHING else (self._bound, *args)
        if place is not None:
            return self._inside(place, actual, kwargs)  # type: ignore[no-any-return]
        if self.is_async:
            return direct.called_async(self.fn, self._obtaining, actual, kwargs)  # type: ignore[return-value]
        return direct.called(self.name, self.fn, self._obtaining, actual, kwargs)  # type: ignore[no-any-return]

    def options(
        self,
        *,
        id: str | None = None,
        if_running: IfRunning | None = None,
        max_age: float | None = None,
        fresh: bool | None = None,
        replace: bool | None = None,
        queue: str | Queue | None = None,
        priority: int | None = None,
        delay: float | dt.timedelta | None = None,
        at: dt.datetime | None = None,
        key: str | None = None,
        unique: Unique | None = None,
        debounce: float | dt.timedelta | None = None,
        debounce_max: float | dt.timedelta | None = None,
        tags: Sequence[str] | None = None,
    ) -> Self:
        """The same workflow, called in another way.

        With `id` a run is idempotent: the same id continues it, or returns its recorded result; `{name}` in it
        stands for
        an argument. The same id with other arguments raises RunConflict unless `replace`. `if_running="wait"` waits for
        another process that executes the run. `max_age` (seconds) refuses to continue an older run, `fresh`
        sets it aside.

        The others are for `start`: the `queue` it waits in; the `priority` (higher ones first, 0 if nothing is said);
        not before `delay` seconds or the time `at`; `tags` to find it by. While a run with the same `key` is queued or
        being executed, no second one is added, and `start` gives that one: `unique="running"`. With `unique="queued"`
        only until it begins, with a number for so many seconds. `{name}` in a key stands for an argument, too.

        `debounce=30`: it begins once nothing of its key was started for 30 seconds, with the arguments of the latest
        start; it does not wait longer than `debounce_max` (ten times as long, if nothing is said).
        """
        other = copy.copy(self)
        other._queuing = self._queuing.changed(
            queue=None if queue is None else name_of(queue),
            priority=priority,
            delay=delay,
            at=at,
            key=key,
            unique=unique,
            debounce=debounce,
            debounce_max=debounce_max,
            tags=tags,
        )
        given = {
            "_id": id,
            "_if_running": if_running,
            "_max_age_s": max_age,
            "_fresh": fresh,
            "_replace": replace,
        }
        other.__dict__.update({name: value for name, value in given.items() if value is not None})
        return other

    @overload
    def __get__(self, instance: None, owner: type) -> Workflow[P, R]: ...
    @overload
    def __get__(self: Workflow[Concatenate[S, Q], U], instance: S, owner: type) -> Workflow[Q, U]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        other = copy.copy(self)
        other._bound = instance
        return other

    def __repr__(self) -> str:
        return f"<onward workflow {self.name}>"

    # -- for workers --------------------------------------------------------------------------------------------

    @overload
    def start(self: Workflow[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> Handle[T]: ...
    @overload
    def start(self, *args: P.args, **kwargs: P.kwargs) -> Handle[R]: ...
    def start(self, *args: Any, **kwargs: Any) -> Any:
        """Queue a run of it, which any worker executes. Durable when it returns; nothing is executed here.

            run = checkout.start(order)
            run.result()

        With `options(id=...)` it is idempotent: the run of that id, if there is one. In a workflow or a loop it is
        recorded: a replay starts nothing again. Raises NotRecordable for arguments, RunConflict for an id of other
        work.
        """
        run, queuing = self._wanted_run(args, kwargs)
        return Handle(started(run, queuing, has_id=self._id is not None, replaces=self._replace))

    @overload
    def start_many(self: Workflow[P, Coroutine[Any, Any, T]], items: Iterable[Any]) -> list[Handle[T]]: ...
    @overload
    def start_many(self, items: Iterable[Any]) -> list[Handle[R]]: ...
    def start_many(self, items: Iterable[Any]) -> Any:
        """Queue a run for each item, its one argument: many in one transaction, in their order.

            runs = scrape.start_many(urls)

        When it returns all are durable. If it is cut off, the first ones are there: give ids
        (`options(id="scrape-{url}")`) to call it again without queueing them twice. Inside of a run use `start`.
        """
        self._queuing.refuse_contradictions(has_id=self._id is not None)
        ids = started_many(self.name, self._queuing, self._each(items), replaces=self._replace)
        return [Handle(run_id) for run_id in ids]

    def _wanted_run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Run, Queuing]:
        self._queuing.refuse_contradictions(has_id=self._id is not None)
        one = self._one(args, kwargs)
        now = connect.engine().store.now()
        run = self._queuing.run(self.name, one.run_id, one.args, now=now, lane=one.lane, key=one.key)
        return run, self._queuing

    def _one(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> One:
        """The run that a start with these arguments makes; raises for what cannot be, before anything is written."""
        lane = lane_in(connect.engine(), self._queuing.queue, self.name, args, kwargs)
        if self._bound is not _NOTHING:
            args = (self._bound, *args)
        bound = self._fitting(args, kwargs)
        payload = self._payload(bound.args, dict(sorted(bound.kwargs.items())), for_start=True)
        assert payload is not None, "what cannot be recorded is raised for a start"
        return One(payload, self._own_id(args, kwargs), lane, self._own_key(args, kwargs))

    def _own_id(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        return None if self._id is None else self._named_id(args, kwargs)

    def _own_key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        key = self._queuing.key
        return None if key is None else checked_key(self._filled(key, args, kwargs))

    def _each(self, items: Iterable[Any]) -> Iterator[One]:
        """As `_one` for each item, quickly where an item is plainly the one argument."""
        plain = self._bound is _NOTHING and self._arguments.takes_one
        if not plain or declared_queue(connect.engine(), self._queuing.queue) is not None:
            for item in items:
                yield self._one((item,), {})
            return
        is_named = self._id is not None or self._queuing.key is not None
        for item in items:
            text = codec.encode(item) if type(item) in _SCALARS else ""
            if not 0 < len(text) < limits.PAYLOAD_BYTES - len("[[],{}]"):
                yield self._one((item,), {})
            elif is_named:
                yield One(f"[[{text}],{{}}]", self._own_id((item,), {}), None, self._own_key((item,), {}))
            else:
                yield One(f"[[{text}],{{}}]")

    def scheduled(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Run:
        """The run that a schedule starts, but for its id; raises UsageError for what a schedule cannot start.

        Opens no journal: schedules are defined where workflows are.
        """
        asked = self._queuing
        if any(one is not None for one in (self._id, asked.key, asked.delay_s, asked.at, asked.debounce_s)):
            raise UsageError(
                f"a schedule gives the runs of `{self.name}` their ids and times, so id=, key=, delay=, at= and "
                f"debounce= have no place in its options; nothing was scheduled. What happens while a run goes on is "
                f"said by overlap="
            )
        if self._bound is not _NOTHING:
            args = (self._bound, *args)
        try:
            bound = self._fitting(args, kwargs)
        except TypeError as error:
            raise UsageError(
                f"a schedule cannot call `{self.name}` so: {error}; nothing was scheduled. Give its arguments as "
                f"onward.schedule(..., args=[...])"
            ) from None
        payload = self._payload(bound.args, dict(sorted(bound.kwargs.items())), for_start=True)
        declared = registry.queue(asked.queue)
        lane = None if declared is None else declared.lane_of(self.name, args, kwargs)
        return asked.run(self.name, None, payload, now=0.0, lane=lane)

    def _fitting(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
        # Bound by name: `f(1)`, `f(x=1)` and `f()` with the default 1 are the same run.
        # A call that does not fit begins none.
        bound = self._signature.bind(*args, **kwargs)
        for name, value in [*bound.arguments.items()]:
            if self._arguments.is_left_out(name, value):
                del bound.arguments[name]
        return bound

    @functools.cached_property
    def _signature(self) -> inspect.Signature:
        return inspect.signature(self.fn)

    # -- as a child of another run ------------------------------------------------------------------------------

    def _inside(self, place: Here, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if place.inside_step:
            raise UsageError(
                f"workflow `{self.name}` was called inside step `{place.key}`; nothing of it was executed. A "
                "step is one unit "
                f"of work: call the workflow from the workflow or loop around it, or make `{self.name}` a "
                "plain function."
            )
        fingerprint = self._arguments.fingerprint(args, kwargs, self._skip())
        unit = Unit(
            place.scope.next(self.name), "child", self.name, self._policy, fingerprint, inside_step=False
        )
        flow = place.session.perform(unit, self.fn, args, kwargs)
        if self.is_async:
            return drive_async(flow, connect.engine(), place.session)
        return drive(flow, connect.engine(), place.session)

    def _skip(self) -> int:
        return 0 if self._bound is _NOTHING else 1

    # -- as a run of its own ----------------------------------------------------------------------------------------

    def _obtaining(self, engine: Engine, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Looks:
        bound = self._fitting(args, kwargs)
        payload = self._payload(bound.args, dict(sorted(bound.kwargs.items())))
        if self._id is None:
            identity = f"workflow:{self.name}:{digest(payload or '')}"
            want = wanted("workflow", self.name, identity, args=payload)
        else:
            run_id = self._named_id(args, kwargs)
            # An id is the same run wherever it is asked for.
            identity = f"workflow:{self.name}:id:{run_id}"
            want = wanted("workflow", self.name, identity, args=payload)._replace(
                id=run_id, identity=identity
            )
            known = direct.known(engine, want, replaces=self._replace)
            if known is not None:
                return known
        return (
            yield from obtaining(
                engine, want, self._if_running, self._max_age_s, engine.held_here, fresh=self._fresh
            )
        )

    def _payload(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], *, for_start: bool = False
    ) -> str | None:
        where = f"the arguments of `{self.name}`"
        try:
            text = codec.encode([list(args), dict(sorted(kwargs.items()))], where=where)
            if len(text) > limits.PAYLOAD_BYTES:
                size = f"values of {len(text) / 1e6:,.0f} MB"
                raise NotRecordable(where, "$", size, "write them to a file and give its name")
            return text
        except NotRecordable as error:
            if for_start:
                raise
            if self._id is not None:
                return None
            cure = f"{error.cure}; or name the run: {self.name}.options(id=...)(...)"
            raise NotRecordable(error.where, error.path, error.type_name, cure) from None

    def _named_id(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        assert self._id is not None
        return checked_id(self._filled(self._id, args, kwargs))

    def _filled(self, template: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """An id or a key in which names stand for arguments."""
        if "{" not in template:
            return template
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return filled(template, bound.arguments, self.name)


def name_of(queue: str | Queue) -> str:
    """The name of a queue, which may be given by it."""
    return queue if isinstance(queue, str) else queue.name

"""`@onward.step`: a function whose outcome is recorded once per place in a run."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypedDict, TypeVar, Unpack, overload

from onward.api import connect
from onward.api.identity import checked_name
from onward.api.manners import MannerOptions, manner_of
from onward.core import codec
from onward.core.errors import UsageError
from onward.core.lazily import Lazily
from onward.core.retry import Exceptions, Policy
from onward.runtime import current
from onward.runtime.drive import drive, drive_async, perform, perform_async
from onward.runtime.manner import Manner
from onward.runtime.outcomes import decoded
from onward.runtime.session import Session, Unit

if TYPE_CHECKING:
    from onward.runtime import care
else:
    care = Lazily("onward.runtime.care")

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
Q = ParamSpec("Q")
U = TypeVar("U")


class RetryOptions(TypedDict, total=False):
    """How a unit of work is attempted. Times in seconds."""

    max_attempts: int
    max_crashes: int
    backoff: float
    backoff_max: float
    backoff_factor: float
    jitter: bool
    retry_on: type[BaseException] | Exceptions
    give_up_on: type[BaseException] | Exceptions


class StepOptions(RetryOptions, MannerOptions, total=False):
    """The options of a step."""

    name: str


_POLICY_FIELDS = {"backoff": "backoff_s", "backoff_max": "backoff_max_s", "backoff_factor": "factor"}


def policy_of(options: StepOptions | RetryOptions, base: Policy | None = None) -> Policy:
    """The policy that the options describe, on top of `base`."""
    fields: dict[str, Any] = {} if base is None else {name: getattr(base, name) for name in Policy.__slots__}
    value: Any
    for name, value in options.items():
        if name in ("retry_on", "give_up_on"):
            value = value if isinstance(value, tuple) else (value,)
            if not all(isinstance(one, type) and issubclass(one, BaseException) for one in value):
                raise UsageError(f"{name}= takes exception classes, not {value!r}")
        if name != "name":
            fields[_POLICY_FIELDS.get(name, name)] = value
    try:
        return Policy(**fields)
    except TypeError:
        raise unknown_options(options, RetryOptions.__annotations__) from None


def unknown_options(options: Iterable[str], known: Iterable[str]) -> UsageError:
    """The error that names the options which are not known here, and those that are."""
    unknown = ", ".join(sorted(set(options) - set(known)))
    return UsageError(f"there is no option {unknown}; there are {', '.join(known)}")


def _attempted(options: StepOptions) -> RetryOptions:
    """The options that say how often and how fast a step is attempted."""
    if not options.keys() <= StepOptions.__annotations__.keys():
        raise unknown_options(options, StepOptions.__annotations__)
    return {name: value for name, value in options.items() if name not in MannerOptions.__annotations__}  # type: ignore[return-value]


def function_name(fn: Callable[..., Any], given: str | None, what: str) -> str:
    """The registered name of a step or workflow; refuses what cannot be one."""
    if isinstance(fn, (staticmethod, classmethod)):
        raise UsageError(f"put @{type(fn).__name__} above @onward.{what}, not below it")
    target: object = fn
    if not callable(target) or (isinstance(target, type) and what != "map"):
        goes_on = "onward.map takes" if what == "map" else f"@onward.{what} goes on"
        raise UsageError(f"{goes_on} a function or method, not {fn!r}")
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise UsageError(
            f"{getattr(fn, '__qualname__', fn)} is a generator, whose values cannot be recorded one by one; "
            "return a list, "
            f"or loop over it with onward.each"
        )
    qualified: str = getattr(fn, "__qualname__", type(fn).__qualname__)
    return checked_name(given if given is not None else qualified.rpartition("<locals>.")[2])


class Arguments:
    """Tells which parameter each argument is for, without the cost of a full binding."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        parameters = self._parameters = list(inspect.signature(fn).parameters.values())
        plain = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        self._names = [p.name for p in plain]
        self._positional_only = {p.name for p in plain if p.kind is p.POSITIONAL_ONLY}
        self._defaults = {p.name: p.default for p in parameters if p.default is not p.empty}

    @property
    def has_defaults(self) -> bool:
        return bool(self._defaults)

    @functools.cached_property
    def takes_one(self) -> bool:
        """Whether a call with one argument is complete, and that argument never the same as none."""
        if not self._parameters:
            return False
        first, *others = self._parameters
        if first.default is not first.empty or first.name not in self._names:
            return False
        return all(p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in others)

    def fingerprint(self, args: tuple[Any, ...], kwargs: dict[str, Any], skip: int = 0) -> bytes:
        """A hash of the arguments by name; those equal to their defaults are left out."""
        if not kwargs and not self._defaults:
            return codec.fingerprint(args[skip:])
        names = self._names
        given = dict(zip(names[skip:], args[skip:], strict=False))
        given.update(kwargs)
        kept = [given[n] for n in names[skip:] if n in given and not self._is_default(n, given[n])]
        rest = {n: v for n, v in given.items() if n not in names and not self._is_default(n, v)}
        extra = [n for n in names[skip:] if n in given and not self._is_default(n, given[n])]
        if extra == names[skip : skip + len(extra)] and not rest:
            return codec.fingerprint((*kept, *args[len(names) :]))
        return codec.fingerprint([extra, kept, list(args[len(names) :]), rest])

    def is_left_out(self, name: str, value: Any) -> bool:
        """Whether a call with this argument means the same without it."""
        return name not in self._positional_only and self._is_default(name, value)

    def _is_default(self, name: str, value: Any) -> bool:
        default = self._defaults.get(name, _NOTHING)
        if default is value:
            return True
        return (
            type(default) is type(value)
            and isinstance(value, (str, int, float, bytes))
            and bool(default == value)
        )


_NOTHING: Any = object()
_new = tuple.__new__


async def _given(row: tuple[Any, ...]) -> Any:
    """The recorded outcome of an async step."""
    return decoded(row)


class Step(Generic[P, R]):
    """What `step` makes of a function: call it like the function it was made from.

    Inside a run its outcome is recorded once; outside of any run it is a plain call.
    """

    def __init__(self, fn: Callable[P, R], name: str, policy: Policy, manner: Manner | None = None) -> None:
        # Only where there is something to take over: once asked for its dict, an object's attributes take four times as
        # long to look up, and each call looks up six.
        functools.update_wrapper(self, fn, updated=("__dict__",) if getattr(fn, "__dict__", None) else ())
        self.fn, self.name, self.policy, self.manner = fn, name, policy, manner
        self.is_async = inspect.iscoroutinefunction(fn)
        self._arguments = Arguments(fn)
        self._is_plain = not self._arguments.has_defaults  # then a call without keywords is its positions
        self._key: str | None = None
        self._bound: Any = _NOTHING

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        place = current.here()
        actual: tuple[Any, ...] = args if self._bound is _NOTHING else (self._bound, *args)
        if place is None:
            return self.fn(*actual, **kwargs)
        session, name = place.session, self.name
        scope = place.opened or place.scope
        key = scope.next(name) if self._key is None else scope.named(name, self._key)
        if self._is_plain and not kwargs:
            fingerprint = codec.fingerprint(args)
        else:
            fingerprint = self._arguments.fingerprint(actual, kwargs, len(actual) - len(args))
        row = session.recorded.rows.get(key)
        if row is not None and session.recalls(row, name, fingerprint):
            return _given(row) if self.is_async else decoded(row)  # type: ignore[return-value]
        # As Unit(...), which a NamedTuple's constructor would make at twice the cost, see core/model.py.
        unit = _new(Unit, (key, "step", name, self.policy, fingerprint, False, True))
        if self.manner is not None:
            return self._with_care(session, unit, actual, kwargs)  # type: ignore[no-any-return]
        execute = perform_async if self.is_async else perform
        return execute(connect.engine(), place, unit, self.fn, actual, kwargs)  # type: ignore[return-value]

    def _with_care(self, session: Session, unit: Unit, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        assert self.manner is not None, "the caller asked"
        engine = connect.engine()
        flow = care.Care(engine, session, unit, self.manner, self.fn, args, kwargs).perform()
        return drive_async(flow, engine, session) if self.is_async else drive(flow, engine, session)

    def options(self, *, key: str | None = None, **options: Unpack[StepOptions]) -> Step[P, R]:
        """The same step with other options; `key` names this call in its scope instead of its count."""
        other = copy.copy(self)
        other.policy = policy_of(_attempted(options), self.policy)
        other.manner = manner_of(options, self.fn, self.manner)
        other.name = checked_name(options["name"]) if "name" in options else self.name
        other._key = key
        return other

    def for_items(self) -> Callable[P, R]:
        """The function that a map calls for its items: they are recorded themselves, in place of this step.

        With a manner of its own the step stays a step, which each item calls: only so its attempts are its own.
        """
        if self.manner is None:
            return self.fn
        if self.is_async:

            async def call_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                return await self(*args, **kwargs)  # type: ignore[misc]

            return functools.update_wrapper(call_async, self.fn)  # type: ignore[return-value]

        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            return self(*args, **kwargs)

        return functools.update_wrapper(call, self.fn)

    @overload
    def __get__(self, instance: None, owner: type) -> Step[P, R]: ...
    @overload
    def __get__(self: Step[Concatenate[S, Q], U], instance: S, owner: type) -> Step[Q, U]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        other = copy.copy(self)
        other._bound = instance
        return other

    def __repr__(self) -> str:
        return f"<onward step {self.name}>"


@overload
def step(fn: Callable[P, R], /) -> Step[P, R]: ...
@overload
def step(**options: Unpack[StepOptions]) -> Callable[[Callable[P, R]], Step[P, R]]: ...
def step(fn: Callable[..., Any] | None = None, /, **options: Unpack[StepOptions]) -> Any:
    """Make a function a step: inside a run its outcome is recorded once, and never executed again after that.

        @onward.step(max_attempts=5)
        def charge(order: Order) -> Receipt: ...

    Sync and async functions and methods. `max_attempts` counts exceptions (default 1), `max_crashes` deaths of the
    process in the step (default 3). Between attempts: exponential back-off from `backoff` to `backoff_max` seconds with
    full jitter, or what the exception's `Retry-After` asks; `retry_on` and `give_up_on` choose exceptions. A
    result that
    cannot be recorded fails the step with NotRecordable and is not retried. Not promised: that an unrecorded execution
    leaves no trace; pass `onward.idempotency_key()` to services that can recognise repeats.

    `isolate=True` executes the step in a process of its own, which the function is imported into: a crash there counts
    against `max_crashes` and the run goes on; nothing the step has started outlives it. Arguments and result must
    be recordable. `memory` (bytes, or "512MB") bounds what that process may allocate: beyond it MemoryError.
    `timeout` (seconds) ends an attempt with StepTimeout: an async step is cancelled, a sync one needs `isolate`.

    `executor=ProcessPoolExecutor(4)` executes it there, for work that keeps a core busy: in any executor of
    `concurrent.futures`, or one that a function makes when it is first needed; then a broken one is replaced. It is for
    sync functions of a module's top level. A step that kills the executor's worker counts as crashed.

    `at_most_once=True` never begins the step again after an attempt of which nobody knows whether it was executed: its
    process died, it was cut off, or its outcome could not be recorded. Then `probe`, called with the step's arguments,
    answers `onward.Done(value)` or `onward.NotDone()`; without an answer the run is stuck and InDoubt says what to
    type. An exception that the step raises is an outcome: the step was executed, and failed. These steps cost two
    commits: their start is durable before they begin.
    """
    policy = policy_of(_attempted(options))

    def make(fn: Callable[..., Any]) -> Step[..., Any]:
        name = function_name(fn, options.get("name"), "step")
        return Step(fn, name, policy, manner_of(options, fn))

    return make if fn is None else make(fn)

"""The options that give a step a manner of its own: where it is executed, how long, how often."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypedDict

from onward.core.errors import UsageError
from onward.core.lazily import Lazily
from onward.runtime.manner import Done, Manner, NotDone

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from onward.api import step_executor
else:
    step_executor = Lazily("onward.api.step_executor")


class MannerOptions(TypedDict, total=False):
    """How a step is executed, beside how often."""

    isolate: bool
    executor: Executor | Callable[[], Executor] | None
    timeout: float
    memory: int | str
    at_most_once: bool
    probe: Callable[..., Done | NotDone] | Callable[..., Any]


PLAIN: Final = Manner()
_UNITS: Final = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
# A Python process needs about this much before it has imported anything of the user's.
_LEAST_BYTES: Final = 32 * 2**20


def manner_of(
    options: Mapping[str, Any], fn: Callable[..., Any], base: Manner | None = None
) -> Manner | None:
    """The manner that the options ask for, on top of `base`; None if it is the usual one."""
    manner = base or PLAIN
    for name in MannerOptions.__annotations__.keys() & options.keys():
        field, value = _READ[name](options[name])
        manner = replace(manner, **{field: value})
    if manner == PLAIN:
        return None
    _fits(manner, fn)
    return manner


def _fits(manner: Manner, fn: Callable[..., Any]) -> None:
    is_async = inspect.iscoroutinefunction(fn)
    name = getattr(fn, "__qualname__", repr(fn))
    if manner.timeout_s is not None and not (manner.isolate or is_async):
        raise UsageError(
            f"timeout= of `{name}` cannot be kept: nothing can end a function that runs in a thread. "
            f"Add isolate=True, which gives it a process of its own, or make it async."
        )
    if manner.executor is not None and is_async:
        raise UsageError(
            f"executor= is for sync steps: `{name}` is async and cannot leave its event loop. Make it sync, or await "
            f"loop.run_in_executor in it."
        )
    if manner.executor is not None and manner.isolate:
        raise UsageError(
            f"`{name}` cannot be executed in a process of its own and in an executor: leave isolate= or executor= out"
        )
    if manner.memory_bytes is not None and not manner.isolate:
        raise UsageError(f"memory= of `{name}` needs a process of its own: add isolate=True")
    if manner.probe is not None and not manner.at_most_once:
        raise UsageError(
            f"probe= of `{name}` is asked when an at-most-once step is in doubt: add at_most_once=True"
        )
    if inspect.iscoroutinefunction(manner.probe) and not is_async:
        raise UsageError(f"the probe of `{name}` is async and the step is not; make both the same")
    if manner.isolate and "<" in name:
        raise UsageError(
            f"`{name}` cannot be isolated, because another process could not import it: it is defined inside a "
            f"function. Define it at the top of a module."
        )


# -- single options ---------------------------------------------------------------------------------


def _flag(field: str) -> Callable[[Any], tuple[str, Any]]:
    def read(value: Any) -> tuple[str, Any]:
        if not isinstance(value, bool):
            raise UsageError(f"{field}= is True or False, not {value!r}")
        return field, value

    return read


def _executor(value: Any) -> tuple[str, Any]:
    return "executor", None if value is None else step_executor.step_executor(value)


def _timeout(value: Any) -> tuple[str, Any]:
    if value is None:
        return "timeout_s", None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise UsageError(f"timeout= takes a number of seconds above 0, not {value!r}")
    return "timeout_s", float(value)


def _memory(value: Any) -> tuple[str, Any]:
    size = value
    if isinstance(value, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMG]?I?B)\s*", value.upper())
        unit = found and _UNITS.get(found[2])
        size = round(float(found[1]) * unit) if found and unit else None
    if value is not None and (type(size) is not int or size < _LEAST_BYTES):
        raise UsageError(
            f'memory= takes a number of bytes or a text such as "512MB", and at least {_LEAST_BYTES:,} bytes, '
            f"which Python itself needs; not {value!r}"
        )
    return "memory_bytes", size


def _probe(value: Any) -> tuple[str, Any]:
    if value is not None and not callable(value):
        raise UsageError(f"probe= takes a function, which gets the step's arguments, not {value!r}")
    return "probe", value


_READ: Final[Mapping[str, Callable[[Any], tuple[str, Any]]]] = {
    "isolate": _flag("isolate"),
    "executor": _executor,
    "timeout": _timeout,
    "memory": _memory,
    "at_most_once": _flag("at_most_once"),
    "probe": _probe,
}

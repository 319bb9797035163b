"""Put a call into words that another process understands: the function by its name, the arguments by the codec.

What cannot be found or written there is refused here, before anything has begun.
"""

from __future__ import annotations

import ast
import functools
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from onward.core import codec
from onward.core.errors import NotRecordable, UsageError
from onward.core.model import Run
from onward.runtime import wire

# A decorated function lies this deep at most below what its name stands for.
_UNWRAPS: Final = 20


class Target(NamedTuple):
    """Where another process finds a function."""

    module: str
    qualname: str
    unwraps: int


def order(
    run: Run,
    key: str,
    what: str,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    memory_bytes: int | None,
) -> wire.Order:
    """The order to call `fn`, for the first attempt. Raises UsageError or NotRecordable where nobody else could."""
    module, qualname, unwraps = located(fn, what)
    text = _written(args, kwargs, what)
    modules = sorted(set(_modules(json.loads(text))))
    script, script_module = _main(what) if "__main__" in (module, *modules) else (None, None)
    return wire.Order(
        module=module,
        qualname=qualname,
        unwraps=unwraps,
        args=text,
        modules=tuple(name for name in modules if name != "__main__"),
        script=script,
        script_module=script_module,
        is_async=inspect.iscoroutinefunction(fn),
        memory_bytes=memory_bytes,
        run=(run.id, run.kind, run.name),
        key=key,
        attempt=1,
        what=what,
        beat=None,
    )


def _written(args: tuple[Any, ...], kwargs: dict[str, Any], what: str) -> str:
    try:
        return codec.encode([list(args), kwargs], where=f"the arguments of {what}")
    except NotRecordable as error:
        cure = f"{error.cure}; the arguments of an isolated step go to another process"
        raise NotRecordable(error.where, error.path, error.type_name, cure) from None


def _modules(tree: Any) -> Iterator[str]:
    """The modules of the classes that a payload names (see codec_classes): to be imported before it can be read."""
    if isinstance(tree, dict):
        name = tree.get("c")
        if "$t" in tree and isinstance(name, str) and ":" in name:
            yield name.partition(":")[0]
        for value in tree.values():
            yield from _modules(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _modules(value)


# -- functions ----------------------------------------------------------------------------------------


def located(fn: Callable[..., Any], what: str) -> Target:
    """The name under which a function can be imported; raises UsageError if there is none."""
    module: Any = getattr(fn, "__module__", None)
    qualname: Any = getattr(fn, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualname, str):
        raise _not_found(what, f"{fn!r} has no name of its own")
    if "<" in qualname:
        raise _not_found(what, f"`{qualname}` is defined inside a function")
    try:
        found = wire.stands_for(sys.modules[module], qualname)
    except (KeyError, AttributeError):
        raise _not_found(what, f"there is no `{qualname}` in module {module}") from None
    for unwraps in range(_UNWRAPS):
        if found is fn:
            return Target(module, qualname, unwraps)
        found = getattr(found, "__wrapped__", None)
    raise _not_found(what, f"`{qualname}` in module {module} stands for something else now")


def _not_found(what: str, why: str) -> UsageError:
    return UsageError(
        f"{what} is isolated, but another process could not import its function: {why}; nothing was executed. "
        f"Define it at the top of a module, under its own name."
    )


# -- scripts ------------------------------------------------------------------------------------------


def _main(what: str) -> tuple[str, str | None]:
    """The file of the running script, and its name if `python -m` began it. It must be fit to be imported."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    path = getattr(spec, "origin", None) or getattr(main, "__file__", None)
    if path is None or not os.path.isfile(path):
        raise UsageError(
            f"{what} is isolated, but its function or an argument's class is defined where there is no file "
            f"(a prompt, a notebook, `python -c`), so another process could not import it; nothing was executed. "
            f"Put the definition into a module."
        )
    if not _is_guarded(path, os.stat(path).st_mtime_ns):
        raise UsageError(
            f"{what} is isolated, so another process has to import {path}, and that would do all of the script's work "
            f'there; nothing was executed. Put what starts the work below `if __name__ == "__main__":`, or the step '
            f"into a module."
        )
    return os.path.abspath(path), None if spec is None else spec.name


@functools.lru_cache(maxsize=8)
def _is_guarded(path: str, mtime_ns: int) -> bool:
    """Whether a script has a part that is not executed when it is imported."""
    with open(path, "rb") as file:
        tree = ast.parse(file.read())
    return any(isinstance(node, ast.If) and _asks_for_main(node.test) for node in tree.body)


def _asks_for_main(test: ast.expr) -> bool:
    names = {node.id for node in ast.walk(test) if isinstance(node, ast.Name)}
    texts = {node.value for node in ast.walk(test) if isinstance(node, ast.Constant)}
    return "__name__" in names and "__main__" in texts

"""`python -m onward.cli.call module:function ARGS`: what `onward run module:function` executes."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from onward.api import parting
from onward.cli.group import FINISHED, USAGE, complain, exit_code, tell
from onward.core.errors import OnwardError
from onward.core.lazily import Lazily

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = Lazily("asyncio")


def call(target: str, args: Sequence[str]) -> int:
    """Call the function with the arguments as strings; await it if that is needed. The exit code."""
    function = _found(target)
    if function is None:
        return USAGE
    try:
        answer = function(*args)
        if inspect.isawaitable(answer):
            asyncio.run(_awaited(answer))
    except OnwardError as error:
        parting.uncaught(error)
        complain(error)
        return exit_code(error)
    return FINISHED


async def _awaited(answer: Any) -> Any:
    return await answer


def _found(target: str) -> Callable[..., Any] | None:
    module_name, _, name = target.rpartition(":")
    # The user's own modules lie in the working directory, as with `python -m`.
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name + ".").startswith(error.name + "."):
            raise
        tell(f"there is no module {module_name} here; nothing was started")
        return None
    function = getattr(module, name, None)
    if not callable(function):
        tell(f"module {module_name} has no function {name}; nothing was started")
        return None
    return function  # type: ignore[no-any-return]


if __name__ == "__main__":
    sys.exit(call(sys.argv[1], sys.argv[2:]))

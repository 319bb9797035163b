"""Who iterates over a loop: consumers that would take items faster than their bodies run are refused.

An item of `each` is done when the next one is asked for. `list(...)`, `zip(...)`, a pool's `map` and the like
ask for the next
one before anything was done with the last. What stands in the program's source can be recognised; the rest is
documented.
"""

from __future__ import annotations

from types import FrameType
from typing import TYPE_CHECKING, Final

from onward.core.errors import UsageError
from onward.core.lazily import Lazily

if TYPE_CHECKING:
    import ast
    import dis
    import linecache
else:
    ast, dis, linecache = Lazily("ast"), Lazily("dis"), Lazily("linecache")

_EAGER_CALLS: Final = frozenset(
    (
        *(
            "list",
            "tuple",
            "set",
            "frozenset",
            "dict",
            "sorted",
            "sum",
            "min",
            "max",
            "any",
            "all",
            "zip",
            "deque",
        ),
        *(
            "batched",
            "chain",
            "map",
            "imap",
            "imap_unordered",
            "map_async",
            "starmap",
            "submit",
            "as_completed",
        ),
        *("gather", "extend", "join", "Counter", "DataFrame"),
    )
)
_EAGER_OPERATIONS: Final = {
    "LIST_EXTEND": "[*...]",
    "SET_UPDATE": "{*...}",
    "UNPACK_SEQUENCE": "unpacking",
    "UNPACK_EX": "unpacking",
    "CALL_FUNCTION_EX": "f(*...)",
    "CONTAINS_OP": "`in`",
}


def refuse_eager(frame: FrameType) -> None:
    """Raise UsageError if the code at `frame`, which asks for an iterator, is known to consume it at once."""
    operation = dis.opname[frame.f_code.co_code[frame.f_lasti]] if frame.f_lasti >= 0 else ""
    consumer = _EAGER_OPERATIONS.get(operation)
    if consumer is None and operation.startswith("CALL"):
        name = called_name(frame)
        consumer = f"{name}(...)" if name in _EAGER_CALLS else None
    if consumer is not None:
        raise UsageError(
            f"{consumer} would take the items of onward.each all at once, so they would count as done before "
            "anything was "
            f"done with them; nothing was started. Loop over them with `for`, or use onward.map for parallel work."
        )


def called_name(frame: FrameType) -> str | None:
    """The name of the function that the instruction at `frame` calls, from the program's source; None if not known."""
    positions = list(frame.f_code.co_positions())[frame.f_lasti // 2]
    line, end_line, column, end_column = positions
    if line is None or end_line is None or column is None or end_column is None:
        return None
    lines = [linecache.getline(frame.f_code.co_filename, n).encode() for n in range(line, end_line + 1)]
    if not lines or not lines[-1]:
        return None
    lines[-1] = lines[-1][:end_column]
    lines[0] = lines[0][column:]
    try:
        call = ast.parse(b"".join(lines).decode().strip(), mode="eval").body
    except (SyntaxError, ValueError):
        return None
    function = call.func if isinstance(call, ast.Call) else None
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else None

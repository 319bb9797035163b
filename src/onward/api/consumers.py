"""Who iterates over a loop: consumers that would take items faster than their bodies run are refused.

An item of `each` is done when the next one is asked for. `list(...)`, `zip(...)`, a pool's `map` and the like ask for
the next one before anything was done with the last. What stands in the program's source or on its stack can be
recognised; the rest is documented.
"""

from __future__ import annotations

from types import CodeType, FrameType
from typing import TYPE_CHECKING, Final

from onward.core.errors import UsageError
from onward.core.lazily import Lazily
from onward.runtime import observe

if TYPE_CHECKING:
    import ast
    import dis
    import linecache
else:
    ast, dis, linecache = Lazily("ast"), Lazily("dis"), Lazily("linecache")

_EVERYTHING: Final = "Loop over them with `for`, or use onward.map for parallel work."
_BATCH: Final = "Give onward.each(..., batch=n) and loop over lists of n items with `for`."
_INSIDE: Final = "Put it inside: onward.each({}), and loop over that with `for`."
_AHEAD_CURE: Final = "Use onward.map for parallel work."

# Functions that take all items, or take one before the last was used; and what to write instead.
_EAGER: Final = {
    **dict.fromkeys(("list", "tuple", "set", "frozenset", "dict", "sorted", "deque", "Counter"), _EVERYTHING),
    **dict.fromkeys(("sum", "min", "max", "any", "all", "fsum", "mean", "fmean", "median"), _EVERYTHING),
    **dict.fromkeys(("zip", "zip_longest", "pairwise", "tee", "cycle", "product"), _EVERYTHING),
    **dict.fromkeys(("permutations", "combinations", "nlargest", "nsmallest", "merge"), _EVERYTHING),
    **dict.fromkeys(("extend", "update", "fromkeys", "join", "DataFrame", "Series", "fromiter"), _EVERYTHING),
    **dict.fromkeys(("map", "imap", "imap_unordered", "map_async", "starmap", "starmap_async"), _AHEAD_CURE),
    **dict.fromkeys(("submit", "as_completed", "gather", "wait"), _AHEAD_CURE),
    **dict.fromkeys(("batched", "chunked", "grouper"), _BATCH),
    **dict.fromkeys(("executemany", "insert_many", "bulk_create", "add_all", "writelines"), _BATCH),
}
# Those that stop without asking for one more: the last item they took would stay unfinished.
_STOPS_SHORT: Final = frozenset(("islice", "takewhile"))
_EAGER_OPERATIONS: Final = {
    "LIST_EXTEND": "[*...]",
    "SET_UPDATE": "{*...}",
    "UNPACK_SEQUENCE": "unpacking",
    "UNPACK_EX": "unpacking",
    "CALL_FUNCTION_EX": "f(*...)",
    "CONTAINS_OP": "`in`",
    "BINARY_OP": "`+=`",
}
# Calls that hand work on and return at once, and those that wait for it.
_HANDS_ON: Final = frozenset(
    ("submit", "create_task", "ensure_future", "apply_async", "run_in_executor", "start_soon")
)
_WAITS: Final = frozenset(("result", "wait", "as_completed", "gather", "join", "get", "shutdown", "wait_for"))
_COMPREHENSIONS: Final = frozenset(("<genexpr>", "<listcomp>", "<setcomp>", "<dictcomp>"))
_BY_HAND: Final = frozenset(("iter", "next", "__iter__", "__next__", "aiter", "__aiter__"))
_POOLS: Final = ("multiprocessing", "concurrent.futures", "joblib")
# Libraries whose functions look at all items before they return.
_EAGER_MODULES: Final = frozenset(
    ("collections", "csv", "heapq", "json", "numpy", "pandas", "polars", "pyarrow", "random", "statistics")
)


def refuse_eager(frame: FrameType) -> None:
    """Raise UsageError if the code at `frame`, which asks for an iterator, is known to consume it at once.

    Code that only hands the items on to a pool is told so: it may wait for them in a way that cannot be seen.
    """
    module = _module(frame)
    if module.startswith(_POOLS):
        raise _all_at_once("a pool", _AHEAD_CURE)
    if module.partition(".")[0] in _EAGER_MODULES:
        raise _all_at_once(f"{frame.f_code.co_name}(...) of {module.partition('.')[0]}", _EVERYTHING)
    operation = _operation(frame)
    if operation == "GET_ITER":
        _doubt_handing_on(frame)
        return
    consumer, cure = _EAGER_OPERATIONS.get(operation), _EVERYTHING
    if consumer is None and _is_call(operation):
        name = called_name(frame) or ""
        if name in _STOPS_SHORT:
            raise UsageError(
                f"{name}(...) stops without asking for one more item, so the last one it took would never count as "
                f"done; nothing was started. {_INSIDE.format(f'{name}(items, ...)')}"
            )
        if name in _EAGER:
            consumer, cure = f"{name}(...)", _EAGER[name]
    if consumer is not None:
        raise _all_at_once(consumer, cure)


def refuse_running_ahead(frame: FrameType | None) -> None:
    """Raise UsageError if the first item is asked for on behalf of a pool: by a comprehension that submits, or by
    a generator expression that a pool consumes. `frame` is the code that asks.
    """
    while frame is not None and frame.f_code.co_name in _COMPREHENSIONS:
        names = set(frame.f_code.co_names)
        hands_on = names & _HANDS_ON
        if hands_on and not names & _WAITS:
            raise _all_at_once(f"a comprehension with {min(hands_on)}(...)", _AHEAD_CURE)
        frame = frame.f_back
        if frame is None:
            return
        if _module(frame).startswith(_POOLS):
            raise _all_at_once("a pool", _AHEAD_CURE)
        name = called_name(frame) if _is_call(_operation(frame)) else None
        if name is not None and _EAGER.get(name) in (_AHEAD_CURE, _BATCH):
            raise _all_at_once(f"{name}(...)", _EAGER[name])


def steps_by_hand(frame: FrameType) -> bool:
    """Whether the code at `frame` asks for an iterator, or for its first item, with `iter` or `next`."""
    return _is_call(_operation(frame)) and called_name(frame) in _BY_HAND


def _all_at_once(consumer: str, cure: str) -> UsageError:
    return UsageError(
        f"{consumer} would take the items of onward.each all at once, so they would count as done before anything was "
        f"done with them; nothing was started. {cure}"
    )


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _operation(frame: FrameType) -> str:
    return dis.opname[frame.f_code.co_code[frame.f_lasti]] if frame.f_lasti >= 0 else ""


def _is_call(operation: str) -> bool:
    # Code that has become warm calls types and built-in functions by the instruction before CALL, in Python 3.11.
    return operation.startswith(("CALL", "PRECALL"))


def _doubt_handing_on(frame: FrameType) -> None:
    code = frame.f_code
    # Names alone are looked at first: almost no loop gets further.
    if _HANDS_ON.isdisjoint(code.co_names) or code.co_name in _COMPREHENSIONS:
        return
    names = _names_in_loop(code, frame.f_lasti)
    hands_on = names & _HANDS_ON
    if hands_on and not names & _WAITS:
        observe.say(
            f"the body of this loop (line {frame.f_lineno}) hands its items to {min(hands_on)}(...): they count as "
            f"done when the next one is asked for, perhaps before that work is done. {_AHEAD_CURE}"
        )


def _names_in_loop(code: CodeType, at: int) -> set[str]:
    """The names used in the body of the loop whose iterator is asked for at offset `at`."""
    names: set[str] = set()
    end: int | None = None
    for instruction in dis.get_instructions(code):
        if instruction.offset <= at:
            continue
        if end is None:
            if instruction.opname == "FOR_ITER":
                end = instruction.argval
            elif instruction.offset > at + 16:  # a comprehension: its loop stands elsewhere
                break
        elif instruction.offset >= end:
            break
        elif isinstance(instruction.argval, str):
            names.add(instruction.argval)
    return names


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

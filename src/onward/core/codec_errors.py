"""What is kept of an exception, and how it comes back as itself without its constructor being run."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable
from typing import Any, Final

from onward.core.codec_classes import builtin_base, class_name, find_class
from onward.core.codec_types import Refused, exactly, expect
from onward.core.errors import StepFailed
from onward.core.limits import MESSAGE_CHARS, NOTES, TRACEBACK_CHARS

_PARTS: Final = {"class", "message", "args", "state", "lost", "notes", "traceback", "retry_after"}


def described(error: BaseException, recordable: Callable[[object], bool]) -> dict[str, Any]:
    """The parts of an exception that are recorded. What is not recordable is named in `lost`."""
    kind, state = type(error), _state(error)
    args: tuple[Any, ...] | None = _arguments(error)
    kept = {name: value for name, value in state.items() if recordable(value)}
    lost = [name for name in state if name not in kept]
    if not recordable(args):
        args, lost = None, ["args", *lost]
    return {
        "class": f"{kind.__module__}:{kind.__qualname__}",
        "message": shortened(_message(error), MESSAGE_CHARS),
        "args": args,
        "state": kept,
        "lost": lost,
        "notes": _notes(error),
        "traceback": shortened(_traceback(error), TRACEBACK_CHARS),
        "retry_after": _retry_after(error),
    }


def rebuilt(parts: Any) -> Exception:
    """The exception that `described` took apart; StepFailed when its class cannot be used here."""
    expect(type(parts) is dict and parts.keys() - {"item"} == _PARTS, "it does not describe an exception")
    name, message = exactly(parts["class"], str), exactly(parts["message"], str)
    args = None if parts["args"] is None else exactly(parts["args"], tuple)
    kind = find_class(name)
    made = None
    if kind is not None and _comes_back(kind):
        made = _made(kind, (message,) if args is None else args)
    if made is None:
        made = StepFailed(name, message)
    else:
        _restore(made, exactly(parts["state"], dict))
    for note in exactly(parts["notes"], list):
        made.add_note(exactly(note, str))
    return made


def is_faithful(error: BaseException) -> bool:
    """Whether `rebuilt(described(error))` is of the same class."""
    kind = type(error)
    try:
        return class_name(kind) != "" and _comes_back(kind) and _made(kind, ("",)) is not None
    except Refused:
        return False


def shortened(text: str, longest: int) -> str:
    """`text`, with its middle cut out when it is longer than `longest` characters."""
    if len(text) <= longest:
        return text
    half = (longest - 40) // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"


def _comes_back(kind: type) -> bool:
    # A group needs its members, which are exceptions and as such not recorded.
    return issubclass(kind, Exception) and not issubclass(kind, BaseExceptionGroup)


def _made(kind: type, args: tuple[Any, ...]) -> Exception | None:
    # The nearest base in C makes and fills it (OSError its errno, UnicodeError its text): C code only, so that no
    # constructor of the user runs on data from disk.
    base: Any = builtin_base(kind)
    for given in (args, ()):
        try:
            made = base.__new__(kind, *given)
            if given:
                base.__init__(made, *given)
            else:
                made.args = args
        except Exception:  # the C constructor wants other arguments than were recorded
            continue
        return made if isinstance(made, Exception) and type(made) is kind else None
    return None


def _restore(made: Exception, state: dict[str, Any]) -> None:
    for name, value in state.items():
        expect(_is_kept(name), "it sets an attribute that is never recorded")
        made.__dict__[name] = value


def _is_kept(name: object) -> bool:
    # Dunders belong to Python (`__notes__`) or to the run that raised it.
    return type(name) is str and not (name.startswith("__") and name.endswith("__"))


def _state(error: BaseException) -> dict[str, Any]:
    return {name: value for name, value in getattr(error, "__dict__", {}).items() if _is_kept(name)}


def _arguments(error: BaseException) -> tuple[Any, ...]:
    if isinstance(error, OSError) and error.filename is not None and len(error.args) == 2:
        # OSError takes the file names out of `args`; they go back in where its constructor expects them.
        second = () if error.filename2 is None else (None, error.filename2)
        return (*error.args, error.filename, *second)
    return tuple(error.args)


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # a `__str__` of the user must not cost the record of the failure
        return f"(its message cannot be shown: {type(broken).__name__})"


def _notes(error: BaseException) -> list[str]:
    notes = getattr(error, "__notes__", ())
    texts = [note for note in notes if type(note) is str] if isinstance(notes, list) else []
    return [shortened(text, MESSAGE_CHARS) for text in texts[:NOTES]]


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception as broken:
        return f"(its traceback cannot be shown: {type(broken).__name__})"


def _retry_after(error: BaseException) -> float | None:
    try:
        seconds = getattr(error, "retry_after", None)
    except Exception:  # a property of the user
        return None
    if not isinstance(seconds, (int, float)) or not 0 <= seconds < math.inf:
        return None
    return float(seconds)

"""Outcomes as they are recorded: values and errors to payloads and back, and which failures an error came from."""

from __future__ import annotations

from binascii import crc32
from typing import Any

from onward.core import codec, limits
from onward.core.errors import NotRecordable, StepCrashed, StepFailed
from onward.core.model import Begun, Entry
from onward.core.texts import Failure


def payload(value: Any, unit: str | None) -> str | None:
    """The text of a result; raises NotRecordable with the path inside the value."""
    if value is None:
        return None
    try:
        text = codec.encode(value)
        if len(text) <= limits.PAYLOAD_BYTES:
            return text
        size = f"{type(value).__qualname__} of {len(text) / 1e6:.0f} MB"
        raise NotRecordable("value", "$", size, "write it to a file and return its name")
    except NotRecordable as refused:
        where = "the result" if unit is None else f"the result of {unit}"
        raise NotRecordable(where, refused.path, refused.type_name, refused.cure) from refused.__cause__


def decoded(entry: tuple[Any, ...]) -> Any:
    """The value of an Entry, or of the fields of one."""
    value = entry[5]
    if value is None:
        return None
    # As codec.checksum; of thousands in a replay each would pay for the call.
    if entry[6] != (crc32(value.encode()) if value.isascii() else codec.checksum(value)):
        raise codec.PayloadError(
            f"`{entry[0]}` (entry {entry[11]}) does not match its checksum; `onward doctor` shows what is damaged"
        )
    return codec.decode(value)


def recorded_error(entry: Entry) -> BaseException:
    return (
        codec.decode_error(entry.value)
        if entry.value is not None
        else StepFailed("unknown", "no error was recorded")
    )


def crash_error(past: Begun, raised: Failure | None = None) -> StepCrashed:
    """Why it is parked: deaths of the process, or exceptions that ended the pass, the last one of which is `raised`."""
    if raised is not None:
        times = "once" if past.crashes == 1 else f"{past.crashes} times, the last time"
        return StepCrashed(
            f"{past.kind} `{past.key}` has ended the program {times} with {raised.line}; it is not begun again "
            f"by itself"
        )
    what = "process died" if past.crashes == 1 else f"process died {past.crashes} times"
    return StepCrashed(
        f"the {what} while {past.kind} `{past.key}` was executed; it is not begun again by itself"
    )


def blame(error: BaseException, *keys: str) -> None:
    """Note from which units an error came."""
    try:
        # An error that leaves nested units belongs to each of them.
        error.__onward_keys__ = (*getattr(error, "__onward_keys__", ()), *keys)  # type: ignore[attr-defined]
    except AttributeError:  # an exception class with slots: its entry is not reopened by a retry
        return


def culprits(error: BaseException) -> tuple[str, ...]:
    """The failed entries from which an error came: those in its chain of causes and contexts."""
    found: list[str] = []
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        found += [key for key in getattr(one, "__onward_keys__", ()) if key not in found]
        waiting += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions
    return tuple(found)

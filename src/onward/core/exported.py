"""Runs as lines of JSON, to be carried from one journal to another: rows to documents and back, each field checked.

Pure. What comes back may have been written by anybody: every field is of its type and within its bounds, or refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, get_args

from onward.core import codec, limits
from onward.core.errors import UsageError
from onward.core.model import Begun, Entry, EntryKind, EntryState, Run, RunKind, RunState

# The number of this format. A later one may hold what this program does not know, and is refused.
# 2: runs of queues. 3: how many runs there are is said at the end only.
FORMAT: Final = 3
_INT: Final = 2**63
# A key is the path of scopes that leads to a unit.
_PATH_CHARS: Final = limits.KEY_CHARS * 2 * limits.SCOPE_DEPTH
_TEXT_CHARS: Final = limits.PAYLOAD_BYTES

Check = Callable[[Any], bool]


class Head(NamedTuple):
    """The line before a run's entries. `moved`: the journal it comes from has closed it, so that it goes on here."""

    run: Run
    moved: bool
    entries: int
    begun: int


class NotExported(UsageError):
    """A line that is no row of a run; `line` is its number in the file, from 1."""

    def __init__(self, line: int, what: str) -> None:
        self.line, self.what = line, what
        super().__init__(f"line {line} of the export is damaged ({what}); nothing was imported")


# -- rows to lines ----------------------------------------------------------------------------------


def head_document(head: Head) -> dict[str, Any]:
    run = head.run
    row = {name: getattr(run, name) for name in _RUN}
    return {"run": _bare(row), "moved": head.moved, "entries": head.entries, "begun": head.begun}


def entry_document(entry: Entry) -> dict[str, Any]:
    row = entry._asdict()
    del row["seq"]  # their order says it
    if entry.fingerprint is not None:
        row["fingerprint"] = entry.fingerprint.hex()
    return {"entry": _bare(row)}


def begun_document(begun: Begun) -> dict[str, Any]:
    return {"begun": _bare(begun._asdict())}


def line_of(document: Mapping[str, Any]) -> bytes:
    """One line, with its end. Whatever a text holds, no line breaks within it."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _bare(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


# -- lines to rows ----------------------------------------------------------------------------------


def document_of(line: bytes, number: int) -> dict[str, Any]:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        raise NotExported(number, "it is no JSON") from None
    if not isinstance(document, dict):
        raise NotExported(number, "it is no object")
    return document


def head_of(document: Mapping[str, Any], number: int) -> Head:
    row = _row(document, "run", _RUN, number)
    if not (type(document.get("moved")) is bool and _count(document.get("entries"))):
        raise NotExported(number, "`moved` and `entries` are missing")
    if not _count(document.get("begun")):
        raise NotExported(number, "`begun` is missing")
    return Head(Run(**row), document["moved"], document["entries"], document["begun"])


def entry_of(document: Mapping[str, Any], number: int, run: Run) -> Entry:
    row = _row(document, "entry", _ENTRY, number)
    if row.get("fingerprint") is not None:
        row["fingerprint"] = bytes.fromhex(row["fingerprint"])
    entry = Entry(**row)
    if (entry.value is None) != (entry.checksum is None) or (
        entry.value is not None and codec.checksum(entry.value) != entry.checksum
    ):
        raise NotExported(number, f"the value of `{entry.key[:80]}` does not match its checksum")
    if entry.fence > run.fence:
        raise NotExported(number, f"its fence {entry.fence} is newer than the run's fence {run.fence}")
    return entry


def checked_entry(line: bytes) -> Entry:
    """As `entry_of`, for a line that was checked before: a third of the time, while others wait."""
    row = json.loads(line)["entry"]
    if "fingerprint" in row:
        row["fingerprint"] = bytes.fromhex(row["fingerprint"])
    return Entry(**row)


def begun_of(document: Mapping[str, Any], number: int) -> Begun:
    return Begun(**_row(document, "begun", _BEGUN, number))


def _row(
    document: Mapping[str, Any], kind: str, fields: Mapping[str, tuple[Check, bool]], number: int
) -> dict[str, Any]:
    """The fields of a row; those that may be missing are left to their defaults."""
    row = document.get(kind)
    if not isinstance(row, dict):
        raise NotExported(number, f"a `{kind}` belongs here")
    for name, value in row.items():
        check = fields.get(name)
        if check is None:
            raise NotExported(number, f"`{str(name)[:40]}` is not known")
        if not check[0](value):
            raise NotExported(number, f"`{name}` is {str(value)[:80]!r}")
    missing = [name for name, (_, needed) in fields.items() if needed and name not in row]
    if missing:
        raise NotExported(number, f"`{missing[0]}` is missing")
    return row


# -- what a field may be ------------------------------------------------------------------------------


def _count(value: object) -> bool:
    return type(value) is int and 0 <= value < _INT


def _number(value: object) -> bool:
    return type(value) is int and -_INT <= value < _INT


def _time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _flag(value: object) -> bool:
    return type(value) is bool


def _name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= limits.NAME_CHARS and value.isprintable()


def _path(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _PATH_CHARS and _storable(value)


def _text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _TEXT_CHARS and _storable(value)


def _storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return True


def _hex(value: object) -> bool:
    try:
        return isinstance(value, str) and len(value) <= 64 and bool(bytes.fromhex(value))
    except ValueError:
        return False


def _one_of(literal: Any) -> Check:
    words = frozenset(get_args(literal))
    return lambda value: isinstance(value, str) and value in words


# Each field: what it may be, and whether it must be there. Not: owner, lease and request, which belong to a journal.
_RUN: Final[Mapping[str, tuple[Check, bool]]] = {
    "id": (_name, True),
    "kind": (_one_of(RunKind), True),
    "name": (_name, True),
    "identity": (_path, True),
    "args": (_text, False),
    "direct": (_flag, True),
    "state": (_one_of(RunState), True),
    "fence": (_count, True),
    "wake_at": (_time, False),
    "stalls": (_count, True),
    "leased_seq": (_number, True),
    "result": (_text, False),
    "error": (_text, False),
    "command": (_text, False),
    "total": (_count, False),
    "done": (_count, True),
    "counted_seq": (_number, True),
    "created_at": (_time, True),
    "updated_at": (_time, True),
    "queue": (_text, False),
    "priority": (_number, False),
    "lane": (_text, False),
    "single": (_text, False),
    "tags": (_text, False),
    "parent": (_text, False),
    "attempt": (_count, False),
}
_ENTRY: Final[Mapping[str, tuple[Check, bool]]] = {
    "key": (_path, True),
    "kind": (_one_of(EntryKind), True),
    "state": (_one_of(EntryState), True),
    "name": (_text, True),
    "fingerprint": (_hex, False),
    "value": (_text, False),
    "checksum": (_count, False),
    "attempt": (_count, True),
    "fence": (_count, True),
    "begun_at": (_time, False),
    "ended_at": (_time, True),
}
_BEGUN: Final[Mapping[str, tuple[Check, bool]]] = {
    "key": (_path, True),
    "kind": (_one_of(EntryKind), True),
    "name": (_text, True),
    "attempt": (_count, True),
    "crashes": (_count, True),
    "suspect": (_flag, True),
    "due_at": (_time, False),
    "fence": (_count, True),
    "begun_at": (_time, True),
}

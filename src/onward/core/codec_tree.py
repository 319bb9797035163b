"""The walk from values to JSON trees: a value itself wherever it is plain JSON, tagged copies only where it is not.

Nothing is copied that need not be. A refusal collects the path of its culprit while it unwinds.
"""

from __future__ import annotations

import math
import types
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from onward.core.codec_arrays import array_row
from onward.core.codec_classes import class_row
from onward.core.codec_files import FILE_ROWS
from onward.core.codec_types import INT_MAX, INT_MIN, ROWS, TAG, Body, Pairs, Refused, Row, type_name
from onward.core.errors import NotRecordable

# Levels of lists, dicts and tagged values in each other. Python's own recursion limit (1,000 frames, some of them the
# caller's) must never be what decides whether a recorded value can be read back: a level takes at most three frames to
# write and three levels of JSON to read.
MAX_DEPTH: Final = 100
_AS_IS: Final = frozenset({str, bool, types.NoneType})


class _Walk:
    """One walk over a value: the value itself wherever it is plain JSON, tagged copies where it is not."""

    def tree(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind in _AS_IS:
            return value
        if kind is int:
            return value if INT_MIN <= value <= INT_MAX else {TAG: "int", **ROWS[int].write(value)}
        if kind is float:
            return value if math.isfinite(value) else {TAG: "float", **ROWS[float].write(value)}
        if depth >= MAX_DEPTH:
            raise Refused(type_name(value), _TOO_DEEP, value)
        if kind is dict:
            return self.mapping(value, depth + 1)
        if kind is list:
            return self.items(value, depth + 1)
        if kind is tuple:  # every call's arguments are one
            return {TAG: "tuple", "v": list(self.items(value, depth + 1))}
        return self.tagged(value, kind, depth + 1)

    def items(self, value: Sequence[Any], depth: int) -> Any:
        made: Any = value
        at = 0
        try:
            for at, item in enumerate(value):
                kind = type(item)
                if kind not in _AS_IS and not (kind is int and INT_MIN <= item <= INT_MAX):
                    part = self.tree(item, depth)
                    if part is not item:
                        made = list(value) if made is value else made
                        made[at] = part
        except Refused as refused:
            raise _within(refused, value, f"[{at}]") from refused.__cause__
        return made

    def mapping(self, value: dict[Any, Any], depth: int) -> dict[str, Any]:
        made, key = value, None
        try:
            for key, item in value.items():
                if type(key) is not str or key == TAG:
                    made = {}
                    break
                kind = type(item)
                if kind not in _AS_IS and not (kind is int and INT_MIN <= item <= INT_MAX):
                    part = self.tree(item, depth)
                    if part is not item:
                        made = value.copy() if made is value else made
                        made[key] = part
        except Refused as refused:
            raise _within(refused, value, _step(key)) from refused.__cause__
        if value and not made:
            return {TAG: "dict", "v": self.pairs(value, value.items(), depth)}
        return made

    def pairs(self, owner: object, pairs: Iterable[tuple[Any, Any]], depth: int) -> list[list[Any]]:
        made: list[list[Any]] = []
        part = ""
        try:
            for at, (key, item) in enumerate(pairs):
                part = f"{{key {at}}}"
                written = self.tree(key, depth)
                part = _step(key)
                made.append([written, self.tree(item, depth)])
        except Refused as refused:
            raise _within(refused, owner, part) from refused.__cause__
        return made

    def tagged(self, value: Any, kind: type, depth: int) -> Body:
        row = ROWS.get(kind) or _row(value, kind)
        if row is None:
            return self.unknown(value)
        try:
            body = row.write(value)
            for part, held in body.items():
                body[part] = self.part(held, depth)
        except Refused as refused:
            raise _within(refused, value, "") from refused.__cause__
        except (
            Exception
        ) as error:  # a property of the user, a dict that another thread changes, the recursion limit
            broken = f"reading it raised {type(error).__name__} ({error}); record plain data instead"
            raise Refused(type_name(value), broken) from error
        return {TAG: row.tag, **body}

    def part(self, value: Any, depth: int) -> Any:
        # A part is a fresh list or dict of the row's making: no level of its own.
        kind = type(value)
        if kind is list:
            return self.items(value, depth)
        if kind is dict:
            return self.mapping(value, depth)
        return self.pairs(value, value, depth) if kind is Pairs else self.tree(value, depth)

    def unknown(self, value: object) -> Body:
        raise Refused(type_name(value), _cure(value))


class _LooseWalk(_Walk):
    """A walk that goes on: what cannot be recorded counts by its type."""

    def tagged(self, value: Any, kind: type, depth: int) -> Body:
        try:
            return super().tagged(value, kind, depth)
        except Refused as refused:
            if refused.cure == _TOO_DEEP:
                raise  # going on here would visit a value that contains itself over and over
            return self.unknown(value)

    def unknown(self, value: object) -> Body:
        return {TAG: "type", "v": type_name(value)}


tree: Final = _Walk().tree
loose_tree: Final = _LooseWalk().tree


def _row(value: object, kind: type) -> Row | None:
    return FILE_ROWS.get(kind) or class_row(kind) or array_row(value)


# -- saying what is wrong ---------------------------------------------------------------------------

_TOO_DEEP: Final = f"it lies more than {MAX_DEPTH} levels deep; flatten the value, or record it as text"
NO_STACK: Final = (
    "it is nested too deeply for the recursion limit of Python here; record it with fewer calls around it"
)
_CYCLIC: Final = "it contains itself; refer to the inner one by an id"


def _within(refused: Refused, value: object, step: str) -> Refused:
    """One more step of the path, while a refusal unwinds; and whether the culprit is its own container."""
    if refused.value is value:
        refused.parts, refused.cure = [], _CYCLIC
    elif step:
        refused.parts.append(step)
    return refused


def _step(key: object) -> str:
    if type(key) is str and key.isidentifier():
        return f".{key}"
    return (
        f"[{ascii(key)[:60]}]"
        if type(key) in (str, int, bool, float, types.NoneType)
        else f"[<{type_name(key)}>]"
    )


def not_recordable(where: str, refused: Refused) -> NotRecordable:
    """The error for the user about a refused value."""
    path = "$" + "".join(reversed(refused.parts))
    return NotRecordable(where, path, refused.type_name, refused.cure)


_CURES: Final[tuple[tuple[Callable[[object], bool], str], ...]] = (
    (lambda value: isinstance(value, type), "record its name and look the class up by it"),
    (lambda value: isinstance(value, BaseException), "raise it, or return str(error)"),
    (lambda value: isinstance(value, Awaitable), "await it and return its result"),
    (lambda value: isinstance(value, (Iterator, AsyncIterable)), "collect what it yields into a list"),
    (lambda value: isinstance(value, Mapping), "return dict(value)"),
    (lambda value: isinstance(value, memoryview), "return bytes(value)"),
    (lambda value: isinstance(value, (list, tuple, range)), "return list(value)"),
    (lambda value: isinstance(value, (set, frozenset)), "return set(value)"),
    (
        lambda value: isinstance(value, (str, bytes, int, float)),
        "return the plain value, without its subclass",
    ),
    (callable, "record its name and look the function up by it"),
)
_CURE: Final = (
    "return plain data or a dataclass, and open connections and clients in the step that needs them"
)


def _cure(value: object) -> str:
    return next((cure for belongs, cure in _CURES if belongs(value)), _CURE)

"""`File`: what a step records of a file that it has written. A value; looking at the disk is left to the runtime."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from onward.core.codec_types import ROWS, TAG, Body, Row, exactly, expect, take

_DIGEST = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class File:
    """A file as it was when a step recorded it: what `atomic_write` and `written` return.

    A step returns it, alone or inside of lists, dicts and dataclasses. Whenever the run is continued, a file that is
    missing or has other content makes the step that recorded it run again. As an argument of a step, or as an item of
    a loop, a File counts by its path alone. It can be opened like a path: `open(file)`.
    """

    path: str  # as it was given; relative to the working directory if it was
    size: int  # bytes
    checksum: str  # BLAKE2b of 16 bytes over the content, in hexadecimal

    def __fspath__(self) -> str:
        return self.path

    def __str__(self) -> str:
        return self.path


# Every recorded value with a File in it contains this text; few others do.
MARK: Final = f'"{TAG}":"file"'


def files_in(text: str) -> list[File]:
    """The files that an encoded value holds, at whatever depth, in order."""
    found: list[File] = []

    def note(parts: Body) -> Any:
        if parts.get(TAG) == "file":
            found.append(_read(parts))
        return ROWS[str].read(parts) if parts.get(TAG) == "str" else parts  # a path that is not UTF-8

    json.loads(text, object_hook=note)
    return found


def by_path(body: Body) -> Body:
    """The part of a file's body by which it is recognised: a file made again is the same file."""
    return {TAG: "file", "v": body["v"]}


def _write(file: Any) -> Body:
    return {"v": file.path, "s": file.size, "h": file.checksum}


def _read(body: Body) -> File:
    path, size, digest = take(body, str, "s", "h"), exactly(body["s"], int), exactly(body["h"], str)
    expect(path != "" and "\0" not in path, "it has no path")
    expect(size >= 0, "its size is negative")
    expect(_DIGEST.fullmatch(digest), "its checksum is none")
    return File(path, size, digest)


FILE_ROWS: Final[dict[type, Row]] = {File: Row("file", _write, _read)}

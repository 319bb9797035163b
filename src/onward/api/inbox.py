"""`files`: the files that match a pattern, as items. One is recognised by its path and state: altered, it is new.

With `onward.each(onward.files(...), once=True)` that makes an inbox: what was done is not done again, whatever the
names of the files that come.
"""

from __future__ import annotations

import glob
import hashlib
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from onward.core import codec
from onward.core.errors import UsageError

How = Literal["stat", "hash"]
_CHUNK_BYTES = 1 << 20


class _Seen(NamedTuple):
    path: Path
    size: int
    mtime_ns: int


def files(pattern: str | os.PathLike[str], *, key: How = "stat", min_age: float = 0) -> Files:
    """The files that match `pattern`, in the order of their names, as items of a loop or map.

        for path in onward.each(onward.files("inbox/**/*.csv"), once=True, name="inbox"):
            load(path)

    `pattern` is a folder, a file, or a glob in which `**` stands for folders of any depth; names that begin with a dot
    are left out, unless the pattern has that dot. Yields `pathlib.Path`, relative where the pattern is. A file is the
    same item as long as its path, size and time of modification are the same (`key="stat"`), or its path and content
    (`key="hash"`, which reads every file). `min_age` leaves files alone that were modified within so many seconds:
    somebody may still be writing them. Files that disappear meanwhile are left out.

    Raises UsageError if the folder in which the pattern begins does not exist. Takes memory for the names of all files.
    """
    return Files(pattern, key, min_age)


class Files:
    """What `files` returns. Iterate over it as often as you like: each time it looks anew."""

    def __init__(self, pattern: str | os.PathLike[str], key: How, min_age: float) -> None:
        if key not in ("stat", "hash"):
            raise UsageError(f'key={key!r} is not possible: give "stat" or "hash"; nothing was started')
        age: object = min_age
        if isinstance(age, bool) or not isinstance(age, (int, float)) or not age >= 0:
            raise UsageError(f"min_age= takes a number of seconds from 0 on, not {min_age!r}")
        self._pattern = os.path.expanduser(os.fspath(pattern))
        self._key, self._min_age = key, min_age
        self._last: _Seen | None = None
        base = Path(_fixed_part(self._pattern))
        if not base.exists():
            raise UsageError(
                f"there is no {base}, in which files({str(pattern)!r}) would look; nothing was started"
            )

    def __iter__(self) -> Iterator[Path]:
        for name in self._names():
            try:
                state = os.stat(name)
            except FileNotFoundError:
                continue
            if stat.S_ISREG(state.st_mode) and time.time() - state.st_mtime >= self._min_age:
                self._last = _Seen(Path(name), state.st_size, state.st_mtime_ns)
                yield self._last.path

    def recognise(self, path: Any) -> str:
        """The key of a file that was yielded: its path, and its state when it was looked at."""
        seen = self._last
        if seen is None or seen.path != path:
            state = os.stat(path)
            seen = _Seen(Path(path), state.st_size, state.st_mtime_ns)
        name = codec.item_key(str(seen.path))
        if self._key == "hash":
            return f"{name} {_digest(seen.path)}"
        return f"{name} {seen.size} {seen.mtime_ns}"

    def _names(self) -> list[str]:
        pattern = self._pattern
        if os.path.isdir(pattern):
            pattern = os.path.join(glob.escape(pattern), "*")
        return sorted(set(glob.iglob(pattern, recursive=True)))


def _fixed_part(pattern: str) -> str:
    """The folder in which a pattern begins: what stands before the first part with a wildcard."""
    if not glob.has_magic(pattern):
        return pattern if os.path.isdir(pattern) else os.path.dirname(pattern) or "."
    before: list[str] = []
    for part in Path(pattern).parts:
        if glob.has_magic(part):
            break
        before.append(part)
    return str(Path(*before)) if before else "."


def _digest(path: Path) -> str:
    seal = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while data := file.read(_CHUNK_BYTES):
            seal.update(data)
    return seal.hexdigest()

"""`files`: the files that match a pattern, as items. One is recognised by its path and state: altered, it is new.

With `onward.each(onward.files(...), once=True)` that makes an inbox: what was done is not done again, whatever the
names of the files that come.
"""

from __future__ import annotations

import glob
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from onward.core import codec, limits
from onward.core.blake import blake2b
from onward.core.errors import UsageError

How = Literal["stat", "hash"]
_CHUNK_BYTES = 1 << 20


# Items that a loop looks at before it begins the first: as many as it takes to tell another list.
_AHEAD = limits.STRANGERS


class _Seen(NamedTuple):
    path: Path
    state: str  # its size and time of modification, or what stands for its content


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
        self._seen: dict[Path, _Seen] = {}  # the files that were yielded last
        base = Path(_fixed_part(self._pattern))
        if not base.exists():
            raise UsageError(
                f"there is no {base}, in which files({str(pattern)!r}) would look; nothing was started"
            )

    def __iter__(self) -> Iterator[Path]:
        for name in self._names():
            try:
                found = os.stat(name)
                if not stat.S_ISREG(found.st_mode) or time.time() - found.st_mtime < self._min_age:
                    continue
                seen = self._look(Path(name), found)
            except FileNotFoundError:
                continue
            self._seen[seen.path] = seen
            if len(self._seen) > _AHEAD:
                del self._seen[next(iter(self._seen))]
            yield seen.path

    def recognise(self, path: Any) -> str:
        """The key of a file that was yielded: its path, and its state when it was looked at."""
        seen = self._seen.get(path) or self._look(Path(path), os.stat(path))
        return f"{codec.item_key(str(seen.path))} {seen.state}"

    def _look(self, path: Path, found: os.stat_result) -> _Seen:
        state = _digest(path) if self._key == "hash" else f"{found.st_size} {found.st_mtime_ns}"
        return _Seen(path, state)

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
    seal = blake2b(digest_size=16)
    with open(path, "rb") as file:
        while data := file.read(_CHUNK_BYTES):
            seal.update(data)
    return seal.hexdigest()

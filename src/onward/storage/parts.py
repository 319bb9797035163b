"""Files that are written beside their place and take it when they are whole: copies of journals, exports.

Each has a name of its own, and is locked for as long as it is written. So what a killed process has left of one is
known by its lock, which is free, and goes with the next one in that folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from onward.core.lazily import Lazily

if TYPE_CHECKING:
    import fcntl
else:
    fcntl = Lazily("fcntl")

_PATTERN: Final = ".onward-" + "[0-9a-f]" * 16 + ".part"
# What SQLite may have beside a file.
_SIDES: Final = ("-wal", "-shm", "-journal")


@contextmanager
def part(folder: Path) -> Iterator[Path]:
    """An empty file in `folder`, for its owner's eyes only; what is there under its name at the end is removed."""
    _clear(folder)
    path, descriptor = _begun(folder)
    try:
        yield path
    finally:
        _remove(path)  # it has its place by now, as a rule, or is in a folder that is gone
        os.close(descriptor)


def _begun(folder: Path) -> tuple[Path, int]:
    while True:
        path = folder / f".onward-{os.urandom(8).hex()}.part"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        if not _locked(descriptor) or _is(path, descriptor):
            return path, descriptor
        os.close(descriptor)  # somebody who clears away was here between the two calls


def _clear(folder: Path) -> None:
    """Remove what dead processes have left."""
    for path in folder.glob(_PATTERN):
        with suppress(OSError):  # gone meanwhile, or somebody else's
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                if _locked(descriptor) and _is(path, descriptor):
                    _remove(path)
            finally:
                os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # it is being written, or the file system knows no locks
        return False
    return True


def _is(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor))
    except OSError:
        return False


def _remove(path: Path) -> None:
    for end in ("", *_SIDES):
        with suppress(OSError):
            os.unlink(f"{path}{end}")

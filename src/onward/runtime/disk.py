"""Files on the disk: whole or not at all, durable, and whether they are still as they were recorded."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from onward.core.blake import blake2b
from onward.core.codec_files import File
from onward.core.lazily import Lazily
from onward.storage import host

if TYPE_CHECKING:
    import fcntl
    import secrets
else:
    fcntl, secrets = Lazily("fcntl"), Lazily("secrets")

TEMPORARY: Final = ".onward-tmp"
_CHUNK: Final = 1 << 20
# Longest name, in bytes, that is carried in the name of the temporary file beside it: file systems end at 255.
_LONG_NAME: Final = 200


def recorded(fd: int, path: str) -> File:
    """What there is to record of the open file; reads it from its beginning, and leaves its position alone."""
    digest, size = blake2b(digest_size=16), 0
    while data := os.pread(fd, _CHUNK, size):
        digest.update(data)
        size += len(data)
    return File(path, size, digest.hexdigest())


def altered(files: Iterable[File]) -> list[str]:
    """A sentence about each file that is not on the disk as it was recorded. Reads those whose size is right."""
    return [problem for file in dict.fromkeys(files) if (problem := _problem(file)) is not None]


def _problem(file: File) -> str | None:
    try:
        fd = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return f"{file.path} is missing"
    except (OSError, ValueError) as error:
        return f"{file.path} cannot be read ({getattr(error, 'strerror', None) or error})"
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return f"{file.path} is no longer a file"
        if found.st_size != file.size:
            return f"{file.path} has {found.st_size:,} bytes, and {file.size:,} were recorded"
        if recorded(fd, file.path) != file:
            return f"{file.path} has other content than was recorded"
        return None
    except OSError as error:
        return f"{file.path} cannot be read ({error.strerror})"
    finally:
        os.close(fd)


def sync_folder(path: str) -> None:
    """Make the entry of `path` in its folder durable."""
    fd = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        host.sync(fd)
    finally:
        os.close(fd)


def make_folder(path: Path) -> None:
    """Make a folder and those above it that are missing; when this returns their names are on the disk."""
    missing = [one for one in (path, *path.parents) if not one.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for one in reversed(missing):
        sync_folder(str(one))


class Draft:
    """A file that is being written beside its place. `publish` puts it there whole; until then nothing has changed.

    A process that dies leaves at most one temporary file for each path, which the next draft for that path takes over.
    Raises OSError, of the class that fits, with a sentence.
    """

    def __init__(self, path: str) -> None:
        self.path, self._pid = path, os.getpid()
        try:
            self._target = os.path.realpath(path)  # a link stays one: what it points to is replaced
            self._inspect()
            self.fd, self._temporary = self._begin()
        except (OSError, ValueError) as error:
            raise unwritten(path, error) from error

    def _inspect(self) -> None:
        """Refuse what `open(path, "w")` would refuse, although a rename would get by."""
        self._found: os.stat_result | None = None
        if os.path.exists(self._target):
            self._found = os.stat(self._target)
            if stat.S_ISDIR(self._found.st_mode):
                raise IsADirectoryError(errno.EISDIR, "it is a directory")
            if not stat.S_ISREG(self._found.st_mode):
                raise OSError(errno.EINVAL, "it is not a regular file")
            if not os.access(self._target, os.W_OK):
                raise PermissionError(errno.EACCES, "it is read-only")
        elif os.path.basename(self.path) in ("", ".", ".."):
            raise IsADirectoryError(errno.EISDIR, "it is a directory")

    def _begin(self) -> tuple[int, str]:
        folder, name = os.path.split(self._target)
        if len(os.fsencode(name)) > _LONG_NAME:
            name = blake2b(os.fsencode(name), digest_size=8).hexdigest()
        # One place for all drafts of a path, so that what a dead process left is taken over, not left for ever; a
        # second writer at the same time, this thread included, gets a place of its own.
        slot = os.path.join(folder, f".{name}{TEMPORARY}")
        fd = os.open(slot, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        if self._take(fd, slot):
            return fd, slot
        os.close(fd)
        own = os.path.join(folder, f".{name}.{secrets.token_hex(4)}{TEMPORARY}")
        return os.open(own, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666), own

    def _take(self, fd: int, slot: str) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The holder before us may have renamed it to its place between our open and our lock.
            if not os.path.samestat(os.fstat(fd), os.stat(slot)) or os.fstat(fd).st_nlink != 1:
                return False
            os.ftruncate(fd, 0)
            return True
        except OSError:  # held by another writer, renamed, or a file system without locks
            return False

    def publish(self) -> File:
        """Make the draft durable and put it in its place; the file as it is there now."""
        try:
            file = recorded(self.fd, self.path)
            self._keep_rights()
            host.sync(self.fd)
            os.rename(self._temporary, self._target)
        except BaseException as error:
            self.drop()
            if isinstance(error, OSError):
                raise unwritten(self.path, error) from error
            raise
        os.close(self.fd)
        try:
            sync_folder(self._target)
        except OSError as error:
            what = f"it is in its place, but it may not survive a power failure: {error.strerror}"
            raise OSError(error.errno, what, self.path) from error
        return file

    def _keep_rights(self) -> None:
        """The new file may be used by whoever could use the old one."""
        found = self._found
        if found is None:
            return
        now = os.fstat(self.fd)
        if (now.st_uid, now.st_gid) != (found.st_uid, found.st_gid):
            try:
                os.fchown(self.fd, found.st_uid, found.st_gid)
            except PermissionError:  # as far as we may
                pass
        os.fchmod(self.fd, stat.S_IMODE(found.st_mode))

    def drop(self) -> None:
        """Leave everything as it was before the draft. In a forked child it stays the parent's."""
        try:
            if self._pid == os.getpid():
                os.unlink(self._temporary)
        except OSError:  # a read-only or broken disk: there is nothing more that could be done
            pass
        os.close(self.fd)


_CURES: Final = {
    errno.ENOENT: "its directory does not exist; create it first",
    errno.EACCES: "permission is denied; it is read-only, or its directory is",
    errno.EPERM: "permission is denied; it is read-only, or its directory is",
    errno.EROFS: "its file system is read-only",
    errno.ENOSPC: "the disk is full; make room and write it again",
    errno.EDQUOT: "the quota of this user is used up; make room and write it again",
    errno.EFBIG: "it is larger than files may become here",
    errno.EISDIR: "it is a directory; give the name of a file",
    errno.ENAMETOOLONG: "its name is too long",
}


def unwritten(path: str, error: OSError | ValueError) -> OSError:
    """The error of a file of which nothing was written: of the same class, as a sentence."""
    number = (error.errno or errno.EIO) if isinstance(error, OSError) else errno.EINVAL
    why = _CURES.get(number) or (error.strerror if isinstance(error, OSError) else None) or str(error)
    return OSError(number, f"nothing was written, and what was there is untouched: {why}", path)

"""Proof of death. Every process that leases runs holds a lock on a file of its own for life.

The kernel frees it at the very moment the process dies, however it dies. A free lock proves death only on the boot and
host on which it was taken; a lock that is held proves nothing, since a forked child may keep it.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from onward.core.model import Owner
from onward.storage.host import boot
from onward.storage.sqlite import files, locks


class Owners:
    """The lock files of a journal's owners: those that this process holds, and a look at the others."""

    def __init__(self, path: Path) -> None:
        self._folder = files.side(path, ".owners")
        self._held: dict[str, int] = {}

    def hold(self, owner_id: str) -> None:
        """Take the lock of a new owner, which this process keeps until it dies or lets go."""
        try:
            os.mkdir(self._folder, 0o700)
            os.chmod(self._folder, 0o700)
        except FileExistsError:
            pass
        except OSError as problem:
            raise files.unusable(self._folder, problem) from problem
        files.refuse_other_owner(self._folder, os.lstat(self._folder))
        descriptor = files.open_private(self._file(owner_id))
        locks.flock(descriptor, locks.LOCK_EX | locks.LOCK_NB)
        self._held[owner_id] = descriptor

    def let_go(self, owner_id: str) -> None:
        """Give the lock back and remove its file."""
        self._file(owner_id).unlink(missing_ok=True)
        descriptor = self._held.pop(owner_id, None)
        if descriptor is not None:
            os.close(descriptor)

    def note_end(self, owner_id: str) -> None:
        """Note that the owner ends by itself although the journal did not take the release of its runs.

        Its lock file becomes read-only: that needs no room on a disk that is full. A disk that is gone or read-only
        takes not even that.
        """
        with contextlib.suppress(OSError):
            os.chmod(self._file(owner_id), stat.S_IRUSR)

    def ended_alive(self, owner_id: str) -> bool:
        """Whether the owner has left the note of `note_end`."""
        try:
            return not os.lstat(self._file(owner_id)).st_mode & stat.S_IWUSR
        except OSError:
            return False

    def proven_dead(self, owner: Owner) -> bool:
        """True only if the kernel itself has freed the owner's lock, on this host and boot."""
        here = boot()
        if here is None or owner.boot != here or owner.host != os.uname().nodename:
            return False
        try:
            descriptor = os.open(self._file(owner.id), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return True  # it was there when the owner's row was written
        except OSError:
            return False
        try:
            # Shared: two processes that look at the same time must not take each other for the owner.
            locks.flock(descriptor, locks.LOCK_SH | locks.LOCK_NB)
        except OSError:
            return False
        else:
            return True
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Close all locks; in a forked child the parent keeps its own."""
        for descriptor in self._held.values():
            os.close(descriptor)
        self._held.clear()

    def _file(self, owner_id: str) -> Path:
        # Owner ids are UUIDs; one read from a foreign row must still not lead out of the folder.
        name = "".join(c for c in owner_id if c.isalnum() or c in "-_")
        return self._folder / (name or "_")

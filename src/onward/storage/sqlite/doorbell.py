"""Tells a process that somebody writes to a file of the journal, so that it need not look again and again.

Linux tells who asks for it (inotify). Every commit writes to the log first, and is visible a moment later: that bell
rings before there is something to see. The lock of the turn is written to when the turn is given back (see `turn`).
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from onward.core.lazily import Lazily
from onward.storage.bell import emptied

if TYPE_CHECKING:
    import ctypes
else:
    ctypes = Lazily("ctypes")

# From <sys/inotify.h>; the flags of the descriptor are those of open().
_MODIFY: Final = 0x00000002


class Doorbell:
    """See `storage.bell.Bell`. For one listener: it is silenced by being heard."""

    @property
    def is_early(self) -> bool:
        return True

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        # Closed while somebody reads it, its number may be that of another file already.
        self._reading = threading.Lock()

    def descriptors(self) -> tuple[int, ...]:
        return () if self._descriptor < 0 else (self._descriptor,)

    def rang(self) -> bool:
        with self._reading:
            return self._descriptor >= 0 and emptied(self._descriptor)

    def close(self) -> None:
        with self._reading:
            self.abandon()

    def abandon(self) -> None:
        """In a forked child, where the lock may be held by nobody."""
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)


def hung(*files: Path) -> Doorbell | None:
    """What rings once one of `files` has been written to; None if there is no such thing here."""
    if sys.platform != "linux":
        return None
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        bell: int = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    # A Python without ctypes, a library without inotify: then one looks.
    except (ImportError, OSError, AttributeError):
        return None
    if bell < 0:  # all that one user may have are in use
        return None
    if any(libc.inotify_add_watch(bell, os.fsencode(file), _MODIFY) < 0 for file in files):
        os.close(bell)
        return None
    return Doorbell(bell)

"""The turn to write: one process at a time, and whoever waits next in line goes before who has just had it.

SQLite's own lock is retried by chance: of eight busy writers one can wait a second while the others go round and round.
Here a writer that has had its turn queues behind one that waits: it must pass the gate, which the waiter holds. Who
waits before the gate is told when it opens, all of them at once: of these, chance decides.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from onward.core.errors import JournalBusy
from onward.storage.bell import readable
from onward.storage.sqlite import doorbell, files, locks

# Sleeps between two tries: a transaction takes about as long as the first on a fast disk; the last keeps a waiter's
# CPU use at two per cent, and what it adds to a wait small.
_SLEEP_S: Final = 0.000_05
_SLEEP_MAX_S: Final = 0.002
# From this on a waiter listens too: the turn of a batch takes longer, and ends with a word to who waits.
_LISTEN_S: Final = 0.001


class Turn:
    """The right of one process to write to the journal. Its threads must have agreed among themselves before.

    The first byte of the gate's file says whether somebody waits there: read from memory, so that a process that writes
    alone asks the system for one lock and not for two. Written by who holds the gate; a lock decides, never this byte.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._gate = files.open_private(files.side(path, "-gate"))
        self.lock = files.open_private(files.side(path, "-turn"))
        self.awaited = _first_byte(self._gate)
        self._bell: doorbell.Doorbell | None = None  # rung by who gives the turn back, or opens the gate
        self._has_listened = self._is_deaf = False  # lately; there is no such thing here

    def take(self, within_s: float) -> None:
        """Wait for the turn; JournalBusy, naming the holder, if it does not come in time."""
        if self.awaited[0]:  # by another process; or by one that died waiting, which the gate then tells
            self._wait(within_s)
            return
        try:
            locks.flock(self.lock, locks.TRY)
        except BlockingIOError:
            self._wait(within_s)

    def release(self) -> None:
        """Give the turn back, and wake who waits for it; harmless without having it."""
        locks.flock(self.lock, locks.FREE)
        self.wake()  # read after the turn was free: who waits since then finds it free

    def wake(self) -> None:
        """Wake who waits for the turn: it is free, or will be in a moment."""
        if self.awaited[0]:
            _write(self.lock, b"\0")

    def _wait(self, within_s: float) -> None:
        end = time.monotonic() + within_s
        try:
            _lock(self._gate, end, self._listen)
            self._say(b"\1")
            try:
                _lock(self.lock, end, self._listen)
            finally:
                self._say(b"\0")
        except BlockingIOError:
            raise JournalBusy(self._busy(within_s)) from None
        # Not only on success: a gate left shut by an interrupt would lock out every other process.
        finally:
            locks.flock(self._gate, locks.FREE)

    def _say(self, byte: bytes) -> None:
        """Whether somebody waits at the gate. On a full disk it stays untold: then turns are taken by chance."""
        _write(self._gate, byte)

    def _listen(self, seconds: float) -> bool:
        """Wait for so long, or until somebody says that the turn, or the gate, is free soon; whether that was said."""
        if seconds < _LISTEN_S:
            time.sleep(seconds)
            return False
        self._has_listened = True
        if self._bell is None and not self._is_deaf:
            self._bell = doorbell.hung(files.side(self._path, "-turn"), files.side(self._path, "-gate"))
            self._is_deaf = self._bell is None
            return True  # or was, before we listened
        if self._bell is None:
            time.sleep(seconds)
            return False
        return bool(readable(seconds, self._bell.descriptors())) and self._bell.rang()

    def rest(self, *, for_good: bool = False) -> None:
        """Give up what tells that the turn is free, if it was of no use lately: of those one user has only so many.

        `for_good`: in any case, and from now on it is only looked.
        """
        self._is_deaf = self._is_deaf or for_good
        bell = self._bell
        if bell is not None and (for_good or not self._has_listened):
            self._bell = None
            bell.close()
        self._has_listened = False

    def _busy(self, within_s: float) -> str:
        return (
            f"the journal {self._path} was not free for writing within {within_s:g} s ({self._holder()}); nothing was "
            f"recorded. Repeat the call; if that process hangs, end it."
        )

    def _holder(self) -> str:
        """Who has the turn, as far as this system tells."""
        inode = os.fstat(self.lock).st_ino
        try:
            with open("/proc/locks", encoding="ascii") as taken:
                for line in taken:
                    fields = line.split()
                    if fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(inode):
                        return f"process {fields[4]} is writing"
        except (OSError, IndexError):
            pass
        return "another process is writing"

    def close(self) -> None:
        """Close the locks; in a forked child the parent keeps its own."""
        self.awaited.close()
        if self._bell is not None:
            self._bell.abandon()
            self._bell = None
        for lock in (self._gate, self.lock):
            os.close(lock)


def _first_byte(descriptor: int) -> mmap.mmap:
    """The first byte of an open file, as it is at any time."""
    if os.fstat(descriptor).st_size == 0:
        os.ftruncate(descriptor, 1)
    return mmap.mmap(descriptor, 1, access=mmap.ACCESS_READ)


def _write(descriptor: int, byte: bytes) -> None:
    with suppress(OSError):
        os.pwrite(descriptor, byte, 0)


def _lock(descriptor: int, end: float, wait: Callable[[float], bool]) -> None:
    sleep_s = _SLEEP_S
    while True:
        try:
            return locks.flock(descriptor, locks.TRY)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise
        sleep_s = _SLEEP_S if wait(sleep_s) else min(sleep_s * 1.5, _SLEEP_MAX_S)

"""No call waits for ever: one thread per process cuts connections whose call has taken too long.

psycopg waits without end where packets vanish: neither `statement_timeout` (the server's) nor keepalives help there
(measured). So the socket is shut down from here, and the call that waits for it fails. The thread sleeps until a
connection is used, and looks a few times a second while any is.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Final, Protocol
from weakref import WeakSet

# How exactly deadlines are kept: they are about ten seconds.
_LOOK_S: Final = 0.25
# Looks in vain before the thread sleeps: waking it costs more than a few looks.
_IDLE_LOOKS: Final = 8


class Watched(Protocol):
    """A connection with a deadline by `time.monotonic` while it is in use, else infinity."""

    due: float

    def cut(self) -> None: ...


class _Watchdog:
    def __init__(self) -> None:
        self.watched: WeakSet[Watched] = WeakSet()
        self.asleep = False
        self._bell = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        self.asleep = False
        self._bell.set()

    def watch(self, link: Watched) -> None:
        with self._starting:
            self.watched.add(link)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="onward-watchdog", daemon=True)
                self._thread.start()
        self.wake()

    def _run(self) -> None:
        idle = 0
        while True:
            now, busy = time.monotonic(), False
            for link in self._present():
                if link.due < now:
                    link.cut()
                busy = busy or link.due != float("inf")
            idle = 0 if busy else idle + 1
            if idle < _IDLE_LOOKS:
                time.sleep(_LOOK_S)
                continue
            self._bell.clear()
            # Said before the last look: whoever sets a deadline looks whether we sleep after that.
            self.asleep = True
            if all(link.due == float("inf") for link in self._present()):
                self._bell.wait()
            self.asleep = False
            idle = 0

    def _present(self) -> list[Watched]:
        with self._starting:
            return list(self.watched)


_dog = _Watchdog()


def watch(link: Watched) -> None:
    """From now on `link.cut()` is called when its time is up."""
    _dog.watch(link)


def look() -> None:
    """To be called after a deadline was set: cheap."""
    if _dog.asleep:
        _dog.wake()


def _forget_in_child() -> None:
    global _dog
    _dog = _Watchdog()  # the thread is the parent's, and so are the connections


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)

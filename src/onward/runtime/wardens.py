"""The processes that execute isolated steps, from the side of the one that gives the orders; see warden.py."""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Final

from onward.core import limits
from onward.runtime import wire

# Modules that workers need sooner or later: onward's own and what takes long to import of Python's.
_SHARED: Final = ("onward.api", "onward.core", "onward.runtime", "asyncio")


class Warden:
    """A process that executes one order at a time, and this side of the talk with it."""

    def __init__(self) -> None:
        self.control, theirs = socket.socketpair()
        with theirs:
            path = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "onward.runtime.warden", str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C at the terminal is for this process, which then ends the worker
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
            )
        every.add(self)
        ours = [name for name in sys.modules if name.startswith(_SHARED)]
        with contextlib.suppress(OSError):  # if it is gone already, the first order will tell
            wire.send(self.control, wire.READY, wire.text(" ".join(sorted(ours))))

    def lives(self) -> bool:
        return self._process.poll() is None

    def begin(self, order: wire.Order) -> socket.socket:
        """Have an order executed; the line to its worker."""
        around = wire.Surroundings(dict(os.environ), os.getcwd(), [str(one) for one in sys.path], sys.argv)
        ours, theirs = socket.socketpair()
        with theirs, open(os.devnull, "rb") as nothing, open(os.devnull, "wb") as nowhere:
            fds = [theirs.fileno(), nothing.fileno(), *(_or(fd, nowhere.fileno()) for fd in (1, 2))]
            try:
                wire.send(self.control, wire.ORDER, wire.pack(order, around), fds)
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)
        return ours

    def kill(self) -> None:
        """Have the worker ended, with all that it has started. From any thread; its end is told as any other."""
        with contextlib.suppress(OSError):
            wire.send(self.control, wire.KILL)

    def end(self) -> None:
        """End the warden, which ends its worker."""
        self.control.close()
        try:
            self._process.wait(limits.LEAVE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def forget(self) -> None:
        """In a forked child: it is the parent's."""
        self.control.close()
        self._process.returncode = 0


def _or(fd: int, other: int) -> int:
    """`fd` if it is open, else the other."""
    try:
        os.fstat(fd)
    except OSError:
        return other
    return fd


every: weakref.WeakSet[Warden] = weakref.WeakSet()
idle: list[Warden] = []


def take() -> Warden:
    while True:
        try:
            warden = idle.pop()
        except IndexError:
            return Warden()
        if warden.lives():
            return warden
        warden.end()


def put_back(warden: Warden) -> None:
    if len(idle) < limits.WARDENS:
        idle.append(warden)
    else:
        warden.end()


def dismiss() -> None:
    """End the processes that are kept ready for the next isolated steps."""
    while idle:
        idle.pop().end()


def _forget_in_child() -> None:
    idle.clear()
    for warden in list(every):
        warden.forget()
    every.clear()


atexit.register(dismiss)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)

"""`python -m onward.runtime.warden FD PARENT`: the process that forks workers for isolated steps and watches them.

It never executes anything of the user's, so it always answers: it ends a worker, and all that the worker has
started, when it is told to and when its own parent is gone. One worker at a time, forked from this fresh
interpreter: a worker inherits nothing from an earlier one.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Final, NoReturn

from onward.core import limits
from onward.runtime import apart, wire

_PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>
_PR_SET_CHILD_SUBREAPER: Final = 36
# How often it looks whether what has left a worker's group is gone (seconds).
_LOOK_S: Final = 0.005


class Warden:
    """Serves the process at the other end of `control`."""

    def __init__(self, control: socket.socket, parent: int) -> None:
        self._control, self._parent = control, parent
        self._bell, wake = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(self._bell, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, _awake)
        if not dies_with_parent(parent, signal.SIGTERM):
            self._parent = -1
        _adopt_orphans()

    def serve(self) -> Callable[[], None] | None:
        """Fork a worker for each order. In the worker returns what it is to do; in the warden None, at the end."""
        while not self._is_orphan():
            frame = wire.receive(self._control)
            if frame is None:
                return None
            letter, body, fds = frame
            if letter == wire.READY:
                _get_ready(wire.untext(body).split())
            if letter != wire.ORDER:
                continue  # or the end of a worker that had ended by itself
            warden, pid = os.getpid(), os.fork()
            if pid == 0:
                return self._as_worker(warden, body, fds)
            _lead_group(pid)
            for fd in fds:
                os.close(fd)
            status = self._watch(pid)
            if status is None:
                return None
            try:
                wire.send(self._control, wire.EXIT, wire.status(status))
            except OSError:  # nobody is there to hear it
                return None
        return None

    def _as_worker(self, warden: int, body: bytes, fds: list[int]) -> Callable[[], None]:
        _lead_group(0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # Whoever asks the program to stop means the parent, which then ends this process; a worker that died of the
        # same signal first would be taken for one that crashed. A handler, not SIG_IGN: that would be inherited.
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, _awake)
        if not dies_with_parent(warden, signal.SIGKILL):
            os._exit(1)
        self._control.close()
        os.close(self._bell)
        line, *standard = fds
        os.set_inheritable(line, False)
        for target, fd in enumerate(standard):
            os.dup2(fd, target)
            os.close(fd)
        return lambda: apart.work(socket.socket(fileno=line), body)

    def _watch(self, pid: int) -> int | None:
        """Wait for the worker's end; its exit code, or None when there is nobody left to tell."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._bell, select.POLLIN)
        told = True
        while not _has_ended(pid):
            ready = {fd for fd, _ in poll.poll()}
            if self._bell in ready:
                _drain(self._bell)
            if told and self._control.fileno() in ready:
                told = wire.receive(self._control) is not None
                _kill_group(pid)
            if self._is_orphan():
                told = False
                _kill_group(pid)
            if not told:
                poll.unregister(self._control)
                break
        _kill_group(pid)  # what it has started ends with it; until it is reaped, its number is nobody else's
        _, status = os.waitpid(pid, 0)
        _kill_orphans()
        return os.waitstatus_to_exitcode(status) if told else None

    def _is_orphan(self) -> bool:
        return self._parent != os.getppid()


def dies_with_parent(parent: int, number: signal.Signals) -> bool:
    """Have the kernel send the signal when the parent dies, where it can; False if the parent is dead already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number))
    return os.getppid() == parent


def _awake(number: int, frame: FrameType | None) -> None:
    """Only the wake-up matters. The kernel's notice of a parent's death comes for each of its threads that ends."""


def _lead_group(pid: int) -> None:
    # Both sides do it: whoever comes first, nobody signals the group before it is there.
    try:
        os.setpgid(pid, pid)
    except OSError:
        return


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _kill_group(pid: int) -> None:
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except OSError:
            continue


def _adopt_orphans() -> None:
    """Become the parent of what a worker leaves behind, also of what has left its group (`setsid`): Linux only."""
    if sys.platform == "linux" and os.path.exists(f"/proc/{os.getpid()}/stat"):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _kill_orphans() -> None:
    """End what the worker has left behind, and what that leaves behind, until nothing is there."""
    until = time.monotonic() + limits.LEAVE_S  # what the kernel itself holds up ends when that lets it go
    while time.monotonic() < until:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            for child in _children():
                os.kill(child, signal.SIGKILL)  # not reaped yet, so the number is its own
            time.sleep(_LOOK_S)


def _children() -> list[int]:
    """The processes whose parent is this one. Not every kernel lists them, so all are asked."""
    own, found = str(os.getpid()), []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()  # the name before it may hold anything
        except OSError:  # it has ended meanwhile
            continue
        if fields[1:2] == [own]:
            found.append(int(name))
    return found


def _drain(fd: int) -> None:
    try:
        while os.read(fd, 512):
            pass
    except BlockingIOError:
        return


def _get_ready(modules: list[str]) -> None:
    """Import what workers will need of onward and of Python: never anything of the user's."""
    for name in modules:
        if name.partition(".")[0] in ("onward", "asyncio"):
            importlib.import_module(name)
    gc.freeze()  # it is not looked at again, so that workers go on sharing it


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    task = Warden(control, int(sys.argv[2])).serve()
    if task is not None:
        _as_process(task)


def _as_process(task: Callable[[], None]) -> NoReturn:
    """Do the task and end as a process does: with its threads joined and its exit handlers called.

    But without taking the interpreter apart, which in a fork copies all of it and costs 50 ms.
    """
    code: object = 1
    try:
        task()
        code = 0
    except SystemExit as asked:
        code = asked.code if asked.code is not None else 0
    except BaseException:
        traceback.print_exc()
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # as multiprocessing ends its children
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code & 0xFF if isinstance(code, int) else 1)


if __name__ == "__main__":
    main()

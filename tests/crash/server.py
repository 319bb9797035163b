"""The fork server: imports everything once, then forks a child for each phase of each point.

Orders come as JSON lines on stdin, answers go out on stdout. A child is armed with the plan of its death before
it opens the journal; the parent never opens one. Started with the shim in LD_PRELOAD.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import pkgutil
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import onward
from crash import corpus, programs, tracer
from onward.api import connect
from onward.cli.doctor import doctor
from onward.core import limits
from onward.runtime.engine import Engine
from onward.storage.sqlite.store import SqliteStore

# Not a program: `onward doctor` on the folder's journal.
DOCTOR = "doctor"
# A phase takes a second at most, on a machine with time for it; one that takes this long hangs.
_HUNG_S = 100


def child(order: dict[str, Any], shim: ctypes.CDLL) -> int:
    folder = Path(order["folder"])
    os.chdir(folder)
    log = os.open(folder / "stderr.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ["ONWARD_URL"] = f"sqlite:///{folder / 'journal.db'}"
    programs.world.enter(folder, order["phase"])
    if order["lease_s"]:
        limits.LEASE_MARGIN_S = order["lease_s"] / 10  # type: ignore[misc]
    text = [str(order[name]).encode() for name in ("folder", "letters", "name_end")]
    shim.crash_arm(ctypes.c_long(order["at"]), order["action"], *text)
    lines = tracer.begin(order["line"], order["visit"], shim.crash_count) if order["line"] else None
    code = _perform(order, folder)
    shim.crash_disarm()
    if lines is not None:
        (folder / f"lines.{order['phase']}").write_text(json.dumps(tracer.end(lines)))
    shim.crash_notes.restype = ctypes.c_char_p
    (folder / f"notes.{order['phase']}").write_bytes(shim.crash_notes())
    (folder / f"count.{order['phase']}").write_text(str(shim.crash_count()))
    return code


def _perform(order: dict[str, Any], folder: Path) -> int:
    try:
        if order["ahead_s"] or order["lease_s"]:
            store = SqliteStore(folder / "journal.db", clock=lambda: time.time() + order["ahead_s"])
            connect._engine = Engine(store, lease_s=order["lease_s"] or limits.LEASE_S)
        if order["program"] == DOCTOR:
            return int(doctor.main([], standalone_mode=False) or 0)
        programs.world.returned(corpus.program(order["program"])())
        connect.disconnect()
    except BaseException:
        traceback.print_exc()
        return 3
    return 0


_alive: set[int] = set()


def start(order: dict[str, Any], shim: ctypes.CDLL) -> dict[str, Any]:
    pid = os.fork()
    if pid == 0:
        code = 4
        try:
            # Ours, of `wait`: with a handler that may do anything, a program commits in another way than most do.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            code = child(order, shim)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    _alive.add(pid)
    return {"pid": pid}


def wait(pid: int) -> dict[str, Any]:
    """How a child ended, or that it has stopped."""

    def hung(number: int, frame: object) -> None:
        os.kill(pid, signal.SIGKILL)

    signal.signal(signal.SIGALRM, hung)
    began = time.monotonic()
    signal.alarm(_HUNG_S)
    _, status = os.waitpid(pid, os.WUNTRACED)
    signal.alarm(0)
    if os.WIFSTOPPED(status):
        return {"how": "stopped", "pid": pid}
    _alive.discard(pid)
    if os.WIFSIGNALED(status):
        late = time.monotonic() - began >= _HUNG_S
        return {"how": "hung" if late else "killed", "pid": pid, "code": os.WTERMSIG(status)}
    return {"how": "ended", "pid": pid, "code": os.WEXITSTATUS(status)}


def preload() -> None:
    """Import what programs would import on their way: once, not in each of thousands of children."""
    for module in pkgutil.walk_packages(onward.__path__, "onward."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in (
        "asyncio", "concurrent.futures.process", "concurrent.futures.thread", "encodings.ascii", "pyarrow.parquet",
        "pyarrow.pandas_compat",  # which brings pandas: pyarrow looks into it for every table
    ):  # fmt: skip
        importlib.import_module(name)


def serve() -> None:
    corpus.modules("programs")
    preload()
    shim = ctypes.CDLL(os.environ.pop("LD_PRELOAD"))
    os.environ["ONWARD_QUIET"] = "1"
    # A new log is given a part of its length at once: here 100 pages, which these programs fill in part. The usual
    # 1,000 would be written, and copied to be looked at, in each of thousands of lives.
    limits.WAL_PAGES = 400  # type: ignore[misc]
    os.umask(0o077)
    # What is here now stays: a child that collects garbage would copy all of its pages.
    gc.collect()
    gc.freeze()
    print(json.dumps({"onward": onward.__file__}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        match order["do"]:
            case "run":
                answer = wait(start(order, shim)["pid"])
            case "start":
                answer = start(order, shim)
            case "wait":
                answer = wait(order["pid"])
            case "resume":
                os.kill(order["pid"], signal.SIGCONT)
                answer = wait(order["pid"])
        print(json.dumps(answer), flush=True)
    for pid in _alive:  # stopped ones that a failed test has left
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    serve()

"""Steps in a module of its own: what another process has to import must be at the top of one."""

from __future__ import annotations

import asyncio
import ctypes
import dataclasses
import enum
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import onward

T = TypeVar("T")


class Size(enum.Enum):
    SMALL = 1


@dataclasses.dataclass
class Order:
    number: int
    size: Size = Size.SMALL


class Refused(Exception):
    """An error of the program's own."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason, code)
        self.code = code


@onward.step(isolate=True)
def double(order: Order) -> Order:
    return Order(order.number * 2)


@onward.step(isolate=True)
async def double_async(number: int) -> int:
    await asyncio.sleep(0)
    return number * 2


@onward.step(isolate=True)
def doubled(number: int) -> list[int]:
    return [number * 2, os.getpid()]


@onward.step(isolate=True)
async def doubled_async(number: int) -> list[int]:
    return [number * 2, os.getpid()]


@onward.step(isolate=True)
def process_of(folder: str = ".") -> dict[str, Any]:
    here = onward.current()
    assert here is not None
    return {
        "pid": os.getpid(),
        "key": here.key,
        "run": here.run_id,
        "attempt": here.attempt,
        "idempotency": onward.idempotency_key(),
        "cwd": os.getcwd(),
        "variable": os.environ.get("ONWARD_TEST_VARIABLE"),
        "main": sys.modules["__main__"].__name__,
    }


def log(path: str, what: str) -> None:
    with open(path, "a") as file:
        file.write(what + "\n")


def logged(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


@onward.step(isolate=True, backoff=0.01)
def dies(path: str, how: str, times: int = 99) -> str:
    log(path, how)
    if len(logged(Path(path))) > times:
        return "survived"
    if how == "segfault":
        ctypes.string_at(0)
    elif how == "exit":
        os._exit(7)
    elif how == "sys.exit":
        sys.exit(3)
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "abort":
        os.abort()
    elif how == "group":
        os.killpg(0, signal.SIGKILL)
    return "lived"


@onward.step(isolate=True)
def fails(reason: str) -> None:
    raise Refused(reason, 17)


@onward.step(isolate=True)
def returns(what: str) -> Any:
    return {"nothing": None, "object": object(), "big": "x" * 3_000_000}[what]


@onward.step(isolate=True, memory="256MB")
def allocates(megabytes: int) -> int:
    return len(bytearray(megabytes * 10**6))


@onward.step(isolate=True, timeout=0.3)
def hangs(path: str, how: str) -> None:
    log(path, str(os.getpid()))
    if how == "loop":
        while True:
            pass
    if how == "deaf":
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
            signal.signal(number, signal.SIG_IGN)
    if how == "lock":
        lock = threading.Lock()
        with lock:
            lock.acquire()
    time.sleep(60)


@onward.step(isolate=True, timeout=0.3)
async def hangs_async(path: str) -> None:
    log(path, str(os.getpid()))
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            continue


@onward.step(isolate=True)
def breeds(path: str) -> str:
    """Starts a process that would outlive it."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    log(path, str(child.pid))
    return "left it behind"


@onward.step(isolate=True)
def daemonises(path: str) -> str:
    """Starts a process that leaves its group and its parent, as browsers and servers do."""
    quiet = "start_new_session=True, stdout=s.DEVNULL, stderr=s.DEVNULL"
    started = f"import subprocess as s; print(s.Popen(['sleep', '60'], {quiet}).pid)"
    told = subprocess.run(
        [sys.executable, "-c", started], capture_output=True, check=True, start_new_session=True
    )
    log(path, told.stdout.decode().strip())
    return "left it behind"


@onward.step(isolate=True, backoff=0)
def loses_stdout(path: str, how: str) -> str:
    """Does its work, and then has nowhere to print to."""
    log(path, "worked")
    if how == "closed":
        sys.stdout.close()
    elif how == "gone":
        sys.stdout = None  # type: ignore[assignment]
    else:
        print("x", end="")
        os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
    return "worked"


@onward.step(isolate=True)
def sleeps(path: str, seconds: float = 60) -> str:
    log(path, str(os.getpid()))
    time.sleep(seconds)
    return "slept"


@onward.step(isolate=True)
async def sleeps_async(path: str) -> None:
    log(path, str(os.getpid()))
    await asyncio.sleep(60)


@onward.step
def plain() -> int:
    return 1


@onward.step(isolate=True)
def calls_a_step() -> int:
    return plain()


@onward.step(isolate=True)
def loops() -> None:
    for _ in onward.each([1, 2], name="inner"):
        pass


@onward.step(isolate=True)
def says_progress() -> None:
    onward.progress(1, 2)


@onward.step(isolate=True)
def prints() -> None:
    print("to stdout")
    print("to stderr", file=sys.stderr)


@onward.step(isolate=True, max_attempts=2, backoff=0)
def beats(count: int, *, wait: bool = False) -> Any:
    here = onward.current()
    assert here is not None
    if here.heartbeat is not None:
        return here.heartbeat
    for number in range(1, count + 1):
        onward.heartbeat({"at": number}, wait=wait)
    raise ConnectionError("lost")


@onward.step(isolate=True)
async def beats_async() -> Any:
    await onward.aio.heartbeat("one")
    onward.heartbeat("two")
    here = onward.current()
    assert here is not None
    return here.heartbeat


class Shop:
    """A class whose methods are steps."""

    @dataclasses.dataclass
    class Till:
        cash: int

        @onward.step(isolate=True)
        def take(self, cash: int) -> int:
            return self.cash + cash

    @staticmethod
    @onward.step(isolate=True)
    def price(item: str) -> int:
        return len(item)


def gone(pid: int, within_s: float = 60.0) -> bool:
    """Whether a process is gone, or a zombie, soon."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def ran(call: Callable[[], T]) -> T:
    """The value of a call in a workflow."""

    @onward.workflow(name="job")
    def job() -> Any:
        return call()

    return job()  # type: ignore[no-any-return]

"""Worker processes of a measurement: `python -m onward.cli worker`, with the CPU they use and the file they write."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from onward.api import connect

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_START_S = 60


class Crew:
    """Workers of one script on the journal in `folder`, or on another; what they say goes to `workers.log` there."""

    def __init__(self, script: Path, folder: Path, url: str | None = None) -> None:
        self._script, self.folder = script, folder
        self._url = url or f"sqlite:///{folder / 'journal.db'}"
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def hire(self, *options: str) -> int:
        """Start a worker; its pid. It may not work yet."""
        environment = dict(os.environ, ONWARD_URL=self._url)
        command = [sys.executable, "-m", "onward.cli", "worker", str(self._script), *options]
        with (self.folder / "workers.log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._processes[process.pid] = process
        return process.pid

    def kill(self, pid: int) -> None:
        process = self._processes.pop(pid)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def check(self) -> None:
        """Raises SystemExit if one has ended by itself."""
        for process in self._processes.values():
            if process.poll() is not None:
                words = (self.folder / "workers.log").read_text(errors="replace").strip().splitlines()
                raise SystemExit(
                    f"a worker ended with {process.returncode}: {words[-1] if words else 'silently'}"
                )

    def assemble(self, count: int) -> None:
        """Wait until so many live workers have made themselves known, which each does when it begins to work."""
        self.until(lambda: at_work() == count, f"that {count} workers are there")

    def until(self, condition: Callable[[], bool], what: str, within_s: float = _START_S) -> None:
        """Wait for it in small steps; raises SystemExit when it does not come."""
        end = time.monotonic() + within_s
        while not condition():
            self.check()
            if time.monotonic() > end:
                raise SystemExit(f"{what} did not happen within {within_s:.0f} s")
            time.sleep(0.002)

    def dismiss(self) -> None:
        for pid in list(self._processes):
            self.kill(pid)


def at_work() -> int:
    """Workers that have announced themselves and live."""
    store = connect.engine().store
    return sum(not store.owner_is_dead(worker.owner) for worker in store.workers())


@contextmanager
def crew(script: Path, folder: Path, url: str | None = None) -> Iterator[Crew]:
    hired = Crew(script, folder, url)
    try:
        yield hired
    finally:
        hired.dismiss()


def cpu_s(pid: int) -> float:
    """CPU that a process and its threads have used so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def note(path: Path, line: str) -> None:
    """Append a line in one system call: several processes may do so at once."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, f"{line}\n".encode())
    os.close(file)


def notes(path: Path) -> list[list[str]]:
    """The words of each whole line."""
    if not path.exists():
        return []
    return [line.split() for line in path.read_text("utf-8").rpartition("\n")[0].splitlines()]

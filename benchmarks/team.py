"""Processes of a measurement that begin at the same moment: each says when it is ready, and is told when to go."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import IO

_READY = "ready"


class Team:
    """So many processes `python jobs.py NAME FOLDER`."""

    def __init__(self, name: str, folder: Path, count: int) -> None:
        script = Path(__file__).with_name("jobs.py")
        self._processes = [
            subprocess.Popen(
                [sys.executable, str(script), name, str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(count)
        ]

    def __enter__(self) -> Team:
        if any(_line(process) != [_READY] for process in self._processes):
            raise SystemExit("a process of the measurement did not get ready; nothing was measured")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            if kind is not None:
                process.kill()
            process.wait(60)

    def go(self) -> tuple[float, list[list[str]]]:
        """Let them go; the seconds until the last one has said its line, and the words of each."""
        began = perf_counter()
        for process in self._processes:
            print("go", file=_pipe(process.stdin), flush=True)
        lines = [_line(process) for process in self._processes]
        return perf_counter() - began, lines


def wait_for_go() -> None:
    """In such a process: say that it is ready, and wait for the word."""
    print(_READY, flush=True)
    sys.stdin.readline()


def _line(process: subprocess.Popen[str]) -> list[str]:
    return _pipe(process.stdout).readline().split()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None, "they are started with pipes"
    return pipe

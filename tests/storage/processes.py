"""Other processes that use a journal, for tests of what happens between processes."""

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import IO

import onward.storage

_SOURCE = str(Path(onward.storage.__file__).parents[2])
_HERE = str(Path(__file__).parents[1])


class Process(subprocess.Popen[str]):
    """A process that a `with` waits for, as any; but one whose test has failed is ended, not waited for."""

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.kill()
        super().__exit__(kind, value, trace)


def start(code: str, *arguments: object, **environment: str) -> Process:
    """A Python process that runs `code`; sys.argv[1:] are the arguments. Speak to it through its pipes."""
    return Process(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((_SOURCE, _HERE)), **environment},
    )


def run(code: str, *arguments: object, within_s: float = 60, **environment: str) -> str:
    """What a process printed that ran `code` to its end without an error."""
    with start(code, *arguments, **environment) as process:
        output, _ = process.communicate(timeout=within_s)
    assert process.returncode == 0, output
    return output.strip()


def line(pipe: IO[str] | None) -> str:
    """The next line that a process prints."""
    assert pipe is not None
    return pipe.readline().strip()


def say(pipe: IO[str] | None, text: str) -> None:
    """Send a process a line."""
    assert pipe is not None
    pipe.write(text + "\n")
    pipe.flush()

"""Other processes that use a journal, for tests of what happens between processes."""

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import onward.storage

_SOURCE = str(Path(onward.storage.__file__).parents[2])
_HERE = str(Path(__file__).parents[1])


def start(code: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    """A Python process that runs `code`; sys.argv[1:] are the arguments. Speak to it through its pipes."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((_SOURCE, _HERE)), **environment},
    )


def run(code: str, *arguments: object, **environment: str) -> str:
    """What a process printed that ran `code` to its end without an error."""
    with start(code, *arguments, **environment) as process:
        output, _ = process.communicate(timeout=60)
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

"""A journal of its own for each test, programs that write to it, and the command line that looks at it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from onward.api import connect
from onward.cli import main

Cli = Callable[..., Result]


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the journal of this test is, or will be."""
    path = tmp_path / "journal.db"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ONWARD_URL", f"sqlite:///{path}")
    for name in ("NO_COLOR", "FORCE_COLOR", "ONWARD_QUIET", "ONWARD_FRESH"):
        monkeypatch.delenv(name, raising=False)
    yield path
    connect.disconnect()


@pytest.fixture
def cli(journal: Path) -> Cli:
    """Calls `onward ARGS`; the answer has exit_code, stdout and stderr."""

    def call(*args: str, answer: str | None = None) -> Result:
        result = CliRunner().invoke(main, args, input=answer, prog_name="onward")
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return call


class Programs:
    """Scripts in the test's directory, executed as a user would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[subprocess.Popen[Any]] = []

    def look_after(self, program: "subprocess.Popen[Any]") -> None:
        """It ends with the test, however that ends."""
        self._started.append(program)

    def write(self, text: str, name: str = "job.py") -> str:
        (self.folder / name).write_text(f"import os, sys, time, pathlib, onward\n{text}", encoding="utf-8")
        return name

    def start(self, *words: str, source: Path | None = None) -> "subprocess.Popen[str]":
        """A program; of another version of the product if that lies in `source`."""
        program = subprocess.Popen(
            [sys.executable, *words],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([*([str(source)] if source else []), *sys.path])},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.look_after(program)
        return program

    def run(self, *words: str, source: Path | None = None) -> "subprocess.CompletedProcess[str]":
        program = self.start(*words, source=source)
        out, err = program.communicate(timeout=60)
        return subprocess.CompletedProcess(words, program.returncode, out, err)

    def onward(self, *args: str, source: Path | None = None) -> "subprocess.CompletedProcess[str]":
        return self.run("-m", "onward.cli", *args, source=source)

    def wait_for(self, *names: str) -> None:
        """Until these files are there."""
        until = time.monotonic() + 90
        while not all((self.folder / name).exists() for name in names):
            assert time.monotonic() < until, f"{names} did not appear"
            time.sleep(0.01)

    def lines(self, name: str) -> list[str]:
        return (self.folder / name).read_text().splitlines()

    def end(self) -> None:
        for program in self._started:
            if program.poll() is None:
                program.send_signal(signal.SIGKILL)
            program.communicate(timeout=100)


@pytest.fixture
def programs(journal: Path, tmp_path: Path) -> Iterator[Programs]:
    made = Programs(tmp_path)
    yield made
    made.end()


# A loop that notes what it did and dies, or waits, where it is told to.
LOOP = """
for item in onward.each(list("abcdef"), name="letters"):
    if item == os.environ.get("DIE_AT") and not pathlib.Path("died").exists():
        pathlib.Path("died").touch()
        os.kill(os.getpid(), 9)
    if item == os.environ.get("HOLD_AT"):
        pathlib.Path("held").touch()
        while not pathlib.Path("go").exists():
            time.sleep(0.01)
    with open("done.txt", "a") as file:
        file.write(item + "\\n")
"""

# A map of which one item fails until it is mended.
MAP = """
def half(number):
    if number == 3 and not pathlib.Path("mended").exists():
        raise ValueError("three is odd \\x1b]0;owned\\x07")
    with open("done.txt", "a") as file:
        file.write(f"{number}\\n")
    return number / 2

print(list(onward.map(half, [1, 2, 3, 4], name="halves", concurrency=1, on_error="continue")))
"""

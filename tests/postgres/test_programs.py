"""Whole programs whose journal is in PostgreSQL: killed and continued, and with a server that crashes under them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import onward
from postgres.server import Server

pytestmark = [pytest.mark.important, pytest.mark.faults]

_SOURCE = str(Path(onward.__file__).parents[1])
ITEMS = 30

_HEAD = """
import asyncio, os, sys, time
import onward

def work(number):
    time.sleep(0.02)
    with open("log", "a") as log:
        log.write(f"{number}\\n")
    return number * 2
"""
PROGRAMS = {
    "loop": """
        for number in onward.each(range(30)):
            work(number)
        """,
    "map": """
        print(sum(onward.map(work, range(30), concurrency=5)))
        """,
    "workflow": """
        @onward.step
        def fetch(number):
            return work(number)

        @onward.workflow
        def collect():
            return sum(fetch(number) for number in range(30))

        print(collect())
        """,
    "async workflow": """
        @onward.step
        async def fetch(number):
            await asyncio.sleep(0)
            return work(number)

        @onward.workflow
        async def collect():
            return sum(await onward.aio.gather(*(fetch(number) for number in range(30))))

        print(asyncio.run(collect()))
        """,
}
_AT_ONCE = {"loop": 1, "map": 5, "workflow": 1, "async workflow": 30}


@pytest.fixture
def program(tmp_path: Path, postgres_server: Server, schema: str) -> Program:
    return Program(tmp_path, postgres_server.url(schema=schema))


class Program:
    """A script in a folder of its own that writes a line to `log` for each item that it has executed."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        (folder / "pyproject.toml").touch()

    def write(self, body: str) -> None:
        (self.folder / "job.py").write_text(_HEAD + textwrap.dedent(body), "utf-8")

    @contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        environment = {**os.environ, "PYTHONPATH": _SOURCE, "DATABASE_URL": self.url}
        with subprocess.Popen(
            [sys.executable, *(arguments or ("job.py",))],
            cwd=self.folder,
            env={**environment, "ONWARD_URL": "env:DATABASE_URL"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            yield process
            process.kill()

    def finished(self, *arguments: str) -> str:
        """What it printed, once it has ended well."""
        with self.started(*arguments) as process:
            output, errors = process.communicate(timeout=100)
            assert process.returncode == 0, errors
            self.said = errors
            return output.strip()

    def done(self) -> list[str]:
        log = self.folder / "log"
        return log.read_text("utf-8").split() if log.exists() else []

    def await_items(self, count: int, process: subprocess.Popen[str]) -> None:
        end = time.monotonic() + 60
        while len(self.done()) < count:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.005)

    def kill_after(self, count: int) -> None:
        """Run it until it has executed so many items, and kill it there."""
        with self.started() as process:
            self.await_items(count, process)
            process.kill()

    def onward(self, *arguments: str) -> str:
        return self.finished("-m", "onward.cli", *arguments)


@pytest.mark.parametrize("rung", PROGRAMS)
def test_a_killed_program_continues_where_it_was(program: Program, rung: str) -> None:
    program.write(PROGRAMS[rung])
    program.kill_after(8)
    program.kill_after(16)
    began = time.monotonic()
    output = program.finished()
    assert output == ("" if rung == "loop" else str(sum(2 * number for number in range(ITEMS))))
    assert time.monotonic() - began < 30
    done = Counter(program.done())
    assert set(done) == {str(number) for number in range(ITEMS)}
    assert sum(done.values()) - ITEMS <= 2 * _AT_ONCE[rung]
    assert "continuing" in program.said


@pytest.mark.parametrize("rung", ["loop", "map"])
def test_a_program_does_not_notice_that_its_server_crashed(
    program: Program, postgres_server: Server, rung: str
) -> None:
    program.write(PROGRAMS[rung])
    with program.started() as process:
        program.await_items(10, process)
        postgres_server.stop(immediate=True)
        time.sleep(0.3)
        postgres_server.start()
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert Counter(program.done()) == {str(number): 1 for number in range(ITEMS)}


def test_what_a_killed_worker_left_is_taken_over_by_another(program: Program) -> None:
    program.write(
        """
        @onward.workflow
        def slow(number):
            onward.sleep(0.01)
            return work(number)

        if __name__ == "__main__":
            print(sum(run.result(timeout=60) for run in [slow.start(number) for number in range(30)]))
        """
    )
    with program.started() as starter, program.started("-m", "onward.cli", "worker", "job.py") as first:
        program.await_items(5, first)
        with program.started("-m", "onward.cli", "worker", "job.py"):
            first.kill()
            first.wait()
            killed_at = time.monotonic()
            output, errors = starter.communicate(timeout=60)
            assert time.monotonic() - killed_at < 20
    assert output.strip() == str(sum(2 * number for number in range(ITEMS))), errors
    assert set(program.done()) == {str(number) for number in range(ITEMS)}


def test_the_command_line_tells_of_the_journal_without_its_password(program: Program) -> None:
    program.write(PROGRAMS["loop"])
    program.url = program.url.replace("postgres@", "postgres:s3cret@")
    program.finished()
    assert "postgresql://postgres@127.0.0.1" in program.said
    assert "s3cret" not in program.said
    for command in (["status"], ["runs"], ["doctor"]):
        output = program.onward(*command)
        assert "s3cret" not in output + program.said
    assert "postgres:***@" in output
    assert "are right" in output

"""Several lives of one program: deaths that leave what a kill leaves, a takeover, and processes of their own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import onward
from onward.api import connect
from onward.core.errors import Unwind
from onward.core.model import Entry, Run
from onward.runtime import current
from onward.runtime.engine import Engine
from onward.storage.open import open_store

SRC = Path(__file__).resolve().parents[2] / "src"
T = TypeVar("T")


class Killed(Unwind):
    """This life of the program is over."""


def die() -> NoReturn:
    """What a kill leaves: nothing more of the run is recorded, and nobody gives it back."""
    place = current.peek()
    assert place is not None, "only code inside a run dies"
    place.session.given_back = True  # so nothing is owed for it either
    raise place.session.unwind(Killed())


class Fate:
    """Ends a life each time its place is reached, as often as it was told."""

    def __init__(self, deaths: int = 1) -> None:
        self.deaths = deaths

    def __call__(self) -> None:
        if self.deaths:
            self.deaths -= 1
            die()


def two_lives(job: Callable[[], T]) -> T:
    """The result of a job that dies in its first life."""
    try:
        job()
    except Killed:
        return job()
    raise AssertionError("it did not die")


def seen_twice(look: Callable[[], Any], *, asynchronous: bool = False) -> list[Any]:
    """What `look` sees in a run that dies after it, and what it sees in the next life."""
    seen: list[Any] = []

    @onward.workflow(name="job")
    def job() -> None:
        seen.append(look())
        if len(seen) == 1:
            die()

    @onward.workflow(name="job")
    async def job_async() -> None:
        seen.append(await look())
        if len(seen) == 1:
            die()

    for _ in range(2):
        try:
            if asynchronous:
                asyncio.run(job_async())
            else:
                job()
        except Killed:
            continue
    return seen


def finish_writing() -> None:
    """Wait until everything handed over so far is on disk."""
    connect.engine().committer.flush()


def taken_over(run_id: str) -> Run:
    """Claim the run as another process would that believes its holder dead; returns it as it is leased then."""
    path = connect.engine().store.place
    other = Engine(open_store(path, durability="process"), keeper=False)
    try:
        other.is_dead = lambda run: True  # type: ignore[method-assign]
        session = None
        while session is None:  # refused where the holder, who lives, has written since the run was read
            run = other.store.run(run_id)
            assert run is not None
            assert run.state == "running"
            session = other.claim(run)
        current.end(session)
        return session.run._replace()
    finally:
        other.store.close()


def runs() -> list[Run]:
    """All runs, oldest first."""
    return connect.engine().store.runs()[::-1]


def the_run() -> Run:
    """The only run there is."""
    (run,) = runs()
    return run


def entries(run: Run | None = None) -> list[Entry]:
    finish_writing()
    return connect.engine().store.entries((run or the_run()).no)


def outcomes(run: Run | None = None) -> dict[str, str]:
    """The state of each key that has an outcome, in the order of the journal."""
    return {entry.key: entry.state for entry in entries(run) if entry.kind != "mark"}


def write_script(folder: Path, text: str, name: str = "job.py") -> Path:
    """A program in the project `folder`."""
    (folder / "pyproject.toml").touch()
    path = folder / name
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def environment(**more: str) -> dict[str, str]:
    """The environment of a program that uses this checkout."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ONWARD_")}
    return {**kept, "PYTHONPATH": str(SRC), "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1", **more}


def python(
    *arguments: str | Path, cwd: Path, timeout: float = 100, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run Python in `cwd` to its end."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def told(ended: subprocess.CompletedProcess[str]) -> str:
    """What a program that was refused said: a sentence, and nothing of onward's inside."""
    message = ended.stderr
    assert ended.returncode not in (0, -9, -11), f"exit code {ended.returncode}: {message}{ended.stdout}"
    assert f"{SRC / 'onward'}" not in message, message
    assert message.strip(), "it said nothing"
    return message

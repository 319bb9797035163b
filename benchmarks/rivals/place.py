"""What a rival needs to run: an environment of its own with the pinned versions, and Redis where it wants one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from field import Rival

HERE = Path(__file__).resolve().parent
_INSTALL_S = 600
_START_S = 10


class Unavailable(Exception):
    """The rival cannot take part here; the sentence goes into the table."""


def python_of(name: str, environments: Path) -> Path:
    """The interpreter to run a rival's job with; makes its environment the first time."""
    requirements = HERE / "requirements" / f"{name}.txt"
    if not requirements.exists():
        return Path(sys.executable)  # the standard library, or this checkout
    venv = environments / name
    python = venv / "bin" / "python"
    if not (venv / "complete").exists():
        _must([sys.executable, "-m", "venv", "--clear", venv], "no virtual environment could be made")
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements]
        _must(pip, f"pip could not install {requirements.name}")
        (venv / "complete").touch()
    return python


def version_of(package: str, python: Path) -> str:
    """The version of the package that the interpreter has; empty for no package."""
    if not package:
        return ""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    found = subprocess.run([python, "-c", code], capture_output=True, text=True)
    return found.stdout.strip()


def _must(command: list[str | Path], sentence: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{sentence} within {_INSTALL_S} s") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Unavailable(f"{sentence}: {last}")


@contextmanager
def redis_for(rival: Rival, setting: str, folder: Path) -> Iterator[str]:
    """The URL of a Redis for this story, empty if the rival wants none."""
    server = redis_server(folder / "redis", synced=setting != "default") if rival.redis else nullcontext("")
    with server as url:
        yield url


@contextmanager
def redis_server(folder: Path, *, synced: bool) -> Iterator[str]:
    """A Redis server of its own for one measurement; gives its URL.

    As it comes, or with every change synced to an append-only file (`synced`).
    """
    program = shutil.which("redis-server")
    if program is None:
        raise Unavailable("needs the program redis-server, which is not on this machine")
    folder.mkdir(exist_ok=True)
    port = _free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    command += ["--appendonly", "yes", "--appendfsync", "always"] if synced else []
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await_port(port)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait(_START_S)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_port(port: int) -> None:
    until = time.monotonic() + _START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise Unavailable(f"redis-server did not answer within {_START_S} s") from None
            time.sleep(0.02)


def environment(**more: str) -> dict[str, str]:
    """That of a job: nothing of onward's settings, and this checkout for those that import it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ONWARD_", "RIVALS_"))}
    source = str(HERE.parents[1] / "src")
    return kept | {"PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": "1", "ONWARD_QUIET": "1"} | more

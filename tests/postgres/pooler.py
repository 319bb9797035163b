"""A real PgBouncer in front of the tests' server, in transaction mode."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from postgres.server import Server, free_port, give_away, started

MISSING = "PgBouncer is not installed (Debian: apt-get install pgbouncer; `.ci/run` does that)"


def found() -> str | None:
    """The program, if this machine has it."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@contextlib.contextmanager
def pooler(server: Server, folder: Path) -> Iterator[int]:
    """The port of a pooler that gives its clients few sessions."""
    program = found()
    assert program is not None, MISSING
    port = free_port()
    folder.mkdir()
    users = folder / "users"
    users.write_text('"postgres" ""\n"runner" ""\n', "utf-8")
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        f"""
[databases]
* = host=127.0.0.1 port={server.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = transaction
default_pool_size = 10
max_client_conn = 500
server_check_delay = 0
server_login_retry = 1
""",
        "utf-8",
    )
    for path in (folder, users, settings):
        give_away(path)
    with open(folder / "log", "wb") as log:
        process = started([program, settings], log)
    try:
        _wait(process, port, folder)
        yield port
    finally:
        process.kill()  # it keeps nothing; of its signals for an end some wait for clients, some may be ignored here
        process.wait(30)


def _wait(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    for _ in range(200):
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError((folder / "log").read_text("utf-8"))

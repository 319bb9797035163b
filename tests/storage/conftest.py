"""The stores on which the port's promises are checked, and the clock that they read."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from onward.storage import Store
from onward.storage.memory import MemoryStore
from onward.storage.postgres.store import PostgresStore
from onward.storage.sqlite.store import SqliteStore
from postgres.server import fresh_schema


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.at = 1_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(
    params=[
        "memory",
        "sqlite",
        pytest.param("postgres", marks=pytest.mark.important),
        pytest.param("pgbouncer", marks=pytest.mark.important),
    ]
)
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Store]:
    store: Store
    if request.param == "memory":
        store = MemoryStore(clock=clock)
    elif request.param == "sqlite":
        store = SqliteStore(tmp_path / "journal.db", clock=clock)
    else:
        server = request.getfixturevalue("postgres_server")
        port = request.getfixturevalue("pooler_port") if request.param == "pgbouncer" else None
        store = PostgresStore(server.url(port=port, schema=fresh_schema()), clock=clock)
    yield store
    store.close()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "journal.db")
    yield store
    store.close()


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts small file systems in memory, with the given options."""
    made: list[Path] = []

    def mount(options: str) -> Path:
        folder = tmp_path / f"disk{len(made)}"
        folder.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True
        )
        if done.returncode != 0:
            pytest.skip(f"needs the right to mount: {done.stderr.strip()}")
        made.append(folder)
        return folder

    yield mount
    for folder in made:
        subprocess.run(["umount", "-l", folder], check=True)

"""Where the journals of the chaos are; whatever it changes in this process is put back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos import jobs
from chaos.play import Place
from onward.api import connect
from postgres.server import Server, fresh_schema


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ONWARD_QUIET", "1")
    for name in ("LEASE_MARGIN_S", "SUSPEND_S", "FAULT_PAUSE_S", "CALL_S"):
        monkeypatch.setattr(jobs.limits, name, getattr(jobs.limits, name))
    connect.disconnect()
    monkeypatch.setattr(connect, "_engine", None)
    yield
    connect.disconnect()


@pytest.fixture
def sqlite(tmp_path: Path) -> Place:
    return Place(f"sqlite:///{tmp_path / 'journal.db'}", tmp_path)


@pytest.fixture
def postgres(postgres_server: Server, tmp_path: Path) -> Place:
    schema = fresh_schema()
    return Place(postgres_server.url(schema=schema), tmp_path, postgres_server, schema)

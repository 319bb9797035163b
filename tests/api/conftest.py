"""A journal of its own for each test, in a project of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import onward
from api import steps
from onward.api import connect, endings, identity, opening
from onward.runtime import registry


@pytest.fixture(autouse=True)
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The path of the journal that this test uses. Its acknowledged records need only survive the process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ONWARD_FRESH", raising=False)
    monkeypatch.setenv("ONWARD_QUIET", "")
    monkeypatch.setattr(identity, "_sites", {})
    monkeypatch.setattr(opening, "_freshened", set())
    monkeypatch.setattr(endings, "_left", [])
    monkeypatch.setattr(registry, "_jobs", dict(registry._jobs))  # what a test defines is its own
    monkeypatch.setattr(registry, "_clashes", {})  # with what another test has defined as well
    steps.calls.clear()
    path = tmp_path / "journal.db"
    onward.connect(path, durability="process")
    yield path
    connect.disconnect()
    connect._explicit = None  # not by monkeypatch, which would put this test's own back

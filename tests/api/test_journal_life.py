"""A `Journal()` looks at what this process uses, and leaves it open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import onward
from onward.core.errors import JournalError


@pytest.fixture(autouse=True)
def connected(tmp_path: Path) -> Iterator[None]:
    onward.connect(tmp_path / "journal.db")
    yield
    onward.connect("memory:")


def test_a_program_goes_on_after_it_has_looked(tmp_path: Path) -> None:
    for number in onward.each(range(3), name="numbers"):
        with onward.Journal() as journal:
            assert journal.get("numbers").counts.done == number
    with onward.Journal() as journal:
        assert [run.state for run in journal.list()] == ["done"]
    journal.close()
    assert onward.Journal().get("numbers").counts.done == 3


def test_a_journal_that_was_opened_for_looking_is_closed(tmp_path: Path) -> None:
    onward.Journal()
    with onward.Journal.existing(f"sqlite:///{tmp_path / 'journal.db'}") as beside:
        assert beside.list() == []
    with pytest.raises(JournalError, match="closed"):
        beside.list()
    assert onward.Journal().list() == []

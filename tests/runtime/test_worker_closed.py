"""A journal that is closed while a worker runs on it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import onward
from onward.api import connect
from onward.core.errors import JournalError
from onward.runtime.worker import Worker


@onward.workflow
def doubled(number: int) -> int:
    return 2 * number


@pytest.mark.parametrize("times", range(3))
def test_a_worker_whose_journal_is_closed_ends_with_a_sentence(tmp_path: Path, times: int) -> None:
    """Not with a descriptor that is closed, or worse, is another file's by now."""
    onward.connect(str(tmp_path / "journal.db"))
    worker = Worker(connect.engine(), names=[doubled.name], concurrency=2)
    raised: list[BaseException] = []

    def run() -> None:
        try:
            worker.run()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert doubled.start(2).result(10) == 4
    onward.connect("memory:")
    thread.join(10)
    assert not thread.is_alive()
    assert isinstance(raised[0], JournalError)
    assert "closed" in str(raised[0])

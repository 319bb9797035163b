"""An idle worker sleeps until somebody rings, or writes to the journal, and does not look meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.lives import environment
from onward.core import limits
from onward.core.model import WorkerRow
from onward.runtime.ring import Ring
from onward.storage.open import open_store
from onward.storage.sqlite.store import SqliteStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = open_store(str(tmp_path / "journal.db"), durability="process")
    assert isinstance(opened, SqliteStore)
    yield opened
    opened.close()


class Looks:
    """Whether the store has changed since it was made; counts how often it was asked."""

    def __init__(self, store: SqliteStore) -> None:
        self.count = 0
        self._store, self._seen = store, store.version()

    def __call__(self) -> bool:
        self.count += 1
        return self._store.version() != self._seen


def another_process_writes(place: str, after_s: float) -> subprocess.Popen[bytes]:
    code = (
        "import sys, time; from onward.core.model import WorkerRow; from onward.storage.open import open_store\n"
        "store = open_store(sys.argv[1], durability='process'); print('ready', flush=True)\n"
        "time.sleep(float(sys.argv[2]))\n"
        "store.announce(WorkerRow('w', (), (), 1, 'working', 0.0)); print(time.monotonic())"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, place, str(after_s)], stdout=subprocess.PIPE, env=environment()
    )


needs_inotify = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of a file's changes")


@needs_inotify
@pytest.mark.important
def test_a_write_of_another_process_wakes_at_once_and_nobody_looks_before(store: SqliteStore) -> None:
    ring = Ring(store.doorbell())
    with another_process_writes(store.place, 2.0) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        looks = Looks(store)
        began_at = time.monotonic()
        ring.wait(began_at + 60, looks)
        woke_at = time.monotonic()
        wrote_at = float(writer.stdout.readline())
    assert looks(), "it was woken by news"
    assert woke_at - wrote_at < 0.25
    # A second of silence would be a hundred looks; here a few at first, and those after the bell.
    assert looks.count < 80
    ring.close()


@needs_inotify
def test_what_began_to_be_written_before_it_waits_is_seen(store: SqliteStore) -> None:
    """The bell rings when a commit begins to write, which may be before the wait for it begins."""
    ring = Ring(store.doorbell())
    ring.wait(time.monotonic() + 0.5, lambda: False)
    looks = Looks(store)
    with another_process_writes(store.place, 0.0) as writer:
        assert writer.stdout is not None
        writer.stdout.read()
        ring.wait(time.monotonic() + 60, looks)
    ring.close()


def test_without_a_bell_it_looks_every_hundredth_of_a_second(store: SqliteStore) -> None:
    ring = Ring(None)
    threading.Timer(0.5, lambda: store.announce(WorkerRow("w", (), (), 1, "working", 0.0))).start()
    looks = Looks(store)
    ring.wait(time.monotonic() + 60, looks)
    assert 5 <= looks.count <= 0.5 / limits.LOOK_S + 20
    ring.close()


def test_it_wakes_when_it_was_rung_also_before_it_waits_and_only_once() -> None:
    ring = Ring(None)
    for _ in range(100_000):
        ring.ring()
    ring.wait(time.monotonic() + 60, lambda: False)
    began_at = time.monotonic()
    ring.wait(began_at + 0.05, lambda: False)
    assert time.monotonic() - began_at >= 0.05
    threading.Timer(0.05, ring.ring).start()
    ring.wait(time.monotonic() + 60, lambda: False)
    ring.close()


def test_the_rest_after_news_ends_when_something_is_due() -> None:
    ring = Ring(None)
    ring._woke_at = time.monotonic() + 60
    began_at = time.monotonic()
    ring.wait(began_at + 0.05, lambda: False)
    assert time.monotonic() - began_at < 30
    ring.close()


def test_news_without_anything_in_it_is_looked_at_ever_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("onward.runtime.ring.time.monotonic", lambda: now[0])
    ring = Ring(None)
    rests: list[float] = []

    def rest(seconds: float, ears: object) -> bool:
        rests.append(round(seconds, 4))
        now[0] += seconds
        return False

    monkeypatch.setattr(ring, "_heard", rest)
    for _ in range(6):
        ring.wait(now[0] + 60, lambda: True)
    assert rests == [0.005, 0.01, 0.02, 0.02, 0.02]
    ring.found()
    ring.wait(now[0] + 60, lambda: True)
    assert rests[5:] == [0.005]
    now[0] += 1
    for _ in range(2):
        ring.wait(now[0] + 60, lambda: True)
    assert rests[6:] == [0.005]


def test_a_store_closes_its_bell(tmp_path: Path) -> None:
    opened = open_store(str(tmp_path / "journal.db"), durability="process")
    bell = opened.doorbell()
    assert bell == opened.doorbell()
    descriptors = bell.descriptors() if bell is not None else ()
    opened.close()
    for descriptor in descriptors:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
    assert bell is None or (not bell.descriptors() and not bell.rang())
    assert opened.doorbell() is None

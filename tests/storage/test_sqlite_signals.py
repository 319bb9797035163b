"""Ctrl-C at any line of a write that is not part of a batch: the process keeps no turn, no lock, no transaction."""

from __future__ import annotations

import linecache
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from onward.api import endings
from onward.core import limits
from onward.core.errors import JournalBroken
from onward.core.model import Applied, Change, Run
from onward.storage import committer, masked
from onward.storage.committer import Committer
from onward.storage.sqlite import store as store_module
from onward.storage.sqlite import straight, turn
from onward.storage.sqlite.store import SqliteStore
from runtime import test_committer_signals as signals
from storage.rows import entry, keys, opened, recorded
from storage.test_sqlite_disk import doubt

_FILES = {str(Path(module.__file__ or "")) for module in (store_module, turn, masked)}

WAYS: dict[str, Callable[[SqliteStore, int, int], Any]] = {
    "request": lambda store, run, at: store.request(run, "pause"),
    "renew": lambda store, run, at: store.renew("somebody", 1.0),
    "add_run": lambda store, run, at: store.add_run(Run(f"r-{at}", "workflow", "n", f"i-{at}"), (), ()),
    "tidy": lambda store, run, at: store.tidy(),
}


def _is_try(frame: FrameType) -> bool:
    """Where the tracer stops but no signal can strike, as at the end of a `with`."""
    return linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip() == "try:"


@pytest.mark.important
@pytest.mark.parametrize("way", WAYS)
def test_a_signal_at_any_line_of_a_write_keeps_nobody_out(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that lived on after Ctrl-C kept its turn to write, and every other one waited for it in vain."""
    leaves = signals._leaves_with
    monkeypatch.setattr(signals, "_FILES", _FILES)
    monkeypatch.setattr(signals, "_leaves_with", lambda frame: leaves(frame) or _is_try(frame))
    monkeypatch.setattr(limits, "BUSY_S", 0.5)
    monkeypatch.setattr(limits, "WAL_PAGES", -1)  # every tidying has something to do
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    mine = SqliteStore(tmp_path / "journal.db", durability="process")
    other = SqliteStore(tmp_path / "journal.db", durability="process")
    run = Run("r", "workflow", "n", "i", state="running", owner="me", lease_until=1.0)
    (made,) = mine.commit([Change(0, 0, after=run, create=True)])
    at = struck = 0
    try:
        while True:
            at += 1
            with signals.interrupted(at, signal.SIGINT) as strike:
                try:
                    WAYS[way](mine, made.run_no, at)  # type: ignore[union-attr]
                except KeyboardInterrupt:
                    struck += 1
                sys.settrace(None)
            assert other.request(made.run_no, None), f"after line {at}"  # type: ignore[union-attr]
            assert mine.request(made.run_no, None), f"after line {at}"  # type: ignore[union-attr]
            if not strike.struck:
                break
        assert struck > 20
    finally:
        signal.signal(signal.SIGINT, before)
        mine.close()
        other.close()


@pytest.fixture
def no_handlers() -> Iterator[None]:
    """As in a program that sets none; the test runner has some."""
    before = {number: signal.getsignal(number) for number in masked._SIGNALS}
    for number in before:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


# Where the tracer stops but no signal can strike: the interpreter looks for one after a call, and none stands before.
_FIRST = (
    "locks.flock(turn.lock, locks.FREE)",
    "if alone:",
    "self._leading = False",
    "if self._queue or self._held:",
)


def _stands_first(frame: FrameType) -> bool:
    return linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip() in _FIRST


@pytest.mark.important
def test_a_signal_at_any_line_of_a_commit_of_one_entry_leaves_it_whole_or_out_and_nothing_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_handlers: None
) -> None:
    """Such a commit wears no mask."""
    assert masked.ends_only()
    leaves = signals._leaves_with
    modules = (store_module, straight, turn, masked, committer)
    monkeypatch.setattr(signals, "_FILES", {str(Path(module.__file__ or "")) for module in modules})
    monkeypatch.setattr(
        signals, "_leaves_with", lambda frame: leaves(frame) or _is_try(frame) or _stands_first(frame)
    )
    monkeypatch.setattr(limits, "BUSY_S", 0.5)
    mine = SqliteStore(tmp_path / "journal.db", durability="process")
    other = SqliteStore(tmp_path / "journal.db", durability="process")
    run, beside = opened(mine), opened(other, "beside")
    writer = Committer(mine)
    at = struck = 0
    wanted: list[str] = []
    try:
        while True:
            at += 1
            answers = None
            with signals.interrupted(at, signal.SIGINT) as strike:
                try:
                    answers = writer.commit(Change(run.no, 1, (entry(f"k{at}"),)))
                except KeyboardInterrupt:
                    struck += 1
                sys.settrace(None)
            stored = keys(mine, run)
            assert stored in (wanted, [*wanted, f"k{at}"]), f"after line {at}"
            assert answers is None or stored[-1:] == [f"k{at}"], f"after line {at}"
            recorded(other, beside, entry(f"k{at}"))  # the turn is free
            assert writer.commit(Change(run.no, 1, (entry(f"l{at}"),))) == [
                Applied(run.no, len(stored), None)
            ]
            wanted = [*stored, f"l{at}"]
            if not strike.struck:
                break
        assert struck > 30
        assert list(mine.problems()) == []
    finally:
        writer.close()
        mine.close()
        other.close()


def test_a_commit_whose_failure_nobody_could_look_into_is_the_last_one(
    sqlite: SqliteStore, monkeypatch: pytest.MonkeyPatch, no_handlers: None
) -> None:
    """Where Ctrl-C strikes just after the disk has failed."""
    run = opened(sqlite)
    recorded(sqlite, run, entry("a"))
    doubt(sqlite, commits=False)

    def interrupt(*what: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(straight, "Written", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Committer(sqlite).commit(Change(run.no, 1, (entry("b"),)))
    for _ in range(2):
        with pytest.raises(JournalBroken, match=r"the answer was lost.*was not found out"):
            Committer(sqlite).commit(Change(run.no, 1, (entry("b"),)))
    assert keys(sqlite, run) == ["a"]


def test_only_a_program_without_handlers_of_its_own_commits_without_a_mask(no_handlers: None) -> None:
    assert masked.ends_only()
    before = signal.signal(signal.SIGUSR1, lambda number, frame: None)
    try:
        assert not masked.ends_only()
        others: list[bool] = []
        thread = threading.Thread(target=lambda: others.append(masked.ends_only()))
        thread.start()
        thread.join()
        assert others == [True]
    finally:
        signal.signal(signal.SIGUSR1, before)
    with endings.Graceful():
        assert masked.ends_only()
    with masked.Masked():
        assert not masked.ends_only()

"""Ctrl-C at any line of a write that is not part of a batch: the process keeps no turn, no lock, no transaction."""

from __future__ import annotations

import linecache
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from onward.core import limits
from onward.core.model import Change, Run
from onward.storage import masked
from onward.storage.sqlite import store as store_module
from onward.storage.sqlite import turn
from onward.storage.sqlite.store import SqliteStore
from runtime import test_committer_signals as signals

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

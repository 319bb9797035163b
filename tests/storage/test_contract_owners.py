"""What a store tells of the processes that lease runs, and of what is asked of those."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from onward.core.model import Owner, Run, RunState
from onward.storage import Store
from onward.storage.sqlite.store import SqliteStore
from storage.rows import opened

ME = Owner("me", "here", "boot", 1, "python job.py", 1_000.0)


def leased(store: Store, run_id: str, owner: str) -> Run:
    return opened(store, run_id, identity=run_id, state="running", fence=1, owner=owner, lease_until=1_030.0)


def test_requests_are_told_for_the_runs_of_one_owner(store: Store) -> None:
    runs = [leased(store, f"r-{number}", owner) for number, owner in enumerate(["me", "me", "you"])]
    assert store.requests("me") == []
    store.request(runs[0].no, "pause")
    store.request(runs[2].no, "cancel")
    assert store.requests("me") == [(runs[0].no, "pause")]
    store.request(runs[0].no, None)
    assert store.requests("me") == []


@pytest.mark.parametrize("state", ["pending", "waiting", "paused", "stuck", "done", "failed", "cancelled"])
def test_nothing_is_asked_of_a_run_that_nobody_executes(store: Store, state: RunState) -> None:
    """Whoever asks does it himself then: a wish that nobody answers would meet the next holder out of the blue."""
    run = opened(store, "r", state=state, owner=None, lease_until=None)
    assert not store.request(run.no, "pause")
    assert not store.request(run.no, "cancel")
    assert store.run("r") == run
    held = opened(store, "held")
    assert store.request(held.no, "pause")
    assert store.request(held.no, None)
    assert not store.request(held.no + 99, "pause")  # nor of one that is not there


def test_a_request_changes_the_version(store: Store) -> None:
    mine = leased(store, "r", "me")
    before = store.version()
    store.request(mine.no, "pause")
    assert store.version() != before


def test_nobody_is_said_to_have_ended_alive_who_has_not_left_a_note(store: Store) -> None:
    store.register(ME)
    assert not store.ended_alive("me")
    assert not store.ended_alive("nobody")
    store.note_end("nobody")


def test_the_note_of_an_end_is_seen_by_others_and_gone_with_its_owner(
    sqlite: SqliteStore, tmp_path: Path
) -> None:
    sqlite.register(ME)
    sqlite.note_end("me")
    other = SqliteStore(tmp_path / "journal.db")
    assert other.ended_alive("me")
    other.unregister("me")
    assert not other.ended_alive("me")
    other.close()


def test_a_note_is_no_proof_that_its_process_is_dead(sqlite: SqliteStore, tmp_path: Path) -> None:
    """It is left while the process still lives, which holds its lock until the kernel frees it."""
    sqlite.register(ME._replace(boot=_boot(), host=_host()))
    sqlite.note_end("me")
    other = SqliteStore(tmp_path / "journal.db")
    assert not other.owner_is_dead("me")
    other.close()


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def _host() -> str:
    return os.uname().nodename

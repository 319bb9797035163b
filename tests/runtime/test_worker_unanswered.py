"""The answer to any commit of a worker is lost, before or after it happened: all comes to its end all the same."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import onward
from api.working import stored, until
from onward.api import connect
from onward.core import limits
from onward.core.errors import JournalBusy, OutcomeUnknown
from onward.core.model import ENDED
from onward.runtime.worker import Worker

pytestmark = pytest.mark.important
done: Counter[str] = Counter()


@onward.step
def act(what: str) -> str:
    done[what] += 1
    return what


@onward.workflow(name="unanswered_child")
def child() -> str:
    return act("child")


@onward.workflow(name="unanswered")
def job() -> list[str]:
    before = act("before")
    got = child.start().result()
    onward.sleep(0.15)
    return [before, got, *onward.gather(lambda: act("left"), lambda: act("right"))]


@onward.workflow(name="unanswered_plain")
def plain() -> str:
    done["plain"] += 1
    return "plain"


@pytest.fixture(autouse=True)
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ONWARD_QUIET", "1")
    for name in ("SUSPEND_S", "FAULT_PAUSE_S", "FULL_RETRY_S", "TICK_S"):
        monkeypatch.setattr(limits, name, 0.02)
    yield
    connect.disconnect()
    connect._explicit = None  # not by monkeypatch, which would put it back


def play(folder: Path, at: int, how: str, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Two runs to their end, with one commit whose answer is lost; False if there are fewer."""
    done.clear()
    onward.connect(folder / f"journal-{how}-{at}.db", durability="process")
    engine = connect.engine()
    runs: list[Any] = [job.start(), plain.start()]
    commit, count = engine.store.commit, [0]

    def losing(changes: Sequence[Any]) -> list[Any]:
        count[0] += 1
        if count[0] != at:
            return commit(changes)
        if how == "after":
            commit(changes)
            raise OutcomeUnknown("the answer was lost")
        if how == "before":
            raise OutcomeUnknown("the question was lost")
        raise JournalBusy("somebody writes for too long")

    with monkeypatch.context() as patch:
        patch.setattr(engine.store, "commit", losing)
        worker = Worker(engine, concurrency=2)
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            until(lambda: all(run.state in ENDED for run in runs), 20)
        finally:
            worker.drain()
            thread.join()
            worker.rest(5)
    assert runs[0].result() == ["before", "child", "left", "right"], f"commit {at} lost {how}"
    assert runs[1].result() == "plain"
    for what, times in done.items():
        assert times <= 2, f"commit {at} lost {how}: {what} was done {times} times"
    # A change that rode in one transaction with others is lost with them: each is done again once at most.
    assert sum(times - 1 for times in done.values()) <= 2
    for run in engine.store.runs(limit=100):
        assert (run.state, run.owner) == ("done", None)
        assert [e.seq for e in engine.store.entries(run.no)] == list(range(engine.store.last_seq(run.no) + 1))
        assert stored(run.id).lease_until is None
    connect.disconnect()
    return count[0] >= at


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "how",
    ["after", pytest.param("before", marks=pytest.mark.full), pytest.param("busy", marks=pytest.mark.full)],
)
def test_the_answer_to_any_commit_of_a_worker_may_be_lost(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = 1
    while play(tmp_path, at, how, monkeypatch):
        at += 1
    assert at > 10

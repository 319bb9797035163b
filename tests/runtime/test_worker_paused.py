"""A worker that is stopped at any line of what it does with a run, taken over, and goes on: it records nothing more.

The line tracer plays the machine: at the chosen line both clocks jump beyond the lease, another process takes the run
over and executes it to its end, and then the first one goes on as if nothing had been.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import onward
from api.working import burst, other_process, stored
from onward.api import connect
from onward.core.model import Entry
from onward.runtime import executing, registry
from onward.runtime.engine import Engine
from onward.runtime.worker import Worker
from onward.storage import guards
from onward.storage.sqlite.straight import Straight

pytestmark = pytest.mark.important
_PRODUCT = os.path.dirname(onward.__file__) + os.sep
_PARTS = tuple(_PRODUCT + part for part in ("runtime", "core", "api", "storage/committer", "storage/ticket"))
SEED = int(os.environ.get("ONWARD_CRASH_SEED", "0"))

effects: list[tuple[str, str]] = []  # (process, what)
who = [""]


@onward.step
def first() -> int:
    effects.append((who[0], "first"))
    return 1


@onward.step
def second() -> int:
    effects.append((who[0], "second"))
    return 2


@onward.workflow(name="paused_steps")
def with_steps() -> list[int]:
    return [first(), second()]


@onward.workflow(name="paused_plain")
def plain() -> int:
    effects.append((who[0], "body"))
    return 3


@pytest.fixture(autouse=True)
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ONWARD_QUIET", "1")
    onward.connect(tmp_path / "journal.db", durability="process")
    yield
    connect.disconnect()
    connect._explicit = None  # not by monkeypatch, which would put it back


class Pause:
    """Counts lines of the product; at the chosen one, `strike` happens."""

    def __init__(self, at: int, zombie: Engine, strike: Any) -> None:
        self.at, self.zombie, self.strike = at, zombie, strike
        self.lines = 0
        self.struck = False

    def enter(self, frame: FrameType, event: str, arg: Any) -> Any:
        return self.line if frame.f_code.co_filename.startswith(_PARTS) else None

    def line(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            self.lines += 1
            # In the middle of a write it keeps everybody waiting, and nobody can take anything over.
            if self.lines >= self.at and not self.struck and not self.zombie.store._writing.locked():  # type: ignore[attr-defined]
                self.struck = True
                self.strike()
        return self.line


def rows(run_id: str) -> list[Entry]:
    return connect.engine().store.entries(stored(run_id).no)


@contextmanager
def being(name: str, engine: Engine) -> Iterator[None]:
    """What is called meanwhile is called in that process: its journal is the connected one there."""
    before, name_before = connect._engine, who[0]
    connect._engine, who[0] = engine, name
    try:
        yield
    finally:
        connect._engine, who[0] = before, name_before


def haunted(workflow: Any, at: int) -> bool:
    """Pause a worker at its `at`-th line with the run; False if it has fewer."""
    effects.clear()
    run = workflow.start()
    seen: list[Any] = []
    with other_process() as zombie, other_process() as heir:
        zombie.register()
        claimed, safe_until = zombie.claim_ready([workflow.name], [], 1)
        ((claim, seq),) = claimed.runs
        worker = Worker(zombie, names=[workflow.name])
        worker._held[claim.no] = claim

        def strike() -> None:
            for engine in (zombie, heir):
                engine.shift[0] += 100.0  # type: ignore[attr-defined]
            with being("heir", heir):
                burst(heir, names=[workflow.name])
            seen.extend((stored(run.id), rows(run.id), len(effects)))

        pause = Pause(at, zombie, strike)
        with being("zombie", zombie):
            sys.settrace(pause.enter)
            try:
                executing.execute(worker, claim, registry.get(workflow.name), seq, safe_until)  # type: ignore[arg-type]
            finally:
                sys.settrace(None)
        if not pause.struck:
            return False
        row, before, begun = seen
        assert rows(run.id) == before, f"line {at}: the zombie wrote {rows(run.id)[len(before) :]}"
        assert stored(run.id) == row, f"line {at}"
        # Between its last look at the lease and the effect nothing can stop it; after that it begins nothing.
        late = effects[begun:]
        assert len(late) <= 1, f"line {at}: after it was taken over it did {late}"
        assert run.state == "done"
    return True


@pytest.mark.parametrize("workflow", [with_steps, plain], ids=["steps", "plain"])
def test_a_worker_paused_at_a_line_and_taken_over_records_nothing(workflow: Any) -> None:
    at, tried = 1 + SEED % 17, 0
    while haunted(workflow, at):
        at, tried = at + 17, tried + 1
    assert tried > 10


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("workflow", [with_steps, plain], ids=["steps", "plain"])
def test_a_worker_paused_at_any_line_and_taken_over_records_nothing(workflow: Any) -> None:
    at = 1
    while haunted(workflow, at):
        at += 1
    assert at > 200


def test_without_the_guard_of_its_commits_it_would(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses show what they are for: with no look at the fence, a line is found at which the zombie writes."""
    monkeypatch.setattr(guards, "refusal", lambda change, guard: None)
    monkeypatch.setattr(Straight, "commit", lambda straight, changes: None)
    with pytest.raises(AssertionError, match="line "):
        all(haunted(plain, at) for at in range(1, 1_000, 3))

"""Moments that hardly ever come, each of them once for certain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from onward.api.opening import obtain
from onward.core.model import Run
from onward.runtime.effects import Outcome
from onward.runtime.engine import Engine
from onward.storage.memory import MemoryStore


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setenv("ONWARD_QUIET", "1")
    engine = Engine(MemoryStore(), keeper=False)
    yield engine
    engine.close()


@pytest.mark.parametrize("state", ["done", "cancelled"])
def test_a_run_with_an_id_that_ends_while_it_is_asked_for_is_handed_over_as_it_ended(
    engine: Engine, state: str
) -> None:
    """The id could not be begun again and was not open any more: the caller tried both in turn, for ever."""
    want = Run("order-1", "workflow", "order", "workflow:order:id:order-1")
    session = engine.open(want)
    assert session is not None
    flow = session.finish(Outcome("shipped", None, 0.0, 0.0))
    next(flow)
    [change] = flow.send(1_000.0).changes
    engine.committer.commit(change._replace(after=replace(change.after, state=state)))
    engine.let_go(session)

    ended = obtain(engine, want)
    assert isinstance(ended, Run)
    assert (ended.id, ended.state) == ("order-1", state)

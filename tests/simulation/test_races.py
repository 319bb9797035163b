"""Moments that hardly ever come, each of them once for certain."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from onward.api.opening import obtain
from onward.core.decide import Ended, Started, decide
from onward.core.model import Begun, Run
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
    engine.committer.commit(change._replace(after=change.after._replace(state=state)))
    engine.let_go(session)

    ended = obtain(engine, want)
    assert isinstance(ended, Run)
    assert (ended.id, ended.state) == ("order-1", state)


@pytest.fixture
def two() -> Iterator[tuple[Engine, Engine, list[float]]]:
    """Two processes with one journal, and its clock."""
    clock = [1_000.0]
    store = MemoryStore(clock=lambda: clock[0])
    first, second = (Engine(store, keeper=False, clock=lambda: clock[0]) for _ in range(2))
    yield first, second, clock
    second.close()
    first.close()


def test_a_claim_is_refused_if_the_holder_has_recorded_something_since_it_was_read(
    two: tuple[Engine, Engine, list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A holder whose lease was over recorded an item just then. The claim was decided before, counted the item as one
    in which its process had died, and put it among the begun ones again: done and begun, for ever.
    """
    first, second, clock = two
    session = first.open(Run("rows-1", "loop", "rows", "loop:rows"))
    assert session is not None
    item = Begun("each/a", "item", "each", fence=1, begun_at=clock[0])
    first.committer.commit(decide(session.run, Started(item), now=clock[0]))
    clock[0] += 100
    run = first.store.run("rows-1")
    assert run is not None

    read = second.store.last_seq

    def read_and_stall(run_no: int) -> int:
        seq = read(run_no)
        begun.extend(second.store.begun(run_no))
        ended = Ended("each/a", "item", "each", True, None, None, 1, clock[0])
        first.committer.commit(decide(session.run, ended, now=clock[0]))
        return seq

    begun: list[Begun] = []
    with monkeypatch.context() as patch:
        patch.setattr(second.store, "last_seq", read_and_stall)
        patch.setattr(second.store, "begun", lambda run_no: begun)
        assert second.claim(run) is None
    assert second.claim(run) is not None
    assert second.store.begun(run.no) == []


def test_a_run_that_was_asked_to_cancel_is_cancelled_by_whoever_continues_it(
    two: tuple[Engine, Engine, list[float]],
) -> None:
    """The operator was told that the holder will cancel it. The holder died first, and the wish was forgotten."""
    first, second, clock = two
    session = first.open(Run("rows-1", "loop", "rows", "loop:rows"))
    assert session is not None
    assert first.store.request(session.run.no, "cancel")
    clock[0] += 100
    run = first.store.run("rows-1")
    assert run is not None
    heir = second.claim(run)
    assert heir is not None
    assert heir.run.request == "cancel"

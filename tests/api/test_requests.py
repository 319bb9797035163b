"""A pause or a cancellation that somebody asks for while a run sleeps or waits."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

import onward
from api.lives import entries, outcomes, the_run
from api.steps import calls
from onward.api import connect
from onward.core import limits
from onward.core.acts import acted
from onward.core.errors import Stopped
from onward.core.model import Request, Run
from onward.runtime.engine import Engine
from onward.storage.open import open_store


@pytest.fixture(autouse=True)
def _no_renewal(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked of a run must not reach it by way of a renewal, which comes every ten seconds only."""
    assert limits.TICK_S <= 0.5, (
        "the keeper looks for requests at every tick, so that they are heard within a second"
    )
    monkeypatch.setattr(Engine, "renew", lambda self: None)


def asks(request: Request) -> None:
    """Somebody else asks the only run for this when it sleeps, or waits for its next attempt."""

    def ask() -> None:
        store = open_store(connect.engine().store.place, durability="process")
        try:
            while not any(entry.kind == "sleep" or entry.state == "retry" for entry in store.entries(1)):
                time.sleep(0.01)
            [run] = store.runs()
            assert store.request(run.no, request)
        finally:
            store.close()

    threading.Thread(target=ask).start()


@onward.step
def work(what: str) -> str:
    calls.append(what)
    return what


@onward.workflow
def sleeper() -> str:
    work("before")
    onward.sleep(hours=1)
    return work("after")


@pytest.mark.parametrize(
    ("request_", "error", "state"),
    [("cancel", onward.RunCancelled, "cancelled"), ("pause", onward.RunError, "paused")],
)
def test_a_run_that_sleeps_stops_within_a_second(
    request_: Request, error: type[onward.RunError], state: str
) -> None:
    """A sleeping run commits nothing, so it heard of the request at the next renewal: up to ten seconds later."""
    asks(request_)
    with pytest.raises(error, match=state):
        sleeper()
    assert (the_run().state, the_run().owner) == (state, None)
    assert calls == ["before"]


@pytest.mark.parametrize("request_", ["cancel", "pause"])
def test_an_async_run_that_sleeps_stops_within_a_second(request_: Request) -> None:
    @onward.workflow
    async def job() -> None:
        await onward.aio.sleep(hours=1)

    asks(request_)
    with pytest.raises(onward.RunError):
        asyncio.run(job())


def test_a_run_that_waits_for_its_next_attempt_stops_within_a_second() -> None:
    @onward.step(max_attempts=2, backoff=3_000, backoff_max=3_000)
    def brittle() -> None:
        raise ValueError("not now")

    @onward.workflow
    def job() -> None:
        brittle()

    asks("cancel")
    with pytest.raises(onward.RunCancelled):
        job()
    assert the_run().state == "cancelled"


def test_a_loop_whose_item_sleeps_stops_within_a_second() -> None:
    asks("pause")

    def script() -> None:
        for item in onward.each("ab", name="loop"):
            calls.append(item)
            onward.sleep(hours=1)

    with pytest.raises(Stopped, match="paused"):
        script()
    assert calls == ["a"]
    assert the_run().state == "paused"


def resumed(run: Run) -> None:
    engine = connect.engine()
    change = acted(run, "resumed", by="somebody", now=engine.store.now())
    assert change is not None
    engine.committer.commit(change)


def test_a_paused_run_goes_on_where_it_was_once_it_is_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    asks("pause")
    with pytest.raises(onward.RunError, match="paused"):
        sleeper()
    paused = the_run()
    resumed(paused)
    assert (the_run().state, the_run().request) == ("pending", None)

    engine = connect.engine()
    real, slept = engine.store.now, [0.0]
    monkeypatch.setattr(engine.store, "now", lambda: real() + sum(slept))
    monkeypatch.setattr(engine, "nap", lambda woken, seconds: slept.append(seconds) or False)
    assert sleeper() == "after"
    assert calls == ["before", "after"]
    assert 3_400 < sum(slept) <= 3_600
    assert (the_run().id, the_run().state) == (paused.id, "done")
    assert list(outcomes()) == ["work#1", "sleep#1", "work#2"]
    marks = [entry.name for entry in entries() if entry.kind == "mark"]
    assert marks == ["submitted", "claimed", "paused", "resumed", "claimed", "returned"]


def test_a_pause_that_was_taken_back_in_time_is_not_carried_out(monkeypatch: pytest.MonkeyPatch) -> None:
    @onward.workflow
    def job() -> str:
        store, no = connect.engine().store, the_run().no
        store.request(no, "pause")
        store.request(no, None)
        onward.sleep(0.6)
        return work("after")

    assert job() == "after"

"""A run that asks for nothing durable is executed without a session, and nobody can tell by anything but the time.

Whatever asks for its session gets one: its own code, a request, the keeper once it lasts, the end of the journal.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import onward
from api.working import burst, die, other_process, stored, until
from onward.api import connect
from onward.core import limits
from onward.core.errors import Stopped, Unwind, WrongThread
from onward.core.model import Run
from onward.runtime import current
from onward.runtime.engine import Engine
from onward.runtime.light import Light
from onward.runtime.worker import Worker

pytestmark = pytest.mark.important
seen: list[Any] = []
began, release = threading.Event(), threading.Event()


@onward.step
def noted() -> str:
    return "noted"


@onward.workflow(name="light_plain")
def plain(number: int = 0) -> int:
    seen.append((current._here.get(), dict(connect.engine().sessions)))
    return number + 1


@onward.workflow(name="light_lasting")
def lasting() -> str:
    began.set()
    assert release.wait(10)
    return "over"


@onward.workflow(name="light_lasting_step")
def lasting_then_a_step() -> str:
    began.set()
    assert release.wait(10)
    return noted()


@pytest.fixture(autouse=True)
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ONWARD_QUIET", "1")
    seen.clear()
    began.clear()
    release.clear()
    onward.connect(tmp_path / "journal.db", durability="process")
    yield
    release.set()
    engine = connect.engine()
    until(lambda: not (engine.sessions or engine.lights))
    connect.disconnect()
    connect._explicit = None  # not by monkeypatch, which would put it back


def entries(run: Any) -> list[str]:
    return [entry.key for entry in connect.engine().store.entries(stored(run.id).no)]


class Working:
    """A worker in a thread of its own, whose one run has begun."""

    def __init__(self, engine: Engine | None = None) -> None:
        self.worker = Worker(engine or connect.engine(), concurrency=1)
        self.thread = threading.Thread(target=self.worker.run, kwargs={"burst": True})

    def __enter__(self) -> Worker:
        self.thread.start()
        assert began.wait(10)
        return self.worker

    def __exit__(self, *of: object) -> None:
        release.set()
        self.thread.join(20)
        assert not self.thread.is_alive()
        self.worker.rest(5)


def test_it_is_executed_without_a_session_and_recorded_like_any_other() -> None:
    run = plain.start(4)
    (ended,) = burst()
    ((here, sessions),) = seen
    assert type(here) is Light
    assert sessions == {}
    assert (run.result(), ended.how, ended.run.id) == (5, "done", run.id)
    assert entries(run) == ["run/submitted", "run/claimed", "run/returned"]
    row = stored(run.id)
    assert (row.state, row.owner, row.lease_until, row.request, row.single, row.error) == (
        "done",
        *[None] * 5,
    )
    engine = connect.engine()
    assert (engine.sessions, engine._ahead, engine._owed, bool(engine.lights)) == ({}, {}, {}, False)
    assert (dict(current._active), current._lights) == ({}, {})


def test_a_step_in_it_asks_for_its_session_and_is_recorded() -> None:
    @onward.workflow(name="light_with_step")
    def with_step() -> tuple[int, str, int]:
        engine = connect.engine()
        return (len(engine.sessions), noted(), len(engine.sessions))

    run = with_step.start()
    burst()
    assert run.result() == (0, "noted", 1)
    assert entries(run) == ["run/submitted", "run/claimed", "noted#1", "run/returned"]


def test_what_it_raises_is_recorded_and_attempted_again_like_any_failure() -> None:
    @onward.workflow(name="light_failing", max_attempts=2, backoff=0)
    def failing() -> None:
        seen.append(type(current._here.get()))
        raise ValueError("no")

    run = failing.start()
    while run.state not in ("done", "failed"):
        burst()
    assert run.state == "failed"
    assert seen[0] is Light
    assert seen[1:] == [current.Here]  # what an earlier lease has left is looked at first
    assert [key for key in entries(run) if key.startswith("run/")][-1] == "run/raised"


def test_what_cannot_be_recorded_of_it_fails_it() -> None:
    @onward.workflow(name="light_odd")
    def odd() -> Any:
        return threading.Lock()

    run = odd.start()
    burst()
    with pytest.raises(onward.NotRecordable, match="the result"):
        run.result()


@pytest.mark.parametrize("what", [SystemExit(3), StopIteration("s")])
def test_whatever_leaves_it_is_its_outcome_and_the_worker_goes_on(what: BaseException) -> None:
    @onward.workflow(name="light_leaving")
    def leaving() -> None:
        raise what

    run, other = leaving.start(), plain.start(1)
    burst(concurrency=1)
    assert (run.state, other.result()) == ("failed", 2)


def test_once_it_lasts_it_has_a_session_and_its_lease_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TICK_S", 0.02)
    monkeypatch.setattr(limits, "LEASE_MARGIN_S", 0.1)
    engine = connect.engine()
    engine.lease_s = 1.0
    run = lasting.start()
    with Working():
        leased = stored(run.id).lease_until
        assert leased is not None
        until(lambda: engine.sessions)
        until(lambda: (stored(run.id).lease_until or 0.0) > leased)
    assert run.result() == "over"
    assert engine.sessions == {}


def test_what_is_claimed_ahead_of_it_is_renewed_with_nothing_else_in_hand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A session was always there to keep the keeper awake; short runs have none."""
    monkeypatch.setattr(limits, "TICK_S", 0.02)
    engine = connect.engine()
    engine.lease_s = 1.0
    run = plain.start()
    engine.register()
    engine.claim_ready(["light_plain"], [], 1)
    leased = stored(run.id).lease_until
    assert leased is not None
    until(lambda: (stored(run.id).lease_until or 0.0) > leased)


@pytest.mark.parametrize("waits", [True, False], ids=["lasting", "at once"])
def test_a_request_is_heard_at_its_first_step(waits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TICK_S", 0.02)
    run = lasting_then_a_step.start()
    engine = connect.engine()
    with Working():
        run.cancel()
        if waits:
            until(lambda: [one.asked for one in engine.sessions.values()] == ["cancel"])
        else:
            engine._listen()
    assert run.state == "cancelled"
    assert "noted#1" not in entries(run)


def test_a_request_that_comes_too_late_does_not_undo_its_end() -> None:
    """The end goes straight to the disk, but not past a request: there it is read what is stored, and decided."""
    run = lasting.start()
    with Working():
        run.cancel()
    assert (run.state, run.result(), stored(run.id).request) == ("done", "over", None)


def test_when_it_was_taken_over_its_end_is_refused_and_nothing_is_owed() -> None:
    run = lasting.start()
    with other_process() as zombie, other_process() as heir:
        told: list[Any] = []
        worker = Worker(zombie, concurrency=1, told=told.append)
        zombie.register()
        thread = threading.Thread(target=worker.run, kwargs={"burst": True})
        thread.start()
        assert began.wait(10)
        assert bool(zombie.lights)
        heir.shift[0] = 100.0  # type: ignore[attr-defined]
        heir.register()
        assert heir.take_over() == 1
        row = stored(run.id)
        release.set()
        until(lambda: told)
        assert [one.how for one in told] == ["taken over"]
        assert (stored(run.id).fence, zombie._owed, zombie._ahead) == (row.fence, {}, {})
        assert "run/returned" not in entries(run)
        worker.drain()
        thread.join(10)
        worker.rest(5)


def test_a_later_lease_of_the_same_run_in_the_same_process_ends_it() -> None:
    """The process stood still, lost the run and was given it anew: what executes it still begins nothing more."""
    run = lasting_then_a_step.start()
    with other_process() as zombie, other_process() as other:
        worker = Worker(zombie, concurrency=2)
        begun(worker, "light_lasting_step")
        other.shift[0] = zombie.shift[0] = 100.0  # type: ignore[attr-defined]
        other.register()
        assert other.take_over() == 1
        ((again, seq),) = zombie.claim_ready(["light_lasting_step"], [], 1)[0].runs
        later = zombie.adopt(again, seq, zombie.safe_until())
        assert later is not None
        release.set()
        until(lambda: not worker._held)
        assert "noted#1" not in entries(run)
        assert zombie.sessions == {again.no: later}
        worker.rest(1)


def begun(worker: Worker, name: str) -> None:
    """The worker claims one run of that workflow, which begins in its hands; its own loop does not run."""
    engine = worker.engine
    engine.register()
    claimed, safe_until = engine.claim_ready([name], [], 1)
    worker._held.update((one.no, one) for one, _ in claimed.runs)
    worker._begin(claimed.runs, safe_until)
    assert began.wait(10)


def test_closing_the_journal_gives_it_back() -> None:
    run = lasting_then_a_step.start()
    worker = Worker(connect.engine())
    begun(worker, "light_lasting_step")
    place = worker.engine.store.place
    connect.disconnect()
    release.set()
    until(lambda: not worker._held)
    onward.connect(place, durability="process")
    assert (stored(run.id).state, entries(run)[-1]) == ("pending", "run/released")
    burst()
    assert run.result() == "noted"


def test_a_worker_that_ends_lets_it_come_to_its_next_step() -> None:
    run = lasting_then_a_step.start()
    with Working() as worker:
        worker.drain()
        assert worker.rest(0.01) == 1
    until(lambda: run.state == "pending")
    assert "noted#1" not in entries(run)


def test_a_thread_that_it_starts_may_call_no_step() -> None:
    @onward.workflow(name="light_threads")
    def threads() -> str:
        raised: list[BaseException] = []

        def stray() -> None:
            try:
                noted()
            except WrongThread as error:
                raised.append(error)

        thread = threading.Thread(target=stray)
        thread.start()
        thread.join()
        return str(raised[0])

    run = threads.start()
    burst()
    assert run.id in run.result()


def test_its_place_is_of_no_use_once_it_is_over() -> None:
    plain.start()
    burst()
    ((place, _),) = seen
    session = place.session
    assert session.over
    assert isinstance(session.unwinding, Stopped)
    with pytest.raises(Unwind):
        next(session.check())
    assert connect.engine().sessions == {}


def test_what_holds_it_is_known_to_be_this_thread() -> None:
    held: list[bool] = []

    @onward.workflow(name="light_held")
    def asking() -> None:
        engine = connect.engine()
        (run,) = engine.store.runs(states=["running"], limit=1)
        held.append(engine.held_here(run))
        thread = threading.Thread(target=lambda: held.append(engine.held_here(run)))
        thread.start()
        thread.join()

    asking.start()
    burst()
    assert held == [True, False]


def test_a_death_in_it_is_found_and_it_is_executed_anew() -> None:
    run = plain.start(1)
    with other_process() as dead:
        dead.register()
        claimed, safe_until = dead.claim_ready(["light_plain"], [], 1)
        ((claim, seq),) = claimed.runs
        job: Any = Run  # never called
        assert dead.light(claim, seq, safe_until, job) is not None
        die(dead)
        burst()
        dead.lights._lit.clear()
    assert run.result() == 2
    assert stored(run.id).stalls == 0

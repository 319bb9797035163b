"""What workers and people do to a run at the same time, in every order of their requests to the journal.

Each act runs in a thread of its own and waits for its turn before every request. All schedules are tried in which so
many acts at most are interrupted, one after the other, as the choices at each turn are counted through: such bugs as
there are show with few interruptions (Musuvathi and Qadeer, "Iterative Context Bounding for Systematic Testing of
Multithreaded Programs", PLDI 2007).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import combinations
from typing import Any, NamedTuple

import pytest

from onward.api import starting
from onward.api.journal import Journal
from onward.api.queuing import Queuing
from onward.core.decide import Returned, decide
from onward.core.errors import OnwardError, Unwind
from onward.core.model import ENDED, Applied
from onward.runtime.engine import Engine
from onward.storage import guards
from onward.storage.memory import MemoryStore

pytestmark = pytest.mark.important
_REQUESTS = {
    "commit", "renew", "request", "run", "entries", "begun", "last_seq", "holders", "runs_held", "owner", "single_run",
    "delete", "owner_is_dead", "ended_alive",
}  # fmt: skip


class Turn(NamedTuple):
    """One choice: which of how many acts, and whether the one before could have gone on."""

    choice: int
    among: int
    interrupts: bool


class Schedule:
    """Whose turn it is: one act at a time, chosen by a list of numbers; beyond its end the one before goes on."""

    def __init__(self, choices: Sequence[int], interruptions: int) -> None:
        self.choices, self.made = list(choices), list[Turn]()
        self._interruptions = interruptions
        self._last: int | None = None
        self._lock = threading.Condition()
        self._waiting: dict[int, bool] = {}
        self._running: int | None = None
        self._expected = 0

    def begin(self, acts: int) -> None:
        self._expected = acts

    def turn(self, who: int) -> None:
        """Wait until it is this act's turn; until its next request, or its end, all others stand still."""
        with self._lock:
            if self._running == who:
                self._running = None
            self._waiting[who] = True
            self._choose()
            while self._running != who:
                assert self._lock.wait(20), "the schedule stands still"
            del self._waiting[who]

    def end(self, who: int) -> None:
        with self._lock:
            self._expected -= 1
            if self._running == who:
                self._running = None
            self._choose()

    def _choose(self) -> None:
        if self._running is None and self._waiting and len(self._waiting) == self._expected:
            ready = sorted(self._waiting, key=lambda who: (who != self._last, who))
            at = len(self.made)
            choice = self.choices[at] if at < len(self.choices) else 0
            self.made.append(Turn(choice, len(ready), interrupts=ready[0] == self._last))
            self._running = self._last = ready[choice]
            self._lock.notify_all()

    def next(self) -> list[int] | None:
        """The choices of the schedule that comes after this one; None after the last."""
        made = list(self.made)
        while made:
            turn = made.pop()
            had = sum(one.interrupts and one.choice > 0 for one in made)
            if turn.choice + 1 < turn.among and had + turn.interrupts <= self._interruptions:
                return [*(one.choice for one in made), turn.choice + 1]
        return None


class Turns:
    """A store whose every request waits for its turn."""

    def __init__(self, store: MemoryStore, schedule: Schedule, who: int) -> None:
        self._store, self._schedule, self._who = store, schedule, who

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in _REQUESTS:
            return found

        def request(*args: Any, **kwargs: Any) -> Any:
            self._schedule.turn(self._who)
            return found(*args, **kwargs)

        return request


class Stage:
    """A run that is leased to a worker whose lease is over, and those who act on it."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule, self.clock = schedule, [1_000.0]
        self.store = MemoryStore(clock=lambda: self.clock[0])
        self.holder = self.engine(self.store)
        self.holder.register()
        self.run = starting.submit(
            self.holder, Queuing(key="k").run("job", "job-1", "[[],{}]", now=1_000.0), Queuing()
        )
        claimed, safe_until = self.holder.claim_ready(["job"], [], 1)
        ((leased, seq),) = claimed.runs
        self.session = self.holder.adopt(leased, seq, safe_until)
        self.clock[0] += 100.0
        self.claims: list[tuple[str, int]] = []
        self.finished = False

    def engine(self, store: Any) -> Engine:
        return Engine(store, keeper=False, clock=lambda: self.clock[0])

    # -- acts -------------------------------------------------------------------------------------------

    def act(self, name: str, who: int) -> None:
        engine = self.engine(Turns(self.store, self.schedule, who))
        try:
            with suppress(OnwardError, Unwind):
                getattr(self, name)(engine)
        finally:
            self.schedule.end(who)

    def finish(self, engine: Engine) -> None:
        change = decide(self.session.run, Returned("1"), now=self.clock[0])
        self.finished = isinstance(engine.committer.commit(change)[0], Applied)

    def renew(self, engine: Engine) -> None:
        engine.store.renew(self.holder.owner, self.clock[0] + 30.0)

    def take_over(self, engine: Engine) -> None:
        engine.register()
        engine.take_over()

    def claim(self, engine: Engine) -> None:
        engine.register()
        claimed, _ = engine.claim_ready(["job"], [], 5)
        self.claims += [(engine.owner, run.fence) for run, _ in claimed.runs]

    def take_and_claim(self, engine: Engine) -> None:
        self.take_over(engine)
        self.claim(engine)

    def cancel(self, engine: Engine) -> None:
        Journal(engine).cancel("job-1", by="somebody")

    def pause(self, engine: Engine) -> None:
        Journal(engine).pause("job-1", by="somebody")

    def start(self, engine: Engine) -> None:
        """Another run of the same key."""
        starting.submit(
            engine, Queuing(key="k").run("job", None, "[[2],{}]", now=self.clock[0]), Queuing(key="k")
        )

    # -- what must hold ---------------------------------------------------------------------------------

    def check(self, acts: Sequence[str]) -> None:
        found = self.store.run("job-1")
        assert found is not None
        rows = self.store.entries(found.no)
        assert [row.seq for row in rows] == list(range(len(rows)))
        names = [row.name for row in rows]
        ends = [name for name in names if name in ("returned", "cancelled")]
        assert len(ends) <= 1, names
        assert not ends or names[-1] == ends[0], names
        assert [row.fence for row in rows] == sorted(row.fence for row in rows), rows
        assert (found.state == "running") == (found.owner is not None)
        assert len(self.claims) == len(set(self.claims)), self.claims
        if self.finished:
            assert (found.state, found.result) == ("done", "1")
        if found.state == "running":
            held = [owner for owner, fence in self.claims if fence == found.fence]
            assert held == [found.owner] or found.owner == self.holder.owner
        if "cancel" in acts:
            assert found.state in ENDED or found.request == "cancel", found
        elif "pause" in acts:  # a cancellation comes first, whichever was asked first
            assert found.state in (*ENDED, "paused") or found.request == "pause", found
        alive = [run for run in self.store.runs(limit=100) if run.state not in ENDED]
        assert len(alive) <= 1, [(run.id, run.state, run.single) for run in alive]


def every_schedule(acts: Sequence[str], interruptions: int) -> int:
    """Play the acts in every order of their requests with so many interruptions at most; how many there are."""
    choices: list[int] | None = []
    count = 0
    while choices is not None:
        schedule = Schedule(choices, interruptions)
        stage = Stage(schedule)
        schedule.begin(len(acts))
        threads = [threading.Thread(target=stage.act, args=(name, who)) for who, name in enumerate(acts)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        stage.check(acts)
        choices = schedule.next()
        count += 1
    return count


ACTS = ("finish", "renew", "take_and_claim", "cancel", "pause", "start")


Said = Callable[[str], None]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> Said:
    def say(what: str) -> None:
        with capsys.disabled():
            print(f"\n{request.node.callspec.id}: {what}")

    return say


@pytest.mark.parametrize("acts", list(combinations(ACTS, 2)), ids="-".join)
def test_two_acts_at_once_leave_the_run_in_order_whichever_request_comes_first(
    acts: tuple[str, ...], said: Said
) -> None:
    count = every_schedule(acts, interruptions=3)
    said(f"{count} schedules")
    assert count > 1


@pytest.mark.parametrize(
    "acts", [("take_and_claim", "take_and_claim"), ("take_over", "claim", "finish")], ids="-".join
)
def test_a_run_that_several_reach_for_has_one_holder(acts: tuple[str, ...], said: Said) -> None:
    count = every_schedule(acts, interruptions=2)
    said(f"{count} schedules")
    assert count >= 6


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("acts", list(combinations((*ACTS, "claim"), 3)), ids="-".join)
def test_three_acts_at_once_leave_the_run_in_order(acts: tuple[str, ...], said: Said) -> None:
    count = every_schedule(acts, interruptions=2)
    said(f"{count} schedules")
    assert count >= 6


@pytest.mark.parametrize("acts", [("finish", "take_and_claim"), ("cancel", "take_and_claim")], ids="-".join)
def test_without_its_guard_a_change_breaks_that_order(
    acts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The schedules show what they are for: with no guard at all one of them goes wrong."""
    monkeypatch.setattr(guards, "refusal", lambda change, guard: None)
    with pytest.raises(AssertionError):
        every_schedule(acts, interruptions=2)

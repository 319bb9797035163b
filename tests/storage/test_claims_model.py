"""Limits against a model: whatever is started, claimed, ended and changed, there are never more than is allowed."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from onward.core.decide import Released, Returned, decide, submitted
from onward.core.flow import Quota, text_of
from onward.core.model import Applied, Claim, Claimed, Run
from onward.storage import Store
from onward.storage.memory import MemoryStore
from onward.storage.sqlite.store import SqliteStore

LANES = ("a", "b", "c", "")
LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "concurrency": st.integers(1, 4),
        "per_key": st.integers(1, 3),
        "per_worker": st.integers(1, 3),
        "rate": st.builds(Quota, st.integers(1, 3), st.sampled_from([1.0, 7.5])),
        "key_rate": st.builds(Quota, st.integers(1, 2), st.sampled_from([1.0, 7.5])),
    },
)
QUEUES = ("q", "p")


class Machine(RuleBasedStateMachine):
    """One store, two queues, three workers, and a clock that goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 1_000.0
        self.store = self.opened()
        self.limits: dict[str, dict[str, Any]] = {queue: {} for queue in QUEUES}
        self.held: dict[int, Run] = {}
        self.starts: list[tuple[float, str, str]] = []  # when, queue, lane
        self.count = 0
        self.strict = True  # whether no limit was lowered since

    def opened(self) -> Store:
        return MemoryStore(clock=lambda: self.at)

    @initialize(one=LIMITS, other=LIMITS)
    def declare(self, one: dict[str, Any], other: dict[str, Any]) -> None:
        for queue, limits in zip(QUEUES, (one, other), strict=True):
            self.limits[queue] = limits
            self.store.set_queue(queue, declared=text_of(limits))

    @rule(
        queue=st.sampled_from(QUEUES),
        lane=st.sampled_from(LANES),
        priority=st.integers(-1, 1),
        delay=st.sampled_from([None, 0.5, 3.0]),
        many=st.integers(1, 3),
    )
    def start(self, queue: str, lane: str, priority: int, delay: float | None, many: int) -> None:
        runs = []
        for _ in range(many):
            self.count += 1
            wake_at = None if delay is None else self.at + delay
            run = Run(
                f"r{self.count}", "workflow", "job", f"r{self.count}", args="[[],{}]", queue=queue, lane=lane,
                priority=priority, wake_at=wake_at,
            )  # fmt: skip
            runs.append(submitted(run, now=self.at))
        assert all(isinstance(answer, Applied) for answer in self.store.commit(runs))

    @rule(seconds=st.sampled_from([0.25, 0.5, 1.0, 2.5, 7.5]))
    def wait(self, seconds: float) -> None:
        self.at += seconds

    @rule(
        workers=st.lists(st.sampled_from(["w1", "w2", "w3"]), min_size=1, max_size=3), limit=st.integers(1, 8)
    )
    def claim(self, workers: list[str], limit: int) -> None:
        orders = [Claim(owner, 1e6, ("job",), (), limit) for owner in workers]
        for answer in self.store.commit(orders):
            assert isinstance(answer, Claimed)
            assert len(answer.runs) <= limit
            self.took(answer)

    def took(self, claimed: Claimed) -> None:
        for run, _ in claimed.runs:
            assert run.no not in self.held, "no run is held twice"
            self.held[run.no] = run
            if run.fence == 1:
                self.starts.append((self.at, run.queue, run.lane or ""))
        if claimed.next_at is not None:
            assert claimed.next_at > self.at, "a worker that waits for it would spin"

    @rule(data=st.data(), how=st.sampled_from(["done", "suspended", "released"]))
    def end(self, data: st.DataObject, how: str) -> None:
        if not self.held:
            return
        run = self.held.pop(data.draw(st.sampled_from(sorted(self.held))))
        facts = {
            "done": Returned("1"),
            "suspended": Released("suspended", None, self.at + 1.0),
            "released": Released("released"),
        }
        [answer] = self.store.commit([decide(run, facts[how], now=self.at)])
        assert isinstance(answer, Applied)

    @invariant()
    def no_more_are_executed_than_is_allowed(self) -> None:
        for queue, limits in self.limits.items():
            here = [run for run in self.held.values() if run.queue == queue]
            assert len(here) <= limits.get("concurrency", 1_000)
            if "per_worker" in limits:
                assert max(Counter(run.owner for run in here).values(), default=0) <= limits["per_worker"]
            if "per_key" in limits:
                lanes = Counter(run.lane for run in here if run.lane)
                assert max(lanes.values(), default=0) <= limits["per_key"]

    @invariant()
    def no_more_begin_within_a_window_than_is_allowed(self) -> None:
        for queue, limits in self.limits.items():
            mine = [(at, lane) for at, of, lane in self.starts if of == queue]
            if "rate" in limits:
                _within([at for at, _ in mine], limits["rate"])
            if "key_rate" in limits:
                for one in ("a", "b", "c"):
                    _within([at for at, lane in mine if lane == one], limits["key_rate"])

    def teardown(self) -> None:
        """Once everything ends and time goes by, everything that waits is claimed: no limit loses a run."""
        for _ in range(100):
            self.at += 7.5
            for run in list(self.held.values()):
                self.store.commit([decide(run, Returned("1"), now=self.at)])
            self.held.clear()
            self.claim(["w1", "w2", "w3"], 8)
            if not self.held and not self.store.runs(states=["pending", "waiting"], limit=1):
                break
        else:
            left = self.store.runs(states=["pending", "waiting"], limit=3)
            raise AssertionError(f"these are never claimed: {left}")
        assert list(self.store.problems()) == []
        self.store.close()


class SqliteMachine(Machine):
    def opened(self) -> Store:
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        return SqliteStore(Path(self.folder.name) / "j.db", clock=lambda: self.at, durability="process")

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


def _within(times: list[float], quota: Quota) -> None:
    for first, last in zip(times, times[quota.starts :], strict=False):
        assert last - first >= quota.window_s - 1e-9, (times, quota)


TestMemory = Machine.TestCase
TestMemory.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestSqlite = SqliteMachine.TestCase
TestSqlite.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestMemory = pytest.mark.important(TestMemory)  # type: ignore[misc]
TestSqlite = pytest.mark.important(TestSqlite)  # type: ignore[misc]

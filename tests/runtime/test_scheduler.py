"""Schedulers of many workers on one journal, in virtual time: whatever happens to them, each time starts one run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st

from onward.core import limits, nominal, when
from onward.core.acts import acted
from onward.core.errors import JournalBusy, OutcomeUnknown
from onward.core.model import Owner, WorkerRow
from onward.core.retry import Policy
from onward.core.schedules import Move, Schedule, Spec, nominal_of, paused
from onward.core.when import Timing
from onward.runtime.engine import Engine
from onward.runtime.registry import Plan
from onward.runtime.scheduler import Scheduler
from onward.storage import calendar
from onward.storage.memory import MemoryStore
from runtime.flows import Clock

pytestmark = pytest.mark.important

START = 1_000_000_000.0


class TheJob:
    name, is_async, whole = "job", False, Policy()

    def fn(self) -> None: ...


class Journal(MemoryStore):
    """What its workers write may be held up, or written and not confirmed."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=clock)
        self.holds = self.loses = False
        self.held: list[Sequence[Move]] = []
        self.reads = 0
        self.dead: set[str] = set()

    def move_schedules(self, moves: Sequence[Move]) -> list[bool]:
        if self.holds:
            self.held.append(moves)
            raise JournalBusy("not now")
        applied = super().move_schedules(moves)
        if self.loses:
            raise OutcomeUnknown("perhaps")
        return applied

    def schedules(self) -> list[Schedule]:
        self.reads += 1
        return super().schedules()

    def owner_is_dead(self, owner_id: str) -> bool:
        return owner_id in self.dead


class World:
    """A journal, its clock, and workers that follow one schedule."""

    def __init__(self, spec: Spec, workers: int = 1, name: str = "n") -> None:
        self.clock = Clock()
        self.clock.at = START
        self.ticks = Clock()  # monotonic, of all workers
        self.journal = Journal(self.clock)
        self.name = name
        self.said: list[str] = []
        self.workers = [self.worker(spec) for _ in range(workers)]
        self.latest_seen = START

    def worker(self, *specs: Spec, names: Sequence[str] = ("job",)) -> Scheduler:
        engine = Engine(self.journal, clock=self.ticks, keeper=False)
        self.journal.register(Owner(engine.owner, "here", "boot", 1, "worker", self.clock.at))
        plans = [
            Plan(self.name if at == 0 else f"{self.name}{at}", spec, TheJob())
            for at, spec in enumerate(specs)
        ]
        made = Scheduler(engine, plans, names, clock=self.ticks, say=self.said.append)
        made.owner = engine.owner  # type: ignore[attr-defined]
        return made

    def die(self, worker: Scheduler) -> None:
        self.journal.dead.add(worker.owner)  # type: ignore[attr-defined]

    def wait(self, seconds: float) -> None:
        self.clock.at += seconds
        self.ticks.at += abs(seconds)

    def look(self, worker: Scheduler) -> None:
        """As a worker's loop does: until there is nothing to do at once."""
        self.latest_seen = max(self.latest_seen, self.clock.at)
        for _ in range(1_000):
            worker.look(self.journal.version())
            if worker.next_at is None or worker.next_at > self.clock.at:
                return
        raise AssertionError("it never comes to rest")

    @property
    def schedule(self) -> Schedule:
        return next(one for one in self.journal.schedules() if one.name == self.name)

    @property
    def nominal(self) -> list[float]:
        """The nominal times of all runs that were started."""
        runs = self.journal.runs_of_schedule(self.name, limit=100_000)
        return sorted(nominal_of(run.id.rpartition("@")[2]) for run in runs)

    @property
    def unfinished(self) -> list[str]:
        ids = [run.id for run in self.journal.runs_of_schedule(self.name, limit=100_000)]
        return self.journal.unfinished(ids)

    def end_runs(self) -> None:
        for run_id in self.unfinished:
            run = self.journal.run(run_id)
            assert run is not None
            change = acted(run, "cancelled", by="the test", now=self.clock.at)
            assert change is not None
            self.journal.commit([change])


def spec(timing: Timing | None = None, **fields: Any) -> Spec:
    return Spec("job", "[[],{}]", timing or Timing("*/5 * * * *"), **fields)


# -- whatever happens -----------------------------------------------------------------------------------------

_SPECS = st.sampled_from(
    [
        spec(),
        spec(catch_up="none"),
        spec(overlap="queue"),
        spec(overlap="queue", catch_up="all"),
        spec(overlap="allow", catch_up="all"),
        spec(Timing("*/5 * * * *", jitter_s=700.0), overlap="allow", catch_up="all"),
        spec(overlap="allow", catch_up="window", window_s=1_000.0),
        spec(overlap="cancel_old"),
        spec(overlap="latest"),
        spec(Timing(every_s=300), overlap="latest"),
        spec(Timing(every_s=300), overlap="queue", catch_up="all"),
    ]
)
_WHO = st.integers(0, 2)
_STEPS = st.one_of(
    st.tuples(st.just("wait"), st.sampled_from([1.0, 59.0, 100.0, 299.5, 300.0, 2_000.0])),
    st.tuples(st.just("jump"), st.sampled_from([-4_000.0, -301.0, -1.0, 5_000.0])),
    st.tuples(st.sampled_from(["look", "look", "look", "zombie", "zombie", "doubt", "die"]), _WHO),
    st.tuples(st.just("end"), st.just(0)),
    st.tuples(st.just("deliver"), st.just(0)),
)


def _do(world: World, spec: Spec, act: str, value: Any) -> None:
    journal = world.journal
    if act == "wait":
        world.wait(value)
    elif act == "jump":
        world.clock.at += value
    elif act == "end":
        world.end_runs()
    elif act == "deliver":  # what a worker had decided before it was paused arrives now
        for moves in journal.held:
            MemoryStore.move_schedules(journal, moves)
        journal.held.clear()
    elif act == "die":
        world.die(world.workers[value])
        world.workers[value] = world.worker(spec)
    elif act == "look":
        world.look(world.workers[value])
    else:
        world.wait(300)  # so that there is something to write
        journal.holds, journal.loses = act == "zombie", act == "doubt"
        try:
            world.workers[value].look(journal.version())
            world.latest_seen = max(world.latest_seen, world.clock.at)
        except (JournalBusy, OutcomeUnknown) as error:
            event(type(error).__name__)
            world.latest_seen = max(world.latest_seen, world.clock.at)
        journal.holds = journal.loses = False


@settings(max_examples=300)
@given(_SPECS, st.lists(_STEPS, min_size=5, max_size=60))
def test_whatever_happens_to_its_workers_no_time_is_started_twice_and_none_missed_but_by_its_policy(
    spec: Spec, steps: list[tuple[str, Any]]
) -> None:
    """Workers that die, that are paused between reading and writing, whose answers are lost, whose clock jumps."""
    _live_through(spec, steps)


def _live_through(spec: Spec, steps: list[tuple[str, Any]]) -> None:
    world = World(spec, workers=3)
    world.look(world.workers[0])
    first_seen = world.schedule.since - (spec.timing.every_s is not None)
    for act, value in steps:
        _do(world, spec, act, value)
        assert world.schedule.last <= world.latest_seen, "a time was dealt with before it came"
        if spec.overlap != "allow":
            assert len(world.unfinished) <= 1
    for _ in range(2_000):  # in the end all is well, and there is time for what waits
        world.clock.at = world.latest_seen
        world.wait(1.0)
        for worker in world.workers:
            world.look(worker)
        if not world.unfinished:
            break
        world.end_runs()
    _check(world, spec, first_seen)


def _check(world: World, spec: Spec, after: float) -> None:
    now, schedule = world.latest_seen, world.schedule
    # By arithmetic, not by the code under test.
    grid = [at for at in range(int(after) + 1, int(now) + 1) if (at - _anchor(spec)) % 300 == 0]
    assert set(world.nominal) <= set(grid), "a run for a time that is none, or has not come"
    assert len(world.nominal) == len(set(world.nominal)) == schedule.started
    if spec.overlap == "allow" and spec.timing.jitter_s:
        due = [at for at in grid if when.due_at("n", spec.timing, float(at)) <= now]
        # In order: those behind the first that is not due yet wait for it.
        first_late = next((at for at in grid if at not in due), now)
        assert world.nominal == [at for at in due if at < first_late]
    elif spec.catch_up == "all":
        assert world.nominal == grid, "one was missed"
    elif spec.overlap != "latest":
        assert schedule.started + schedule.skipped + schedule.missed == len(grid), "one was neither"
    elif grid:
        assert world.nominal[-1] == grid[-1]
    if spec.overlap == "queue" and spec.catch_up != "all":
        assert schedule.skipped == 0


def _anchor(spec: Spec) -> float:
    return 0 if spec.timing.cron else START


def _no_guard(rows: Any, move: Move, now: float) -> bool:
    """As `calendar._apply`, on top of whatever is stored."""
    assert move.after is not None
    known = next((one for one in rows.schedules.values() if one.name == move.after.name), None)
    return TRUE_APPLY(rows, move._replace(before=known and move.after._replace(revision=known.revision)), now)


def _forgetful(schedule: Schedule, spec: Spec, found: list[float], now: float) -> Any:
    """As `_caught_up`, which takes the last of the times for dealt with that are not."""
    come = TRUE_CAUGHT_UP(schedule, spec, found, now)
    return come._replace(last=come.last + 300.0) if len(come.chosen) > 1 else come


def _hasty(schedule: Schedule, spec: Spec, now: float) -> Any:
    """As `_begun`, which waits for nobody."""
    return TRUE_BEGUN(schedule._replace(going=()), spec, now)


def _early(name: str, timing: Timing, nominal: float) -> float:
    return nominal - 1.0


TRUE_APPLY, TRUE_CAUGHT_UP, TRUE_BEGUN = calendar._apply, nominal._caught_up, nominal._begun
_MUTANTS = [
    (calendar, "_apply", _no_guard),
    (nominal, "_caught_up", _forgetful),
    (nominal, "_begun", _hasty),
    (when, "due_at", _early),
]


@pytest.mark.parametrize(
    ("where", "name", "mutant"), _MUTANTS, ids=lambda one: getattr(one, "__name__", str(one))
)
def test_the_test_above_sees_what_it_is_for(
    monkeypatch: pytest.MonkeyPatch, where: Any, name: str, mutant: Any
) -> None:
    monkeypatch.setattr(where, name, mutant)
    sees = settings(
        max_examples=500, database=None, phases=[Phase.generate], derandomize=True, report_multiple_bugs=False
    )(given(_SPECS, st.lists(_STEPS, min_size=10, max_size=60))(_live_through))
    with pytest.raises(AssertionError):
        sees()


# -- definitions ------------------------------------------------------------------------------------------------

# START is 01:46:40.
OLD, NEW = spec(Timing("0 2 * * *")), spec(Timing("30 2 * * *"))


def test_of_two_versions_of_the_code_the_worker_that_began_last_is_right() -> None:
    """A rolling deploy: old workers go on beside new ones, and do not take their definition back."""
    world = World(OLD)
    world.look(world.workers[0])
    world.wait(100)
    new = world.worker(NEW)
    world.look(new)
    revision = world.schedule.revision
    for _ in range(20):
        world.wait(6)
        world.look(world.workers[0])
        world.look(new)
    assert world.schedule.spec == NEW.text
    assert world.schedule.revision == revision
    assert world.said == ["schedule n is followed as it is defined here, no longer as before"]
    world.wait(3_600)
    world.look(world.workers[0])  # the old one leaves the new times to those who know them
    assert world.nominal == []
    world.look(new)
    assert world.nominal == [START + 43 * 60 + 20]


def test_an_old_worker_that_restarts_in_a_deploy_is_overruled_again_when_it_ends() -> None:
    world = World(OLD)
    world.look(world.workers[0])
    world.wait(1)
    new = world.worker(NEW)
    world.look(new)
    world.wait(1)
    again = world.worker(OLD)
    world.look(again)
    assert world.schedule.spec == OLD.text
    world.wait(limits.DECLARER_S + 1)
    world.look(new)
    assert world.schedule.spec == OLD.text  # as long as that one lives
    world.die(again)
    world.die(world.workers[0])
    world.wait(limits.DECLARER_S + 1)
    world.look(new)
    assert world.schedule.spec == NEW.text


def test_of_those_that_are_left_the_one_that_began_last_is_right_whoever_looks_first() -> None:
    world = World(OLD)
    world.look(world.workers[0])
    world.wait(1)
    new = world.worker(NEW)
    world.look(new)
    world.wait(1)
    again = world.worker(OLD)
    world.look(again)
    world.die(again)
    world.wait(limits.DECLARER_S + 1)
    world.look(world.workers[0])  # the oldest: it keeps its own going
    assert world.schedule.spec == OLD.text
    world.look(new)
    assert world.schedule.spec == NEW.text
    world.look(world.workers[0])
    assert world.schedule.spec == NEW.text


def test_a_rollback_takes_its_definition_back_at_once() -> None:
    world = World(OLD)
    world.look(world.workers[0])
    for one in (NEW, OLD):
        world.wait(10)
        world.look(world.worker(one))
        assert world.schedule.spec == one.text


def test_a_worker_that_is_silent_for_long_counts_as_gone_where_nothing_proves_it() -> None:
    world = World(OLD)
    world.look(world.workers[0])
    owner: str = world.workers[0].owner  # type: ignore[attr-defined]
    world.journal.announce(WorkerRow(owner, ("job",), (), 1, "working", world.clock.at))
    same = world.worker(OLD)
    world.look(same)
    world.wait(limits.SILENT_S - 1)
    world.look(same)
    assert world.schedule.declarer == owner
    world.wait(limits.DECLARER_S + 1)
    world.look(same)
    assert world.schedule.declarer == same.owner  # type: ignore[attr-defined]


def test_a_schedule_that_is_no_longer_in_the_code_is_said_and_left_alone() -> None:
    world = World(OLD)
    world.look(world.workers[0])
    world.wait(1)
    world.look(world.worker())  # which has no schedule at all looks at none
    other = world.worker(spec(), names=("job",))
    other._plans = {"another": next(iter(other._plans.values()))}
    other._plans["another"] = (
        other._plans["another"][0]._replace(name="another"),
        other._plans["another"][1],
    )
    world.look(other)
    assert world.said == [
        "schedule n of job is in the journal and not in this code, so this worker does not follow it. If it is gone "
        "for good: onward schedule remove n"
    ]
    world.wait(6_000)
    world.look(other)
    assert world.nominal == []


def test_a_removed_schedule_does_not_come_back_by_itself() -> None:
    world = World(OLD)
    world.look(world.workers[0])
    world.journal.move_schedules([Move(world.schedule, None)])
    world.wait(6_000)
    world.look(world.workers[0])
    assert world.journal.schedules() == []


def test_a_schedule_of_a_workflow_that_is_not_known_is_left_to_those_who_know_it() -> None:
    world = World(OLD)
    world.look(world.workers[0])
    stranger = world.worker()
    world.wait(6_000)
    world.look(stranger)
    assert world.nominal == []
    assert world.said == []


# -- how often it looks ---------------------------------------------------------------------------------------------


def test_an_idle_worker_reads_nothing_until_a_time_has_come() -> None:
    world = World(OLD)
    worker = world.workers[0]
    world.look(worker)
    world.look(worker)
    reads, version = world.journal.reads, world.journal.version()
    due = worker.next_at
    assert due is not None
    while world.clock.at < due - 0.02:
        world.wait(0.01)
        worker.look(version)
    assert world.journal.reads == reads
    world.wait(0.02)
    worker.look(version)
    assert len(world.nominal) == 1


def test_a_worker_among_others_that_write_all_the_time_reads_the_schedules_now_and_then() -> None:
    world = World(OLD)
    worker = world.workers[0]
    world.look(worker)
    reads = world.journal.reads
    for version in range(1_000):  # in one second
        worker.look(f"version {version}")
        world.wait(0.001)
    assert world.journal.reads - reads <= 1 / limits.SCHEDULES_S + 1


def test_what_waits_for_the_end_of_a_run_begins_soon_after_it() -> None:
    world = World(spec(overlap="queue"))
    worker = world.workers[0]
    world.look(worker)
    for _ in range(2):
        world.wait(300)
        world.look(worker)
    assert len(world.nominal) == 1
    world.wait(0.001)
    worker.look(world.journal.version())
    world.end_runs()
    worker.look(world.journal.version())
    assert worker.next_at is not None
    assert worker.next_at - world.clock.at <= limits.SCHEDULES_S
    world.wait(limits.SCHEDULES_S)
    world.look(worker)
    assert len(world.nominal) == 2


def test_a_paused_schedule_is_resumed_by_nobody_but_a_person() -> None:
    world = World(OLD)
    world.look(world.workers[0])
    world.journal.move_schedules([paused(world.schedule)])
    world.wait(10_000)
    world.look(world.workers[0])
    world.look(world.worker(NEW))
    assert world.schedule.paused
    assert world.nominal == []

"""`onward.schedule`: what is defined, what is refused, and how soon a worker starts what is due."""

from __future__ import annotations

import datetime as dt
import itertools
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import onward
from onward.api import connect
from onward.api.journal import Journal
from onward.core.schedules import Schedule, Spec, nominal_of
from onward.runtime import registry
from onward.runtime.worker import Worker

pytestmark = pytest.mark.important


@pytest.fixture(autouse=True)
def own_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_plans", {})
    monkeypatch.setattr(registry, "_plan_clashes", {})


@onward.workflow
def report(city: str = "Rome", *, pages: int = 1) -> str:
    return city * pages


def spec_of(name: str) -> Spec:
    return next(plan.spec for plan in registry.plans() if plan.name == name)


def stored(name: str) -> Schedule:
    return next(one for one in connect.engine().store.schedules() if one.name == name)


# -- defining -------------------------------------------------------------------------------------------


def test_a_decorated_workflow_is_the_workflow_and_nothing_is_opened() -> None:
    connect.disconnect()
    made = onward.schedule("0 3 * * *")(report)
    assert made is report
    assert connect._engine is None
    assert spec_of("report").workflow == "report"


def test_what_is_not_said_has_its_defaults() -> None:
    onward.schedule("0 3 * * *")(report)
    onward.schedule(every=60, name="again")(report)
    onward.schedule("0 3 * * *", catch_up="all", name="all")(report)
    onward.schedule("0 3 * * *", catch_up=dt.timedelta(hours=1), name="window")(report)
    chosen = {
        name: (spec_of(name).overlap, spec_of(name).catch_up) for name in ("report", "again", "all", "window")
    }
    assert chosen == {
        "report": ("skip", "latest"),
        "again": ("latest", "latest"),
        "all": ("queue", "all"),
        "window": ("queue", "window"),
    }
    assert spec_of("window").window_s == 3_600.0
    assert spec_of("report").timing.tz == "UTC"


def test_options_of_the_workflow_are_those_of_its_runs() -> None:
    calm = report.options(queue="slow", priority=-5, tags=["night"])
    onward.schedule("0 3 * * *", args=["Milan"], kwargs={"pages": 3}, jitter=dt.timedelta(minutes=1))(calm)
    spec = spec_of("report")
    assert (spec.queue, spec.priority, spec.tags) == ("slow", -5, '["night"]')
    assert spec.args == '[["Milan"],{"pages":3}]'
    assert spec.timing.jitter_s == 60.0


def test_a_run_counts_under_the_key_of_its_queue() -> None:
    queue = onward.Queue("scraping of schedules", per_key=lambda city, **_: city, per_key_concurrency=1)
    onward.schedule("0 3 * * *", args=["Milan"])(report.options(queue=queue.name))
    assert (spec_of("report").queue, spec_of("report").lane) == ("scraping of schedules", "Milan")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({}, "takes either a cron expression or every="),
        ({"cron": "* * * * *", "every": 60}, "takes either a cron expression or every="),
        ({"cron": 60}, "For an interval write every="),
        ({"cron": "* * * * *", "tz": 1}, "are text"),
        ({"cron": "* * * *"}, "wrong number of fields"),
        ({"cron": "* * * * *", "tz": "Rome"}, "the time zone 'Rome' is not known here"),
        ({"every": 0}, "every= takes 1 to"),
        ({"every": -1}, "every= takes 1 to"),
        ({"every": 0.5}, "every= takes 1 to"),
        ({"every": 1.5}, "every= takes whole seconds"),
        ({"every": float("nan")}, "every= takes 1 to"),
        ({"every": float("inf")}, "every= takes 1 to"),
        ({"every": True}, "every= takes 1 to"),
        ({"every": "60"}, "every= takes 1 to"),
        ({"every": 60, "jitter": 60}, "shorter than the interval"),
        ({"cron": "* * * * *", "jitter": -1}, "jitter= takes 0 to"),
        ({"cron": "* * * * *", "jitter": 100_000}, "jitter= takes 0 to 86400 seconds"),
        ({"cron": "* * * * *", "overlap": "wait"}, "overlap= takes one of skip, latest, queue, cancel_old, allow"),
        ({"cron": "* * * * *", "overlap": ["skip"]}, "overlap= takes one of"),
        ({"cron": "* * * * *", "catch_up": "some"}, 'catch_up= takes "none", "latest", "all" or a number'),
        ({"cron": "* * * * *", "catch_up": 0}, "catch_up= takes 1 to"),
        ({"cron": "* * * * *", "catch_up": "all", "overlap": "skip"}, "would drop most of what catch_up= is to start"),
        ({"cron": "* * * * *", "catch_up": 60, "overlap": "cancel_old"}, "would drop most of what catch_up="),
        ({"cron": "* * * * *", "catch_up": "none", "overlap": "latest"}, 'which catch_up="none" forbids'),
        ({"cron": "* * * * *", "name": "a@b"}, "a schedule's name has no `@`"),
        ({"cron": "* * * * *", "name": "a/b"}, "a schedule's name has no `@`, no `/`"),
        ({"cron": "* * * * *", "name": "x" * 160}, "at most 150 characters"),
        ({"cron": "* * * * *", "name": ""}, "a name is a printable str"),
        ({"cron": "* * * * *", "name": "a\nb"}, "a name is a printable str"),
        ({"cron": "* * * * *", "args": ["a", "b"]}, "a schedule cannot call `report` so: too many positional"),
        ({"cron": "* * * * *", "kwargs": {"x": 1}}, "a schedule cannot call `report` so: got an unexpected"),
        ({"cron": "* * * * *", "args": [object()]}, "cannot be recorded"),
    ],
)  # fmt: skip
def test_what_cannot_be_followed_is_refused_with_a_sentence(words: dict[str, Any], said: str) -> None:
    words = dict(words)
    cron = [words.pop("cron")] if "cron" in words else []
    with pytest.raises(onward.UsageError) as refused:
        onward.schedule(*cron, **words)(report)
    assert said in str(refused.value)
    assert registry.plans() == ()


def test_only_workflows_can_be_scheduled() -> None:
    def plain() -> None: ...

    with pytest.raises(onward.UsageError, match=r"Write it above @onward\.workflow"):
        onward.schedule("* * * * *")(plain)  # type: ignore[type-var]


@pytest.mark.parametrize("option", [{"id": "x"}, {"key": "k"}, {"delay": 1}])
def test_what_a_schedule_decides_itself_is_no_option_of_its_workflow(option: dict[str, Any]) -> None:
    with pytest.raises(onward.UsageError, match="a schedule gives the runs of `report` their ids and times"):
        onward.schedule("* * * * *")(report.options(**option))


def test_two_schedules_of_one_name_are_refused_and_a_reload_replaces_one() -> None:
    onward.schedule("0 3 * * *")(report)
    onward.schedule("0 3 * * *")(report)  # the same twice is the same
    with pytest.raises(onward.UsageError, match=r"has two schedules named `report`.*name=\"\.\.\.\""):
        onward.schedule("0 4 * * *")(report)
    reloaded = onward.workflow(report.fn)
    onward.schedule("0 4 * * *")(reloaded)
    assert spec_of("report").timing.cron == "0 4 * * *"
    registry.refuse_clashes()

    @onward.workflow
    def other() -> None: ...

    onward.schedule("0 4 * * *", name="report")(other)
    with pytest.raises(onward.UsageError, match="two schedules are named `report`"):
        registry.refuse_clashes()


def test_outside_of_a_scheduled_run_there_is_no_scheduled_time() -> None:
    @onward.workflow
    def job() -> object:
        here = onward.current()
        assert here is not None
        return here.scheduled_at

    assert job() is None
    assert onward.current() is None


# -- being followed -------------------------------------------------------------------------------------


@pytest.fixture
def working() -> Iterator[Callable[..., Worker]]:
    """Starts workers that go on in the background, and ends them."""
    workers: list[tuple[Worker, threading.Thread]] = []

    def start(**options: Any) -> Worker:
        worker = Worker(connect.engine(), **options)
        thread = threading.Thread(target=worker.run, name="test-worker")
        thread.start()
        workers.append((worker, thread))
        return worker

    yield start
    for worker, thread in workers:
        worker.drain()
        thread.join(10)
        worker.rest(0)


def until(true: Callable[[], bool], within_s: float = 30.0) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.005)


def test_a_time_is_started_soon_after_it_has_come_and_never_before(
    working: Callable[..., Worker], tell: Callable[[object], None]
) -> None:
    late: list[float] = []

    @onward.schedule("* * * * * *")
    @onward.workflow(name="each second")
    def job() -> None:
        here = onward.current()
        assert here is not None
        assert here.scheduled_at is not None
        late.append(time.time() - here.scheduled_at.timestamp())

    working(names=["each second"])
    until(lambda: len(late) >= 5)
    assert min(late) > 0
    # The best of five: others share this machine.
    assert min(late) < 0.05
    tell(f"a second's run begins {1000 * statistics.median(late):.1f} ms after it (median of {len(late)})")


def test_a_continuous_job_keeps_its_cursor_from_run_to_run(working: Callable[..., Worker]) -> None:
    """It takes longer than its interval: the next one begins when it has ended, and never two at once."""
    seen: list[int] = []
    inside: list[int] = []

    @onward.schedule(every=1)
    @onward.workflow(name="poll")
    def poll() -> None:
        inside.append(1)
        assert len(inside) == 1
        with onward.cursor("orders", start=0) as last:
            seen.append(last.value)
            last.advance(last.value + 10)
        time.sleep(1.2)
        inside.pop()

    working(names=["poll"])
    until(lambda: len(seen) >= 3)
    assert seen[:3] == [0, 10, 20]
    store = connect.engine().store
    runs = [run for run in store.runs_of_schedule("poll", limit=9) if run.state == "done"]
    assert len(runs) >= 2
    # Back to back: the second one was due before the first one had ended.
    gaps = [later.created_at - earlier.updated_at for later, earlier in itertools.pairwise(runs)]
    assert min(gaps) < 0.1


def test_the_end_of_a_run_lets_the_next_one_in_its_queue_begin_soon(working: Callable[..., Worker]) -> None:
    gate = threading.Event()

    @onward.schedule("0 0 1 1 *", name="yearly", overlap="queue")
    @onward.workflow(name="gated")
    def job() -> None:
        gate.wait(100)

    working(names=["gated"])
    journal = Journal(connect.engine())
    until(lambda: bool(connect.engine().store.schedules()))
    first, second = journal.schedules.trigger("yearly"), journal.schedules.trigger("yearly")
    assert (first.waits, second.waits) == (False, True)
    store = connect.engine().store
    until(lambda: getattr(store.run(first.run_id), "state", "") == "running")
    assert store.run(second.run_id) is None
    gate.set()
    until(lambda: getattr(store.run(second.run_id), "state", "") == "done")
    one, two = store.run(first.run_id), store.run(second.run_id)
    assert one is not None
    assert two is not None
    assert one.updated_at <= two.created_at < one.updated_at + 1.0


def test_cancel_old_ends_the_run_that_goes_on_at_its_next_step(working: Callable[..., Worker]) -> None:
    began = threading.Event()

    @onward.schedule("0 0 1 1 *", name="yearly", overlap="cancel_old")
    @onward.workflow(name="endless")
    def job() -> None:
        began.set()
        for _ in range(1_000):
            onward.sleep(0.01)

    working(names=["endless"])
    journal = Journal(connect.engine())
    until(lambda: bool(connect.engine().store.schedules()))
    old = journal.schedules.trigger("yearly")
    assert began.wait(100)
    new = journal.schedules.trigger("yearly")
    store = connect.engine().store
    until(lambda: getattr(store.run(old.run_id), "state", "") == "cancelled")
    until(lambda: getattr(store.run(new.run_id), "state", "") in ("running", "waiting"))
    journal.schedules.trigger("yearly")  # so that the test has an end
    until(lambda: getattr(store.run(new.run_id), "state", "") == "cancelled")
    journal.schedules.pause("yearly")


def test_many_workers_of_one_process_start_each_time_once(working: Callable[..., Worker]) -> None:
    seen: list[float] = []

    @onward.schedule("* * * * * *", overlap="allow", catch_up="all")
    @onward.workflow(name="counted")
    def job() -> None:
        here = onward.current()
        assert here is not None
        assert here.scheduled_at is not None
        seen.append(here.scheduled_at.timestamp())

    for _ in range(4):
        working(names=["counted"], concurrency=2)
    until(lambda: len(seen) >= 4)
    ended = sorted(seen)
    assert ended == [ended[0] + at for at in range(len(ended))]
    runs = connect.engine().store.runs_of_schedule("counted", limit=99)
    assert (
        len(runs) == len({nominal_of(run.id.rpartition("@")[2]) for run in runs}) == stored("counted").started
    )

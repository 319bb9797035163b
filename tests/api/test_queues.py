"""Queues that the code declares: limits as workers keep them, debounced starts, runs that take many items."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import onward
from api.test_start import burst, settle, working
from onward.api import connect
from onward.core import limits
from onward.core.flow import Limits, Quota
from onward.runtime import registry
from onward.runtime.worker import Worker

__all__ = ["working"]  # a fixture

pytestmark = pytest.mark.important
_lock = threading.Lock()


class Gauge:
    """How many are in it at once, and how many were at most."""

    def __init__(self) -> None:
        self.now: dict[str, int] = {}
        self.most: dict[str, int] = {}
        self.times: list[float] = []

    def stay(self, key: str, seconds: float) -> None:
        with _lock:
            self.times.append(time.time())
            self.now[key] = self.now.get(key, 0) + 1
            self.most[key] = max(self.most.get(key, 0), self.now[key])
        time.sleep(seconds)
        with _lock:
            self.now[key] -= 1


@pytest.fixture(autouse=True)
def _forget_queues() -> Iterator[None]:
    """A queue that one test declares is none of the next."""
    before = dict(registry._queues)
    yield
    registry._queues.clear()
    registry._queues.update(before)


def stored(name: str) -> Limits:
    return next(one.limits for one in connect.engine().store.queues() if one.name == name)


# -- declaring --------------------------------------------------------------------------------------------


def test_what_the_code_declares_is_in_the_journal_once_a_run_is_started() -> None:
    sites = onward.Queue(
        "sites",
        concurrency=10,
        per_worker=4,
        per_key=lambda url: url.partition("/")[0],
        per_key_concurrency=2,
        rate="60/min burst 10",
        per_key_rate="1/s",
    )

    @onward.workflow(queue=sites)
    def scrape(url: str) -> str:
        return url

    run = scrape.start("a.org/1")
    assert stored("sites") == Limits("sites", False, 10, 2, 4, Quota(10, 10.0), Quota(1, 1.0))
    store = connect.engine().store
    one = store.run(run.id)
    assert one is not None
    assert (one.queue, one.lane) == ("sites", "a.org")


def test_a_worker_that_knows_a_queue_makes_its_limits_known() -> None:
    onward.Queue("quiet", concurrency=3)

    @onward.workflow(queue="quiet")
    def noop() -> None: ...

    burst()
    assert stored("quiet").concurrency == 3


def test_options_send_a_run_to_another_queue_by_name_or_by_the_queue() -> None:
    slow = onward.Queue("slow", per_key=lambda n: f"key-{n}")

    @onward.workflow
    def work(n: int) -> int:
        return n

    store = connect.engine().store
    for chosen in (slow, "slow"):
        one = store.run(work.options(queue=chosen).start(1).id)
        assert one is not None
        assert (one.queue, one.lane) == ("slow", "key-1")


@pytest.mark.parametrize(
    ("text", "quota"),
    [
        ("60/min", Quota(1, 1.0)),
        ("5/s", Quota(5, 1.0)),
        ("90/min", Quota(1, 2 / 3)),
        ("1000/h", Quota(1, 3.6)),
        ("1/10s", Quota(1, 10.0)),
        ("60/min burst 60", Quota(60, 60.0)),
        ("1000000/day burst 10000", Quota(10_000, 864.0)),
    ],
)
def test_a_rate_is_spread_evenly_unless_it_says_a_burst(text: str, quota: Quota) -> None:
    onward.Queue("q", rate=text)
    declared = registry.queue("q")
    assert declared is not None
    connect.engine().declare("q", declared.limits_text)
    found = stored("q").rate
    assert found is not None
    assert (found.starts, found.window_s) == (quota.starts, pytest.approx(quota.window_s))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"concurrency": 0}, "concurrency=0 is not possible"),
        ({"concurrency": True}, "concurrency=True is not possible"),
        ({"concurrency": 2.5}, "concurrency=2.5 is not possible"),
        ({"per_worker": -1}, "per_worker=-1 is not possible"),
        ({"per_key_concurrency": 2}, "does not say what its key is"),
        ({"per_key_rate": "1/s"}, "does not say what its key is"),
        ({"per_key": "host"}, "per_key= takes a function"),
        ({"per_key": str, "per_key_concurrency": 10**9}, "per_key_concurrency=1000000000 is not possible"),
        ({"rate": "often"}, "is not a rate"),
        ({"rate": 5}, "is not a rate"),
        ({"rate": "1/99999d"}, "is not a rate"),
        ({"max_attempts": 0}, "max_attempts=0 is not possible"),
    ],
)
def test_impossible_limits_are_refused_with_a_sentence(given: dict[str, Any], said: str) -> None:
    with pytest.raises(onward.UsageError, match=said):
        onward.Queue("q", **given)
    assert registry.queue("q") is None


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 1_000_000, "a > b", "\x1b[31m"])
def test_impossible_names_are_refused_with_a_sentence(name: str) -> None:
    with pytest.raises(onward.UsageError) as refused:
        onward.Queue(name)
    assert len(str(refused.value)) < 500

    @onward.workflow
    def work() -> None: ...

    with pytest.raises(onward.UsageError):
        work.options(queue=name)


def test_a_queue_that_is_nearly_a_declared_one_is_taken_for_a_slip() -> None:
    onward.Queue("scrape", concurrency=1)

    @onward.workflow(queue="scarpe")
    def work() -> None: ...

    with pytest.raises(onward.UsageError, match="Did you mean `scrape`"):
        work.start()
    assert connect.engine().store.runs() == []


def test_a_key_that_cannot_be_told_starts_nothing() -> None:
    def host(url: str) -> object:
        return {"error": 1 / 0, "client": object()}[url] if url != "client" else object()

    sites = onward.Queue("sites", per_key=host)

    @onward.workflow(queue=sites)
    def scrape(url: str) -> None: ...

    with pytest.raises(
        onward.UsageError, match=r"cannot tell the key of a run of `.*scrape` .ZeroDivisionError"
    ):
        scrape.start("error")
    with pytest.raises(onward.UsageError, match="gave object, which cannot be a key"):
        scrape.start("client")
    with pytest.raises(onward.UsageError, match="cannot tell"):
        scrape.start_many(["error"])
    assert connect.engine().store.runs() == []


# -- limits as workers keep them ----------------------------------------------------------------------------


def test_no_more_runs_are_executed_at_once_than_declared_whatever_the_workers_could() -> None:
    gauge = Gauge()
    narrow = onward.Queue("narrow", concurrency=3)

    @onward.workflow(queue=narrow)
    def work(n: int) -> None:
        gauge.stay("all", 0.01)

    work.start_many(range(30))
    assert len(burst(concurrency=20)) == 30
    assert gauge.most == {"all": 3}


def test_a_key_that_is_busy_holds_up_no_other_one() -> None:
    gauge = Gauge()
    sites = onward.Queue("sites", per_key=lambda host, n: host)

    @onward.workflow(queue=sites)
    def scrape(host: str, n: int) -> None:
        gauge.stay(host, 0.01)

    for n in range(8):
        for host in ("a", "b", "c"):
            scrape.start(host, n)
    assert len(burst(concurrency=20)) == 24
    assert gauge.most == {"a": 1, "b": 1, "c": 1}


def test_runs_begin_no_faster_than_the_rate_and_an_idle_worker_wakes_in_time() -> None:
    gauge = Gauge()
    paced = onward.Queue("paced", rate="600/min burst 2")  # 2 in any 0.2 seconds

    @onward.workflow(queue=paced)
    def work(n: int) -> None:
        gauge.stay("all", 0)

    work.start_many(range(9))
    began = time.monotonic()
    settle(concurrency=10)
    took = time.monotonic() - began
    store = connect.engine().store
    claimed = sorted(
        entry.ended_at
        for run in store.runs()
        for entry in store.entries(run.no)
        if entry.key == "run/claimed"
    )
    assert len(claimed) == 9
    # By the journal's clock, at which each was claimed: of any three neighbours the last is 0.2 s after the first.
    assert all(late - early >= 0.2 for early, late in zip(claimed, claimed[2:], strict=False))
    assert took < 5  # 0.8 s at that rate: it does not wait for its next look, 0.25 s later each time


def test_a_change_by_whoever_operates_it_holds_for_the_next_claim(
    working: Callable[..., Worker],
) -> None:
    gauge = Gauge()
    narrow = onward.Queue("narrow", concurrency=1)

    @onward.workflow(queue=narrow)
    def work(n: int) -> None:
        gauge.stay("all", 0.02)

    work.start_many(range(40))
    connect.engine().store.set_queue("narrow", chosen='{"concurrency": 4}')
    working(concurrency=8)
    until = time.monotonic() + 30
    while connect.engine().store.queue_counts("narrow", at_most=100)[:3] != (0, 0, 0):
        assert time.monotonic() < until
        time.sleep(0.01)
    assert gauge.most == {"all": 4}


def test_attempts_are_those_of_the_queue_unless_the_workflow_says_so() -> None:
    patient = onward.Queue("patient", max_attempts=3, backoff=0)
    tried: list[str] = []

    @onward.workflow(queue=patient)
    def follows() -> None:
        tried.append("follows")
        raise ValueError("no")

    @onward.workflow(queue=patient, max_attempts=1)
    def insists() -> None:
        tried.append("insists")
        raise ValueError("no")

    follows.start()
    insists.start()
    settle()
    assert sorted(tried) == ["follows"] * 3 + ["insists"]


# -- many, and ids ------------------------------------------------------------------------------------------


def test_many_started_at_once_wait_in_their_order_and_give_their_handles() -> None:
    done: list[int] = []

    @onward.workflow
    def work(n: int) -> int:
        done.append(n)
        return n * n

    runs = work.start_many(range(limits.START_RUNS + 5))
    assert len({run.id for run in runs}) == limits.START_RUNS + 5
    burst(concurrency=1)
    assert done == list(range(limits.START_RUNS + 5))
    assert [run.result() for run in runs[:3]] == [0, 1, 4]


def test_many_with_ids_started_again_are_the_same_runs_and_other_work_is_refused() -> None:
    @onward.workflow
    def work(n: int, factor: int = 1) -> int:
        return n * factor

    named = work.options(id="work-{n}")
    first = named.start_many(range(5))
    again = named.start_many(range(8))
    assert again[:5] == first
    assert len(connect.engine().store.runs()) == 8

    @onward.workflow(name="other")
    def other(n: int) -> int:
        return n

    with pytest.raises(onward.RunConflict, match=r"run work-3 is `.*work` with other arguments"):
        other.options(id="work-{n}").start_many([3])


@pytest.mark.parametrize(
    "options", [{}, {"id": "w-{item}-{n}"}, {"key": "k-{item}"}, {"id": "{item}", "key": "{n}"}]
)
def test_many_started_at_once_are_stored_as_each_started_alone(options: dict[str, str]) -> None:
    @onward.workflow
    def work(item: Any, n: int = 3) -> None: ...

    def stored(run: onward.Handle[None]) -> Any:
        found = connect.engine().store.run(run.id)
        assert found is not None
        identity = found.identity if "id" in options else found.identity.partition(":")[0]
        return identity, found.args, found.lane, found.single, found.state, found.queue, found.priority

    items = [1, "two", 2**70, ("three",), 4]
    configured = work.options(**options)  # type: ignore[arg-type]
    alone: list[Any] = []
    for item in items:
        run = configured.start(item)
        alone.append(stored(run))
        onward.Journal().cancel(run.id)
        connect.engine().store.delete(connect.engine().store.run(run.id).no)  # type: ignore[union-attr]
    if "key" in options and "{n}" in options["key"]:  # one key for all of them
        assert len({run.id for run in configured.start_many(items)}) == 1
    else:
        assert [stored(run) for run in configured.start_many(items)] == alone


def test_items_of_any_kind_come_to_the_function_as_they_were() -> None:
    seen: list[Any] = []

    @onward.workflow
    def work(item: Any) -> None:
        seen.append(item)

    items = [1, 'é\n"', 2.5, None, True, (1, 2), {"a": b"x"}, 10**40, ["nested", {"k": 1}]]
    work.start_many(items)
    burst(concurrency=1)
    assert seen == items
    assert [type(item) for item in seen] == [type(item) for item in items]


def test_a_default_that_is_given_is_the_same_run_as_one_that_is_not() -> None:
    @onward.workflow
    def work(n: int = 1) -> int:
        return n

    runs = work.options(id="w").start_many([1])
    assert work.options(id="w").start() == runs[0]


def test_arguments_over_the_limit_start_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PAYLOAD_BYTES", 1_000)

    @onward.workflow
    def work(text: str) -> None: ...

    with pytest.raises(onward.NotRecordable, match="write them to a file and give its name"):
        work.start("x" * 2_000)
    with pytest.raises(onward.NotRecordable, match="write them to a file and give its name"):
        work.start_many([["x" * 2_000]])
    with pytest.raises(onward.NotRecordable, match="write them to a file and give its name"):
        work.start_many(["x" * 2_000])
    assert connect.engine().store.runs() == []


@pytest.mark.parametrize("wrong", ["x" * 1_000_000, "a\x00b", "a\nb", "", "a/b", "\ud800"])
def test_impossible_ids_and_keys_start_nothing(wrong: str) -> None:
    @onward.workflow
    def work(n: int) -> None: ...

    with pytest.raises(onward.UsageError) as refused:
        work.options(id=wrong).start(1)
    assert len(str(refused.value)) < 500
    if wrong != "a/b":
        with pytest.raises(onward.UsageError):
            work.options(key=wrong).start(1)
    with pytest.raises(onward.UsageError, match="names something that is not an argument"):
        work.options(key="{m}").start(1)
    assert connect.engine().store.runs() == []


# -- debounce -----------------------------------------------------------------------------------------------


def test_starts_that_follow_each_other_soon_are_one_run_of_the_latest_arguments() -> None:
    seen: list[tuple[str, int]] = []

    @onward.workflow
    def sync(customer: str, version: int) -> None:
        seen.append((customer, version))

    soon = sync.options(key="{customer}", debounce=0.2)
    first = soon.start("ann", 1)
    time.sleep(0.1)
    assert soon.start("ann", 2) == first
    other = soon.start("bob", 1)
    assert other != first
    assert (first.state, other.state) == ("waiting", "waiting")
    settle()
    assert sorted(seen) == [("ann", 2), ("bob", 1)]
    assert soon.start("ann", 3) != first
    settle()
    assert seen[-1] == ("ann", 3)


def test_a_debounced_run_is_put_off_by_each_start_but_not_for_ever() -> None:
    @onward.workflow
    def sync(customer: str, version: int) -> None: ...

    store = connect.engine().store
    soon = sync.options(key="{customer}", debounce=10, debounce_max=25)
    run_id = soon.start("ann", 1).id
    first = store.run(run_id)
    assert first is not None
    assert first.wake_at == pytest.approx(first.created_at + 10, abs=0.1)
    time.sleep(0.05)
    soon.start("ann", 2)
    later = store.run(run_id)
    assert later is not None
    assert first.wake_at is not None
    assert later.wake_at is not None
    assert later.wake_at > first.wake_at
    sync.options(key="{customer}", debounce=10_000, debounce_max=25).start("ann", 3)
    last = store.run(run_id)
    assert last is not None
    assert last.wake_at == pytest.approx(first.created_at + 25, abs=0.01)
    assert last.args == '[["ann",3],{}]'


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"debounce": 5}, "debounce= needs key="),
        ({"debounce": 5, "key": "k", "id": "x"}, "goes with none of id="),
        ({"debounce": 5, "key": "k", "delay": 3}, "goes with none of id="),
        ({"debounce_max": 5, "key": "k"}, "debounce_max= needs debounce="),
        ({"debounce": -1, "key": "k"}, "debounce= takes seconds"),
    ],
)
def test_a_debounce_that_cannot_be_starts_nothing(options: dict[str, Any], said: str) -> None:
    @onward.workflow
    def sync(n: int) -> None: ...

    with pytest.raises(onward.UsageError, match=said):
        sync.options(**options).start(1)
    with pytest.raises(onward.UsageError, match=said):
        sync.options(**options).start_many([1])
    assert connect.engine().store.runs() == []


# -- runs that take many items --------------------------------------------------------------------------------


def test_items_that_are_started_one_by_one_come_to_the_function_together() -> None:
    loads: list[list[int]] = []

    @onward.workflow(batch=3, batch_s=0.1)
    def load(rows: list[int]) -> int:
        loads.append(rows)
        return sum(rows)

    runs = [load.start(n) for n in range(4)]
    assert runs[0] == runs[1] == runs[2] != runs[3]
    store = connect.engine().store
    full, other = (store.run(run.id) for run in (runs[0], runs[3]))
    assert full is not None
    assert other is not None
    assert full.wake_at is not None
    assert other.wake_at is not None
    assert full.wake_at <= store.now() < other.wake_at + 0.1  # the other one waits for company
    settle(concurrency=1)
    assert loads == [[0, 1, 2], [3]]
    assert (runs[0].result(), runs[3].result()) == (3, 3)
    assert load([5, 6]) == 11  # called directly it is a plain workflow


def test_many_items_make_full_runs() -> None:
    loads: list[list[int]] = []

    @onward.workflow(batch=100, batch_s=0.05)
    def load(rows: list[int]) -> None:
        loads.append(rows)

    runs = load.start_many(range(250))
    assert len(runs) == 250
    assert len(set(runs)) == 3
    settle(concurrency=1)
    # Not in which order: one whose time was over before it was opened never waits for it, and comes behind the others.
    assert sorted(len(rows) for rows in loads) == [50, 100, 100]
    assert sorted(n for rows in loads for n in rows) == list(range(250))


def test_an_item_with_an_id_joins_once() -> None:
    loads: list[list[str]] = []

    @onward.workflow(batch=10, batch_s=0.05)
    def load(rows: list[str]) -> None:
        loads.append(rows)

    named = load.options(id="row-{item}")
    first = named.start("a")
    assert named.start("a") == first
    assert named.start_many(["b", "a"]) == [first, first]
    settle()
    assert named.start("a") == first  # long since done
    assert loads == [["a", "b"]]
    with pytest.raises(onward.RunConflict, match="the id row-1 is that of another item"):
        load.options(id="row-1").start_many(["x", "y"])
    with pytest.raises(onward.UsageError, match="not an argument"):
        load.options(id="row-{other}").start("a")


def test_items_of_different_keys_are_in_different_runs() -> None:
    sites = onward.Queue("sites", per_key=lambda row: row[0])
    loads: list[list[str]] = []

    @onward.workflow(queue=sites, batch=10, batch_s=0.05)
    def load(rows: list[str]) -> None:
        loads.append(rows)

    load.start_many(["a1", "b1", "a2", "b2"])
    settle()
    assert sorted(loads) == [["a1", "a2"], ["b1", "b2"]]


def test_an_item_that_a_workflow_starts_joins_once_however_often_it_is_replayed() -> None:
    loads: list[list[int]] = []
    lives: list[int] = []

    @onward.workflow(batch=10, batch_s=0.05)
    def load(rows: list[int]) -> int:
        loads.append(rows)
        return len(rows)

    @onward.workflow(max_attempts=3, backoff=0)
    def outer() -> int:
        runs = [load.start(n) for n in range(3)]
        lives.append(1)
        if len(lives) < 3:
            raise ValueError("again")
        return sum(run.result() for run in runs)

    run = outer.start()
    settle()
    assert (run.result(), loads, len(lives) >= 3) == (9, [[0, 1, 2]], True)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"batch": 0}, "batch=0 is not possible"),
        ({"batch": 10**6}, "batch=1000000 is not possible"),
        ({"batch": 5, "batch_s": 0}, "batch_s=0 is not possible"),
        ({"batch": 5, "batch_s": float("inf")}, "batch_s=inf is not possible"),
    ],
)
def test_a_batch_that_cannot_be_is_not_declared(given: dict[str, Any], said: str) -> None:
    with pytest.raises(onward.UsageError, match=said):

        @onward.workflow(**given)
        def load(rows: list[int]) -> None: ...


@pytest.mark.parametrize("options", [{"delay": 1}, {"key": "k"}, {"debounce": 1}, {"replace": True}])
def test_options_that_say_something_of_a_run_are_none_of_an_item(options: dict[str, Any]) -> None:
    @onward.workflow(batch=2)
    def load(rows: list[int]) -> None: ...

    with pytest.raises(onward.UsageError, match="takes items into one; nothing was started"):
        load.options(**options).start(1)
    assert connect.engine().store.runs() == []
    assert Path("journal.db").exists()

"""Several processes at one journal: guard and write are one, nobody waits for ever, no run is leased twice."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from onward.core.decide import Released, Returned, decide
from onward.core.flow import text_of
from onward.core.model import Applied, Change, Claim, Claimed, Refused
from onward.storage.postgres.store import PostgresStore
from postgres.conftest import Open
from postgres.server import Server
from storage.rows import entry, keys, opened, reason, recorded
from storage.test_contract_queues import queued, stored

pytestmark = pytest.mark.important


def _waiting(server: Server, schema: str, count: int = 1) -> None:
    """Return once so many sessions wait for a lock of this journal."""
    for _ in range(1_000):
        waiting = server.execute(
            "SELECT count(*) FROM pg_stat_activity "
            f"WHERE wait_event_type = 'Lock' AND query LIKE '%\"{schema}\"%'"
        )
        if waiting[0][0] >= count:
            return
        time.sleep(0.01)
    raise AssertionError("nobody waits for a lock")


@pytest.mark.parametrize("way", ["a single entry", "a batch", "a transaction"])
def test_a_claim_that_is_being_committed_shuts_out_the_former_holder(
    open_store: Open, postgres_server: Server, schema: str, way: str
) -> None:
    """The guard was read before the claim was committed, the entry written after it: a zombie's write came through."""
    store = open_store()
    run, other = opened(store), opened(store, "other")
    recorded(store, run, entry("first"))
    recorded(store, other, entry("first"))
    late = Change(run.no, 1, (entry("late"),))
    changes = {
        "a single entry": [late],
        "a batch": [late, Change(other.no, 1, (entry("late"),))],
        "a transaction": [late._replace(after=run)],
    }[way]
    with postgres_server.connect() as claimant, ThreadPoolExecutor() as pool:
        claimant.execute("BEGIN")
        claimant.execute(
            f"UPDATE \"{schema}\".run SET fence = 2, owner = 'thief' WHERE no = {run.no}".encode()
        )
        answers = pool.submit(store.commit, changes)
        _waiting(postgres_server, schema)
        claimant.execute("COMMIT")
        assert reason(answers.result(20)[0]) == "fence"  # type: ignore[arg-type]
    assert keys(store, run) == ["first"]
    assert keys(store, other) == (["first", "late"] if way == "a batch" else ["first"])


def test_a_claim_waits_for_what_the_holder_is_just_writing_and_sees_it(
    open_store: Open, postgres_server: Server, schema: str
) -> None:
    """Its mark took the number of an entry that was being committed; one of the two was lost."""
    store = open_store()
    run = opened(store)
    claim = Change(
        run.no, 1, (entry("claimed", "mark", "mark"),), after=run._replace(fence=2, leased_seq=0), before=run
    )
    with postgres_server.connect() as holder, ThreadPoolExecutor() as pool:
        holder.execute("BEGIN")
        holder.execute(f'SELECT FROM "{schema}".run WHERE no = {run.no} FOR NO KEY UPDATE'.encode())
        holder.execute(
            f'INSERT INTO "{schema}".entry (run, seq, fence, attempt, ended_at, kind, state, name, key) '
            f"VALUES ({run.no}, 0, 1, 1, 1.0, 'item', 'done', 'k', 'k')".encode()
        )
        answer = pool.submit(store.commit, [claim])
        _waiting(postgres_server, schema)
        holder.execute("COMMIT")
        # What the claimant has read of the run is old now: it reads again.
        assert reason(answer.result(20)[0]) == "lease"  # type: ignore[arg-type]
    assert keys(store, run) == ["k"]


def test_batches_over_the_same_runs_in_any_order_never_wait_for_each_other_in_a_circle(
    open_store: Open, postgres_server: Server
) -> None:
    stores = [open_store() for _ in range(3)]
    runs = [opened(stores[0], f"r{number}") for number in range(6)]
    before = _deadlocks(postgres_server)

    def work(at: int) -> int:
        store, done = stores[at], 0
        for round_ in range(40):
            order = runs if (at + round_) % 2 else runs[::-1]
            answers = store.commit([Change(run.no, 1, (entry(f"{at}-{round_}"),)) for run in order])
            done += sum(isinstance(answer, Applied) for answer in answers)
            if round_ % 10 == 0:
                store.renew("me", 1_000.0 + round_)
        return done

    with ThreadPoolExecutor() as pool:
        assert list(pool.map(work, range(3))) == [240, 240, 240]
    assert _deadlocks(postgres_server) == before
    assert list(stores[0].problems()) == []
    assert {stores[0].last_seq(run.no) for run in runs} == {119}


def _deadlocks(server: Server) -> int:
    server.execute("SELECT pg_stat_force_next_flush()")
    [(count,)] = server.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'")
    return int(count)


def test_a_deadlock_with_somebody_else_is_repeated(
    open_store: Open, postgres_server: Server, schema: str
) -> None:
    store = open_store()
    one, two = opened(store, "one"), opened(store, "two")
    lock = f'SELECT FROM "{schema}".run WHERE no = %s FOR UPDATE'
    with postgres_server.connect() as stranger, ThreadPoolExecutor() as pool:
        # So that it is not the stranger who is made to give way.
        stranger.execute("SET deadlock_timeout = '1min'")
        stranger.execute("BEGIN")
        stranger.execute(lock.encode(), (two.no,))
        both = [Change(one.no, 1, (entry("a"),), after=one), Change(two.no, 1, (entry("a"),), after=two)]
        answers = pool.submit(store.commit, both)
        _waiting(postgres_server, schema)
        stranger.execute(lock.encode(), (one.no,))
        stranger.execute("COMMIT")
        assert answers.result(20) == [Applied(one.no, 0, None), Applied(two.no, 0, None)]


def test_one_of_many_who_create_a_run_at_once_does_it(open_store: Open) -> None:
    stores = [open_store() for _ in range(4)]
    together = threading.Barrier(4)

    def create(store: PostgresStore) -> list[str]:
        from storage.rows import a_run

        found = []
        for number in range(10):
            together.wait(30)
            [answer] = store.commit([Change(0, 0, (entry("x"),), after=a_run(f"r{number}"), create=True)])
            found.append(answer.reason if isinstance(answer, Refused) else "created")
        return found

    with ThreadPoolExecutor() as pool:
        outcomes = list(pool.map(create, stores))
    for each in zip(*outcomes, strict=True):
        assert Counter(each) == {"created": 1, "exists": 3}


# -- claims ---------------------------------------------------------------------------------------------


def test_many_workers_share_a_queue_and_no_run_is_claimed_twice(open_store: Open) -> None:
    stores = [open_store() for _ in range(4)]
    for number in range(120):
        queued(stores[0], f"r{number:03}")

    def work(store: PostgresStore) -> list[str]:
        got: list[str] = []
        idle = 0
        while idle < 5:
            [answer] = store.commit([Claim("w", 30.0, ("work",), (), 7)])
            assert isinstance(answer, Claimed)
            got += [run.id for run, _ in answer.runs]
            idle = 0 if answer.runs else idle + 1
            store.commit([decide(run, Returned(None), now=store.now()) for run, _ in answer.runs])
        return got

    with ThreadPoolExecutor() as pool:
        every = [run_id for got in pool.map(work, stores) for run_id in got]
    assert sorted(every) == [f"r{number:03}" for number in range(120)]


def test_a_queues_concurrency_holds_over_many_workers(open_store: Open) -> None:
    stores = [open_store() for _ in range(4)]
    stores[0].set_queue("q", declared=text_of({"concurrency": 3}))
    for number in range(40):
        queued(stores[0], f"r{number}")
    running, most = Counter[str](), []
    lock = threading.Lock()

    def work(store: PostgresStore) -> None:
        while sum(running.values()) < 40:
            [answer] = store.commit([Claim("w", 30.0, ("work",), (), 5)])
            assert isinstance(answer, Claimed)
            with lock:
                most.append(sum(1 for run in stores[0].runs(states=("running",), limit=-1)))
            store.commit([decide(run, Returned(None), now=store.now()) for run, _ in answer.runs])
            with lock:
                running.update(run.id for run, _ in answer.runs)

    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(work, store) for store in stores]:
            done.result(60)
    assert set(running.values()) == {1}
    assert max(most) <= 3


@pytest.mark.parametrize("first", ["the waiting one", "the awaited one"])
def test_nobody_waits_for_ever_for_a_run_that_ends_at_the_same_moment(
    open_store: Open, postgres_server: Server, schema: str, first: str
) -> None:
    """The waiter was added while the end was being committed: neither saw the other, and nobody woke it."""
    here, there = open_store(), open_store()
    queued(here, "parent")
    queued(here, "child")
    here.commit([Claim("w", 30.0, ("work",), (), 2)])
    parent, child = stored(here, "parent"), stored(here, "child")
    waiting = decide(parent, Released("suspended", None, None, ("child",)), now=here.now())
    ending = decide(child, Returned(None), now=here.now())
    before = _deadlocks(postgres_server)
    with postgres_server.connect() as stranger, ThreadPoolExecutor() as pool:
        # Both are held up at their first lock, in the order of the test.
        stranger.execute("BEGIN")
        stranger.execute(f'SELECT FROM "{schema}".run FOR UPDATE'.encode())
        orders: list[Callable[[], Future[object]]] = [
            lambda: pool.submit(here.commit, [waiting]),  # type: ignore[arg-type, return-value]
            lambda: pool.submit(there.commit, [ending]),  # type: ignore[arg-type, return-value]
        ]
        going = []
        for count, order in enumerate(orders if first == "the waiting one" else orders[::-1], 1):
            going.append(order())
            _waiting(postgres_server, schema, count)
        stranger.execute("COMMIT")
        for one in going:
            one.result(20)
    assert stored(here, "child").state == "done"
    assert stored(here, "parent").wake_at is not None
    assert _deadlocks(postgres_server) == before

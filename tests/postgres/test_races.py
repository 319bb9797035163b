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
from onward.core.model import Applied, Change, Claim, Claimed, End, Order, Refused
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


@pytest.mark.parametrize("way", ["straight", "general"])
@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize("first", ["the waiting one", "the awaited one"])
def test_nobody_waits_for_ever_for_a_run_that_ends_at_the_same_moment(
    open_store: Open, postgres_server: Server, schema: str, first: str, others: bool, way: str
) -> None:
    """The waiter was added while the end was being committed: neither saw the other, and nobody woke it.

    Who has claimed a run ends it straight, and looks first whether others wait for anything at all.
    """
    here, there = open_store(), open_store()
    if others:
        waited = f"INSERT INTO \"{schema}\".waiter VALUES ('somebody', 99)"
        postgres_server.execute(waited)
    queued(here, "parent")
    queued(here, "child")
    (there if way == "straight" else here).commit([Claim("w", 30.0, ("work",), (), 2)])
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


@pytest.mark.parametrize("meanwhile", ["a request", "another lease", "a renewal"])
def test_an_end_waits_for_what_is_just_written_to_its_run_and_hears_of_it(
    open_store: Open, postgres_server: Server, schema: str, meanwhile: str
) -> None:
    """What others write while an end waits for its lock counts: nothing of the batch is written straight then."""
    store = open_store()
    for run_id in ("a", "b", "c"):
        queued(store, run_id)
    [claimed] = store.commit([Claim("w", 30.0, ("work",), (), 2)])
    assert isinstance(claimed, Claimed)
    (a, _), (b, _) = claimed.runs
    sets = {
        "a request": "request = 'cancel'",
        "another lease": "fence = 2, owner = 'thief'",
        "a renewal": "lease_until = 99.0",
    }[meanwhile]
    with postgres_server.connect() as other, ThreadPoolExecutor() as pool:
        other.execute("BEGIN")
        other.execute(f'UPDATE "{schema}".run SET {sets} WHERE no = {b.no}'.encode())
        orders: list[Order] = [End(a, "1", 7.0), End(b, "2", 7.0), Claim("w", 30.0, ("work",), (), 2)]
        answers = pool.submit(store.commit, orders)
        _waiting(postgres_server, schema)
        other.execute("COMMIT")
        one, two, got = answers.result(20)
    assert isinstance(one, Applied)
    assert isinstance(got, Claimed)
    assert [run.id for run, _ in got.runs] == ["c"]
    if meanwhile == "another lease":
        assert isinstance(two, Refused)
        assert two.reason == "fence"
    else:
        assert two == Applied(b.no, 2, None)
    assert stored(store, "a").state == "done"
    assert stored(store, "b").state == ("running" if meanwhile == "another lease" else "done")
    assert stored(store, "b").request is None
    assert [len(store.entries(run.no)) for run in (a, b)] == [3, 2 if meanwhile == "another lease" else 3]
    assert list(store.problems()) == []


def test_ends_by_their_holder_and_its_renewals_never_wait_for_each_other_in_a_circle(
    open_store: Open, postgres_server: Server
) -> None:
    """Ends are told in the order in which runs have ended, and locked in that of their numbers, as renewals do."""
    store = open_store()
    for at in range(60):
        queued(store, f"r{at}")
    before = _deadlocks(postgres_server)
    [claimed] = store.commit([Claim("w", 30.0, ("work",), (), 60)])
    assert isinstance(claimed, Claimed)
    stop = threading.Event()

    def renew() -> None:
        while not stop.is_set():
            store.renew("w", 99.0)

    with ThreadPoolExecutor() as pool:
        renewing = pool.submit(renew)
        for at in range(0, 60, 3):
            ends = [End(run, "1", 7.0) for run, _ in claimed.runs[at : at + 3][::-1]]
            assert all(isinstance(one, Applied) for one in store.commit(ends))
        stop.set()
        renewing.result(20)
    assert _deadlocks(postgres_server) == before


def test_those_who_end_what_the_same_runs_wait_for_never_wait_for_each_other_in_a_circle(
    open_store: Open, postgres_server: Server, schema: str
) -> None:
    here, there = open_store(), open_store()
    for run_id in ("p1", "p2", "a1", "a2", "b1", "b2"):
        queued(here, run_id)
    before = _deadlocks(postgres_server)
    here.commit([Claim("w", 30.0, ("work",), (), 2)])
    awaits = {"p1": ("a2", "b1"), "p2": ("a1", "b2")}
    for run_id, ids in awaits.items():
        here.commit([decide(stored(here, run_id), Released("suspended", None, None, ids), now=here.now())])
    batches: list[list[Order]] = []
    for store in (here, there):
        [claimed] = store.commit([Claim("w", 30.0, ("work",), (), 2)])
        assert isinstance(claimed, Claimed)
        batches.append([End(run, None, 7.0) for run, _ in claimed.runs])
    with postgres_server.connect() as stranger, ThreadPoolExecutor() as pool:
        stranger.execute("BEGIN")
        stranger.execute(f"SELECT FROM \"{schema}\".run WHERE state = 'waiting' FOR UPDATE".encode())
        one = pool.submit(here.commit, batches[0])
        other = pool.submit(there.commit, batches[1])
        _waiting(postgres_server, schema, 2)
        stranger.execute("COMMIT")
        assert all(isinstance(answer, Applied) for answer in (*one.result(20), *other.result(20)))
    assert [stored(here, run_id).wake_at is None for run_id in awaits] == [False, False]
    assert _deadlocks(postgres_server) == before

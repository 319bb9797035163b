"""Connections that break or hang: what was acknowledged is there, nothing is there twice, and nobody waits for ever."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from onward.core.errors import JournalBusy, OutcomeUnknown
from onward.core.model import Applied, Arrived, Change, Claim, Claimed, End, Order, Refused, Run
from onward.storage.postgres.store import PostgresStore
from postgres.conftest import Open
from postgres.proxy import FAULTS, Fault, Proxy
from postgres.server import Server
from storage.rows import a_run, begun, entry, keys, opened, reason, recorded
from storage.test_contract_arrivals import arrival, items
from storage.test_contract_lots import a_lot, add, ids
from storage.test_contract_queues import claim, queued

pytestmark = [pytest.mark.important, pytest.mark.faults]


@pytest.fixture
def store(open_store: Open, proxy: Proxy) -> PostgresStore:
    """Through the proxy, with short deadlines: the journal is made before."""
    open_store()
    return open_store(port=proxy.port, call_s=0.5, busy_s=8.0)


def _healing(proxy: Proxy) -> threading.Timer:
    """Ends a black hole after the first deadline, and loses what was in it."""
    timer = threading.Timer(0.8, proxy.heal)
    timer.start()
    return timer


@pytest.fixture
def direct(open_store: Open, store: PostgresStore) -> PostgresStore:
    return open_store()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("way", ["a single entry", "a batch", "an item that begins and ends"])
def test_a_statement_whose_answer_is_lost_is_found_or_done_again_once(
    store: PostgresStore, direct: PostgresStore, proxy: Proxy, fault: Fault, way: str
) -> None:
    one, two = opened(store, "one"), opened(store, "two")
    recorded(store, one, entry("first"), begun=(begun("b"),))
    recorded(store, two, entry("first"))
    changes = {
        "a single entry": [Change(one.no, 1, (entry("a", "retry"),))],
        "a batch": [Change(one.no, 1, (entry("a", "retry"), entry("b"))), Change(two.no, 1, (entry("a"),))],
        "an item that begins and ends": [Change(one.no, 1, (entry("b"),), (begun("c"),), ("b",))],
    }[way]
    proxy.arm(b"add_alone" if way == "a single entry" else b"record", fault)
    healing = _healing(proxy)
    answers = store.commit(changes)
    assert proxy.struck.is_set()
    healing.join()
    assert answers == [Applied(change.run_no, direct.last_seq(change.run_no), None) for change in changes]
    assert keys(direct, one) == ["first", *(e.key for c in changes if c.run_no == one.no for e in c.entries)]
    assert keys(direct, two) == ["first", *(e.key for c in changes if c.run_no == two.no for e in c.entries)]
    if way.startswith("an item"):
        assert [b.key for b in direct.begun(one.no)] == ["c"]
    assert recorded(store, one, entry("next")).seq == direct.last_seq(one.no)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("way", ["created", "claimed", "ended", "a worker's claim"])
def test_a_transaction_whose_commit_has_no_answer_happened_or_is_repeated(
    store: PostgresStore, direct: PostgresStore, proxy: Proxy, fault: Fault, way: str
) -> None:
    run = opened(direct, "r", owner=None, lease_until=None, state="pending")
    queued(direct, "q")
    lease = run._replace(fence=2, owner="me", lease_until=99.0, state="running", leased_seq=0)
    order: Change | Claim = {
        "created": Change(0, 0, (entry("x"),), after=a_run("new"), create=True),
        "claimed": Change(run.no, 1, (entry("x", "mark", "mark"),), after=lease, before=run),
        "ended": Change(run.no, 1, after=run._replace(state="done"), before=run),
        "a worker's claim": Claim("me", 30.0, ("work",)),
    }[way]
    proxy.arm(b"commit", fault)
    healing = _healing(proxy)
    [answer] = store.commit([order])
    assert proxy.struck.is_set()
    healing.join()
    if isinstance(answer, Claimed):
        assert [r.id for r, _ in answer.runs] == ["q"]
        assert direct.run("q") == answer.runs[0][0]
        assert [e.name for e in direct.entries(answer.runs[0][0].no)] == ["submitted", "claimed"]
        return
    assert isinstance(answer, Applied)
    stored = direct.run("new" if way == "created" else "r")
    assert stored is not None
    assert stored.no == answer.run_no
    assert stored.state == ("done" if way == "ended" else "running")
    assert len(direct.entries(stored.no)) == (way != "ended")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("word", [b"end_runs", b"end_untold", b"commit"])
@pytest.mark.parametrize("with_claim", [True, False])
def test_ends_and_a_claim_whose_answer_is_lost_have_happened_or_are_repeated(
    store: PostgresStore, direct: PostgresStore, proxy: Proxy, fault: Fault, word: bytes, with_claim: bool
) -> None:
    """Both of them once, or neither: what was claimed must be known, or nobody would execute it."""
    for run_id in ("a", "b", "c", "d"):
        queued(direct, run_id)
    (a, _), (b, _) = claim(store, 2).runs
    steps = ["s#1"] if word == b"end_runs" else []
    for run in (a, b):
        for key in steps:
            recorded(store, run, entry(key))
    orders: list[Order] = [End(b, "2", 7.0), End(a, "1", 7.0)]
    if with_claim:
        orders.append(Claim("me", 30.0, ("work",), (), 1))
    proxy.arm(word, fault)
    healing = _healing(proxy)
    *ended, last = [*store.commit(orders), *([] if with_claim else [None])]
    assert proxy.struck.is_set()
    healing.join()
    assert ended == [Applied(run.no, 2 + len(steps), None) for run in (b, a)]
    for run in (a, b):
        found = direct.run(run.id)
        assert found is not None
        assert (found.state, found.owner, found.result) == ("done", None, "1" if run is a else "2")
        assert keys(direct, run) == ["run/submitted", "run/claimed", *steps, "run/returned"]
    states = {run.id: run.state for run in direct.runs()}
    assert (states["c"], states["d"]) == ("running" if with_claim else "pending", "pending")
    if with_claim:
        assert isinstance(last, Claimed)
        [(run, seq)] = last.runs
        assert run == direct.run("c")
        assert (seq, keys(direct, run)) == (1, ["run/submitted", "run/claimed"])
    assert list(direct.problems()) == []


def test_ends_that_come_out_of_a_black_hole_late_write_nothing_more(
    store: PostgresStore, direct: PostgresStore, proxy: Proxy, postgres_server: Server
) -> None:
    """Nor does the claim that was on its way with them lease anything for a process that has gone on without it."""
    for run_id in ("a", "b", "c"):
        queued(direct, run_id)
    [(a, _)] = claim(store, 1).runs
    proxy.spares_new = True
    proxy.arm(b"end_untold", "black hole before")
    ended, claimed = store.commit([End(a, "1", 7.0), Claim("me", 30.0, ("work",), (), 1)])
    assert proxy.struck.is_set()
    proxy.heal(deliver=True)
    time.sleep(0.3)
    assert ended == Applied(a.no, 2, None)
    assert isinstance(claimed, Claimed)
    assert [run.id for run, _ in claimed.runs] == ["b"]
    assert [run.state for run in direct.runs()] == ["pending", "running", "done"]
    assert keys(direct, a) == ["run/submitted", "run/claimed", "run/returned"]
    assert list(direct.problems()) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_lot_whose_commit_has_no_answer_is_there_once(
    store: PostgresStore, direct: PostgresStore, proxy: Proxy, fault: Fault
) -> None:
    add(direct, a_lot("first"))
    proxy.arm(b"commit", fault)
    healing = _healing(proxy)
    numbers = add(store, a_lot("second", "first", "third"))
    assert proxy.struck.is_set()
    healing.join()
    assert [no > 0 for no in numbers] == [True, False, True]
    assert ids(direct) == ["first", "second", "third"]
    for no, run_id in zip(numbers, ("second", "first", "third"), strict=True):
        run = direct.run(run_id)
        assert run is not None
        assert run.no == no or run_id == "first"
        assert len(direct.entries(run.no)) == 1


@pytest.mark.parametrize("meanwhile", ["nothing", "another", "begun"])
@pytest.mark.parametrize("fault", ["black hole before", "black hole behind"])
def test_an_item_whose_arrival_has_no_answer_is_in_its_run_once(
    open_store: Open,
    direct: PostgresStore,
    proxy: Proxy,
    postgres_server: Server,
    fault: Fault,
    meanwhile: str,
) -> None:
    """Nothing of its transaction was recognised where the run was there before: the item was put in a second time."""
    store = open_store(port=proxy.port, call_s=0.5)
    direct.commit([arrival("first", at_most=9)])
    proxy.spares_new = False
    proxy.arm(b"commit", fault)
    with ThreadPoolExecutor() as pool:
        late = pool.submit(store.commit, [arrival("same", at_most=9, run="b2")])
        assert proxy.struck.wait(20)
        postgres_server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'"
        )
        if meanwhile == "another":
            direct.commit([arrival("same", at_most=9)])
        begun: tuple[tuple[Run, int], ...] = ()
        while meanwhile == "begun" and not begun:  # passed over while the session that ends has it locked
            begun = claim(direct, owner="other", names=("load",)).runs
        proxy.heal()
        if begun:  # what tells of it is gone
            with pytest.raises(OutcomeUnknown, match="may put the item in twice"):
                late.result(30)
        else:
            [answer] = late.result(30)
            assert isinstance(answer, Arrived)
            assert answer.new
    runs = [run for run, _ in (*begun, *claim(direct, 10, names=("load",)).runs)]
    expected = {
        "nothing": ["first", "same"],
        "another": ["first", "same", "same"],
        "begun": ["first", "same"] if fault.endswith("behind") else ["first"],
    }[meanwhile]
    assert [item for run in runs for item in items(run)] == expected


@pytest.mark.parametrize("way", ["a single entry", "a claim"])
def test_what_somebody_else_has_written_in_the_same_place_is_not_taken_for_ones_own(
    store: PostgresStore, direct: PostgresStore, proxy: Proxy, postgres_server: Server, way: str
) -> None:
    """The request was lost with its answer; who took the run over wrote an entry of its number, key and fence.

    So a holder was told that its step is recorded, which it was not. Of two who claimed a run both had it, under one
    fence, if the answer of the one that came too late was lost.
    """
    alone = way == "a single entry"
    run = opened(direct, "r", **({} if alone else {"owner": None, "lease_until": None, "state": "pending"}))
    recorded(direct, run, entry("first"))

    def claim(owner: str) -> Change:
        lease = run._replace(fence=2, owner=owner, lease_until=99.0, state="running", leased_seq=1)
        mark = entry("run/claimed", "mark", "mark", f'"{owner}"', fence=2)
        return Change(run.no, 1, (mark,), after=lease, before=run)

    taken = Change(run.no, 1, (entry("a", "crashed", value=None),), after=run._replace(fence=2))
    if alone:
        recorded(store, run, entry("b"))
    proxy.arm(b"add_alone" if alone else b"commit", "black hole before")
    with ThreadPoolExecutor() as pool:
        late = pool.submit(store.commit, [Change(run.no, 1, (entry("a"),)) if alone else claim("late")])
        assert proxy.struck.wait(20)
        # It may stand in an open transaction, which the server ends after some seconds.
        postgres_server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'"
        )
        assert isinstance(direct.commit([taken if alone else claim("first")])[0], Applied)
        proxy.heal()
        assert isinstance(late.result(30)[0], Refused)
    assert direct.last_seq(run.no) == (2 if alone else 1)
    stored = direct.run("r")
    assert stored is not None
    assert stored.owner == ("me" if alone else "first")


def test_a_statement_that_comes_out_of_a_black_hole_late_writes_nothing_more(
    store: PostgresStore, direct: PostgresStore, proxy: Proxy
) -> None:
    """The network held it back while it was repeated over another connection: then its numbers are taken."""
    run = opened(store)
    recorded(store, run, entry("first"))
    proxy.spares_new = True
    proxy.arm(b"add_alone", "black hole before")
    assert recorded(store, run, entry("late", "retry")) == Applied(run.no, 1, None)
    assert proxy.struck.is_set()
    proxy.heal(deliver=True)
    time.sleep(0.3)
    assert keys(direct, run) == ["first", "late"]
    assert recorded(store, run, entry("next")).seq == 2


def test_without_any_answer_within_the_time_the_outcome_is_unknown(
    open_store: Open, direct: PostgresStore, proxy: Proxy
) -> None:
    store = open_store(port=proxy.port, call_s=0.5, busy_s=1.0)
    run = opened(store)
    recorded(store, run, entry("first"))
    proxy.arm(b"add_alone", "black hole behind")
    began = time.monotonic()
    with pytest.raises(OutcomeUnknown, match="may or may not have happened"):
        store.commit([Change(run.no, 1, (entry("a"),))])
    assert time.monotonic() - began < 15
    proxy.heal()
    assert keys(direct, run) == ["first", "a"]
    # Repeating is safe: what is recorded already says so.
    assert reason(store.commit([Change(run.no, 1, (entry("a"),))])[0]) == "key"  # type: ignore[arg-type]


def test_what_was_not_sent_is_refused_as_passing_when_the_server_cannot_be_reached(
    open_store: Open, proxy: Proxy
) -> None:
    store = open_store(port=proxy.port, call_s=0.5, busy_s=1.0)
    run = opened(store)
    proxy.go_dark()
    began = time.monotonic()
    with pytest.raises(JournalBusy, match="nothing was recorded"):
        store.commit([Change(run.no, 1, after=run)])
    with pytest.raises(JournalBusy, match="cannot be reached"):
        store.run("r")
    assert time.monotonic() - began < 30
    proxy.heal()
    assert recorded(store, run, entry("a")).seq == 0


def test_connections_that_died_in_their_sleep_are_replaced_without_a_word(
    store: PostgresStore, proxy: Proxy
) -> None:
    run = opened(store)
    store.renew("me", 60.0)
    recorded(store, run, entry("a"))
    for _ in range(2):
        proxy.cut_all()
        assert store.run("r") is not None
        proxy.cut_all()
        assert store.renew("me", 90.0) == [(run.no, None)]
        proxy.cut_all()
        recorded(store, run, entry(f"b{store.last_seq(run.no)}"))
    assert len(store.entries(run.no)) == 3


def test_a_reader_in_a_black_hole_is_answered_over_a_new_connection(
    store: PostgresStore, proxy: Proxy
) -> None:
    opened(store)
    proxy.go_dark()
    healing = _healing(proxy)
    began = time.monotonic()
    assert store.run("r") is not None
    assert time.monotonic() - began < 8
    healing.join()


def test_sessions_that_the_server_ends_are_replaced(open_store: Open, postgres_server: Server) -> None:
    store = open_store()
    run = opened(store)
    store.renew("me", 60.0)
    for round_ in range(3):
        postgres_server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'onward'"
        )
        recorded(store, run, entry(f"a{round_}"))
        assert store.run("r") is not None
        assert store.renew("me", 61.0 + round_) == [(run.no, None)]


def test_a_crash_of_the_server_is_waited_out(open_store: Open, postgres_server: Server) -> None:
    store = open_store()
    run = opened(store)
    recorded(store, run, entry("first"))
    stop = threading.Event()
    done: list[str] = []

    def work() -> None:
        number = 0
        while not stop.is_set():
            key = f"k{number}"
            recorded(store, run, entry(key))
            done.append(key)
            number += 1

    thread = threading.Thread(target=work)
    thread.start()
    while len(done) < 3:
        time.sleep(0.01)
    # What other tests have written, up to a gigabyte, is none of this recovery's: a writer waits 30 s for it.
    postgres_server.execute("CHECKPOINT")
    postgres_server.stop(immediate=True)
    time.sleep(0.5)
    postgres_server.start()
    before = len(done)
    while len(done) < before + 3 and thread.is_alive():
        time.sleep(0.01)
    stop.set()
    thread.join(30)
    assert keys(store, run) == ["first", *done]
    assert list(store.problems()) == []

"""Marks that only the row of a run tells: who writes them, in how many round trips, and what lost answers come to."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from onward.core.acts import acted
from onward.core.decide import Raised, Released, decide
from onward.core.model import Applied, Change, Claim, Claimed, End, Entry, Order, Progress, Run
from onward.core.transitions import mark_of
from onward.storage.postgres import layout
from onward.storage.postgres.sql import PACKAGE, in_schema, statements
from onward.storage.postgres.store import PostgresStore
from onward.storage.queries import text_of
from postgres.conftest import Open
from postgres.proxy import FAULTS, Fault, Proxy
from postgres.server import Server
from storage.rows import begun, entry, keys
from storage.test_contract_queues import claim, queued, stored

pytestmark = pytest.mark.important

SUBMITTED, CLAIMED, RETURNED = "run/submitted", "run/claimed", "run/returned"


class Rows:
    """What is stored of a journal's runs, by its tables themselves."""

    def __init__(self, server: Server, schema: str) -> None:
        self._server, self._schema = server, schema

    def untold(self, run: Run) -> tuple[int, str | None, float | None]:
        [row] = self._server.execute(
            f'SELECT untold, claimed_by, claimed_at FROM "{self._schema}".run WHERE no = {run.no}'
        )
        return (row[0], row[1], row[2])

    def entries(self, run: Run) -> list[str]:
        asked = f'SELECT key FROM "{self._schema}".entry WHERE run = {run.no} ORDER BY seq'
        return [key for (key,) in self._server.execute(asked)]


@pytest.fixture
def rows(postgres_server: Server, schema: str) -> Rows:
    return Rows(postgres_server, schema)


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> Callable[[PostgresStore], list[int]]:
    """Counts the round trips of a store's writer, and the statements of each."""

    def counting(store: PostgresStore) -> list[int]:
        made: list[int] = []
        wire = store._line.link(9e9)._wire
        exchange, one = wire.exchange, wire.one
        monkeypatch.setattr(
            wire, "exchange", lambda *given: made.append(len(given[0])) or exchange(*given)  # type: ignore[func-returns-value]
        )  # fmt: skip

        def counted(*given: Any) -> Any:
            before = len(made)
            answer = one(*given)  # the first time by `exchange`
            made[before:] = [1]
            return answer

        monkeypatch.setattr(wire, "one", counted)
        return made

    return counting


def leased(store: PostgresStore, count: int = 1) -> list[Run]:
    """Runs that have just been claimed for the first time."""
    for at in range(count):
        queued(store, f"r{at}")
    runs = [run for run, _ in claim(store, count, owner="me").runs]
    assert len(runs) == count
    return runs


def step(key: str = "s#1") -> Entry:
    return entry(key, kind="step")


def recorded(store: PostgresStore, run: Run, *entries: Entry, **more: Any) -> Applied:
    [answer] = store.commit([Change(run.no, run.fence, entries, **more)])
    assert isinstance(answer, Applied), answer
    return answer


# -- who tells ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooled", [False, True], ids=["direct", "pooler"])
def test_a_short_run_leaves_one_entry_and_all_who_read_get_three(
    request: pytest.FixtureRequest, open_store: Open, rows: Rows, pooled: bool
) -> None:
    store = open_store(port=request.getfixturevalue("pooler_port") if pooled else None, clock=lambda: 7.0)
    (run,) = leased(store)
    assert rows.untold(run) == (1, None, None)
    assert store.commit([End(run, "1", 9.0)]) == [Applied(run.no, 2, None)]
    assert rows.untold(run) == (2, "me", 7.0)
    assert rows.entries(run) == [SUBMITTED]
    entries = store.entries(run.no)
    assert [(e.seq, e.key, e.value, e.fence, e.ended_at) for e in entries] == [
        (0, SUBMITTED, run.args, 0, 7.0),
        (1, CLAIMED, '"me"', 1, 7.0),
        (2, RETURNED, None, 1, 9.0),
    ]
    assert store.recorded(run.no) == entries
    assert store.last_seq(run.no) == 2
    assert store.entries(run.no, after=1) == entries[2:]
    assert [store.entries(run.no, limit=limit) for limit in (0, 1, 2, 3)] == [
        entries[:limit] for limit in (0, 1, 2, 3)
    ]
    assert list(store.problems()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"begun": (begun("s#1"),)},
        {"ended": ("s#1",)},
    ],
    ids=["begun", "ended"],
)
def test_what_adds_no_entry_tells_nothing(open_store: Open, rows: Rows, change: dict[str, Any]) -> None:
    store = open_store()
    (run,) = leased(store)
    recorded(store, run, **change)
    store.request(run.no, "pause")
    store.request(run.no, None)
    store.renew("me", 9e9)
    assert rows.untold(run) == (1, None, None)
    assert recorded(store, run, step()).seq == 2
    assert rows.untold(run) == (0, None, None)
    assert rows.entries(run) == keys(store, run) == [SUBMITTED, CLAIMED, "s#1"]


@pytest.mark.parametrize("forgets", [False, True])
@pytest.mark.parametrize(
    "what", ["entry", "progress", "cursor", "raised", "suspended", "orphaned", "renamed"]
)
def test_whoever_writes_anything_else_of_a_run_tells_first(
    open_store: Open, rows: Rows, what: str, forgets: bool
) -> None:
    """By the process that has claimed it, and by one that has to read what is stored."""
    store = open_store()
    (run,) = leased(store)
    writer = open_store() if forgets else store
    after = {
        "entry": ["s#1"],
        "progress": [],
        "cursor": [],
        "raised": ["run/raised"],
        "suspended": ["run/suspended"],
        "orphaned": ["run/orphaned"],
        "renamed": ["run/renamed"],
    }[what]
    now = store.now()
    if what == "renamed":
        answer = writer.rename(
            run, name="new", identity="new", command=None, mark=mark_of(run, "renamed", now)
        )
    else:
        [answer] = writer.commit(
            [
                {
                    "entry": Change(run.no, 1, (step(),)),
                    "progress": Change(run.no, 1, progress=Progress(1, 2, 1)),
                    "cursor": Change(run.no, 1, after=run._replace(result="2")),
                    "raised": decide(run, Raised("{}"), now=now),
                    "suspended": decide(run, Released("suspended", wake_at=9e9), now=now),
                    "orphaned": Change(
                        run.no,
                        1,
                        (mark_of(run, "orphaned", now),),
                        after=run._replace(state="waiting", fence=2, owner=None, lease_until=None, leased_seq=2),
                        before=run,
                    ),
                }[what]
            ]
        )  # fmt: skip
    assert answer == Applied(run.no, 1 + len(after), None)
    assert rows.untold(run) == (0, None, None)
    assert rows.entries(run) == keys(store, run) == [SUBMITTED, CLAIMED, *after]
    assert list(store.problems()) == []
    if what in ("entry", "progress", "cursor", "renamed"):  # it is leased still, and whoever holds it goes on
        assert recorded(store, run, step("next")).seq == 2 + len(after)


def test_a_run_that_has_ended_is_told_before_it_is_renamed(open_store: Open, rows: Rows) -> None:
    store = open_store()
    (run,) = leased(store)
    store.commit([End(run, "1", 9.0)])
    answer = store.rename(
        stored(store, "r0"), name="new", identity="new", command=None, mark=mark_of(run, "renamed", 10.0)
    )
    assert answer == Applied(run.no, 3, None)
    assert rows.untold(run) == (0, None, None)
    assert rows.entries(run) == keys(store, run) == [SUBMITTED, CLAIMED, RETURNED, "run/renamed"]
    assert list(store.problems()) == []


def test_of_a_batch_that_is_refused_nothing_is_told(open_store: Open, rows: Rows) -> None:
    store = open_store()
    one, two = leased(store, 2)
    first, refused = store.commit([Change(one.no, 1, (step(),)), Change(two.no, 9, (step(),))])
    assert isinstance(first, Applied)
    assert not isinstance(refused, Applied)
    # The second of these is taken back: it is done already.
    [_] = store.commit([Change(two.no, 1, (step("a"), step("a")))])
    assert rows.untold(two) == (1, None, None)
    assert keys(store, two) == [SUBMITTED, CLAIMED]
    assert recorded(store, two, step("b")).seq == 2
    assert keys(store, two) == [SUBMITTED, CLAIMED, "b"]


@pytest.mark.parametrize("at_most", [1, 2, 3])
def test_what_is_untold_is_removed_first_and_what_stays_of_it_is_told(
    open_store: Open, rows: Rows, at_most: int
) -> None:
    store = open_store()
    (run,) = leased(store)
    store.commit([End(run, "1", 9.0)])
    run = stored(store, "r0")
    left = 2 - at_most
    assert store.prune(run, at_most=at_most) == Applied(run.no, left, None)
    if left < 0:
        assert store.run("r0") is None
        return
    assert rows.untold(run) == (0, None, None)
    assert keys(store, run) == [SUBMITTED, CLAIMED][: left + 1]
    assert list(store.problems()) == []


# -- round trips ----------------------------------------------------------------------------------------------


def test_the_first_step_takes_the_mark_along_in_its_one_round_trip(
    open_store: Open, rows: Rows, trips: Callable[[PostgresStore], list[int]]
) -> None:
    store = open_store()
    one, two, three = leased(store, 3)
    recorded(store, two, begun=(begun("s#1"),))
    made = trips(store)
    for changes, expected in (
        ([Change(one.no, 1, (step(),))], 1),
        ([Change(one.no, 1, (step("s#2"),))], 1),
        ([Change(two.no, 1, (step(),), ended=("s#1",)), Change(three.no, 1, (step(), step("s#2")))], 1),
        ([Change(two.no, 1, (step("s#2"),))], 1),
        ([End(two, "1", 9.0), End(three, "2", 9.0)], 2),
    ):
        made.clear()
        answers = store.commit(changes)
        assert all(isinstance(answer, Applied) for answer in answers)
        assert len(made) == expected, changes
    assert rows.entries(one) == [SUBMITTED, CLAIMED, "s#1", "s#2"]
    assert rows.entries(two) == rows.entries(three) == [SUBMITTED, CLAIMED, "s#1", "s#2", RETURNED]
    assert list(store.problems()) == []


def test_ends_of_both_kinds_and_a_claim_take_two_round_trips(
    open_store: Open, rows: Rows, trips: Callable[[PostgresStore], list[int]]
) -> None:
    store = open_store()
    runs = leased(store, 4)
    queued(store, "next")
    recorded(store, runs[0], step())
    recorded(store, runs[2], step())
    made = trips(store)
    *ended, got = store.commit(
        [*(End(run, "1", 9.0) for run in runs[::-1]), Claim("me", 30.0, ("work",), (), 1)]
    )
    assert len(made) == 2
    assert ended == [Applied(run.no, 2 + (run in (runs[0], runs[2])), None) for run in runs[::-1]]
    assert isinstance(got, Claimed)
    assert [run.id for run, _ in got.runs] == ["next"]
    assert [rows.untold(run)[0] for run in runs] == [0, 2, 0, 2]
    assert all(keys(store, run)[-1] == RETURNED for run in runs)
    assert list(store.problems()) == []


def test_an_end_that_somebody_told_before_is_written_as_an_entry(open_store: Open, rows: Rows) -> None:
    """What this process knows of the run is old: a person has renamed it meanwhile."""
    store = open_store()
    (run,) = leased(store)
    open_store().rename(run, name="new", identity="new", command=None, mark=mark_of(run, "renamed", 8.0))
    assert store.commit([End(run, "1", 9.0)]) == [Applied(run.no, 3, None)]
    assert rows.entries(run) == keys(store, run) == [SUBMITTED, CLAIMED, "run/renamed", RETURNED]
    assert list(store.problems()) == []


# -- claims ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["paused and resumed", "an entry"])
def test_a_run_that_got_an_entry_while_it_was_being_claimed_keeps_its_numbers(
    open_store: Open, postgres_server: Server, rows: Rows, what: str
) -> None:
    """The claim had read the number of the last entry before it had the run locked; no mark refuses that any more."""
    store, other = open_store(), open_store()
    run = queued(store, "r")
    queued(store, "s")
    store._sql["claim_plain"] = store._sql["claim_plain"].replace(  # type: ignore[index]
        "SELECT next.at, (", "SELECT next.at, pg_advisory_xact_lock(4711)::text IS NOT NULL AND ("
    )
    with postgres_server.connect() as gate, ThreadPoolExecutor() as pool:
        gate.execute("SELECT pg_advisory_lock(4711)")
        claiming = pool.submit(claim, store, 2)
        while not postgres_server.execute("SELECT 1 FROM pg_locks WHERE objid = 4711 AND NOT granted"):
            assert not claiming.done(), claiming.result()
            time.sleep(0.01)
        if what == "an entry":
            [answer] = other.commit([Change(run.no, 0, (mark_of(run, "noted", 1.0),), before=run)])
            assert isinstance(answer, Applied)
        else:
            for event in ("paused", "resumed"):
                act = acted(stored(other, "r"), event, by="me", now=1.0)  # type: ignore[arg-type]
                assert act is not None
                assert isinstance(other.commit([act])[0], Applied)
        before = keys(other, run)
        gate.execute("SELECT pg_advisory_unlock(4711)")
        got = claiming.result(30)
    assert [(run.id, seq) for run, seq in got.runs] == [("r", len(before)), ("s", 1)]
    assert stored(store, "r") == got.runs[0][0]
    assert keys(store, run) == [*before, CLAIMED]
    assert [rows.untold(run)[0] for run, _ in got.runs] == [1, 1]
    assert list(store.problems()) == []
    assert recorded(store, got.runs[0][0], step()).seq == len(before) + 1


# -- answers that are lost ------------------------------------------------------------------------------------


@pytest.fixture
def far(open_store: Open, proxy: Proxy) -> PostgresStore:
    """Through a proxy, with short deadlines: the journal is made before."""
    open_store()
    return open_store(port=proxy.port, call_s=0.5, busy_s=8.0)


@pytest.fixture
def near(open_store: Open, far: PostgresStore) -> PostgresStore:
    return open_store()


def struck(proxy: Proxy, word: bytes, fault: Fault, call: Callable[[], Any]) -> Any:
    """What a call answers that fails so at the first request with this word."""
    with ThreadPoolExecutor() as pool:
        proxy.arm(word, fault)
        answer = pool.submit(call)
        assert proxy.struck.wait(20)
        time.sleep(0.8)  # past the first deadline
        proxy.heal()
        return answer.result(30)


@pytest.mark.faults
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("units", [False, True])
def test_a_first_step_whose_answer_is_lost_is_there_once(
    far: PostgresStore, near: PostgresStore, proxy: Proxy, rows: Rows, fault: Fault, units: bool
) -> None:
    (run,) = leased(far)
    change = Change(run.no, 1, (step(),), (begun("t"),) if units else ())
    word = b"record" if units else b"add_told"
    assert struck(proxy, word, fault, lambda: far.commit([change])) == [Applied(run.no, 2, None)]
    assert rows.entries(run) == keys(near, run) == [SUBMITTED, CLAIMED, "s#1"]
    assert rows.untold(run) == (0, None, None)
    assert [one.key for one in near.begun(run.no)] == (["t"] if units else [])
    assert recorded(far, run, step("s#2")).seq == 3
    assert list(near.problems()) == []


@pytest.mark.faults
@pytest.mark.parametrize("way", ["alone", "with a unit", "general", "no entry"])
def test_a_mark_that_somebody_else_has_told_is_no_proof_of_the_step_behind_it(
    far: PostgresStore, near: PostgresStore, proxy: Proxy, postgres_server: Server, way: str
) -> None:
    """The statement never arrived. Who renamed the run meanwhile stored the same mark under the same number: the holder
    would have been told that its step is recorded, which it was not.
    """
    (run,) = leased(far)
    change = {
        "alone": Change(run.no, 1, (step(),)),
        "with a unit": Change(run.no, 1, (step(),), (begun("t"),)),
        "general": Change(run.no, 1, (step(),), after=run),
        "no entry": Change(run.no, 1, after=run._replace(result="2")),
    }[way]
    with ThreadPoolExecutor() as pool:
        proxy.spares_new = False
        word = {"alone": b"add_told", "with a unit": b"record"}.get(way, b"commit")
        proxy.arm(word, "black hole before")
        late = pool.submit(far.commit, [change])
        assert proxy.struck.wait(20)
        # It may stand in an open transaction, which the server ends after some seconds.
        postgres_server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'"
        )
        mark = mark_of(run, "renamed", 8.0)
        answer = near.rename(run, name="new", identity="new", command=None, mark=mark)
        assert isinstance(answer, Applied)
        proxy.heal()
        assert late.result(30) == [Applied(run.no, 2 if way == "no entry" else 3, None)]
    assert keys(near, run) == [SUBMITTED, CLAIMED, "run/renamed", *([] if way == "no entry" else ["s#1"])]
    assert stored(near, "r0").result == ("2" if way == "no entry" else None)
    assert list(near.problems()) == []


@pytest.mark.faults
@pytest.mark.parametrize("units", [False, True])
def test_a_first_step_that_comes_out_of_a_black_hole_late_writes_nothing_more(
    far: PostgresStore, near: PostgresStore, proxy: Proxy, units: bool
) -> None:
    (run,) = leased(far)
    proxy.spares_new = True
    proxy.arm(b"record" if units else b"add_told", "black hole before")
    assert recorded(far, run, step(), begun=(begun("t"),) if units else ()) == Applied(run.no, 2, None)
    assert proxy.struck.is_set()
    proxy.heal(deliver=True)
    time.sleep(0.3)
    assert keys(near, run) == [SUBMITTED, CLAIMED, "s#1"]
    assert recorded(far, run, step("s#2")).seq == 3
    assert list(near.problems()) == []


@pytest.mark.faults
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("what", ["entry", "progress", "cursor"])
def test_a_transaction_that_tells_and_has_no_answer_has_happened_or_is_repeated(
    far: PostgresStore, near: PostgresStore, proxy: Proxy, rows: Rows, fault: Fault, what: str
) -> None:
    (run,) = leased(far)
    change = {
        "entry": Change(run.no, 1, (step(),), after=run._replace(result="2")),
        "progress": Change(run.no, 1, progress=Progress(1, 2, 1)),
        "cursor": Change(run.no, 1, after=run._replace(result="2")),
    }[what]
    told = 2 if what == "entry" else 1
    assert struck(proxy, b"commit", fault, lambda: far.commit([change])) == [Applied(run.no, told, None)]
    assert rows.untold(run) == (0, None, None)
    assert rows.entries(run) == keys(near, run) == [SUBMITTED, CLAIMED, "s#1"][: told + 1]
    found = stored(near, "r0")
    assert (found.done, found.result) == ((1, None) if what == "progress" else (0, "2"))


@pytest.mark.faults
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("word", [b"end_untold", b"commit"])
@pytest.mark.parametrize("meanwhile", ["nothing", "told"])
def test_an_end_that_leaves_no_entry_is_known_by_the_row(
    far: PostgresStore,
    near: PostgresStore,
    proxy: Proxy,
    postgres_server: Server,
    fault: Fault,
    word: bytes,
    meanwhile: str,
) -> None:
    """Also if somebody has made entries of what the row told before the holder could ask."""
    (run,) = leased(far)
    queued(near, "next")
    orders: list[Order] = [End(run, "1", 9.0), Claim("me", 30.0, ("work",), (), 1)]
    with ThreadPoolExecutor() as pool:
        proxy.arm(word, fault)
        answers = pool.submit(far.commit, orders)
        assert proxy.struck.wait(20)
        has_ended = word == b"commit" and fault in ("cut behind", "black hole behind")
        if meanwhile == "told" and fault.startswith("black hole"):
            postgres_server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'"
            )
            until = time.monotonic() + 10
            while has_ended and stored(near, "r0").state != "done":
                assert time.monotonic() < until
            found, mark = stored(near, "r0"), mark_of(run, "renamed", 8.0)
            assert isinstance(near.rename(found, name="n", identity="n", command=None, mark=mark), Applied)
        else:
            time.sleep(0.8)
        proxy.heal()
        ended, got = answers.result(30)
    renamed = meanwhile == "told" and fault.startswith("black hole")
    assert ended == Applied(run.no, 3 if renamed and not has_ended else 2, None)
    assert stored(near, "r0").state == "done"
    expected = [SUBMITTED, CLAIMED, RETURNED]
    if renamed:
        expected.insert(3 if has_ended else 2, "run/renamed")
    assert keys(near, run) == expected
    assert isinstance(got, Claimed)
    assert [(one, seq) for one, seq in got.runs] == [(stored(near, "next"), 1)]
    assert keys(near, got.runs[0][0]) == [SUBMITTED, CLAIMED]
    assert list(near.problems()) == []


@pytest.mark.faults
@pytest.mark.parametrize("limited", [False, True])
def test_a_claim_of_another_process_is_not_taken_for_ones_own(
    far: PostgresStore, near: PostgresStore, proxy: Proxy, postgres_server: Server, limited: bool
) -> None:
    """Its commit never arrived, and the run that it was to get was claimed by another one, whose row tells so."""
    queued(near, "r")
    queued(near, "s")
    if limited:  # then it is not a plain claim
        near.set_queue("q", declared='{"concurrency": 9}')
    with ThreadPoolExecutor() as pool:
        proxy.arm(b"commit", "black hole before")
        late = pool.submit(claim, far, 1, owner="late")
        assert proxy.struck.wait(20)
        postgres_server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'"
        )
        first: tuple[tuple[Run, int], ...] = ()
        while not first:  # passed over while the session that ends has it locked
            first = claim(near, 1, owner="first").runs
        proxy.heal()
        got = late.result(30)
    assert {run.id for run, _ in (*first, *got.runs)} == {"r", "s"}
    assert {run.id: run.owner for run in near.runs()} == {
        **{run.id: "first" for run, _ in first},
        **{run.id: "late" for run, _ in got.runs},
    }


# -- damage and layouts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        "untold = 2",
        "untold = 3",
        "claimed_seq = 2",
        "claimed_by = 'me'",
        "claimed_at = 1.0",
        "state = 'waiting'",
        "state = 'done', owner = NULL, lease_until = NULL",
        "owner = NULL, lease_until = NULL",
    ],
)
def test_a_row_that_tells_what_cannot_be_is_found(
    open_store: Open, postgres_server: Server, schema: str, damage: str
) -> None:
    store = open_store()
    (run,) = leased(store)
    assert list(store.problems()) == []
    postgres_server.execute(f'UPDATE "{schema}".run SET {damage} WHERE no = {run.no}')
    problems = list(store.problems())
    assert any("run r0 is " in one and "entries by its row alone" in one for one in problems), problems


@pytest.mark.parametrize(
    "damage", ["claimed_by = NULL", "claimed_at = NULL", "untold = 1", "state = 'failed'"]
)
def test_an_end_that_a_row_tells_and_that_cannot_be_is_found(
    open_store: Open, postgres_server: Server, schema: str, damage: str
) -> None:
    store = open_store()
    (run,) = leased(store)
    store.commit([End(run, "1", 9.0)])
    assert list(store.problems()) == []
    postgres_server.execute(f'UPDATE "{schema}".run SET {damage} WHERE no = {run.no}')
    assert any("entries by its row alone" in one for one in store.problems())


def test_an_entry_that_is_missing_below_what_is_untold_is_found(
    open_store: Open, postgres_server: Server, schema: str
) -> None:
    store = open_store()
    leased(store)
    postgres_server.execute(f'DELETE FROM "{schema}".entry')
    assert any("entries by its row alone" in one for one in store.problems())


def test_runs_of_the_layout_before_go_on_and_its_programs_do_not(
    open_store: Open, postgres_server: Server, schema: str, rows: Rows
) -> None:
    """An old program with a run in hand: what it may still write means what it did, and what names the column fails."""
    with postgres_server.connect() as old:
        old.execute(f'CREATE SCHEMA "{schema}"'.encode())
        for number in (1, 2):
            script = text_of(PACKAGE, f"migrations/{number:04}.sql")
            old.execute(in_schema(script, schema).encode())
        run_columns = (
            "no, fence, stalls, leased_seq, done, counted_seq, created_at, updated_at, priority, attempt, direct, "
            "kind, name, queue, args, id, identity, state, owner, lease_until"
        )
        held, ready, done = (
            f"{no}, {fence}, 0, {seq}, 0, -1, 1.0, 2.0, 0, 0, false, 'workflow', 'work', 'q', '[[],{{}}]', '{run_id}', "
            f"'{run_id}', '{state}', {owner}"
            for no, fence, seq, run_id, state, owner in (
                (1, 1, 1, "held", "running", "'me', 9e9"),
                (2, 0, -1, "ready", "pending", "NULL, NULL"),
                (3, 1, 1, "done", "done", "NULL, NULL"),
            )
        )
        marks = [(1, 0, "submitted"), (1, 1, "claimed"), (2, 0, "submitted")]
        marks += [(3, seq, name) for seq, name in enumerate(("submitted", "claimed", "returned"))]
        for statement in (
            f"INSERT INTO run ({run_columns}) VALUES ({held}), ({ready}), ({done})",
            "SELECT setval('run_no', 3)",
            "INSERT INTO queue (name) VALUES ('q')",
            "INSERT INTO entry (run, seq, fence, attempt, ended_at, kind, state, name, key) VALUES "
            + ", ".join(
                f"({no}, {seq}, {min(seq, 1)}, 1, 2.0, 'mark', 'mark', '{name}', 'run/{name}')"
                for no, seq, name in marks
            ),
            "INSERT INTO meta VALUES ('version', '2')",
        ):
            old.execute(f'SET search_path TO "{schema}"'.encode())
            old.execute(statement.encode())
        old.execute(b"PREPARE claiming AS UPDATE run SET leased_seq = 1 WHERE no = 2")
        old.execute(
            b"PREPARE recording AS INSERT INTO entry (run, seq, fence, attempt, ended_at, kind, state, name, key) "
            b"SELECT no, 2, 1, 1, 3.0, 'step', 'done', 's', 's#1' FROM run WHERE no = 1 AND fence = 1 FOR NO KEY UPDATE"
        )
        store = open_store()
        assert store._rows("layout") == [("version", str(layout.VERSION))]  # and no `least`
        with pytest.raises(psycopg.errors.UndefinedColumn, match="leased_seq"):
            old.execute(b"EXECUTE claiming")
        old.execute(b"EXECUTE recording")
    held_run, ready_run = stored(store, "held"), stored(store, "ready")
    assert (held_run.leased_seq, ready_run.leased_seq) == (1, -1)
    assert keys(store, held_run) == [SUBMITTED, CLAIMED, "s#1"]
    assert keys(store, stored(store, "done")) == [SUBMITTED, CLAIMED, RETURNED]
    [answer] = store.commit([End(held_run, "1", 9.0)])
    assert answer == Applied(1, 3, None)
    assert rows.untold(held_run) == (0, None, None)
    assert rows.entries(held_run) == [SUBMITTED, CLAIMED, "s#1", RETURNED]
    [(new, seq)] = claim(store, owner="me").runs
    assert (new.id, new.leased_seq, seq) == ("ready", 1, 1)
    assert rows.untold(new) == (1, None, None)
    assert list(store.problems()) == []


def test_a_program_of_the_layout_before_knows_that_it_is_beyond_it(
    open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = open_store()._rows("layout")
    assert not layout.is_beyond_us(found)
    monkeypatch.setattr(layout, "VERSION", layout.VERSION - 1)
    assert layout.is_beyond_us(found)


def test_no_statement_names_the_column_by_its_old_name(schema: str) -> None:
    assert not [name for name, text in statements(schema).items() if "leased_seq" in text]

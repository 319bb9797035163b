"""What is particular to PostgreSQL: who is told of changes, the database's clock, long keys, damage, upkeep."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from onward.core.decide import Returned, decide
from onward.core.errors import JournalFull, JournalUnusable
from onward.core.model import Applied, Change, Claim, Entry
from onward.storage.postgres import arrays
from onward.storage.postgres.clock import DatabaseClock
from onward.storage.postgres.longtext import INDEXED_BYTES, long, short, start
from onward.storage.postgres.store import PostgresStore
from onward.storage.queries import load
from postgres.conftest import Open
from postgres.server import Server
from storage.rows import a_run, begun, entry, keys, opened, reason, record, recorded
from storage.test_contract_queues import queued, stored

# -- being told -------------------------------------------------------------------------------------------


def _told_within(store: PostgresStore, seen: object, within_s: float) -> bool:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if store.version() != seen:
            return True
        time.sleep(0.002)
    return False


@pytest.mark.important
@pytest.mark.parametrize("what", ["queued", "asked", "ended", "limited"])
def test_others_hear_at_once_of_what_they_may_wait_for(open_store: Open, what: str) -> None:
    here, there = open_store(), open_store()
    queued(here, "r")
    here.commit([Claim("w", 30.0, ("work",))])
    there._pulse._due = float("inf")  # no looking: it must be told
    seen = there.version()
    for _ in range(20):
        assert there.version() == seen
    run = stored(here, "r")
    if what == "queued":
        queued(here, "next")
    elif what == "asked":
        here.request(run.no, "pause")
    elif what == "ended":
        here.commit([decide(run, Returned(None), now=here.now())])
    else:
        here.set_queue("q", declared="{}")
    assert _told_within(there, seen, 5.0)


@pytest.mark.parametrize("pooled", [False, True], ids=["direct", "pooler"])
def test_others_hear_of_everything_else_a_moment_later(
    request: pytest.FixtureRequest, open_store: Open, pooled: bool
) -> None:
    port = request.getfixturevalue("pooler_port") if pooled else None
    here, there = open_store(port=port), open_store(port=port)
    run = opened(here)
    seen = there.version()
    recorded(here, run, entry("a"))
    assert _told_within(there, seen, 5.0)


def test_asking_for_the_version_asks_the_server_seldom(open_store: Open) -> None:
    store = open_store()
    store.version()
    asked = []
    pulse = store._pulse
    ask = pulse._ask
    pulse._ask = lambda: asked.append(1) or ask()  # type: ignore[func-returns-value]
    began = time.monotonic()
    for _ in range(1_000):
        store.version()
    assert len(asked) <= 1 + (time.monotonic() - began)


# -- time -----------------------------------------------------------------------------------------------


def test_now_is_the_databases_clock(open_store: Open, postgres_server: Server) -> None:
    store = open_store()
    for _ in range(3):
        before = store.now()
        [(there,)] = postgres_server.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
        after = store.now()
        assert before - 0.05 < there < after + 0.05


def test_a_measurement_of_the_clock_counts_where_it_differs_by_more_than_it_can_be_wrong() -> None:
    at = 0.0
    clock = DatabaseClock(lambda: at)

    def answer(said: float, took: float) -> float:
        nonlocal at
        at += took
        return said

    clock.measured(lambda: answer(1_000.0, 2.0))
    assert clock.now() == 1_001.0  # asked at 0, answered at 2: the answer is of 1
    clock.measured(lambda: answer(1_002.5, 4.0))  # would be 1_003.5 at 6; the old one says 1_005: within 2
    assert clock.now() == 1_005.0
    clock.measured(lambda: answer(1_050.0, 0.0))
    assert clock.now() == 1_050.0


# -- long texts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("letter", ["k", "é", "漢", "🜁"])
def test_a_key_of_any_length_is_found_and_done_once(open_store: Open, letter: str) -> None:
    """Two that begin alike for longer than an index can hold are two all the same."""
    store = open_store()
    run = opened(store, identity=letter * 3_000)
    one, two = letter * 5_000 + "1", letter * 5_000 + "2"
    inner = f"{one} > inner#1"
    recorded(store, run, entry(one), entry(two), entry(inner, kind="step"), begun=(begun(one),))
    assert keys(store, run) == [one, two, inner]
    assert reason(record(store, run, entry(two))) == "key"
    found = store.outcome(run.no, two)
    assert found is not None
    assert found.seq == 1
    assert [e.key for e in store.scope_entries(run.no, f"{one} > ")] == [inner]
    assert [e.key for e in store.scope_entries(run.no, letter)] == [one, two, inner]
    assert store.done_items(run.no, letter, after=-1, limit=9) == [(0, one), (1, two)]
    assert [b.key for b in store.begun(run.no)] == [one]
    recorded(store, run, entry("x"), ended=(one,))
    assert store.begun(run.no) == []
    assert store.open_run(letter * 3_000) == run
    assert store.open_run(letter * 2_999) is None
    assert (
        reason(store.commit([Change(0, 0, after=a_run("other", identity=letter * 3_000), create=True)])[0])
        == "exists"
    )  # type: ignore[arg-type]
    assert list(store.problems()) == []


def test_what_stands_for_a_text_in_an_index_is_short_and_begins_alike() -> None:
    for text in ["", "short", "é" * 800, "é" * 801, "漢" * 9_999]:
        assert len(short(text).encode()) <= INDEXED_BYTES + 100
        assert (long(text) is None) == (short(text) == text)
        for end in (0, 1, 500, 900, len(text)):
            assert short(text).startswith(start(text[:end]))


# -- values ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["a\0b", "a\ud800", "\x1f", '"', "\\", "{", "NULL", "\n"])
def test_a_text_is_stored_exactly_or_its_change_alone_is_refused(open_store: Open, key: str) -> None:
    store = open_store()
    run, other = opened(store), opened(store, "other")
    recorded(store, run, entry("first"))
    recorded(store, other, entry("first"))
    storable = "\0" not in key and "\ud800" not in key
    for extra in ("", "-as-a-transaction"):
        answers = store.commit(
            [
                Change(other.no, 1, (entry(f"beside{extra}"),), after=other if extra else None),
                Change(run.no, 1, (entry(key + extra),)),
            ]
        )
        assert isinstance(answers[0], Applied)
        assert isinstance(answers[1], Applied) == storable
    assert keys(store, run) == ["first", *([key, f"{key}-as-a-transaction"] if storable else [])]


def test_numbers_that_are_too_large_refuse_their_change_alone(open_store: Open) -> None:
    store = open_store()
    run = opened(store)
    answers = store.commit(
        [Change(run.no, 1, (entry("a"),)), Change(run.no, 1, (entry("b", attempt=2**70),))]
    )
    assert isinstance(answers[0], Applied)
    assert reason(answers[1]) == "key"  # type: ignore[arg-type]


def test_a_packed_column_may_be_empty_or_have_gaps() -> None:
    assert arrays.columns((arrays.ints, arrays.texts), [])[0].data == b"\0\0\0\0\0\0\0\0\0\0\0\x14"
    assert arrays.floats([1.5, None]).data.endswith(b"\xff\xff\xff\xff")


# -- upkeep ---------------------------------------------------------------------------------------------


def test_a_backup_is_refused_with_the_command_that_makes_one(
    open_store: Open, schema: str, tmp_path: Path
) -> None:
    with pytest.raises(JournalUnusable, match=f"pg_dump .*--schema={schema}"):
        open_store().backup(tmp_path / "copy.db")
    assert list(tmp_path.iterdir()) == []


def test_room_is_given_back_while_others_write(open_store: Open) -> None:
    store = open_store()
    run = opened(store)
    recorded(store, run, *(entry(f"k{number}", value='"' + "x" * 1_000 + '"') for number in range(500)))
    store.delete(run.no)
    store.shrink()
    run = opened(store)
    assert recorded(store, run, entry("a")).seq == 0


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("DELETE FROM {schema}.entry WHERE seq = 1", "numbered 0 to 2: numbers must go from 0 without a gap"),
        ("DELETE FROM {schema}.run", "3 rows of `entry` belong to no row of `run`"),
        ("UPDATE {schema}.entry SET value = '7' WHERE seq = 1", "the value does not match its checksum"),
        (
            "DROP INDEX {schema}.entry_done; UPDATE {schema}.entry SET key = 'k0'",
            "run r: `k0` is done 3 times",
        ),
    ],
)
def test_damage_is_found(
    open_store: Open, postgres_server: Server, schema: str, damage: str, found: str
) -> None:
    store = open_store()
    run = opened(store)
    recorded(store, run, *(entry(f"k{number}") for number in range(3)))
    postgres_server.execute(damage.replace("{schema}", f'"{schema}"'))
    assert any(found in problem for problem in store.problems()), list(store.problems())


def test_a_disk_without_room_is_told_and_waited_for(
    open_store: Open, postgres_server: Server, schema: str
) -> None:
    """A trigger says what the server says when its disk is full."""
    store = open_store()
    run = opened(store)
    recorded(store, run, entry("first"))
    postgres_server.execute(
        f"""CREATE FUNCTION "{schema}".full() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE 'could not extend file' USING ERRCODE = 'disk_full'; END $$;
        CREATE TRIGGER no_room BEFORE INSERT ON "{schema}".entry FOR EACH ROW EXECUTE FUNCTION "{schema}".full()"""
    )
    for changes in ([Change(run.no, 1, (entry("a"),))], [Change(run.no, 1, (entry("b"),), after=run)]):
        with pytest.raises(JournalFull, match="Free some"):
            store.commit(changes)
    postgres_server.execute(f'DROP TRIGGER no_room ON "{schema}".entry')
    assert recorded(store, run, entry("c")).seq == 1


def test_both_databases_know_the_same_statements() -> None:
    """Names and meaning are the same; what only one of them has stands here."""
    sqlite, postgres = load("onward.storage.sqlite"), load("onward.storage.postgres")
    only_sqlite = {
        *("is_empty", "add_entry", "guard", "vacuum", "snapshot", "integrity", "wake"),
        *(
            "last_number",
            "added_runs",
            "add_marks",
            "first_start",
            "ready_priority",
            "is_awaited",
            "follow_begun",
            "least",
            "new_runs",
            "end_alone",
            *("add_ends", "add_guarded", "untold", "tell_first"),
            *("first_ready", "lease_new", "leased_runs"),
        ),
    }
    assert set(sqlite) - set(postgres) == only_sqlite
    assert only_sqlite.isdisjoint(postgres)


def test_the_commonest_commit_is_one_statement_and_others_at_most_two_round_trips(
    open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    run = opened(store)
    recorded(store, run, entry("first"))
    wire = store._line.link(9e9)._wire
    trips: list[int] = []
    exchange, one = wire.exchange, wire.one
    monkeypatch.setattr(wire, "exchange", lambda *given: trips.append(len(given[0])) or exchange(*given))  # type: ignore[func-returns-value]

    def counted(*given: Any) -> Any:
        before = len(trips)
        answer = one(*given)  # the first time by `exchange`
        trips[before:] = [1]
        return answer

    monkeypatch.setattr(wire, "one", counted)
    for changes, expected in [
        ([Change(run.no, 1, (entry("a"),))], 1),
        ([Change(run.no, 1, (entry("b"),), (begun("c"),), ("b",)), Change(run.no, 1, (entry("c"),))], 1),
        ([Change(run.no, 1, (entry("d"),), after=run), Change(0, 0, after=a_run("new"), create=True)], 2),
    ]:
        trips.clear()
        answers = store.commit(changes)
        assert all(isinstance(answer, Applied) for answer in answers)
        assert len(trips) == expected


def test_a_long_reader_keeps_nobody_waiting(open_store: Open) -> None:
    store = open_store()
    run = opened(store)
    recorded(store, run, *(entry(f"k{number}") for number in range(2_500)))
    checking = store.problems()
    thread = threading.Thread(target=list, args=(checking,))
    thread.start()
    assert recorded(store, run, entry("during")).seq == 2_500
    thread.join(30)


def test_entries_come_back_as_they_were(open_store: Open) -> None:
    store = open_store()
    run = opened(store)
    given = Entry(
        "k", "step", "failed", "n", b"\0\xff", '{"a": 1e300}', 2**32, 3, 1, 1e-300, 1.7976931348623157e308
    )
    recorded(store, run, given)
    assert store.entries(run.no) == [given._replace(seq=0)]

"""What every store promises about reading, on every store."""

import pytest

from onward.core.model import EntryState, Run, RunState
from onward.storage import Store
from storage.rows import begun, entry, opened, recorded


def test_what_is_not_there_is_none_or_empty(store: Store) -> None:
    assert store.run("r") is None
    assert store.open_run("r") is None
    assert store.latest_run("r") is None
    assert store.outcome(7, "k") is None
    assert store.owner("nobody") is None
    assert not store.owner_is_dead("nobody")
    assert store.runs() == []
    assert store.entries(7) == store.scope_entries(7, "") == store.failed_items(7) == []
    assert store.done_items(7, "", after=-1, limit=9) == []
    assert store.last_seq(7) == -1
    assert store.begun(7) == []
    assert store.count_items(7, -1) == 0


def test_the_open_run_is_the_direct_one_that_is_neither_done_nor_cancelled(store: Store) -> None:
    opened(store, "done", identity="loop", state="done")
    opened(store, "queued", identity="loop", direct=False)
    failed = opened(store, "failed", identity="loop", state="failed")
    opened(store, "cancelled", identity="loop", state="cancelled")
    assert store.open_run("loop") == failed
    latest = store.latest_run("loop")
    assert latest is not None
    assert latest.id == "cancelled"


def test_runs_are_listed_newest_first_and_page_by_page(store: Store) -> None:
    numbers = {run.id: run.no for run in (opened(store, run_id) for run_id in "abcde")}
    assert [run.id for run in store.runs()] == list("edcba")
    assert [run.id for run in store.runs(limit=2)] == ["e", "d"]
    assert [run.id for run in store.runs(limit=2, before_no=numbers["d"])] == ["c", "b"]
    assert [run.id for run in store.runs(limit=-1)] == list("edcba")


def test_runs_are_listed_by_state_and_name(store: Store) -> None:
    for run_id, state, name in [
        ("a", "done", "x"),
        ("b", "failed", "x"),
        ("c", "done", "y"),
        ("d", "paused", "x"),
        ("e", "done", "x"),
    ]:
        opened(store, run_id, state=state, name=name)
    assert [run.id for run in store.runs(states=["done"])] == ["e", "c", "a"]
    assert [run.id for run in store.runs(states=["failed", "done"], limit=3)] == ["e", "c", "b"]
    assert [run.id for run in store.runs(states=["done", "done"])] == ["e", "c", "a"]
    assert [run.id for run in store.runs(name="x", limit=3)] == ["e", "d", "b"]
    assert [run.id for run in store.runs(name="x", states=["done", "paused"], limit=2)] == ["e", "d"]
    assert [run.id for run in store.runs(states=["stuck"])] == []


@pytest.mark.parametrize(
    "states", [["pending"], ["running"], ["waiting", "pending"], ["done", "running", "pending"]]
)
def test_queued_runs_and_others_are_listed_together_by_state(store: Store, states: list[RunState]) -> None:
    """Whatever queue, workflow and priority they wait in, and whoever executes them."""
    every: list[RunState] = ["pending", "running", "waiting", "done", "failed"]
    for number in range(60):
        direct, state = number % 4 == 0, every[number // 3 % 5]
        queued = {} if direct else {"queue": f"q{number % 3}", "priority": number % 5 - 2, "lane": None}
        held = {} if state == "running" else {"owner": None, "lease_until": None}
        opened(store, f"run-{number}", state=state, direct=direct, name=f"job-{number % 2}", **queued, **held)
    expected = [run for run in store.runs(limit=-1) if run.state in states]
    assert len(expected) >= 12
    assert store.runs(states=states, limit=-1) == expected
    found: list[Run] = []
    while page := store.runs(states=states, limit=5, before_no=found[-1].no if found else None):
        found += page
    assert found == expected
    for name in ("job-0", "job-1"):
        assert store.runs(states=states, name=name, limit=-1) == [run for run in expected if run.name == name]
        of_any_state = [run for run in store.runs(limit=-1) if run.name == name]
        assert store.runs(name=name, limit=-1) == of_any_state
        assert store.runs(name=name, limit=7, before_no=of_any_state[6].no) == of_any_state[7:14]


def test_entries_are_read_in_order_from_where_one_left_off(store: Store) -> None:
    run = opened(store)
    recorded(store, run, *(entry(key) for key in "abcde"))
    assert [e.key for e in store.entries(run.no)] == list("abcde")
    assert [e.key for e in store.entries(run.no, after=1, limit=2)] == ["c", "d"]
    assert store.entries(run.no, after=4) == []
    assert store.last_seq(run.no) == 4


def test_what_is_recorded_is_the_same_without_its_names(store: Store) -> None:
    run = opened(store)
    recorded(store, run, *(entry(key) for key in "abc"))
    assert [tuple(row) for row in store.recorded(run.no)] == [tuple(e) for e in store.entries(run.no)]


def test_done_items_are_those_of_one_depth_in_order_of_their_numbers(store: Store) -> None:
    run = opened(store)
    recorded(
        store,
        run,
        entry("each/z"),
        entry("each/a > fetch#1", kind="step"),
        entry("each/a > each/inner"),
        entry("each/a"),
        entry("each/f", "failed"),
        entry("each/m", kind="step"),
        entry("each", "done"),
        entry("eachother/x"),
        entry("each/b"),
    )
    assert store.done_items(run.no, "each/", after=-1, limit=9) == [
        (0, "each/z"),
        (3, "each/a"),
        (8, "each/b"),
    ]
    assert store.done_items(run.no, "each/", after=0, limit=1) == [(3, "each/a")]
    assert store.done_items(run.no, "each/a > each/", after=-1, limit=9) == [(2, "each/a > each/inner")]


def test_the_outcome_is_the_done_entry_else_the_latest_failure_unless_reopened(store: Store) -> None:
    run = opened(store)

    def outcome(*states: EntryState) -> tuple[str, int] | None:
        for state in states:
            recorded(store, run, entry("k", state))
        found = store.outcome(run.no, "k")
        return None if found is None else (found.state, found.seq)

    assert outcome("retry", "crashed") is None
    assert outcome("failed") == ("failed", 2)
    assert outcome("failed") == ("failed", 3)
    assert outcome("reopened") is None
    assert outcome("failed") == ("failed", 5)
    assert outcome("done") == ("done", 6)


def test_a_scope_holds_the_outcomes_of_all_that_lies_under_its_prefix(store: Store) -> None:
    run = opened(store)
    recorded(
        store,
        run,
        entry("each/a > fetch#1", "retry", "step"),
        entry("each/a > fetch#1", "failed", "step"),
        entry("each/b > fetch#1", "done", "step"),
        entry("each/a > fetch#1", "reopened", "step"),
        entry("each/a > fetch#1", "done", "step"),
        entry("each/a"),
        entry("each/a > each/é > deep#1", "done", "step"),
    )
    found = [(e.seq, e.state) for e in store.scope_entries(run.no, "each/a > ")]
    assert found == [(1, "failed"), (3, "reopened"), (4, "done"), (6, "done")]


def test_failed_items_are_those_that_have_not_been_done_or_reopened_since(store: Store) -> None:
    run = opened(store)
    states: dict[str, tuple[EntryState, ...]] = {
        "failed": ("failed",),
        "twice": ("failed", "reopened", "failed"),
        "done": ("failed", "done"),
        "reopened": ("failed", "reopened"),
        "crashed": ("crashed",),
    }
    for key, outcomes in states.items():
        recorded(store, run, *(entry(key, state, value=f'"{n}"') for n, state in enumerate(outcomes)))
    recorded(store, run, entry("step", "failed", "step"))
    assert [(e.key, e.value) for e in store.failed_items(run.no)] == [("failed", '"0"'), ("twice", '"2"')]


def test_only_top_level_items_that_are_done_are_counted(store: Store) -> None:
    run = opened(store)
    recorded(
        store, run, entry("a"), entry("b"), entry("c", "failed"), entry("d", kind="step"), entry("a > b")
    )
    assert store.count_items(run.no, -1) == 2
    assert store.count_items(run.no, 0) == 1


def test_units_in_flight_are_listed_oldest_first(store: Store) -> None:
    run = opened(store)
    recorded(store, run, begun=(begun("late", 3.0), begun("early", 1.0), begun("also-early", 1.0)))
    assert [b.key for b in store.begun(run.no)] == ["also-early", "early", "late"]


def test_a_sound_journal_has_no_problems(store: Store) -> None:
    run = opened(store)
    recorded(store, run, entry("a"), entry("b", "failed"), begun=(begun("c"),))
    opened(store, "ended", state="done", owner=None, lease_until=None)
    assert list(store.problems()) == []


def test_problems_names_a_value_that_does_not_match_its_checksum(store: Store) -> None:
    run = opened(store)
    recorded(store, run, entry("a"), entry("b")._replace(checksum=5), entry("c")._replace(checksum=None))
    assert list(store.problems()) == [
        "run r, entry 1 (`b`): the value does not match its checksum",
        "run r, entry 2 (`c`): value and checksum do not go together",
    ]


def test_problems_names_leases_and_fences_that_cannot_be(store: Store) -> None:
    run = opened(store, state="done")
    recorded(store, run, entry("a", fence=9))
    opened(store, "half", lease_until=None)
    found = sorted(store.problems())
    assert len(found) == 3
    assert "half is running with owner me and lease until None" in found[0]
    assert "r is done with owner me" in found[1]
    assert "fence 9 is newer than the run's fence 1" in found[2]

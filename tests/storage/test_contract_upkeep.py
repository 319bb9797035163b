"""What every store promises about whole runs: how they come from elsewhere, are renamed and are removed."""

from collections.abc import Iterator
from typing import Any

import pytest

from onward.core.model import Applied, Change, Entry, Refused
from onward.storage import Store
from storage.rows import a_run, begun, entry, keys, opened, reason, record, recorded


def mark(name: str = "renamed") -> Entry:
    return Entry(f"run/{name}", "mark", "mark", name, fence=1, ended_at=9.0)


# -- runs from elsewhere ------------------------------------------------------------------------------


def test_a_whole_run_is_added_as_it_is_given(store: Store) -> None:
    foreign = a_run("far", fence=7, state="failed", owner=None, lease_until=None, created_at=3.5, error='"e"')
    answer = store.add_run(foreign, iter([entry("a"), entry("b", "failed", fence=6)]), [begun("c", fence=6)])
    assert isinstance(answer, Applied)
    run = store.run("far")
    assert run is not None
    assert (run.fence, run.state, run.created_at, run.error) == (7, "failed", 3.5, '"e"')
    assert [(e.seq, e.key, e.fence) for e in store.entries(run.no)] == [(0, "a", 1), (1, "b", 6)]
    assert [b.key for b in store.begun(run.no)] == ["c"]
    assert answer == Applied(run.no, 1, None)
    assert list(store.problems()) == []


def test_a_run_that_is_here_already_is_refused_and_stays_as_it_is(store: Store) -> None:
    here = opened(store)
    recorded(store, here, entry("a"))
    assert reason(store.add_run(a_run("r", identity="other"), [entry("b")], [])) == "exists"
    assert keys(store, here) == ["a"]


def test_many_whole_runs_are_added_by_one_commit_and_refused_one_by_one(store: Store) -> None:
    def arriving(name: str, *entries: Entry, **fields: Any) -> Change:
        run = a_run(name, identity=name, state="failed", owner=None, lease_until=None)._replace(**fields)
        units = (begun("c", fence=1),) if name == "far2" else ()
        return Change(0, 0, entries, units, after=run, create=True)

    recorded(store, opened(store, "here"), entry("a"))
    answers = store.commit(
        [
            arriving("far1", entry("a"), entry("b", "failed")),
            arriving("here", entry("b")),
            arriving("far2", entry("a"), fence=7),
            arriving("far3", entry("a"), entry("a")),
            arriving("far4", *(entry(f"each/{n}") for n in range(2_000))),
            arriving("far5", identity="far1"),
        ]
    )
    assert [reason(answer) if isinstance(answer, Refused) else "" for answer in answers] == [
        "", "exists", "", "key", "", "exists",
    ]  # fmt: skip
    found = {run.id: (run.fence, store.last_seq(run.no), len(store.begun(run.no))) for run in store.runs()}
    assert found.pop("here")[1] == 0
    assert found == {"far1": (1, 1, 0), "far2": (7, 0, 1), "far4": (1, 1_999, 0)}
    assert list(store.problems()) == []


def test_a_second_open_run_of_an_identity_is_refused(store: Store) -> None:
    opened(store, "here", identity="loop")
    assert reason(store.add_run(a_run("far", identity="loop"), [], [])) == "exists"
    assert store.run("far") is None


def test_a_run_whose_unit_is_done_twice_is_refused_whole(store: Store) -> None:
    assert reason(store.add_run(a_run(), [entry("a"), entry("a")], [])) == "key"
    assert store.run("r") is None


def test_a_text_that_no_journal_can_hold_refuses_the_whole_run() -> None:
    """Only a store with a disk can be unable to hold it; the memory store takes what Python takes."""
    from onward.storage.sqlite.store import SqliteStore

    store = SqliteStore("journal.db")
    try:
        assert reason(store.add_run(a_run(), [entry("a", value='"\ud800"', checksum=1)], [])) == "key"
        assert store.run("r") is None
    finally:
        store.close()


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))


def test_entries_that_break_off_leave_nothing_written(store: Store) -> None:
    def broken() -> Iterator[Entry]:
        yield entry("a")
        raise OSError("the file ends here")

    with pytest.raises(OSError, match="ends here"):
        store.add_run(a_run(), broken(), [])
    assert store.run("r") is None
    assert isinstance(store.add_run(a_run(), [], []), Applied), "the store is as good as before"


def test_a_run_may_take_the_place_of_another_one_unless_that_has_changed(store: Store) -> None:
    here = opened(store, state="cancelled", owner=None, lease_until=None)
    recorded(store, here, entry("a"))
    assert isinstance(store.add_run(a_run(fence=3), [entry("b")], [], instead_of=here), Applied)
    run = store.run("r")
    assert run is not None
    assert (run.fence, keys(store, run)) == (3, ["b"])
    assert run.no > here.no
    assert reason(store.add_run(a_run(fence=9), [], [], instead_of=here)) == "missing"
    assert reason(store.add_run(a_run(fence=9), [], [], instead_of=a_run(fence=2, no=run.no))) == "fence"
    assert store.run("r") == run


def test_what_cannot_take_a_place_leaves_the_one_that_was_there(store: Store) -> None:
    here = opened(store)
    opened(store, "open", identity="taken")
    recorded(store, here, entry("a"))
    assert reason(store.add_run(a_run(identity="taken"), [], [], instead_of=here)) == "exists"
    assert store.run("r") == here
    assert keys(store, here) == ["a"]
    assert [run.id for run in store.runs()] == ["open", "r"]


# -- another name ---------------------------------------------------------------------------------


def test_a_renamed_run_is_found_under_its_new_identity_alone(store: Store) -> None:
    run = opened(store, identity="loop:old", name="old", command="python old.py")
    answer = store.rename(run, name="new", identity="loop:new", command="python new.py", mark=mark())
    assert answer == Applied(run.no, 0, None)
    assert store.open_run("loop:old") is None
    found = store.open_run("loop:new")
    assert found is not None
    assert (found.id, found.name, found.command) == ("r", "new", "python new.py")
    assert [e.name for e in store.entries(run.no)] == ["renamed"]
    assert store.runs(name="old") == []
    assert store.runs(name="new") == [found]


def test_a_run_is_not_renamed_onto_another_open_one(store: Store) -> None:
    run = opened(store, identity="loop:old")
    opened(store, "other", identity="loop:new")
    assert reason(store.rename(run, name="new", identity="loop:new", command=None, mark=mark())) == "exists"
    assert store.run("r") == run
    assert keys(store, run) == []


def test_an_ended_run_may_share_its_identity(store: Store) -> None:
    run = opened(store, identity="loop:old", state="done", owner=None, lease_until=None)
    opened(store, "other", identity="loop:new")
    answer = store.rename(run, name="new", identity="loop:new", command=None, mark=mark())
    assert isinstance(answer, Applied)


def test_a_run_that_was_claimed_meanwhile_is_not_renamed(store: Store) -> None:
    run = opened(store)
    for changed in (a_run(fence=2, no=run.no), a_run(owner="you", no=run.no)):
        assert reason(store.rename(changed, name="n", identity="n", command=None, mark=mark())) in (
            "fence",
            "lease",
        )
    assert store.run("r") == run


# -- removing -------------------------------------------------------------------------------------


def test_a_run_is_removed_bit_by_bit_from_its_end(store: Store) -> None:
    run = opened(store, state="done", owner=None, lease_until=None)
    recorded(store, run, *(entry(key) for key in "abcde"), begun=(begun("f"),))
    assert store.prune(run, at_most=2) == Applied(run.no, 2, None)
    assert keys(store, run) == ["a", "b", "c"]
    assert store.outcome(run.no, "e") is None
    assert store.prune(run, at_most=2) == Applied(run.no, 0, None)
    assert list(store.problems()) == []
    assert store.prune(run, at_most=2) == Applied(run.no, -1, None)
    assert store.run("r") is None
    assert store.begun(run.no) == []
    assert reason(store.prune(run, at_most=2)) == "missing"


def test_a_run_that_has_changed_is_not_removed(store: Store) -> None:
    run = opened(store)
    recorded(store, run, entry("a"))
    assert reason(store.prune(a_run(fence=0, no=run.no), at_most=9)) == "fence"
    assert reason(store.prune(a_run(state="done", no=run.no), at_most=9)) == "lease"
    assert keys(store, run) == ["a"]


def test_the_number_of_a_removed_run_is_not_given_again(store: Store) -> None:
    run = opened(store)
    store.prune(run, at_most=9)
    assert opened(store, "next").no > run.no


def test_what_is_removed_can_be_recorded_anew(store: Store) -> None:
    run = opened(store)
    recorded(store, run, entry("a"), entry("b"))
    store.prune(run, at_most=1)
    assert isinstance(record(store, run, entry("b")), Applied)
    assert keys(store, run) == ["a", "b"]

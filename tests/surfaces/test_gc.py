"""`onward gc`: finished runs go when they are old, and nothing that somebody needs goes with them."""

import json
import signal
from pathlib import Path

import pytest

from onward.api.retention import seconds_of
from onward.core.errors import UsageError
from onward.storage.open import open_store
from storage.rows import begun, entry, opened, recorded
from surfaces.conftest import LOOP, Cli, Programs

DAY = 86_400.0


def stored(
    journal: Path, run_id: str, *, days: float, state: str = "done", name: str = "scrape", **fields: object
) -> None:
    """A run that ended so many days ago."""
    store = open_store(f"sqlite:///{journal}", durability="process")
    at = store.now() - days * DAY
    run = opened(
        store,
        run_id,
        name=name,
        state=state,
        owner=None,
        lease_until=None,
        updated_at=at,
        created_at=at,
        **fields,
    )
    recorded(store, run, *(entry(f"each/{n}") for n in range(5)), begun=(begun("each/x"),))
    store.close()


def ids(cli: Cli) -> list[str]:
    return sorted(one["id"] for one in json.loads(cli("runs", "--json", "--limit", "1000").stdout)["runs"])


@pytest.fixture
def old_and_new(journal: Path) -> None:
    for days in (90, 60, 40, 5, 1):
        stored(journal, f"d{days:02}", days=days)


@pytest.mark.usefixtures("old_and_new")
def test_runs_that_ended_long_ago_are_removed_and_the_rest_stays(cli: Cli) -> None:
    result = cli("gc")
    assert result.exit_code == 0
    assert "3 runs with 15 entries removed: ended more than 30 days ago" in result.stderr
    assert ids(cli) == ["d01", "d05"]
    assert cli("doctor").exit_code == 0
    assert "0 runs" in cli("gc").stderr


@pytest.mark.usefixtures("old_and_new")
def test_age_and_number_are_chosen(cli: Cli) -> None:
    cli("gc", "--older-than", "3d", "--keep", "3")
    assert ids(cli) == ["d01", "d05", "d40"]
    cli("gc", "--older-than", "0s")
    assert ids(cli) == ["d01"], "the latest of a name stays"
    cli("gc", "--older-than", "0s", "--keep", "0")
    assert ids(cli) == []


@pytest.mark.usefixtures("old_and_new")
def test_a_dry_run_only_tells(cli: Cli) -> None:
    document = json.loads(cli("gc", "--dry-run", "--json").stdout)
    assert (document["runs"], document["entries"], document["dry_run"]) == (3, 15, True)
    assert len(ids(cli)) == 5


def test_the_latest_run_of_each_name_stays(cli: Cli, journal: Path) -> None:
    for name in ("a", "b"):
        for days in (50, 80):
            stored(journal, f"{name}{days}", days=days, name=name)
    cli("gc")
    assert ids(cli) == ["a80", "b80"], "the one that was begun last, whenever it ended"


def test_unfinished_runs_are_never_removed_and_failed_ones_only_when_asked(cli: Cli, journal: Path) -> None:
    states = ["pending", "running", "waiting", "paused", "stuck", "failed", "cancelled"]
    for state in states:
        stored(journal, state, days=400, state=state, name=state)
    cli("gc", "--keep", "0")
    assert ids(cli) == sorted(set(states) - {"cancelled"})
    cli("gc", "--keep", "0", "--failed")
    assert ids(cli) == sorted(set(states) - {"cancelled", "failed"})


def test_a_run_with_an_id_of_its_own_still_answers_its_calls(cli: Cli, programs: Programs) -> None:
    text = """
@onward.workflow
def charge(order):
    pathlib.Path("charged.txt").open("a").write("x")
    return order
print(charge.options(id="order-{order}")(17))
"""
    programs.run(programs.write(text))
    result = cli("gc", "--older-than", "0s", "--keep", "0")
    assert "1 more stay, because calls with their ids are answered from them" in result.stderr
    assert programs.run("job.py").stdout == "17\n"
    assert (programs.folder / "charged.txt").read_text() == "x"
    cli("gc", "--older-than", "0s", "--keep", "0", "--with-ids")
    programs.run("job.py")
    assert (programs.folder / "charged.txt").read_text() == "xx"


@pytest.mark.usefixtures("old_and_new")
def test_the_project_says_how_long_runs_are_kept(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.onward]\nkeep = "50d"\n')
    cli("gc")
    assert ids(cli) == ["d01", "d05", "d40"]
    cli("gc", "--older-than", "2w")
    assert ids(cli) == ["d01", "d05"]


@pytest.mark.usefixtures("old_and_new")
@pytest.mark.parametrize("keep", ['"soon"', "30", "[]", '"-3d"', '"1e9d"'])
def test_a_policy_that_cannot_be_read_removes_nothing(cli: Cli, tmp_path: Path, keep: str) -> None:
    (tmp_path / "pyproject.toml").write_text(f"[tool.onward]\nkeep = {keep}\n")
    result = cli("gc")
    assert result.exit_code == 2
    assert "length of time" in result.stderr
    assert len(ids(cli)) == 5


def test_lengths_of_time() -> None:
    assert [seconds_of(text) for text in ("45s", "90m", "12h", "30d", "2w", " 1.5 d ")] == [
        45,
        5_400,
        43_200,
        30 * DAY,
        14 * DAY,
        1.5 * DAY,
    ]
    for text in ("", "d", "30", "1y", "-1d", "1d2h", "inf d"):
        with pytest.raises(UsageError):
            seconds_of(text)


def test_shrinking_gives_the_room_back_and_waits_for_nobody_at_work(
    cli: Cli, journal: Path, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"sqlite:///{journal}", durability="process")
    run = opened(store, "big", state="done", owner=None, lease_until=None, updated_at=0.0)
    recorded(store, run, *(entry(f"each/{n}", value='"' + "x" * 1_000 + '"') for n in range(5_000)))
    store.close()
    monkeypatch.setenv("HOLD_AT", "b")
    program = programs.start(programs.write(LOOP))
    programs.wait_for("held")
    result = cli("gc", "--keep", "0", "--shrink")
    assert result.exit_code == 75
    assert "letters" in result.stderr
    assert ids(cli)[0] == "big"
    (programs.folder / "go").touch()
    program.wait(100)
    before = journal.stat().st_size
    assert cli("gc", "--keep", "0", "--shrink").exit_code == 0
    open_store(f"sqlite:///{journal}").close()
    assert journal.stat().st_size < before / 4
    assert cli("doctor").exit_code == 0


def test_work_goes_on_while_a_long_run_is_removed(cli: Cli, journal: Path, programs: Programs) -> None:
    store = open_store(f"sqlite:///{journal}", durability="process")
    run = opened(store, "long", state="done", owner=None, lease_until=None, updated_at=0.0)
    for page in range(40):
        recorded(store, run, *(entry(f"each/{page}-{n}") for n in range(1_000)))
    store.close()
    program = programs.start(
        programs.write('for n in onward.each(range(10**9), name="busy"): pathlib.Path("busy").touch()')
    )
    programs.wait_for("busy")

    def done() -> int:
        found: int = json.loads(cli("show", "busy", "--json").stdout)["run"]["done"]
        return found

    before = done()
    assert cli("gc", "--keep", "0").exit_code == 0
    assert done() > before
    assert program.poll() is None
    assert [one for one in ids(cli) if one == "long"] == []


@pytest.mark.faults
def test_a_removal_that_is_killed_leaves_a_sound_journal_and_is_repeated(
    cli: Cli, journal: Path, programs: Programs
) -> None:
    store = open_store(f"sqlite:///{journal}", durability="process")
    run = opened(store, "long", state="done", owner=None, lease_until=None, updated_at=0.0)
    for page in range(100):
        recorded(store, run, *(entry(f"each/{page}-{n}") for n in range(1_000)))
    collecting = programs.start("-m", "onward.cli", "gc", "--keep", "0")
    while store.last_seq(run.no) == 99_999:
        assert collecting.poll() is None, collecting.communicate()
    collecting.send_signal(signal.SIGKILL)
    collecting.wait()
    assert store.run("long") is not None, "it was killed in the middle"
    assert list(store.problems()) == []
    store.close()
    assert cli("gc", "--keep", "0").exit_code == 0
    assert ids(cli) == []

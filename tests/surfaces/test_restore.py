"""`onward restore`: a backup takes the place of the journal, and nothing is lost on the way."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from onward.storage.migrate import VERSION
from onward.storage.open import open_store
from onward.storage.sqlite import restore as restoring
from surfaces.conftest import LOOP, Cli, Programs


@pytest.fixture
def copied(cli: Cli, programs: Programs, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that was made when the loop stood at its fourth item; the journal has gone on to the end."""
    monkeypatch.setenv("DIE_AT", "d")
    assert programs.run(programs.write(LOOP)).returncode == -9
    assert cli("backup", "copy.db").exit_code == 0
    assert programs.run("job.py").returncode == 0
    (programs.folder / "done.txt").unlink()
    return programs.folder / "copy.db"


def states(journal: Path) -> list[tuple[str, int]]:
    store = open_store(f"sqlite:///{journal}")
    try:
        assert list(store.problems()) == []
        return [(run.state, len(store.entries(run.no))) for run in store.runs()]
    finally:
        store.close()


def test_work_goes_on_from_the_copy_and_the_journal_that_was_there_is_kept(
    cli: Cli, programs: Programs, journal: Path, copied: Path
) -> None:
    before = states(journal)
    result = cli("restore", "copy.db")
    assert result.exit_code == 0, result.stderr
    assert "1 run is unfinished in it: called again, they continue from there" in result.stderr
    assert copied.exists()
    [kept] = journal.parent.glob("journal.replaced-*.db")
    assert states(kept) == before
    assert programs.run("job.py").returncode == 0
    assert programs.lines("done.txt") == list("def")
    assert cli("doctor").exit_code == 0


def test_where_there_is_no_journal_it_puts_one(
    cli: Cli, programs: Programs, journal: Path, copied: Path
) -> None:
    for path in journal.parent.glob("journal.db*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    document = json.loads(cli("restore", "copy.db", "--json").stdout)
    assert (document["journal"], document["kept"], document["unfinished"]) == (str(journal), None, 1)
    assert journal.stat().st_mode & 0o777 == 0o600
    assert [state for state, _ in states(journal)] == ["running"]


@pytest.mark.parametrize("user", ["program", "watch"])
def test_a_journal_in_use_is_left_alone(
    cli: Cli, programs: Programs, journal: Path, copied: Path, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "_LOOKERS_MS", 50)
    monkeypatch.setenv("HOLD_AT", "e")
    if user == "program":
        (programs.folder / "died").touch()
        programs.start("job.py")
        programs.wait_for("held")
    else:
        watching = programs.start("-m", "onward.cli", "watch", "letters", "--json")
        assert watching.stdout is not None
        watching.stdout.readline()
    result = cli("restore", "copy.db")
    assert result.exit_code == 75
    assert "is in use; nothing was changed" in result.stderr
    assert not list(journal.parent.glob("*replaced*"))
    programs.end()
    assert states(journal)[-1][0] == "done"


def test_a_damaged_journal_is_replaced_and_kept_as_it_is(
    cli: Cli, programs: Programs, journal: Path, copied: Path
) -> None:
    damaged = b"no journal any more" * 500
    journal.write_bytes(damaged)
    for side in ("-wal", "-shm"):  # out of which SQLite would mend it
        Path(f"{journal}{side}").unlink(missing_ok=True)
    assert cli("restore", "copy.db").exit_code == 0
    [kept] = journal.parent.glob("journal.replaced-*.db")
    assert kept.read_bytes() == damaged
    assert [state for state, _ in states(journal)] == ["running"]


def newer(copy: Path) -> None:
    with sqlite3.connect(copy) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.close()


def broken(copy: Path) -> None:
    with open(copy, "r+b") as file:
        file.seek(4_096 * 2)
        file.write(b"\xff" * 4_096 * 4)


@pytest.mark.parametrize(
    ("harm", "code", "said"),
    [
        (newer, 2, f"has layout {VERSION + 1}, this version of onward knows layouts up to {VERSION}"),
        (broken, 1, "damaged"),
        (lambda copy: copy.write_text("dear diary"), 2, "is no copy of a journal"),
        (lambda copy: copy.unlink(), 2, "is no copy of a journal"),
    ],
    ids=["newer", "broken", "foreign", "missing"],
)
def test_what_is_no_good_copy_changes_nothing(
    cli: Cli, journal: Path, copied: Path, harm: object, code: int, said: str
) -> None:
    before = states(journal)
    harm(copied)  # type: ignore[operator]
    result = cli("restore", "copy.db")
    assert result.exit_code == code, result.stderr
    assert said in result.stderr
    assert "nothing was changed" in result.stderr
    assert states(journal) == before
    assert not [path for path in journal.parent.iterdir() if "replaced" in path.name or ".part" in path.name]


def test_the_journal_itself_is_no_copy(cli: Cli, journal: Path, copied: Path) -> None:
    result = cli("restore", str(journal))
    assert result.exit_code == 2
    assert "is the journal itself" in result.stderr


def test_a_journal_in_memory_has_no_place(cli: Cli, copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONWARD_URL", "memory:")
    assert cli("restore", "copy.db").exit_code == 2

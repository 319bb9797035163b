"""`onward backup`: a copy of a journal in use that is whole, private and good to continue from."""

import json
import os
import shlex
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from onward.core.errors import JournalUnusable
from onward.storage.memory import MemoryStore
from onward.storage.open import open_store
from storage.conftest import mounted  # noqa: F401  (a fixture)
from storage.rows import entry, opened, recorded
from surfaces.conftest import LOOP, Cli, Programs

BUSY = """
for item in onward.each(range(10**9), name="busy"):
    pathlib.Path("busy").touch()
"""


def test_a_copy_of_a_journal_that_is_written_to_is_whole(cli: Cli, programs: Programs, journal: Path) -> None:
    program = programs.start(programs.write(BUSY))
    programs.wait_for("busy")
    for _ in range(5):
        assert cli("backup", "copy.db").exit_code == 0
    assert program.poll() is None
    copy = programs.folder / "copy.db"
    assert copy.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in programs.folder.glob("*copy*")) == ["copy.db"]
    store = open_store(f"sqlite:///{copy}")
    assert list(store.problems()) == []
    assert [run.name for run in store.runs()] == ["busy"]
    store.close()


def test_a_restored_copy_continues_by_the_command_that_was_printed(
    cli: Cli, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIE_AT", "d")
    assert programs.run(programs.write(LOOP)).returncode == -9
    result = cli("backup", "a copy.db")
    assert "1 run is unfinished in it: restored, they continue from here" in result.stderr
    assert programs.run("job.py").returncode == 0
    (programs.folder / "done.txt").unlink()
    command = shlex.split(result.stderr.rpartition("with: ")[2])
    assert command == ["onward", "restore", "a copy.db"]
    assert programs.onward(*command[1:]).returncode == 0
    assert programs.run("job.py").returncode == 0
    assert programs.lines("done.txt") == list("def"), (
        "what came after the copy is done again, the rest is not"
    )
    assert cli("doctor").exit_code == 0


def test_a_copy_replaces_an_earlier_copy_and_nothing_else(
    cli: Cli, programs: Programs, journal: Path
) -> None:
    programs.run(programs.write(LOOP))
    assert cli("backup", "copy.db").exit_code == cli("backup", "copy.db").exit_code == 0
    (programs.folder / "notes.txt").write_text("dear diary")
    os.symlink("copy.db", programs.folder / "link.db")
    apsw.Connection(str(programs.folder / "foreign.db")).execute("create table t(x)")
    in_use = open_store("sqlite:///in-use.db")
    for name in ("notes.txt", "link.db", "foreign.db", "in-use.db", str(journal), ".", "missing/copy.db"):
        result = cli("backup", name)
        assert result.exit_code == 2, name
        assert result.stderr.startswith("onward: ")
    in_use.close()
    assert (programs.folder / "notes.txt").read_text() == "dear diary"
    assert not list(programs.folder.rglob("*.part"))


def test_a_damaged_journal_is_not_copied_over_a_good_copy(cli: Cli, journal: Path, tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{journal}")
    run = opened(store)
    recorded(store, run, *(entry(f"each/{n}", value='"' + "x" * 300 + '"') for n in range(500)))
    store.close()
    assert cli("backup", "copy.db").exit_code == 0
    good = (tmp_path / "copy.db").read_bytes()
    with open(journal, "r+b") as file:
        # In the middle of what was recorded; a few pages at the beginning belong to tables that are empty.
        file.seek(journal.stat().st_size // 4_096 // 2 * 4_096)
        file.write(b"\xff" * 4_096 * 3)
    for side in ("-wal", "-shm"):
        Path(f"{journal}{side}").unlink(missing_ok=True)
    result = cli("backup", "copy.db")
    assert result.exit_code == 1, result.stderr
    assert "nothing was written" in result.stderr or "no copy was written" in result.stderr
    assert (tmp_path / "copy.db").read_bytes() == good


def test_a_disk_without_room_for_the_copy_is_a_sentence(
    cli: Cli,
    journal: Path,
    mounted: Callable[[str], Path],  # noqa: F811
) -> None:
    store = open_store(f"sqlite:///{journal}", durability="process")
    run = opened(store)
    recorded(store, run, *(entry(f"each/{n}", value='"' + "x" * 1_000 + '"') for n in range(3_000)))
    store.close()
    disk = mounted("size=1m")
    result = cli("backup", str(disk / "copy.db"))
    assert result.exit_code == 75
    assert "there is no room for the copy" in result.stderr
    assert list(disk.iterdir()) == []


def test_a_copy_that_is_killed_leaves_the_earlier_one(programs: Programs, journal: Path, cli: Cli) -> None:
    programs.run(programs.write(LOOP))
    assert cli("backup", "copy.db").exit_code == 0
    good = (programs.folder / "copy.db").read_bytes()
    dying = """
from onward.cli import main
before = os.replace
os.replace = lambda *_: os.kill(os.getpid(), 9)
sys.argv = ["onward", "backup", "copy.db"]
main()
"""
    assert programs.run(programs.write(dying, "dying.py")).returncode == -9
    assert (programs.folder / "copy.db").read_bytes() == good
    assert cli("backup", "copy.db").exit_code == 0


def test_a_program_can_read_what_was_written(cli: Cli, programs: Programs, journal: Path) -> None:
    programs.run(programs.write(LOOP))
    document = json.loads(cli("backup", "copy.db", "--json").stdout)
    assert document["unfinished"] == 0
    assert document["size_bytes"] == (programs.folder / "copy.db").stat().st_size
    assert document["journal"] == str(journal)


def test_a_journal_in_memory_has_no_file_to_copy(tmp_path: Path) -> None:
    with pytest.raises(JournalUnusable, match="in memory"):
        MemoryStore().backup(tmp_path / "copy.db")
    assert list(tmp_path.iterdir()) == []

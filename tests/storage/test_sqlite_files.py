"""Where a SQLite journal may lie, with which rights, and what is said when it may not."""

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from onward.core.errors import JournalBroken, JournalError, JournalUnusable
from onward.storage.migrate import VERSION
from onward.storage.sqlite import files
from onward.storage.sqlite.connection import refuse_affected_sqlite
from onward.storage.sqlite.store import SqliteStore
from storage import processes
from storage.rows import entry, keys, opened, recorded


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o777], ids=["umask 000", "umask 777"])
def any_umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.important
@pytest.mark.usefixtures("any_umask")
def test_nobody_else_can_read_a_journal_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "new" / ".onward" / "journal.db"
    store = SqliteStore(path)
    recorded(store, opened(store), entry("a"))
    store._owners.hold("o-1")
    assert {mode(path.parent), mode(path.parent.parent), mode(path.parent / "journal.db.owners")} == {0o700}
    found = [file for file in path.parent.rglob("*") if file.is_file() and file.name != ".gitignore"]
    assert {file.name.removeprefix("journal.db") for file in found} == {
        "",
        "-wal",
        "-shm",
        "-gate",
        "-turn",
        "o-1",
    }
    # The locks hold nothing to read; an umask that takes the owner's own rights is the owner's wish.
    assert all(mode(file) & 0o077 == 0 for file in found)
    assert mode(path) == mode(files.side(path, "-wal")) == 0o600
    store.close()


def test_a_project_folder_keeps_itself_out_of_version_control(tmp_path: Path) -> None:
    SqliteStore(tmp_path / ".onward" / "journal.db").close()
    assert (tmp_path / ".onward" / ".gitignore").read_text() == "*\n"
    SqliteStore(tmp_path / "elsewhere" / "journal.db").close()
    assert not (tmp_path / "elsewhere" / ".gitignore").exists()


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-turn"])
def test_a_link_in_the_place_of_any_of_its_files_is_refused(tmp_path: Path, suffix: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    (tmp_path / f"journal.db{suffix}").symlink_to(elsewhere)
    with pytest.raises(JournalUnusable, match="symbolic link"):
        SqliteStore(tmp_path / "journal.db")
    assert elsewhere.read_text() == "precious"


def test_a_link_to_nothing_is_refused_and_creates_nothing(tmp_path: Path) -> None:
    (tmp_path / "journal.db").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(JournalUnusable, match="symbolic link"):
        SqliteStore(tmp_path / "journal.db")
    assert not (tmp_path / "elsewhere").exists()


_OPEN_AS_NOBODY = """
import os, sys
from onward.core.errors import JournalError
from onward.storage.sqlite.store import SqliteStore
os.setgid(65534); os.setuid(65534)
try:
    SqliteStore(sys.argv[1])
except JournalError as problem:
    print(type(problem).__name__, problem)
"""


@pytest.fixture
def open_folder(tmp_path: Path) -> Path:
    """A folder that user `nobody` can reach."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    shared = Path(tempfile.gettempdir())
    for folder in (tmp_path, *tmp_path.parents):
        if folder in (shared, *shared.parents):
            break
        folder.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("theirs", ["folder", "journal.db", "journal.db-wal"])
def test_what_belongs_to_somebody_else_is_refused(open_folder: Path, theirs: str) -> None:
    folder = open_folder / "shared"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    planted = folder / theirs
    planted.touch()
    planted.chmod(0o666)
    if theirs == "folder":
        os.chown(folder, 1234, 1234)
        folder.chmod(0o777)
    else:
        os.chown(planted, 1234, 1234)
    said = processes.run(_OPEN_AS_NOBODY, folder / "journal.db")
    assert said.startswith("JournalUnusable")
    assert "belongs to user 1234, not to user 65534" in said


def test_a_folder_that_cannot_be_written_is_refused_with_a_sentence(open_folder: Path) -> None:
    said = processes.run(_OPEN_AS_NOBODY, open_folder / "journal.db")
    assert said.startswith("JournalUnusable")
    assert "Permission denied" in said
    assert "ONWARD_URL" in said


def test_a_read_only_file_system_is_refused_with_a_sentence(
    tmp_path: Path, mounted: Callable[..., Path]
) -> None:
    disk = mounted("size=1m")
    SqliteStore(disk / "journal.db").close()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(JournalUnusable, match=r"(?i)read-only"):
        SqliteStore(disk / "journal.db")
    with pytest.raises(JournalUnusable, match=r"(?i)read-only"):
        SqliteStore(disk / "new" / "journal.db")


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "journal.db").mkdir()
    with pytest.raises(JournalUnusable, match="is not a file"):
        SqliteStore(tmp_path / "journal.db")


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(JournalUnusable):
        SqliteStore(tmp_path / "x" / "journal.db")


# -- network file systems -------------------------------------------------------------------------------

_FAKE_STATFS = """
#include <stdlib.h>
#include <string.h>
int statfs(const char *path, void *buffer) {
    memset(buffer, 0, 120);
    *(long *)buffer = strtol(getenv("FAKE_FILE_SYSTEM"), 0, 16);
    return 0;
}
"""


@pytest.fixture(scope="module")
def fake_statfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    folder = tmp_path_factory.mktemp("statfs")
    (folder / "fake.c").write_text(_FAKE_STATFS)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", folder / "fake.so", folder / "fake.c"], check=True)
    return folder / "fake.so"


_OPEN_URL = """
import sys
from onward.core.errors import JournalError
from onward.storage.open import open_store
try:
    open_store(sys.argv[1]).close()
    print("opened")
except JournalError as problem:
    print(type(problem).__name__, problem)
"""


@pytest.mark.parametrize(
    ("magic", "name"), [("6969", "NFS"), ("FF534D42", "CIFS"), ("01021997", "9P"), ("65735546", "")]
)
def test_a_network_file_system_is_refused_unless_forced(
    tmp_path: Path, fake_statfs: Path, magic: str, name: str
) -> None:
    url = f"sqlite:///{tmp_path}/journal.db"
    faked = {"LD_PRELOAD": str(fake_statfs), "FAKE_FILE_SYSTEM": magic}
    said = processes.run(_OPEN_URL, url, **faked)
    assert said.startswith("JournalUnusable")
    assert f"network file system ({name}" in said
    assert not (tmp_path / "journal.db").exists()
    assert processes.run(_OPEN_URL, f"{url}?force-network=1", **faked) == "opened"


def test_a_local_file_system_is_not_refused(tmp_path: Path, fake_statfs: Path) -> None:
    faked = {"LD_PRELOAD": str(fake_statfs), "FAKE_FILE_SYSTEM": "EF53"}
    assert processes.run(_OPEN_URL, f"sqlite:///{tmp_path}/journal.db", **faked) == "opened"


# -- what is in the file --------------------------------------------------------------------------------


def test_a_journal_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    SqliteStore(path).close()
    with apsw.Connection(str(path)) as other:
        other.pragma("user_version", VERSION + 1)
    other.close()
    with pytest.raises(JournalUnusable, match=rf"layout {VERSION + 1}.* up to {VERSION}.*Update onward"):
        SqliteStore(path)


def test_a_newer_layout_that_has_only_added_to_ours_is_used_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    SqliteStore(path).close()
    with apsw.Connection(str(path)) as other:
        other.pragma("user_version", VERSION + 7)
        other.execute("INSERT INTO meta (name, value) VALUES ('least', ?)", (str(VERSION),))
    store = SqliteStore(path)
    recorded(store, opened(store), entry("a"))
    assert other.pragma("user_version") == VERSION + 7
    other.execute("UPDATE meta SET value = ?", (str(VERSION + 1),))
    with pytest.raises(JournalBroken, match="Update onward here"):  # whoever is at work hears of it in time
        store.renew("me", 99.0)
    store.close()
    other.close()
    with pytest.raises(JournalUnusable, match=rf"layout {VERSION + 7}.*Update onward"):
        SqliteStore(path)


def test_the_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    other = apsw.Connection(str(path))
    other.execute("CREATE TABLE customer (name TEXT)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(JournalUnusable, match="database of another program"):
        SqliteStore(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_text("dear diary, " * 500)
    with pytest.raises(JournalUnusable, match="is not a journal"):
        SqliteStore(path)
    assert path.read_text() == "dear diary, " * 500


def test_triggers_and_views_that_a_file_brings_along_are_never_executed(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    store = SqliteStore(path)
    run = opened(store)
    store.close()
    attacker = apsw.Connection(str(path))
    attacker.execute("CREATE TRIGGER evil AFTER INSERT ON entry BEGIN DELETE FROM run; END")
    attacker.close()
    store = SqliteStore(path)
    recorded(store, run, entry("a"))
    assert store.run("r") == run
    assert keys(store, run) == ["a"]
    store.close()


@pytest.mark.parametrize("version", ["3.7.0", "3.40.1", "3.51.2"])
def test_a_sqlite_that_can_corrupt_its_log_is_refused_unless_forced(version: str) -> None:
    with pytest.raises(JournalUnusable, match=f"SQLite {version}"):
        refuse_affected_sqlite(version, forced=False)
    refuse_affected_sqlite(version, forced=True)


def test_a_mended_sqlite_is_taken() -> None:
    refuse_affected_sqlite("3.51.3", forced=False)
    refuse_affected_sqlite("3.54.1", forced=False)


# -- damage -----------------------------------------------------------------------------------------------


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A closed journal of some size whose log is empty, so that all of it is in one file."""
    path = tmp_path / "journal.db"
    store = SqliteStore(path)
    run = opened(store)
    recorded(store, run, *(entry(f"k{n}", value=f'"{n:500}"') for n in range(400)))
    store.close()
    files.side(path, "-wal").unlink()
    files.side(path, "-shm").unlink()
    return path


def _use(path: Path) -> list[str]:
    """What a user is told who opens, checks and writes to a journal."""
    try:
        store = SqliteStore(path)
    except JournalError as refusal:
        return [str(refusal)]
    said: list[str] = []
    try:
        said.extend(store.problems())
        run = store.run("r")
        if run is not None:
            store.entries(run.no)
            recorded(store, run, entry("after"))
    except JournalError as failure:
        said.append(str(failure))
    store.close()
    return said


def test_an_undamaged_file_gives_no_sentence(filled: Path) -> None:
    assert _use(filled) == []


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.5, 0.9])
def test_zeroed_pages_are_told_in_a_sentence(filled: Path, share: float) -> None:
    at = int(filled.stat().st_size * share) // 4096 * 4096
    with filled.open("r+b") as file:
        file.seek(at)
        file.write(bytes(8192))
    said = _use(filled)
    assert said
    assert all(len(sentence) > 20 for sentence in said)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_truncated_file_is_told_in_a_sentence(filled: Path, share: float) -> None:
    os.truncate(filled, int(filled.stat().st_size * share))
    assert _use(filled)


def test_a_file_emptied_beside_its_log_is_not_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    store = SqliteStore(path)
    opened(store)
    store.close()
    os.truncate(path, 0)
    with pytest.raises(JournalBroken, match="truncated"):
        SqliteStore(path)


def test_a_flipped_bit_in_a_recorded_value_is_found_by_its_checksum(filled: Path) -> None:
    """SQLite's own integrity check accepts it: only the checksum tells."""
    content = filled.read_bytes()
    filled.write_bytes(content.replace(b' 399"', b'!399"'))
    [said] = _use(filled)
    assert said.startswith("run r, entry 399 (`k399`)")
    assert "does not match its checksum" in said


@pytest.mark.full
def test_no_flipped_byte_anywhere_gives_anything_but_sentences(filled: Path) -> None:
    content = filled.read_bytes()
    for at in range(0, len(content), max(len(content) // 400, 1)):
        damaged = bytearray(content)
        damaged[at] ^= 0xFF
        for suffix in ("-wal", "-shm"):
            files.side(filled, suffix).unlink(missing_ok=True)
        filled.write_bytes(damaged)
        _use(filled)

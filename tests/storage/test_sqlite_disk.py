"""When the disk is full, fails, or loses the file: nothing acknowledged is lost, nothing lost is acknowledged."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from onward.core.errors import JournalBroken, JournalFull, OutcomeUnknown
from onward.core.model import Applied, Change, Run
from onward.storage.queries import load
from onward.storage.sqlite import files
from onward.storage.sqlite.store import SqliteStore
from storage.rows import begun, entry, keys, opened, record, recorded
from storage.test_contract_lots import a_lot, add, ids

# -- a full disk ------------------------------------------------------------------------------------------


def fill(store: SqliteStore, run: Run) -> int:
    """Record until there is no room; how many were acknowledged."""
    for n in range(1_000):
        try:
            recorded(store, run, entry(f"k{n}", value=f'"{"x" * 5_000}"'))
        except JournalFull:
            return n
    raise AssertionError("the disk is too large for this test")


@pytest.mark.important
def test_a_full_disk_loses_nothing_acknowledged_and_goes_on_once_there_is_room(
    mounted: Callable[[str], Path],
) -> None:
    disk = mounted("size=1m")
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(300_000))
    store = SqliteStore(disk / "journal.db")
    run = opened(store)
    acknowledged = fill(store, run)
    refused = f"k{acknowledged}"
    assert acknowledged > 10
    assert keys(store, run) == [f"k{n}" for n in range(acknowledged)]
    with pytest.raises(JournalFull, match="no room on the disk"):
        record(store, run, entry(refused, value=f'"{"x" * 5_000}"'))

    ballast.unlink()
    assert record(store, run, entry(refused, value=f'"{"x" * 5_000}"')) == Applied(run.no, acknowledged, None)
    store.close()
    again = SqliteStore(disk / "journal.db")
    assert keys(again, run) == [f"k{n}" for n in range(acknowledged + 1)]
    assert list(again.problems()) == []
    again.close()


def test_a_journal_that_cannot_be_created_for_lack_of_room_says_so(mounted: Callable[[str], Path]) -> None:
    disk = mounted("size=32k")
    with pytest.raises(JournalFull, match="no room"):
        SqliteStore(disk / "journal.db")


# -- a failing disk ---------------------------------------------------------------------------------------


class Disk(apsw.VFS):
    """The usual file system, of which one operation on the log fails when it is told so."""

    def __init__(self) -> None:
        self.failing: dict[str, Exception] = {}
        super().__init__("failing", "unix", True)

    def xOpen(self, name: Any, flags: list[int]) -> Any:  # noqa: N802
        return DiskFile(self, name, flags)

    def trip(self, operation: str) -> None:
        problem = self.failing.pop(operation, None)
        if problem is not None:
            raise problem


class DiskFile(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        self._disk, self._is_log = disk, bool(flags[0] & apsw.SQLITE_OPEN_WAL)
        super().__init__("unix", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        if self._is_log:
            self._disk.trip("write")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self._is_log:
            self._disk.trip("sync")
        super().xSync(flags)


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk()
    yield disk
    disk.unregister()


@pytest.fixture
def failing(disk: Disk, tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "journal.db")
    yield store
    store.close()


def test_a_write_for_which_there_is_no_room_applies_nothing_and_may_be_repeated(
    disk: Disk, failing: SqliteStore
) -> None:
    run = opened(failing)
    disk.failing["write"] = apsw.FullError("injected")
    with pytest.raises(JournalFull):
        record(failing, run, entry("a"))
    assert keys(failing, run) == []
    assert record(failing, run, entry("a")) == Applied(run.no, 0, None)


@pytest.mark.parametrize("operation", ["write", "sync"])
def test_after_an_io_error_nothing_is_acknowledged_any_more(
    disk: Disk, failing: SqliteStore, operation: str, tmp_path: Path
) -> None:
    run = opened(failing)
    recorded(failing, run, entry("before"))
    disk.failing[operation] = apsw.IOError("injected")
    with pytest.raises(JournalBroken, match="cannot be read or written"):
        record(failing, run, entry("a"))
    assert disk.failing == {}
    with pytest.raises(JournalBroken):
        record(failing, run, entry("b"))
    failing.close()
    again = SqliteStore(tmp_path / "journal.db")
    assert keys(again, run)[0] == "before"
    assert "b" not in keys(again, run)
    again.close()


_ALONE = load("onward.storage.sqlite")["add_alone"]  # a statement that is a commit of its own


class Doubtful:
    """A connection whose next commit raises an I/O error, after doing its work or without."""

    def __init__(self, connection: apsw.Connection, *, commits: bool) -> None:
        self._connection, self._commits = connection, commits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def cursor(self) -> Any:
        return self

    def execute(self, statement: str, *values: Any) -> Any:
        if statement == _ALONE and self._commits:
            self._connection.execute(statement, *values)
        elif statement == "COMMIT":
            self._connection.execute("COMMIT" if self._commits else "ROLLBACK")
        elif statement != _ALONE:
            return self._connection.execute(statement, *values)
        raise apsw.IOError("the answer was lost")


def doubt(store: SqliteStore, *, commits: bool, kind: type[Doubtful] = Doubtful) -> None:
    known, fresh = store._straight._last, store._straight._fresh
    store._write_through(kind(store._writer, commits=commits))  # type: ignore[arg-type]
    store._straight._last, store._straight._fresh = known, fresh


def test_a_commit_whose_answer_was_lost_is_acknowledged_if_it_is_on_the_disk(sqlite: SqliteStore) -> None:
    run = opened(sqlite)
    doubt(sqlite, commits=True)
    assert record(sqlite, run, entry("a")) == Applied(run.no, 0, None)
    assert record(sqlite, run, entry("b")) == Applied(run.no, 1, None)
    assert keys(sqlite, run) == ["a", "b"]


def test_a_creation_whose_answer_was_lost_is_acknowledged_if_it_is_on_the_disk(sqlite: SqliteStore) -> None:
    doubt(sqlite, commits=True)
    run = opened(sqlite)
    assert sqlite.run("r") == run


@pytest.mark.parametrize("commits", [True, False])
def test_of_a_lot_whose_answer_was_lost_it_is_found_out_whether_it_is_on_the_disk(
    sqlite: SqliteStore, commits: bool
) -> None:
    numbers = add(sqlite, a_lot("first"))
    doubt(sqlite, commits=commits)
    if commits:
        assert add(sqlite, a_lot("first", "second")) == [0, numbers[0] + 2]
    else:
        with pytest.raises(JournalBroken):
            add(sqlite, a_lot("first", "second"))
    assert ids(sqlite) == ["first", "second"][: 1 + commits]


def test_a_commit_that_did_not_happen_is_not_acknowledged(sqlite: SqliteStore) -> None:
    run = opened(sqlite)
    doubt(sqlite, commits=False)
    with pytest.raises(JournalBroken):
        record(sqlite, run, entry("a"))
    assert keys(sqlite, run) == []


def test_a_commit_of_which_no_run_tells_whether_it_happened_is_called_unknown(sqlite: SqliteStore) -> None:
    run = opened(sqlite)
    doubt(sqlite, commits=True)
    with pytest.raises(OutcomeUnknown, match="may or may not have happened"):
        record(sqlite, run, begun=(begun("a"),))
    assert record(sqlite, run, begun=(begun("a"),)) == Applied(run.no, -1, None)


def test_a_commit_after_which_somebody_else_wrote_is_called_unknown(
    sqlite: SqliteStore, tmp_path: Path
) -> None:
    run = opened(sqlite)

    class Overtaken(Doubtful):
        def execute(self, statement: str, *values: Any) -> Any:
            try:
                return super().execute(statement, *values)
            except apsw.IOError:
                self._connection.execute("UPDATE run SET fence = 9")
                raise

    doubt(sqlite, commits=True, kind=Overtaken)
    with pytest.raises(OutcomeUnknown):
        record(sqlite, run, entry("a"))


def test_a_value_that_no_journal_can_hold_refuses_its_change_alone(sqlite: SqliteStore) -> None:
    run = opened(sqlite)
    answers = sqlite.commit(
        [
            Change(run.no, 1, (entry("a"),)),
            Change(run.no, 1, (entry("b")._replace(value="\ud800"),)),
            Change(run.no, 1, (entry("c")._replace(attempt=2**70),)),
            Change(run.no, 1, (entry("d"),)),
        ]
    )
    assert [type(answer).__name__ for answer in answers] == ["Applied", "Refused", "Refused", "Applied"]
    assert keys(sqlite, run) == ["a", "d"]


# -- a file that is not there any more --------------------------------------------------------------------


def lose(path: Path, how: str) -> None:
    if how == "deleted":
        path.unlink()
    elif how == "log deleted":
        files.side(path, "-wal").unlink()
    else:
        other = path.with_name("other.db")
        other.write_bytes(path.read_bytes())
        os.replace(other, path)


@pytest.mark.parametrize("how", ["deleted", "log deleted", "replaced"])
def test_a_file_that_was_deleted_or_replaced_is_noticed_by_the_next_renewal(
    sqlite: SqliteStore, tmp_path: Path, how: str
) -> None:
    run = opened(sqlite)
    lose(tmp_path / "journal.db", how)
    with pytest.raises(JournalBroken, match="deleted or replaced"):
        sqlite.renew("me", 60.0)
    with pytest.raises(JournalBroken, match="deleted or replaced"):
        record(sqlite, run, entry("a"))


def test_a_file_that_was_deleted_is_noticed_by_commits_within_a_second(
    sqlite: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = [100.0]
    monkeypatch.setattr("onward.storage.sqlite.store.time.monotonic", lambda: at[0])
    run = opened(sqlite)
    lose(tmp_path / "journal.db", "deleted")
    at[0] += 1.0
    with pytest.raises(JournalBroken, match="deleted or replaced"):
        record(sqlite, run, entry("a"))

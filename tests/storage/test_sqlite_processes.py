"""Several processes on one SQLite journal: fairness, death, forks, and a log that stays short."""

import subprocess
import threading
import time
from bisect import bisect_left, bisect_right
from pathlib import Path

import apsw
import pytest

from onward.core import limits
from onward.core.errors import JournalBusy, JournalError
from onward.core.model import Change, Owner
from onward.storage.sqlite import files, forks, owners
from onward.storage.sqlite.store import SqliteStore
from onward.storage.sqlite.turn import Turn
from storage import processes
from storage.rows import entry, keys, opened, recorded

pytestmark = pytest.mark.faults

# -- taking turns -----------------------------------------------------------------------------------------

_WRITE = """
import sys, time
from onward.storage.sqlite.store import SqliteStore
from storage.rows import entry, opened, recorded
path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = SqliteStore(path)
run = opened(store, name)
print("ready", flush=True)
sys.stdin.readline()
waits = []
for n in range(count):
    began = time.monotonic()
    recorded(store, run, entry(f"k{n}"))
    waits.append((began, time.monotonic()))
print(*(f"{began} {ended}" for began, ended in waits))
"""


def _overtaken(waits: list[tuple[float, float]], ends: list[float]) -> int:
    """How many commits of others came between the request and the end of nine in ten commits of this writer."""
    counts = [bisect_right(ends, ended) - bisect_left(ends, began) for began, ended in waits]
    # Only while the others write too: the last writer has nobody beside it.
    beside = sorted(count for count, (began, _) in zip(counts, waits, strict=True) if began < ends[-1])
    return beside[len(beside) * 9 // 10]


@pytest.mark.important
@pytest.mark.parametrize("writers", [2, 4])
def test_processes_that_write_without_pause_all_have_their_turn(tmp_path: Path, writers: int) -> None:
    """By order, not by seconds: nobody waits while others go round and round."""
    path, count = tmp_path / "journal.db", 300
    started = [processes.start(_WRITE, path, f"w{n}", count) for n in range(writers)]
    for process in started:
        assert processes.line(process.stdout) == "ready"
    for process in started:
        processes.say(process.stdin, "go")
    waits = []
    for process in started:
        output, _ = process.communicate(timeout=100)
        assert process.returncode == 0, output
        waits.append(list(zip(*[map(float, output.split())] * 2, strict=True)))
    for own in waits:
        others = sorted(ended for other in waits if other is not own for _, ended in other)
        # Measured: 1 to 6. With SQLite's own lock one of two writers waits until the other has done everything.
        assert _overtaken(own, others) <= 30
    store = SqliteStore(path)
    assert [len(keys(store, run)) for run in store.runs()] == [count] * writers
    assert list(store.problems()) == []
    store.close()


_HOLD = """
import sys
from pathlib import Path
from onward.storage.sqlite.turn import Turn
turn = Turn(Path(sys.argv[1]))
turn.take(5)
print("held", flush=True)
sys.stdin.readline()
"""


def test_a_turn_that_does_not_come_is_told_with_the_holder_named(
    sqlite: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = opened(sqlite)
    with processes.start(_HOLD, tmp_path / "journal.db") as holder:
        assert processes.line(holder.stdout) == "held"
        monkeypatch.setattr(limits, "BUSY_S", 0.05)
        with pytest.raises(JournalBusy, match=f"process {holder.pid} is writing"):
            recorded(sqlite, run, entry("a"))
        assert keys(sqlite, run) == []
        holder.kill()
    recorded(sqlite, run, entry("a"))
    assert keys(sqlite, run) == ["a"]


_PASS_ON = """
import sys
from pathlib import Path
from onward.storage.sqlite.turn import Turn
turn = Turn(Path(sys.argv[1]))
turn.take(5)
print("held", flush=True)
sys.stdin.readline()
turn.release()
sys.stdin.readline()
"""


def test_who_gives_its_turn_back_wakes_who_waits_for_it_and_who_waits_at_the_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.db"
    monkeypatch.setattr(
        "onward.storage.sqlite.turn._SLEEP_S", 90.0
    )  # between two looks of one who only looks
    monkeypatch.setattr("onward.storage.sqlite.turn._SLEEP_MAX_S", 90.0)
    had: list[Turn] = []

    def take(turn: Turn) -> None:
        turn.take(60)
        had.append(turn)
        turn.release()

    with processes.start(_PASS_ON, path) as holder:
        assert processes.line(holder.stdout) == "held"
        turns = [Turn(path), Turn(path), Turn(path)]
        waits = []
        for turn in turns:
            waits.append(threading.Thread(target=take, args=(turn,), daemon=True))
            waits[-1].start()
            while turn._bell is None:  # it has found the turn, or the gate, taken, and listens
                time.sleep(0.001)
        processes.say(holder.stdin, "go")
        for one in waits:
            one.join(30)
        assert set(had) == set(turns)
        assert had[0] is turns[0]
        processes.say(holder.stdin, "end")
    for turn in turns:
        turn.close()


def test_what_tells_of_a_free_turn_is_given_up_when_nobody_has_waited_lately(tmp_path: Path) -> None:
    """One user has 128 of them as a rule, and an idle worker needs one for news."""
    path = tmp_path / "journal.db"
    holder, waiting = Turn(path), Turn(path)
    holder.take(5)
    gives_back = threading.Timer(0.05, holder.release)
    gives_back.start()
    waiting.take(30)
    gives_back.join()
    waiting.rest()
    assert waiting._bell is not None  # of use since the last time
    waiting.rest()
    assert waiting._bell is None
    waiting.release()
    for turn in (holder, waiting):
        turn.close()


def test_where_nobody_can_be_woken_a_turn_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onward.storage.sqlite.doorbell.hung", lambda *files: None)
    path = tmp_path / "journal.db"
    holder, waiting = Turn(path), Turn(path)
    holder.take(5)
    gives_back = threading.Timer(0.02, holder.release)
    gives_back.start()
    waiting.take(30)
    waiting.release()
    gives_back.join()
    for turn in (holder, waiting):
        turn.close()


def test_a_foreign_program_that_holds_the_lock_is_told_as_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BUSY_S", 0.05)
    store = SqliteStore(tmp_path / "journal.db")
    run = opened(store)
    shell = apsw.Connection(str(tmp_path / "journal.db"))
    shell.execute("BEGIN IMMEDIATE")
    with pytest.raises(JournalBusy, match="locked by another program"):
        recorded(store, run, entry("a"))
    shell.execute("ROLLBACK")
    shell.close()
    recorded(store, run, entry("a"))
    store.close()


def test_threads_of_one_process_read_and_write_at_the_same_time(sqlite: SqliteStore) -> None:
    runs = [opened(sqlite, f"r{n}") for n in range(4)]
    failures: list[BaseException] = []

    def work(n: int) -> None:
        try:
            for i in range(50):
                recorded(sqlite, runs[n], entry(f"k{i}"))
                assert len(sqlite.entries(runs[n].no)) == i + 1
                sqlite.renew("me", 60.0 + i)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


# -- death ------------------------------------------------------------------------------------------------

_OWN = """
import os, socket, sys
from onward.core.model import Owner
from onward.storage.sqlite import owners
from onward.storage.sqlite.store import SqliteStore
store = SqliteStore(sys.argv[1])
boot = os.environ.get("BOOT") or owners.boot()
store.register(Owner("o-1", os.environ.get("HOST") or socket.gethostname(), boot, os.getpid(), "x", 0.0))
if "FORK" in os.environ:
    child = os.fork()
    if child == 0:
        if os.environ["FORK"] == "abandon":
            store.abandon()
        os.write(1, b"child\\n")  # in one piece: parent and child share the pipe
        sys.stdin.read()
        os._exit(0)
os.write(1, b"owned\\n")
sys.stdin.readline()
"""


@pytest.mark.important
def test_an_owner_killed_by_the_system_is_seen_as_dead_at_once(sqlite: SqliteStore, tmp_path: Path) -> None:
    with processes.start(_OWN, tmp_path / "journal.db") as owner:
        assert processes.line(owner.stdout) == "owned"
        assert not sqlite.owner_is_dead("o-1")
        owner.kill()
    assert sqlite.owner_is_dead("o-1")


@pytest.mark.parametrize("where", ["HOST", "BOOT"])
def test_the_death_of_an_owner_elsewhere_is_never_proven(
    sqlite: SqliteStore, tmp_path: Path, where: str
) -> None:
    with processes.start(_OWN, tmp_path / "journal.db", **{where: "elsewhere"}) as owner:
        assert processes.line(owner.stdout) == "owned"
        owner.kill()
    assert not sqlite.owner_is_dead("o-1")


@pytest.mark.parametrize(("child_does", "dead"), [("abandon", True), ("nothing", False)])
def test_a_forked_child_keeps_its_parents_lock_until_it_abandons_the_store(
    sqlite: SqliteStore, tmp_path: Path, child_does: str, dead: bool
) -> None:
    with processes.start(_OWN, tmp_path / "journal.db", FORK=child_does) as owner:
        assert {processes.line(owner.stdout), processes.line(owner.stdout)} == {"child", "owned"}
        assert not sqlite.owner_is_dead("o-1")
        owner.kill()
        owner.wait()
        assert sqlite.owner_is_dead("o-1") == dead


def test_an_owner_of_this_very_process_is_alive(sqlite: SqliteStore) -> None:
    sqlite.register(_me("o-1"))
    assert not sqlite.owner_is_dead("o-1")


def test_an_owner_whose_lock_file_is_gone_is_dead(sqlite: SqliteStore, tmp_path: Path) -> None:
    sqlite.register(_me("o-1"))
    (tmp_path / "journal.db.owners" / "o-1").unlink()
    assert sqlite.owner_is_dead("o-1")


def test_an_owner_id_never_leads_out_of_its_folder(sqlite: SqliteStore, tmp_path: Path) -> None:
    sqlite.register(_me("../../evil"))
    assert not list(tmp_path.parent.glob("evil"))
    assert [file.name for file in (tmp_path / "journal.db.owners").iterdir()] == ["evil"]


def test_tidying_forgets_owners_that_died_without_work_and_no_others(
    sqlite: SqliteStore, tmp_path: Path
) -> None:
    for dead in ("idle", "working"):
        sqlite.register(_me(dead))
        sqlite._owners.close()
    sqlite.register(_me("alive"))
    opened(sqlite, owner="working")
    sqlite.tidy()
    assert sqlite.owner("idle") is None
    assert sqlite.owner("working") is not None
    assert sqlite.owner("alive") is not None
    assert {file.name for file in (tmp_path / "journal.db.owners").iterdir()} == {"working", "alive"}


def _me(owner_id: str) -> Owner:
    import os
    import socket

    return Owner(owner_id, socket.gethostname(), owners.boot() or "", os.getpid(), "pytest", 0.0)


def test_a_process_whose_test_fails_is_ended_not_waited_for() -> None:
    """One that never ended kept the whole run of tests waiting, long after it had been given up."""
    with pytest.raises(subprocess.TimeoutExpired):
        processes.run("import threading; threading.Event().wait()", within_s=0.1)


# -- forks ------------------------------------------------------------------------------------------------

_FORK = """
import os, sys
from onward.core.errors import JournalError
from onward.storage.sqlite.store import SqliteStore
from storage.rows import entry, keys, opened, recorded
store = SqliteStore(sys.argv[1])
run = opened(store)
recorded(store, run, entry("before"))
child = os.fork()
if child == 0:
    store.abandon()
    for use in (lambda: store.commit([]), lambda: store.run("r"), store.tidy):
        try:
            use()
        except JournalError as problem:
            assert "forked" in str(problem)
        else:
            os._exit(3)
    store.abandon()
    store.close()
    mine = SqliteStore(sys.argv[1])
    recorded(mine, run, entry("child"))
    mine.close()
    del mine, store
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
recorded(store, run, entry("after"))
print(keys(store, run), list(store.problems()))
"""


def test_a_forked_child_abandons_its_parents_store_and_opens_its_own(tmp_path: Path) -> None:
    assert processes.run(_FORK, tmp_path / "journal.db") == "['before', 'child', 'after'] []"


_FORK_WHILE_WRITING = """
import os, sys, threading, time
from onward.storage.sqlite import straight
from onward.storage.sqlite.store import SqliteStore
from storage.rows import entry, keys, opened, recorded
store = SqliteStore(sys.argv[1])
run = opened(store)
within, write = threading.Event(), straight.Straight._write

def slow_write(self, *plan):
    written = write(self, *plan)
    within.set()
    time.sleep(0.5)
    return written

straight.Straight._write = slow_write
entries = [entry(f"k{n}", value='"' + "x" * 3_000 + '"') for n in range(1_500)]
writer = threading.Thread(target=recorded, args=(store, run, *entries))
writer.start()
assert within.wait(20), "nothing was written, or not in this way"
child = os.fork()
if child == 0:
    store.abandon()
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
writer.join()
print(len(keys(store, run)), list(store.problems()))
"""


@pytest.mark.important
def test_a_child_that_ends_does_no_harm_to_what_another_thread_of_its_parent_writes(tmp_path: Path) -> None:
    """It closes its copies of the connections. A child forked within a transaction larger than the cache took that back
    in the log's shared index, and its parent found the journal malformed."""
    assert processes.run(_FORK_WHILE_WRITING, tmp_path / "journal.db") == "1500 []"


# -- the log ----------------------------------------------------------------------------------------------


def _log_bytes(path: Path) -> int:
    return files.side(path, "-wal").stat().st_size


@pytest.mark.slow
def test_the_log_stays_short_over_fifty_thousand_commits(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    # What is measured is the log, not the disk.
    store = SqliteStore(path, durability="process")
    run = opened(store)
    for n in range(50_000):
        recorded(store, run, entry(f"k{n}"))
        if n % 1_000 == 0:
            store.tidy()
    # Between two calls a thousand commits of at most a few pages each come on top.
    assert _log_bytes(path) < (limits.WAL_PAGES + 1_000 * 8) * 4_200
    assert len(store.entries(run.no)) == 50_000
    store.close()


def test_the_log_stays_short_under_a_writer_that_never_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint beside such a writer never reaches the log's end; its last part must be made in turn with it."""
    monkeypatch.setattr(limits, "WAL_PAGES", 100)
    path = tmp_path / "journal.db"
    store = SqliteStore(path, durability="process")
    run = opened(store)
    done = threading.Event()

    def write() -> None:
        for n in range(12_000):
            recorded(store, run, entry(f"k{n}"))
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    longest = 0
    while not done.wait(0.005):
        store.tidy()
        longest = max(longest, _log_bytes(path))
    writer.join()
    assert 100 * 4_120 < longest < 4_000 * 4_120
    assert len(store.entries(run.no)) == 12_000
    store.close()


def test_the_log_is_written_over_not_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WAL_PAGES", 50)
    path = tmp_path / "journal.db"
    store = SqliteStore(path)
    run = opened(store)
    sizes = []
    for n in range(400):
        recorded(store, run, entry(f"k{n}"))
        if n % 20 == 19:
            store.tidy()
            sizes.append(_log_bytes(path))
    assert sizes == sorted(sizes)
    # Twenty commits of a few pages each come between two calls.
    assert sizes[-1] < (limits.WAL_PAGES + 20 * 4) * 4_120
    store.close()
    assert _log_bytes(path) == sizes[-1]


def test_tidying_goes_on_beside_writers_and_a_reader_in_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WAL_PAGES", 10)
    store = SqliteStore(tmp_path / "journal.db")
    run = opened(store)
    reader = apsw.Connection(str(tmp_path / "journal.db"))
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM entry").fetchall()
    for n in range(30):
        recorded(store, run, entry(f"k{n}"))
    began = time.monotonic()
    store.tidy()
    assert time.monotonic() - began < 1.0
    recorded(store, run, entry("after"))
    reader.close()
    store.tidy()
    assert len(store.entries(run.no)) == 31
    store.close()


def test_a_closed_journal_is_whole_without_its_log(tmp_path: Path) -> None:
    """Whoever copies only the one file of a journal that nobody uses has all of it."""
    store = SqliteStore(tmp_path / "journal.db")
    run = opened(store)
    recorded(store, run, entry("a"))
    store.close()
    copy = tmp_path / "copy" / "journal.db"
    copy.parent.mkdir()
    copy.write_bytes((tmp_path / "journal.db").read_bytes())
    copied = SqliteStore(copy)
    assert keys(copied, run) == ["a"]
    copied.close()


def test_a_store_that_is_closed_while_it_is_tidied_has_one_thread_on_a_connection(tmp_path: Path) -> None:
    """Opened without SQLite's own mutex, a connection that two threads use at once is undefined behaviour."""
    store = SqliteStore(tmp_path / "journal.db")
    keeper, within, go_on, at_once = store._keeper, threading.Event(), threading.Event(), []

    class Slow:
        """The connection that both make checkpoints on."""

        def wal_checkpoint(self, *, mode: int) -> tuple[int, int]:
            at_once.append(within.is_set() and not go_on.is_set())
            within.set()
            go_on.wait(20)
            return keeper.wal_checkpoint(mode=mode)

        def __getattr__(self, name: str) -> object:
            return getattr(keeper, name)

    store._keeper = Slow()
    tidying, closing = threading.Thread(target=store.tidy), threading.Thread(target=store.close)
    tidying.start()
    assert within.wait(20)
    closing.start()
    closing.join(0.2)
    go_on.set()
    for thread in (tidying, closing):
        thread.join(20)
    assert at_once == [False, False]


def test_a_closed_store_refuses_everything_with_a_sentence(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "journal.db")
    store.close()
    for use in (
        lambda: store.commit([Change(1, 1)]),
        lambda: store.run("r"),
        store.tidy,
        lambda: store.renew("a", 1),
    ):
        with pytest.raises(JournalError, match="is closed"):
            use()


def test_of_two_threads_that_fork_at_once_neither_lets_go_for_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first to have forked released the locks that the second had just taken: it forked in a transaction."""
    resting = threading.Event()

    class Slow:
        """A lock whose release lets the other thread take it and go on before the next line."""

        def __init__(self) -> None:
            self.lock = threading.Lock()

        def acquire(self, timeout: float) -> bool:
            return self.lock.acquire(timeout=timeout)

        def release(self) -> None:
            self.lock.release()
            resting.wait(100)

    class Store:
        locks = (Slow(),)

    store = Store()
    monkeypatch.setattr(forks, "_open", [store])
    forks._rest()

    def fork() -> None:
        forks._rest()
        resting.set()

    second = threading.Thread(target=fork)
    second.start()
    forks._go_on()
    second.join(20)
    assert store.locks[0].lock.locked()
    store.locks[0].lock.release()
    forks._held.clear()

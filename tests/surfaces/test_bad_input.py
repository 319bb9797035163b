"""Bad input: a sentence, an exit code other than 0, nothing of onward's inside, and nothing recorded is lost.

Each story begins with a job that was left at its third item. Something bad happens; then the same job goes on there.
"""

from __future__ import annotations

import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from api.lives import environment, python, told, write_script

# Prints the items it does; leaves at the item STOP.
JOB = """
    import os
    import onward

    for item in onward.each(range(5)):
        if str(item) == os.environ.get("STOP"):
            break
        print(item, flush=True)
"""


@pytest.fixture(scope="module")
def left_at_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose job was left at its third item."""
    folder = tmp_path_factory.mktemp("project")
    write_script(folder, JOB)
    ended = python("job.py", cwd=folder, STOP="2")
    assert (ended.returncode, ended.stdout) == (0, "0\n1\n"), ended.stderr
    return folder


@pytest.fixture
def project(left_at_two: Path, tmp_path: Path) -> Path:
    return shutil.copytree(left_at_two, tmp_path / "project")


def goes_on(folder: Path, **variables: str) -> None:
    """The job does the rest, and only that."""
    ended = python("job.py", cwd=folder, **variables)
    assert (ended.returncode, ended.stdout) == (0, "2\n3\n4\n"), ended.stderr
    assert "at 2 of 5" in ended.stderr


def onward(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return python("-m", "onward.cli", *arguments, cwd=cwd)


# -- wrong calls --------------------------------------------------------------------------------------

WRONG_CALLS = {
    "an unserialisable item": ("for x in onward.each([object()], name='x'): pass", "give key= to say"),
    "an unserialisable result of a step": (
        """
        @onward.step
        def page(): return {"links": [open("job.py")]}
        @onward.workflow
        def crawl(): page()
        crawl()
        """,
        "`$.links[0]` is a `_io.TextIOWrapper`, which cannot be recorded",
    ),
    "an unserialisable result of a workflow": (
        """
        @onward.workflow
        def crawl(): return lambda: 1
        crawl()
        """,
        "which cannot be recorded",
    ),
    "an unserialisable result of a map": (
        "print(list(onward.map(lambda n: (c for c in 'ab'), [1], name='m')))",
        "is a `generator`, which cannot be recorded",
    ),
    "an unserialisable argument of a workflow": (
        """
        @onward.workflow
        def crawl(session): pass
        crawl(open("job.py"))
        """,
        "or name the run: crawl.options(id=...)",
    ),
    "another list under the same name": (
        "for x in onward.each('abcdef', name='job.py'): print('touched', x)",
        "this is another list. Nothing was begun and nothing is lost",
    ),
    "a workflow called inside a step": (
        """
        @onward.workflow
        def child(): print("touched")
        @onward.step
        def step(): child()
        @onward.workflow
        def main(): step()
        main()
        """,
        "workflow `child` was called inside step `step#1`; nothing of it was executed",
    ),
    "a step called from a bare thread pool": (
        """
        from concurrent.futures import ThreadPoolExecutor
        @onward.step
        def step(n): print("touched", n)
        @onward.workflow
        def main():
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(step, range(3)))
        main()
        """,
        "Use onward.gather or onward.map for parallel work",
    ),
    "a step called from asyncio.to_thread": (
        """
        import asyncio
        @onward.step
        def step(n): print("touched", n)
        @onward.workflow
        async def main(): await asyncio.to_thread(step, 1)
        asyncio.run(main())
        """,
        "Use onward.gather or onward.map for parallel work",
    ),
    "a step called from a bare task": (
        """
        import asyncio
        @onward.step
        async def step(n): print("touched", n)
        async def branch(): await step(1)
        @onward.workflow
        async def main():
            await asyncio.create_task(branch())
        asyncio.run(main())
        """,
        "Use onward.gather or onward.map for parallel work",
    ),
    "onward.sleep in an event loop": (
        """
        import asyncio
        @onward.workflow
        async def main(): onward.sleep(1)
        asyncio.run(main())
        """,
        "onward.sleep would block the running event loop; nothing was done. Use `await onward.aio.sleep(...)`",
    ),
    "onward.gather in an event loop": (
        """
        import asyncio
        async def main(): onward.gather(lambda: print("touched"))
        asyncio.run(main())
        """,
        "Use `await onward.aio.gather(...)`",
    ),
    "onward.map with for in an event loop": (
        """
        import asyncio
        async def main():
            for x in onward.map(print, [1], name="m"): pass
        asyncio.run(main())
        """,
        "Use `async for result in onward.map(...)`",
    ),
    "concurrency=0": (
        "onward.map(print, [1], name='m', concurrency=0)",
        "concurrency=0 is not possible: give a whole number from 1 to 10,000; nothing was started",
    ),
    "max_attempts=0": (
        "onward.map(print, [1], name='m', max_attempts=0)",
        "max_attempts=0 is not possible; give a number of at least 1",
    ),
    "a misspelt option of a map": (
        "onward.map(print, [1], name='m', max_atempts=3)",
        "there is no option max_atempts",
    ),
    "a misspelt option of a step": (
        """
        @onward.step(retries=3)
        def step(): pass
        """,
        "there is no option retries; there are max_attempts",
    ),
    "two unnamed loops in one place": (
        """
        for x in onward.each([1]): pass
        for x in onward.each([2]): print("touched")
        """,
        "there are two onward.each in bad.py (lines 3 and 4)",
    ),
    "a generator as a step": (
        """
        @onward.step
        def pages(): yield 1
        """,
        "pages is a generator, whose values cannot be recorded one by one",
    ),
    "a key that is no text": (
        "for x in onward.each([{'id': 1}], name='x', key=lambda x: x['id']): print('touched')",
        "key= must give a str, not a int; nothing was executed",
    ),
    "a key that is no function": (
        "onward.each([{'id': 1}], name='x', key='id')",
        "key= takes a function, such as key=lambda item: item.id, not 'id'",
    ),
    "something that is no list": ("onward.each(5, name='x')", "needs something to iterate over, not a int"),
    "list() around a loop": (
        "list(onward.each([1], name='x'))",
        "would take the items of onward.each all at once",
    ),
    "an unknown kind of journal": ("onward.connect('mysql://db')", "names no journal; nothing was opened"),
    "the wrong order of map's arguments": (
        "onward.map([1], print, name='m')",
        "onward.map needs something to iterate over",
    ),
    "code that has changed under a run": (
        """
        @onward.step
        def fetch(n): return n
        @onward.workflow
        def main():
            fetch(changed)
            raise KeyboardInterrupt
        changed = False
        try:
            main.options(id="r")()
        except KeyboardInterrupt:
            changed = True
        main.options(id="r")()
        """,
        "run r no longer matches its record at `fetch#1`",
    ),
}


@pytest.mark.parametrize("story", WRONG_CALLS)
def test_a_wrong_call_is_answered_with_a_sentence_and_loses_nothing(project: Path, story: str) -> None:
    text, says = WRONG_CALLS[story]
    if text.startswith("\n"):
        body = text
        margin = "        "
        text = "".join(line.removeprefix(margin) + "\n" for line in body.strip("\n").splitlines())
    (project / "bad.py").write_text(f"import onward\n\n{text}\n")
    ended = python("bad.py", cwd=project)
    assert says in told(ended)
    assert "touched" not in ended.stdout
    goes_on(project)


@pytest.mark.parametrize("what", ["each", "map"])
def test_a_loop_typed_at_a_prompt_needs_a_name(project: Path, what: str) -> None:
    call = {"each": "for x in onward.each([1]): pass", "map": "list(onward.map(print, [1]))"}[what]
    ended = python("-c", f"import onward\n{call}", cwd=project)
    assert f'give it a name: onward.{what}(..., name="...")' in told(ended)
    goes_on(project)


def test_an_error_names_the_line_of_the_program(project: Path) -> None:
    (project / "bad.py").write_text("import onward\n\nonward.each(5)\n")
    assert 'bad.py", line 3' in told(python("bad.py", cwd=project)).replace("bad.py, line", 'bad.py", line')


def test_an_exception_of_a_step_that_comes_back_as_stepfailed_keeps_its_traceback(project: Path) -> None:
    """Its sentence alone would hide which line of the program went wrong."""
    (project / "bad.py").write_text(
        "import onward\n\n"
        "@onward.workflow\n"
        "def main():\n"
        "    class Odd(BaseExceptionGroup, Exception): pass\n"
        "    @onward.step\n"
        "    def step(): raise ExceptionGroup('several', [ValueError('the real cause')])\n"
        "    step()\n"
        "main()\n"
    )
    ended = python("bad.py", cwd=project)
    assert ended.returncode == 1
    assert "the real cause" in ended.stderr


# -- runs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["show", "retry", "cancel", "reset"])
def test_an_unknown_run_is_answered_with_the_nearest_one(project: Path, command: str) -> None:
    ended = onward(command, "jop.py", *(["--yes"] if command == "reset" else []), cwd=project)
    assert ended.returncode == 5
    said = told(ended)
    assert "there is no run `jop.py`" in said
    assert "Did you mean `job.py`?" in said
    goes_on(project)


def test_a_second_process_on_the_same_loop_is_told_who_has_it(project: Path) -> None:
    (project / "job.py").write_text(
        "import os, sys\nimport onward\n\n"
        "for item in onward.each(range(5)):\n"
        "    print(item, flush=True)\n"
        "    if os.environ.get('HOLD'): sys.stdin.readline()\n"
    )
    with subprocess.Popen(
        [sys.executable, "job.py"],
        cwd=project,
        env=environment(HOLD="1"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "2\n"
        said = told(python("job.py", cwd=project))
        assert f"`job.py` is already running (process {first.pid} on " in said
        assert "nothing was started" in said
        first.send_signal(signal.SIGKILL)
    goes_on(project)


# -- the place of the journal -------------------------------------------------------------------------


def the_journal(folder: Path) -> Path:
    return folder / ".onward" / "journal.db"


def test_a_journal_of_a_newer_version_is_left_as_it_is(project: Path) -> None:
    db = apsw.Connection(str(the_journal(project)))
    version = db.execute("PRAGMA user_version").get
    db.execute("PRAGMA user_version = 9999")
    db.close()
    for ended in (python("job.py", cwd=project), onward("status", cwd=project)):
        said = told(ended)
        assert "has layout 9999" in said
        assert "nothing was changed" in said
    db = apsw.Connection(str(the_journal(project)))
    db.execute(f"PRAGMA user_version = {version}")
    db.close()
    goes_on(project)


def test_a_corrupted_journal_is_not_written_to(project: Path) -> None:
    path = the_journal(project)
    whole = path.read_bytes()
    path.write_bytes(b"not a journal at all" * 1_000)
    for side in path.parent.glob("journal.db-wal"):
        side.unlink()
    bad = path.read_bytes()
    assert "not a journal" in told(python("job.py", cwd=project))
    doctor = onward("doctor", cwd=project)
    assert doctor.returncode != 0
    assert "not a journal" in doctor.stdout + doctor.stderr
    assert path.read_bytes() == bad
    path.write_bytes(whole)
    goes_on(project)


def test_a_journal_with_a_damaged_page_is_not_trusted(project: Path) -> None:
    path = the_journal(project)
    db = apsw.Connection(str(path))
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    db.close()
    whole = path.read_bytes()
    damaged = bytearray(whole)
    for page in range(1, len(whole) // 4096):
        damaged[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    path.write_bytes(damaged)
    assert str(path) in told(python("job.py", cwd=project))
    path.write_bytes(whole)
    goes_on(project)


@pytest.fixture
def mount() -> Iterator[Callable[..., None]]:
    """Mounts something, or skips where that is not permitted."""
    mounted: list[Path] = []

    def call(folder: Path, *arguments: str | Path) -> None:
        folder.mkdir(exist_ok=True)
        done = subprocess.run(["mount", *arguments, folder], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"needs the right to mount: {done.stderr.strip()}")
        mounted.append(folder)

    yield call
    for folder in mounted:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_read_only_directory_is_named(project: Path, mount: Callable[..., None]) -> None:
    seen = project.parent / "seen"
    mount(seen, "--bind", project)
    subprocess.run(["mount", "-o", "remount,ro,bind", seen], check=True)
    said = told(python("job.py", cwd=seen))
    assert str(seen / ".onward") in said
    assert "read-only" in said.lower()
    goes_on(project)


def test_a_full_disk_loses_nothing_and_the_same_command_goes_on_when_there_is_room(
    tmp_path: Path, mount: Callable[..., None]
) -> None:
    disk = tmp_path / "disk"
    mount(disk, "-t", "tmpfs", "-o", "size=1m", "tmpfs")
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(600_000))
    # The wait for room is shortened: by default outcomes are held for half a minute.
    write_script(
        tmp_path,
        """
        import onward
        from onward.storage.committer import Committer

        Committer.__init__.__kwdefaults__["full_s"] = 0.3

        @onward.step
        def page(number):
            return f"{number:04}" * 2_000

        @onward.workflow
        def crawl():
            pages = []
            for number in range(30):
                pages.append(page(number)[:4])
                print(number, flush=True)
            return pages

        assert crawl() == [f"{number:04}" for number in range(30)]
        """,
    )
    url = f"sqlite:///{disk / 'journal.db'}"
    full = python("job.py", cwd=tmp_path, ONWARD_URL=url)
    said = told(full)
    assert "no room on the disk" in said
    acknowledged = full.stdout.split()
    assert 5 < len(acknowledged) < 30
    ballast.unlink()
    ended = python("job.py", cwd=tmp_path, ONWARD_URL=url)
    assert ended.returncode == 0, ended.stderr
    assert f"{len(acknowledged)} recorded steps kept" in ended.stderr


LONG, UNREADABLE = "x" * 300, "\udcff"
PLACES = ["", "/", ".", "job.py/x", LONG, f"{LONG}/x", UNREADABLE]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("words", [["backup"], ["export", "--all", "-o"]])
def test_a_place_that_cannot_be_written_to_is_answered_with_a_sentence(
    project: Path, words: list[str], place: str
) -> None:
    if words[0] == "export" and place == UNREADABLE:
        pytest.skip("a file can be called so")
    before = sorted(project.iterdir())
    ended = onward(*words, place, cwd=project)
    assert ended.returncode == 2, told(ended)
    assert "Traceback" not in ended.stderr
    assert sorted(project.iterdir()) == before, "nothing half-written is left"
    goes_on(project)


@pytest.mark.parametrize("place", ["sqlite:////", f"sqlite:///{LONG}.db", f"sqlite:///{UNREADABLE}.db"])
@pytest.mark.parametrize("command", ["status", "doctor", "gc"])
def test_a_journal_that_cannot_be_is_answered_with_a_sentence(
    project: Path, command: str, place: str
) -> None:
    ended = python("-m", "onward.cli", command, cwd=project, ONWARD_URL=place)
    assert ended.returncode in ((1, 5) if command == "doctor" else (2, 5)), told(ended)
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "place", ["foo://x", "d", "sqlite:///folder", "garbage.db", "foreign.db", "postgresql://h:x/db"]
)
def test_what_can_never_be_the_journal_is_not_to_be_tried_again(tmp_path: Path, place: str) -> None:
    """What honours 75, such as a service manager, tried for ever."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "garbage.db").write_text("garbage" * 1_000)
    with sqlite3.connect(tmp_path / "foreign.db") as db:
        db.execute("CREATE TABLE diary (day TEXT)")
    db.close()
    for command, code in (("status", 2), ("runs", 2), ("doctor", 1)):
        ended = python("-m", "onward.cli", command, cwd=tmp_path, ONWARD_URL=place)
        assert ended.returncode == code, told(ended)
        assert "Traceback" not in ended.stderr
    assert "problem  opening" in ended.stdout


def test_a_damaged_journal_is_a_failure_and_not_to_be_tried_again(project: Path) -> None:
    journal = project / ".onward" / "journal.db"
    with open(journal, "r+b") as file:
        file.truncate(journal.stat().st_size // 2)
    for side in ("-wal", "-shm"):
        journal.with_name(journal.name + side).unlink(missing_ok=True)
    ended = onward("doctor", cwd=project)
    assert ended.returncode == 1, told(ended)
    assert "problem" in ended.stdout


def test_a_server_that_is_away_is_to_be_tried_again(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound, but nobody listens there
        taken.bind(("127.0.0.1", 0))
        url = f"postgresql://ada@127.0.0.1:{taken.getsockname()[1]}/app"
        for command in ("status", "doctor"):
            ended = python("-m", "onward.cli", command, cwd=tmp_path, ONWARD_URL=url)
            assert ended.returncode == 75, told(ended)


@pytest.mark.parametrize(
    "words", [["run", LONG], ["runs", "--name", UNREADABLE], ["show", "a", "\x1b]0;b\x07"]]
)
def test_a_name_that_cannot_be_is_answered_with_a_sentence(project: Path, words: list[str]) -> None:
    ended = onward(*words, cwd=project)
    assert ended.returncode in (0, 2), told(ended)
    assert "Traceback" not in ended.stderr
    assert "\x1b" not in ended.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("words", [["status"], ["runs", "--json"], ["show", "job.py"]])
def test_output_that_finds_no_room_is_answered_with_a_sentence(project: Path, words: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "onward.cli", *words],
            cwd=project,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stderr.decode().startswith("onward: what was to be said could not be written")


FAKE_STATFS = """
#include <string.h>
int statfs(const char *path, void *buffer) {
    memset(buffer, 0, 120);
    *(long *)buffer = 0x6969;
    return 0;
}
"""


def test_a_network_file_system_is_refused(project: Path, tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc to pretend that there is a network file system")
    (tmp_path / "fake.c").write_text(FAKE_STATFS)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", tmp_path / "fake.so", tmp_path / "fake.c"], check=True)
    said = told(python("job.py", cwd=project, LD_PRELOAD=str(tmp_path / "fake.so")))
    assert "network file system (NFS" in said
    goes_on(project)

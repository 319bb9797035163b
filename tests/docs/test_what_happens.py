"""Every row of docs/what-happens.md, executed: a real program, a real blow, and the same command again."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api.lives import environment, python, told

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "what-happens.md"
pytestmark = [pytest.mark.important, pytest.mark.slow, pytest.mark.faults]

# Prints each item and writes it as a row; waits in the item HOLD, and fails in the item BAD.
JOB = """
import os, time
import onward

out = onward.jsonl("rows.jsonl")
items = [int(text) for text in os.environ.get("ITEMS", "0 1 2 3 4").split()]
for item in onward.each(items):
    print(item, flush=True)
    if str(item) == os.environ.get("BAD"):
        raise ValueError("a bad page")
    if str(item) == os.environ.get("HOLD"):
        while not os.path.exists("go"):
            time.sleep(0.01)
    out.write(item)
"""


class Project:
    """A folder with a job in it, and the processes that execute it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "pyproject.toml").touch()
        self.write(JOB)
        self._started: list[subprocess.Popen[str]] = []

    def write(self, text: str, name: str = "job.py") -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def held_at(self, item: int) -> subprocess.Popen[str]:
        """A process that stands in the body of this item."""
        process = subprocess.Popen(
            [sys.executable, "job.py"],
            cwd=self.folder,
            env=environment(HOLD=str(item)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        assert process.stdout is not None
        while (line := process.stdout.readline()) != f"{item}\n":
            assert line, f"it never came to item {item}: {ending(process)}"
        return process

    def release(self) -> None:
        (self.folder / "go").touch()

    def again(self, **variables: str) -> subprocess.CompletedProcess[str]:
        """The same command again."""
        return python("job.py", cwd=self.folder, **variables)

    def goes_on(self, *items: int) -> str:
        """The same command does these items and ends well; what it said."""
        ended = self.again()
        assert ended.returncode == 0, ended.stderr
        assert did(ended.stdout) == [*items], ended.stderr
        return ended.stderr

    def onward(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return python("-m", "onward.cli", *arguments, cwd=self.folder)

    def rows(self) -> list[int]:
        return did((self.folder / "rows.jsonl").read_text())

    def end(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()


def did(output: str) -> list[int]:
    return [int(line) for line in output.split()]


def ending(process: subprocess.Popen[str]) -> str:
    """What it said until it ended."""
    return process.communicate(timeout=100)[1]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    yield made
    made.end()


# -- the page ----------------------------------------------------------------------------------------------


def test_every_row_of_the_page_names_the_test_that_executes_it_and_every_test_here_has_a_row() -> None:
    text = PAGE.read_text("utf-8")
    table = [line for line in text.splitlines() if line.startswith("| ")][1:]
    named = [re.findall(r"`(?:(tests/[\w/]+\.py)::)?(test_\w+)`", line) for line in table]
    assert all(named), [line for line, names in zip(table, named, strict=True) if not names]
    for file, test in {pair for names in named for pair in names}:
        source = ROOT / (file or "tests/docs/test_what_happens.py")
        assert f"def {test}(" in source.read_text("utf-8"), f"{source} has no {test}"
    here = {name for name in globals() if name.startswith("test_") and name != _this()}
    assert here <= {test for names in named for _, test in names}


def _this() -> str:
    return test_every_row_of_the_page_names_the_test_that_executes_it_and_every_test_here_has_a_row.__name__


# -- the rows ----------------------------------------------------------------------------------------------


def test_an_exception(project: Project) -> None:
    ended = project.again(BAD="2")
    assert (ended.returncode, did(ended.stdout)) == (1, [0, 1, 2])
    assert "ValueError: a bad page" in ended.stderr
    assert "at 2 of 5" in ended.stderr
    assert "continuing job.py" in project.goes_on(2, 3, 4)
    assert project.rows() == [0, 1, 2, 3, 4]


def test_the_same_exception_three_times(project: Project) -> None:
    for _ in range(3):
        assert project.again(BAD="2").returncode == 1
    said = project.goes_on(3, 4)
    assert "item 2 parked" in said
    assert "1 failed" in said
    project.goes_on(2)
    assert sorted(project.rows()) == [0, 1, 2, 3, 4]


def test_item_after_item_fails(project: Project) -> None:
    project.write(JOB.replace('if str(item) == os.environ.get("BAD"):', 'if os.path.exists("down"):'))
    (project.folder / "down").touch()
    ended = project.onward("run", "--delay", "0", "job.py")
    assert ended.returncode == 1
    assert did(ended.stdout) == [0, 0, 0, 1, 1, 1, 2]
    assert "stopped early: the last 3 items in a row ended the program" in ended.stderr
    assert "ValueError: a bad page" in ended.stderr
    assert "it is not started again" in ended.stderr
    (project.folder / "down").unlink()
    project.goes_on(0, 1, 2, 3, 4)
    assert project.rows() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["Ctrl-C", "SIGTERM", "a closed terminal"],
)
def test_a_polite_end(project: Project, number: signal.Signals, code: int) -> None:
    """As often as it comes: it is never held against the item."""
    for _ in range(4):
        process = project.held_at(2)
        # Not in the moment in which the item is still being printed.
        time.sleep(0.1)
        process.send_signal(number)
        assert "at 2 of 5" in ending(process)
        assert process.returncode == code
    assert "continuing job.py" in project.goes_on(2, 3, 4)
    assert project.rows() == [0, 1, 2, 3, 4]


def test_kill_9(project: Project) -> None:
    process = project.held_at(2)
    process.kill()
    process.communicate()
    begun_at = time.monotonic()
    assert "continuing job.py" in project.goes_on(2, 3, 4)
    assert time.monotonic() - begun_at < 20, "it waited for the lease of the dead process"
    assert project.rows() == [0, 1, 2, 3, 4]


def test_three_deaths_in_the_same_item(project: Project) -> None:
    for _ in range(3):
        process = project.held_at(2)
        process.kill()
        process.communicate()
    assert "item 2 parked" in project.goes_on(3, 4)
    status = project.onward("status")
    assert "job.py" in status.stdout
    project.goes_on(2)


def test_an_edited_list(project: Project) -> None:
    """Inserted, removed and reordered: what was done is not done again, what is new is done."""
    process = project.held_at(2)
    process.kill()
    process.communicate()
    ended = project.again(ITEMS="9 4 2 1 8")
    assert (ended.returncode, did(ended.stdout)) == (0, [9, 4, 2, 8]), ended.stderr


def test_another_list(project: Project) -> None:
    process = project.held_at(2)
    process.kill()
    process.communicate()
    ended = project.again(ITEMS="100 101 102")
    assert "this is another list. Nothing was begun and nothing is lost" in told(ended)
    assert ended.stdout == ""
    project.goes_on(2, 3, 4)


def test_edited_code(project: Project) -> None:
    assert project.again(BAD="2").returncode == 1
    project.write(JOB.replace("out.write(item)", "out.write(item * 10)"))
    project.goes_on(2, 3, 4)
    assert project.rows() == [0, 1, 20, 30, 40]


# Dies after its first step, once.
WORKFLOW = """
import os, pathlib
import onward

@onward.step
def fetch(number):
    print("fetched", number, flush=True)
    return number

@onward.workflow
def crawl():
    fetch(1)
    if not pathlib.Path("died").exists():
        pathlib.Path("died").touch()
        os.kill(os.getpid(), 9)
    return fetch(2)

print("result", crawl.options(id="crawl")())
"""


def test_edited_code_that_contradicts_the_record(project: Project) -> None:
    project.write(WORKFLOW)
    assert project.again().returncode == -signal.SIGKILL
    project.write(WORKFLOW.replace("fetch(1)", "fetch(7)"))
    ended = project.again()
    assert "no longer matches its record at `fetch#1`" in told(ended)
    assert "fetched" not in ended.stdout
    project.write(WORKFLOW)
    ended = project.again()
    assert (ended.returncode, ended.stdout) == (0, "fetched 2\nresult 2\n"), ended.stderr


def test_a_second_process(project: Project) -> None:
    first = project.held_at(2)
    said = told(project.again())
    assert f"`job.py` is already running (process {first.pid} on " in said
    assert "nothing was started" in said
    project.release()
    assert "5 done" in ending(first)
    assert project.rows() == [0, 1, 2, 3, 4]


def test_a_full_disk(tmp_path: Path, mount: Callable[[Path], None]) -> None:
    disk = tmp_path / "disk"
    mount(disk)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(600_000))
    project = Project(tmp_path)
    # The wait for room is shortened: by default outcomes are held for half a minute.
    project.write(
        "import onward\n"
        "from onward.storage.committer import Committer\n\n"
        "Committer.__init__.__kwdefaults__['full_s'] = 0.3\n\n"
        "@onward.step\n"
        "def page(number):\n"
        "    return f'{number:04}' * 2_000\n\n"
        "@onward.workflow\n"
        "def crawl():\n"
        "    for number in range(30):\n"
        "        page(number)\n"
        "        print(number, flush=True)\n\n"
        "crawl()\n"
    )
    url = f"sqlite:///{disk / 'journal.db'}"
    full = project.again(ONWARD_URL=url)
    assert "no room on the disk" in told(full)
    acknowledged = did(full.stdout)
    assert 5 < len(acknowledged) < 30
    ballast.unlink()
    ended = project.again(ONWARD_URL=url)
    assert ended.returncode == 0, ended.stderr
    assert f"{len(acknowledged)} recorded steps kept" in ended.stderr


@pytest.fixture
def mount() -> Iterator[Callable[[Path], None]]:
    """A small file system of its own, or a skip where mounting is not permitted."""
    mounted: list[Path] = []

    def call(folder: Path) -> None:
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"needs the right to mount: {done.stderr.strip()}")
        mounted.append(folder)

    yield call
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_the_journal_is_deleted_under_a_running_program(project: Project) -> None:
    process = project.held_at(2)
    shutil.rmtree(project.folder / ".onward")
    time.sleep(1.1)  # it looks once a second
    project.release()
    said = ending(process)
    assert process.returncode == 1
    assert "was deleted or replaced while it was in use" in said
    project.goes_on(0, 1, 2, 3, 4)


def test_the_journal_is_deleted_between_two_runs(project: Project) -> None:
    assert project.again(BAD="2").returncode == 1
    shutil.rmtree(project.folder / ".onward")
    assert "continuing" not in project.goes_on(0, 1, 2, 3, 4)
    assert project.rows() == [0, 1, 2, 3, 4]


# A lease of four seconds instead of thirty, so that nobody need wait.
SHORT_LEASE = """
from onward.runtime.engine import Engine

Engine.__init__.__kwdefaults__["lease_s"] = 4.0
"""


def test_a_laptop_that_slept_longer_than_its_lease(project: Project) -> None:
    """A stopped process stands for one whose machine slept: no code of it runs, and time goes on."""
    project.write(SHORT_LEASE + JOB)
    process = project.held_at(2)
    process.send_signal(signal.SIGSTOP)
    time.sleep(5)
    project.release()
    process.send_signal(signal.SIGCONT)
    assert "5 done" in ending(process)
    assert project.rows() == [0, 1, 2, 3, 4]


def test_a_laptop_that_slept_while_another_process_took_over(project: Project) -> None:
    project.write(SHORT_LEASE + JOB)
    process = project.held_at(2)
    process.send_signal(signal.SIGSTOP)
    time.sleep(5)
    project.goes_on(2, 3, 4)
    project.release()
    process.send_signal(signal.SIGCONT)
    said = ending(process)
    assert process.returncode == 1
    assert "was taken over" in said
    assert "nothing more was written" in said
    assert project.rows() == [0, 1, 2, 3, 4]


# The wall clock of the process is shifted by as many seconds as the file `shift` says.
SHIFTED = """
import time

_real = time.time

def _shifted():
    try:
        return _real() + float(open("shift").read() or 0)
    except FileNotFoundError:
        return _real()

time.time = _shifted
"""
DAY = 86_400


@pytest.mark.parametrize("shift", [DAY, -DAY], ids=["forward", "backward"])
def test_the_clock_jumps_while_it_runs(project: Project, shift: int) -> None:
    project.write(SHIFTED + JOB)
    process = project.held_at(2)
    (project.folder / "shift").write_text(str(shift))
    project.release()
    assert "5 done" in ending(process)
    assert project.rows() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("shift", [DAY, -DAY], ids=["forward", "backward"])
def test_the_clock_jumps_between_two_runs(project: Project, shift: int) -> None:
    project.write(SHIFTED + JOB)
    process = project.held_at(2)
    process.kill()
    process.communicate()
    (project.folder / "shift").write_text(str(shift))
    assert "continuing job.py" in project.goes_on(2, 3, 4)
    assert project.rows() == [0, 1, 2, 3, 4]

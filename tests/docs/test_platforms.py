"""What docs/platforms.md says of systems that lack what Linux has, with what they lack taken away from this one."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from api.lives import environment, python, told
from onward.core.model import Owner
from onward.storage import host
from onward.storage.sqlite import connection
from onward.storage.sqlite.owners import Owners
from onward.storage.sqlite.turn import Turn

# Runs a program without the named modules, and without names of `os`, `signal` and `time`.
WITHOUT = """
import importlib.abc, os, runpy, signal, sys, time

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in {modules!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
for name in {modules!r}:
    sys.modules.pop(name, None)
for module, names in {names!r}.items():
    for name in names:
        if hasattr(sys.modules[module], name):
            delattr(sys.modules[module], name)
really_open = open
def opened(path, *args, **kwargs):
    if str(path).startswith("/proc/"):
        raise FileNotFoundError(2, "No such file or directory", str(path))
    return really_open(path, *args, **kwargs)
import builtins
if {no_proc!r}:
    builtins.open = opened
sys.argv = ["job.py"]
runpy.run_path("job.py", run_name="__main__")
"""
# As Python on Windows: https://docs.python.org/3/library/os.html marks what is not there.
WINDOWS = {
    "os": (
        *("register_at_fork", "fork", "geteuid", "getuid", "uname", "fchmod", "fchown", "killpg", "setpgid"),
        *("O_CLOEXEC", "O_NOFOLLOW", "O_DIRECTORY", "O_NONBLOCK", "fstatvfs", "statvfs", "pread", "pwrite"),
    ),
    "signal": ("SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGQUIT", "SIGALRM", "SIGCHLD"),
    "time": ("clock_gettime", "CLOCK_BOOTTIME", "CLOCK_MONOTONIC"),
}
MACOS = {"time": ("CLOCK_BOOTTIME",)}

JOB = """
import os
import onward

for item in onward.each(range(5)):
    print(item, flush=True)
    if str(item) == os.environ.get("DIE"):
        os.kill(os.getpid(), 9)
"""


def run(folder: Path, name: str, **variables: str) -> subprocess.CompletedProcess[str]:
    (folder / "pyproject.toml").touch()
    (folder / "job.py").write_text(JOB)
    modules, names = {
        "macOS": ((), MACOS),
        "Windows": (("fcntl", "resource", "termios", "pwd", "grp"), WINDOWS),
    }[name]
    text = WITHOUT.format(modules=modules, names=names, no_proc=True)
    return python("-c", text, cwd=folder, **variables)


def test_every_test_that_the_page_names_is_here() -> None:
    named = re.findall(
        r"`(test_\w+)`", (Path(__file__).parents[2] / "docs" / "platforms.md").read_text("utf-8")
    )
    assert named
    assert {*named} <= {*globals()}


# -- Windows -------------------------------------------------------------------------------------------


def test_without_flock_a_journal_is_refused_with_a_sentence_and_nothing_is_created(tmp_path: Path) -> None:
    said = told(run(tmp_path, "Windows"))
    assert "Windows is not supported yet; nothing was created" in said
    assert "Use WSL" in said
    assert not (tmp_path / ".onward").exists()


# -- macOS ---------------------------------------------------------------------------------------------


def test_without_proc_and_boottime_a_loop_continues_after_a_kill(tmp_path: Path) -> None:
    """Nothing proves the death there, so the same command waits until the lease of the dead has ended."""
    killed = run(tmp_path, "macOS", DIE="2")
    assert (killed.returncode, killed.stdout) == (-9, "0\n1\n2\n"), killed.stderr
    refused = run(tmp_path, "macOS")
    assert "is already running" in told(refused)
    # As if the lease had ended meanwhile; waiting for it would take half a minute.
    expire(tmp_path / ".onward" / "journal.db")
    ended = run(tmp_path, "macOS")
    assert (ended.returncode, ended.stdout) == (0, "2\n3\n4\n"), ended.stderr


def expire(journal: Path) -> None:
    code = (
        "import apsw, sys\n"
        "db = apsw.Connection(sys.argv[1])\n"
        "db.execute('UPDATE run SET lease_until = 0 WHERE lease_until IS NOT NULL')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(journal)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


@pytest.fixture
def no_boot_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_BOOT", "/nonexistent/boot_id")


class Library:
    """The C library of macOS, as far as it is asked here."""

    def __init__(self, value: bytes, status: int = 0) -> None:
        self._value, self._status = value, status

    def sysctlbyname(self, name: bytes, buffer: ctypes.Array[ctypes.c_char], *rest: object) -> int:
        assert name == b"kern.bootsessionuuid"
        buffer.value = self._value
        return self._status


def library(monkeypatch: pytest.MonkeyPatch, fake: object) -> None:
    monkeypatch.setattr(host, "ctypes", SimpleNamespace(**vars(ctypes) | {"CDLL": lambda name: fake}))


@pytest.mark.usefixtures("no_boot_id")
def test_the_boot_is_known_by_its_session_where_there_is_no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    library(monkeypatch, Library(b"7C0F9E1A-1D1B-4F5E-8F5B-0C8B1F0E2A11"))
    assert host.boot() == "7C0F9E1A-1D1B-4F5E-8F5B-0C8B1F0E2A11"


@pytest.mark.usefixtures("no_boot_id")
@pytest.mark.parametrize("fake", [Library(b"x", status=-1), Library(b""), SimpleNamespace()])
def test_a_boot_that_nobody_knows_is_none(monkeypatch: pytest.MonkeyPatch, fake: object) -> None:
    library(monkeypatch, fake)
    assert host.boot() is None


@pytest.mark.usefixtures("no_boot_id")
def test_a_boot_that_nobody_knows_proves_no_death(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    library(monkeypatch, SimpleNamespace())
    gone = Owner("gone", os.uname().nodename, "", 1, "x", 0.0)
    assert not Owners(tmp_path / "journal.db").proven_dead(gone)


def test_where_the_locks_cannot_be_listed_the_writer_is_another_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(path: str, *args: object, **kwargs: object) -> None:
        raise FileNotFoundError(path)

    monkeypatch.setattr("builtins.open", refuse)
    assert Turn(tmp_path / "journal.db")._holder() == "another process is writing"


def test_the_lease_clock_is_the_one_that_goes_on_during_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(time, "CLOCK_BOOTTIME")
    assert host.monotonic_clock() is None
    monkeypatch.setattr(time, "CLOCK_UPTIME_RAW", 8, raising=False)
    assert host.monotonic_clock() == time.CLOCK_MONOTONIC


# -- the disk's own cache ---------------------------------------------------------------------------------


def test_a_sync_goes_through_the_cache_of_the_disk_where_the_system_can(
    monkeypatch: pytest.MonkeyPatch, synced: list[object]
) -> None:
    monkeypatch.setattr(host, "_FULL_SYNC", 51)
    monkeypatch.setattr(host, "fcntl", SimpleNamespace(fcntl=lambda fd, what: synced.append((fd, what))))
    host.sync(7)
    assert synced == [(7, 51)]


def test_a_file_system_that_knows_no_full_sync_gets_a_plain_one(
    monkeypatch: pytest.MonkeyPatch, synced: list[object]
) -> None:
    def refuse(fd: int, what: int) -> None:
        raise OSError(45, "Operation not supported")

    monkeypatch.setattr(host, "_FULL_SYNC", 51)
    monkeypatch.setattr(host, "fcntl", SimpleNamespace(fcntl=refuse))
    host.sync(7)
    assert synced == [7]


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    seen: list[object] = []
    monkeypatch.setattr(host.os, "fsync", seen.append)
    return seen


def test_sqlite_is_told_to_sync_through_that_cache_too(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.touch()
    for durability, wanted in (("machine", 1), ("process", 0)):
        db = connection.connect(path, durability="machine" if durability == "machine" else "process")
        assert (db.pragma("fullfsync"), db.pragma("checkpoint_fullfsync")) == (wanted, wanted)
        db.close()


# -- everywhere ---------------------------------------------------------------------------------------------


def test_a_journal_below_a_directory_that_is_a_link_can_be_used(tmp_path: Path) -> None:
    """/tmp and the temporary directories are links on macOS; SQLite refused the whole path for that."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "job.py").write_text(JOB)
    url = f"sqlite:///{tmp_path / 'link' / 'journal.db'}"
    killed = python("job.py", cwd=tmp_path, ONWARD_URL=url, DIE="2")
    assert killed.stdout == "0\n1\n2\n", killed.stderr
    ended = python("job.py", cwd=tmp_path, ONWARD_URL=f"sqlite:///{tmp_path / 'real' / 'journal.db'}")
    assert (ended.returncode, ended.stdout) == (0, "2\n3\n4\n"), ended.stderr


def test_a_journal_that_is_a_link_itself_is_still_refused(tmp_path: Path) -> None:
    (tmp_path / "real.db").touch()
    (tmp_path / "journal.db").symlink_to(tmp_path / "real.db")
    (tmp_path / "job.py").write_text(JOB)
    ended = python("job.py", cwd=tmp_path, ONWARD_URL=f"sqlite:///{tmp_path / 'journal.db'}")
    assert "symbolic link" in told(ended)


# -- isolated steps ------------------------------------------------------------------------------------------

# Takes away the kernel's signal at a parent's death, and notes that it would have been asked for.
NO_SIGNAL = """
import ctypes

class Library:
    def prctl(self, *args):
        open("asked", "w").close()
        return 0

ctypes.CDLL = lambda *args, **kwargs: Library()
"""
ISOLATED = """
import os, time
import onward

@onward.step(isolate=True)
def slow():
    with open("pid.part", "w") as file:
        file.write(str(os.getpid()))
    os.rename("pid.part", "pid")
    time.sleep(60)

@onward.workflow
def main():
    slow()

if __name__ == "__main__":
    main.options(id="main")()
"""


@pytest.mark.slow
def test_an_isolated_step_ends_with_its_parent_without_help_from_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "job.py").write_text(ISOLATED)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(NO_SIGNAL)
    variables = environment()
    variables["PYTHONPATH"] = os.pathsep.join([str(tmp_path / "site"), variables["PYTHONPATH"]])
    with (
        open(tmp_path / "said", "w") as said,
        subprocess.Popen([sys.executable, "job.py"], cwd=tmp_path, env=variables, stderr=said) as parent,
    ):
        until = time.monotonic() + 30
        while not (tmp_path / "pid").exists():
            assert time.monotonic() < until, "the step was never begun"
            assert parent.poll() is None, (tmp_path / "said").read_text()
            time.sleep(0.02)
        parent.kill()
    worker = Path("/proc") / (tmp_path / "pid").read_text()
    until = time.monotonic() + 10
    while worker.exists():
        assert time.monotonic() < until, "the isolated step outlived its parent"
        time.sleep(0.02)
    assert (tmp_path / "asked").exists(), "the kernel was not asked, so nothing was taken away"

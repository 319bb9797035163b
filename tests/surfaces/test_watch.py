"""`onward watch`: what runs, live, in a terminal and in a pipe."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from onward.cli.watch import Watched
from onward.storage.open import open_store
from storage.rows import entry, opened, recorded
from surfaces.conftest import LOOP, MAP, Cli, Programs

ANSI = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def readable(descriptor: int, within_s: float) -> bool:
    """Whether there is something to read. By poll: select knows none beyond 1,023, and a long session has them."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN | select.POLLHUP)
    return bool(poll.poll(within_s * 1_000))


class Terminal:
    """`onward watch` in a terminal of 140 columns."""

    def __init__(self, programs: Programs, *words: str) -> None:
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        environment = os.environ | {
            "TERM": "xterm",
            "COLUMNS": "140",
            "LINES": "30",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "onward.cli", "watch", *words],
            cwd=programs.folder,
            env=environment,
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
        )
        programs.look_after(self.process)
        self.seen = ""

    def read_until(self, *patterns: str, seconds: float = 90) -> str:
        """Until all of this is there: a board comes in pieces."""
        until = time.monotonic() + seconds
        while not all(re.search(pattern, ANSI.sub("", self.seen)) for pattern in patterns):
            assert time.monotonic() < until, ANSI.sub("", self.seen)[-2_000:]
            if readable(self.master, 0.1):
                self.seen += os.read(self.master, 65_536).decode(errors="replace")
        return ANSI.sub("", self.seen)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def end(self) -> int:
        until = time.monotonic() + 90
        while self.process.poll() is None:
            assert time.monotonic() < until
            if readable(self.master, 0.05):
                self.seen += os.read(self.master, 65_536).decode(errors="replace")
        while readable(self.master, 0.2):
            self.seen += os.read(self.master, 65_536).decode(errors="replace")
        return self.process.returncode


def test_a_board_shows_what_runs_and_follows_it(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLD_AT", "c")
    program = programs.start(programs.write(LOOP))
    programs.wait_for("held")
    terminal = Terminal(programs)
    terminal.read_until(
        rf"letters +running .*2 of 6 \(33 %\) .*ago +process {program.pid} on",
        "q or Ctrl-C leaves; the work goes on",
    )
    (programs.folder / "go").touch()
    terminal.read_until(r"letters +done .*6 of 6 \(100 %\)")
    terminal.type("q")
    assert terminal.end() == 0
    assert program.wait(100) == 0
    assert terminal.seen.rindex("\x1b[?1049l") > terminal.seen.rindex("\x1b[?1049h"), (
        "the screen is given back"
    )
    assert "letters" in terminal.seen[terminal.seen.rindex("\x1b[?1049l") :], "the last board stays"
    assert termios.tcgetattr(terminal.slave) == terminal.before


@pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_terminal_is_given_back_however_it_ends(
    programs: Programs, how: signal.Signals, code: int
) -> None:
    programs.run(programs.write(LOOP))
    terminal = Terminal(programs)
    terminal.read_until("nothing runs")
    terminal.process.send_signal(how)
    assert terminal.end() == code
    assert terminal.seen.endswith("\r\n")
    assert "\x1b[?25h" in terminal.seen, "the cursor is shown"
    assert termios.tcgetattr(terminal.slave) == terminal.before


def test_a_death_shows_although_nobody_writes_it_down(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLD_AT", "c")
    program = programs.start(programs.write(LOOP))
    programs.wait_for("held")
    terminal = Terminal(programs)
    terminal.read_until("letters +running")
    program.kill()
    terminal.read_until("letters +interrupted", "letters: python job.py")
    terminal.type("q")
    assert terminal.end() == 0


def test_a_pipe_gets_a_line_for_each_change_of_state(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLD_AT", "c")
    program = programs.start(programs.write(LOOP))
    programs.wait_for("held")
    watching = programs.start("-m", "onward.cli", "watch", "--until-idle")
    assert watching.stdout is not None
    assert "letters  running  2 of 6 (33 %)" in watching.stdout.readline()
    (programs.folder / "go").touch()
    out, err = watching.communicate(timeout=100)
    assert program.wait(100) == 0
    assert watching.returncode == 0, err
    assert "letters  done  6 of 6 (100 %)" in out
    assert "\x1b" not in out
    assert len(out.splitlines()) <= 2


def test_a_program_gets_one_document_a_line(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLD_AT", "c")
    programs.start(programs.write(LOOP))
    programs.wait_for("held")
    watching = programs.start("-m", "onward.cli", "watch", "--json", "--until-idle")
    assert watching.stdout is not None
    first = json.loads(watching.stdout.readline())
    assert first["schema"] == 1
    assert (first["run"]["name"], first["run"]["state"], first["run"]["done"]) == ("letters", "running", 2)
    (programs.folder / "go").touch()
    out, _ = watching.communicate(timeout=100)
    last = json.loads(out.splitlines()[-1])
    assert (last["run"]["state"], last["run"]["done"]) == ("done", 6)
    assert last["at"] >= first["at"]


def test_its_exit_code_is_that_of_the_work(programs: Programs) -> None:
    programs.run(programs.write(MAP))
    assert programs.onward("watch", "halves", "--until-idle").returncode == 3
    programs.run(programs.write(LOOP))
    assert programs.onward("watch", "letters", "--until-idle").returncode == 0
    assert programs.onward("watch", "nobody", "--until-idle").returncode == 5


def test_what_is_not_there_is_not_watched(cli: Cli, journal: Path) -> None:
    result = cli("watch")
    assert result.exit_code == 5
    assert not journal.exists()


def test_a_journal_that_goes_away_ends_the_watching(programs: Programs, journal: Path) -> None:
    programs.run(programs.write(LOOP))
    watching = programs.start("-m", "onward.cli", "watch", "letters", "--json")
    assert watching.stdout is not None
    watching.stdout.readline()
    for path in journal.parent.glob("journal.db*"):
        if path.is_file():
            path.unlink()
    _, err = watching.communicate(timeout=100)
    assert watching.returncode == 5
    assert "was removed while it was watched" in err


def test_the_runs_are_read_only_when_something_has_changed(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"sqlite:///{journal}")
    run = opened(store, state="failed", owner=None, lease_until=None)
    at = 0.0
    looks, reads = 0, 0
    watched = Watched((), clock=lambda: at)

    def wait(seconds: float) -> bool:
        nonlocal at, looks
        at += seconds
        looks += 1
        if looks == 10:
            recorded(store, run, entry("each/a"))
        return looks == 20

    for _ in watched.changes(wait):
        reads += 1
    assert (looks, reads) == (20, 2)
    with watched:
        store.close()


def test_texts_of_users_do_not_command_the_terminal(programs: Programs, journal: Path) -> None:
    store = open_store(f"sqlite:///{journal}")
    evil = "\x1b]0;owned\x07[red]x[/red]"
    opened(store, "evil", name=evil, state="failed", owner=None, lease_until=None, command=evil)
    store.close()
    terminal = Terminal(programs)
    terminal.read_until("owned", "the work goes on")
    terminal.type("q")
    terminal.end()
    assert "\x1b]0;" not in terminal.seen
    assert "[red]x[/red]" in terminal.seen


def test_more_runs_than_lines_are_counted(programs: Programs, journal: Path) -> None:
    store = open_store(f"sqlite:///{journal}")
    for number in range(60):
        opened(store, f"r{number}", state="failed", owner=None, lease_until=None, name=f"job-{number}")
    store.close()
    terminal = Terminal(programs)
    terminal.read_until(r"… and 3\d more: onward runs")
    terminal.type("q")
    assert terminal.end() == 0

"""What a person sees while a loop or map runs."""

import io
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from onward.runtime.progress import Progress
from surfaces.conftest import Programs
from surfaces.test_watch import readable


class Clock:
    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.delenv("ONWARD_QUIET", raising=False)
    return Clock()


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def passed(clock: Clock, items: int, seconds: float, **given: int) -> Progress:
    """A pass of which `items` items took `seconds` each."""
    progress = Progress("scrape", clock=clock, **given)
    for number in range(items):
        clock.at += seconds
        progress.update(done=progress.kept + number + 1)
    return progress


def test_a_plain_line_comes_every_ten_seconds_at_most(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    passed(clock, 100, 0.25, total=200)
    lines = said(capsys)
    assert len(lines) == 2
    assert lines[0] == "onward: scrape: 40 of 200 (20 %), 4.0/s, 40 s left"


def test_a_short_pass_says_only_how_it_ended(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    progress = passed(clock, 10, 0.5, total=10)
    assert said(capsys) == []
    progress.finish(done=10)
    assert said(capsys) == ["onward: scrape: finished, 10 done, in 5 s"]


def test_what_was_kept_and_what_failed_is_said(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    progress = passed(clock, 5, 1, total=100, kept=60)
    progress.update(done=65, failed=3)
    assert (
        progress.line()
        == "scrape: 65 of 100 (65 %), 3 failed, 1.6/s, 27 s to 32 s left, 60 kept from earlier passes"
    )
    progress.finish(done=65, failed=3, complete=False)
    assert said(capsys) == [
        "onward: scrape: stopped after 5 s at 65 of 100 (60 of them kept from earlier passes), 3 failed; "
        "the same call continues there"
    ]


def test_the_time_left_is_learnt_first(clock: Clock) -> None:
    assert passed(clock, 4, 1, total=100).line().endswith("1.0/s, learning…")
    assert passed(clock, 5, 1, total=100).line().endswith("1.0/s, 2 min left")


def test_without_a_total_there_is_a_rate_and_no_time_left(clock: Clock) -> None:
    assert passed(clock, 30, 30).line() == "scrape: 30, 2.0/min"


def test_recorded_results_that_come_in_do_not_count_as_work(clock: Clock) -> None:
    progress = Progress("scrape", kept=1_000, total=2_000, clock=clock)
    for _ in range(1_000):
        progress.update(done=1_000)
    for number in range(10):
        clock.at += 10
        progress.update(done=1_010 + 10 * number)
    assert progress.line().startswith("scrape: 1,100 of 2,000 (55 %), 1.0/s, 15 min left")


def test_quiet_is_silent(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ONWARD_QUIET", "1")
    passed(clock, 100, 10).finish(done=100)
    assert capsys.readouterr() == ("", "")


def test_a_name_cannot_command_the_terminal(clock: Clock) -> None:
    assert Progress("\x1b[2Jx", clock=clock).line() == r"\x1b[2Jx: 0"


class Broken(io.StringIO):
    """A terminal that has gone away."""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        raise OSError("gone")


def test_a_terminal_that_has_gone_away_does_not_end_the_work(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TERM", raising=False)
    monkeypatch.setattr(sys, "stderr", Broken())
    passed(clock, 100, 1, total=100).finish(done=100)
    assert passed(clock, 0, 0)._bar is not None, "the next one may try again"


def test_streams_are_as_before_when_the_pass_is_over(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdout", terminal)
    progress = passed(clock, 10, 1, total=20)
    assert sys.stdout is not terminal
    print("a line of the program", end="")
    clock.at += 1
    progress.update(done=11)
    assert terminal.getvalue().endswith("a line of the program")  # no bar in the middle of somebody's line
    print()
    progress.finish(done=20)
    assert sys.stdout is terminal
    assert sys.stderr is terminal
    assert terminal.getvalue().endswith("onward: scrape: finished, 20 done, in 11 s\n")


def test_an_update_costs_less_than_three_microseconds(clock: Clock) -> None:
    progress = Progress("scrape", total=10**9)
    best = min(timed(progress) for _ in range(20))
    assert best < 3e-6, f"{best * 1e6:.2f} µs"


def timed(progress: Progress, calls: int = 2_000) -> float:
    begun = time.perf_counter()
    for number in range(progress.done, progress.done + calls):
        progress.update(done=number)
    return (time.perf_counter() - begun) / calls


# -- in a real terminal -----------------------------------------------------------------------------

SLOW = """
for item in onward.each(range(30), name="slow"):
    if item % 10 == 0:
        print("at", item)
    time.sleep(0.06)
print("rich" in sys.modules)
"""


def in_terminal(programs: Programs, name: str, term: str = "xterm") -> str:
    """What a terminal of 100 columns gets to see of the program."""
    master, slave = pty.openpty()
    environment = os.environ | {"TERM": term, "COLUMNS": "100", "PYTHONPATH": os.pathsep.join(sys.path)}
    program = subprocess.Popen(
        [sys.executable, name], cwd=programs.folder, env=environment, stdin=slave, stdout=slave, stderr=slave
    )
    programs.look_after(program)
    os.close(slave)
    seen = b""
    until = time.monotonic() + 90
    while time.monotonic() < until:
        if readable(master, 0.1):
            try:
                seen += os.read(master, 65_536)
            except OSError:  # the last one has closed it
                break
    os.close(master)
    assert program.wait(100) == 0
    return seen.decode()


def test_a_terminal_shows_a_bar_and_prints_appear_above_it(programs: Programs) -> None:
    begun_at = time.monotonic()
    seen = in_terminal(programs, programs.write(SLOW))
    took_s = time.monotonic() - begun_at
    drawn = [part for part in seen.split("\r\x1b[2K") if "of 30" in part]
    assert 3 <= len(drawn) <= took_s / 0.2 + 2, "five times a second is often enough"
    text = re.sub(r"\x1b\[[0-9;]*m", "", drawn[-1])
    assert re.match(r"slow ━+[╸╺]?━* +\d+ of 30 \d+\.\d/s · (\d+ s (to \d+ s )?left|learning…)", text)
    assert all(len(line) < 100 for line in text.splitlines())
    assert "\r\x1b[2Kat 20\r\n" in seen
    assert seen.endswith("True\r\n")
    assert "\x1b[?25l" not in seen, "a kill would leave the terminal without a cursor"


def test_a_dumb_terminal_and_a_pipe_see_plain_lines(programs: Programs) -> None:
    name = programs.write(SLOW)
    seen = in_terminal(programs, name, term="dumb")
    assert "\x1b" not in seen
    assert seen.endswith("False\r\n")
    piped = programs.run(name)
    assert piped.stdout.endswith("at 20\nFalse\n")
    assert "onward: slow: finished, 30 done, in " in piped.stderr


def test_a_quiet_terminal_sees_only_the_program(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONWARD_QUIET", "1")
    assert in_terminal(programs, programs.write(SLOW)) == "at 0\r\nat 10\r\nat 20\r\nFalse\r\n"


def test_a_map_shows_its_progress_too(programs: Programs, tmp_path: Path) -> None:
    text = 'print(len(list(onward.map(abs, range(50), name="absolute"))))'
    done = programs.run(programs.write(text))
    assert "onward: absolute: finished, 50 done, in " in done.stderr

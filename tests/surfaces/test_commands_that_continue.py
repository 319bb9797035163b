"""Every message that names a command which continues is taken at its word: the command is executed as it is printed."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from surfaces.conftest import Cli, Programs

pytestmark = pytest.mark.faults

# A loop that stops in the middle, in the way that it is told to.
STOPS = """
for n in onward.each(range(6), name="stops"):
    if n == 3 and not pathlib.Path("go").exists():
        HOW
    with open(sys.argv[-1], "a") as file:
        file.write(f"{n}\\n")
"""
KILLED = STOPS.replace("HOW", "os.kill(os.getpid(), 9)")
LEFT = STOPS.replace("HOW", "break")


def typed(folder: Path, command: str) -> "subprocess.CompletedProcess[str]":
    """A command as a person would type it, where `python` and `onward` are those of the tests."""
    tools = folder / "bin"
    tools.mkdir(exist_ok=True)
    for name, words in (("python", ""), ("onward", " -m onward.cli")):
        (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{words} "$@"\n')
        (tools / name).chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    return subprocess.run(
        ["sh", "-ec", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )


def continues(programs: Programs, command: str, folder: Path | None = None) -> None:
    (programs.folder / "go").touch()
    done = typed(folder or programs.folder, command)
    assert done.returncode == 0, (command, done.stderr)
    assert "continuing stops, begun" in done.stderr, (command, done.stderr)


ARGS = ["--depth", "3", "two words", 'it\'s; echo $HOME && \\ "odd".txt']


def test_arguments_with_spaces_and_quotes_survive(cli: Cli, programs: Programs) -> None:
    assert programs.run(programs.write(KILLED), *ARGS).returncode == -9
    [command] = re.findall(r"continue it: (.*)", cli("status").stdout)
    continues(programs, command)
    assert (programs.folder / ARGS[-1]).read_text().split() == list("012345")


def test_an_installed_command_is_named_as_it_is_typed(cli: Cli, programs: Programs) -> None:
    """It was `python /the/whole/path/bin/stopper`."""
    tools = programs.folder / "bin"
    tools.mkdir()
    (tools / "stopper").write_text(
        f"#!{sys.executable}\nimport os, sys, pathlib, onward\n"
        + KILLED.replace("sys.argv[-1]", '"done.txt"')
    )
    (tools / "stopper").chmod(0o755)
    assert typed(programs.folder, "stopper -m 'two words'").returncode != 0
    [command] = re.findall(r"continue it: (.*)", cli("status").stdout)
    assert command == "stopper -m 'two words'"
    continues(programs, command)
    assert (programs.folder / "done.txt").read_text().split() == list("012345")
    replayed = programs.onward("replay", "stops")
    assert (replayed.returncode, "does not tell which program" in replayed.stderr) == (2, True), (
        replayed.stderr
    )


def test_from_another_directory_the_command_goes_to_its_own_first(
    cli: Cli, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs.run(programs.write(KILLED), "out.txt")
    elsewhere = programs.folder / "else where"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    [command] = re.findall(r"continue it: (.*)", cli("status").stdout)
    assert command.startswith("cd ")
    continues(programs, command, elsewhere)
    assert programs.lines("out.txt") == list("012345")


def test_a_module_and_a_command_line_of_code_are_continued_too(cli: Cli, programs: Programs) -> None:
    (programs.folder / "jobs").mkdir()
    (programs.folder / "jobs" / "__init__.py").touch()
    programs.write(KILLED, "jobs/nightly.py")
    code = (
        "import os, sys, pathlib, onward; "
        "[(os.path.exists('go') or n < 3 or os.kill(os.getpid(), 9), "
        "open(sys.argv[-1], 'a').write(f'{n}\\n')) for n in onward.each(range(6), name='stops')]"
    )
    for words, out in ((["-m", "jobs.nightly", "a.txt"], "a.txt"), (["-c", code, "b.txt"], "b.txt")):
        assert programs.run(*words).returncode == -9
        [command] = re.findall(r"continue it: (.*)", cli("status").stdout)
        continues(programs, command)
        assert programs.lines(out) == list("012345")
        (programs.folder / "go").unlink()


def test_show_retry_doctor_and_watch_name_the_same_command(cli: Cli, programs: Programs) -> None:
    programs.run(programs.write(KILLED), "out.txt")
    shown = cli("show", "stops").stdout
    assert "continue it: python job.py out.txt" in shown
    assert "Continue it: python job.py out.txt" in cli("doctor").stdout
    result = cli("retry", "stops")
    continues(programs, result.stderr.rpartition("Continue it with: ")[2])


def test_what_failed_in_a_loop_that_is_done_once_is_tried_again_by_the_commands_that_are_named(
    cli: Cli, programs: Programs
) -> None:
    """The command that was named began the next pass, which leaves alone what is parked."""
    once = KILLED.replace('name="stops"', 'name="stops", once=True, max_crashes=1')
    script = programs.write(once)
    assert [programs.run(script, "out.txt").returncode for _ in range(2)] == [-9, 0]
    (programs.folder / "go").touch()
    assert programs.run(script, "out.txt").returncode == 0
    for named in (cli("status").stdout, cli("show", "stops").stdout):
        assert re.findall(r"try the failed ones again: (onward retry stops-\w+)\n", named), named
    retry, again = re.findall(r"(?:again|then): (.*)", cli("status").stdout)
    assert typed(programs.folder, f"{retry} && {again}").returncode == 0
    assert (programs.folder / "out.txt").read_text().split() == list("012453")


def test_what_the_loop_itself_says_at_its_end(programs: Programs) -> None:
    done = programs.run(programs.write(LEFT), "out.txt")
    [command] = re.findall(r"stopped after .* at 3 of 6; continue with: (.*)", done.stderr)
    continues(programs, command)


def test_what_onward_run_says_when_it_is_stopped_or_gives_up(programs: Programs) -> None:
    gave_up = programs.onward("run", "--max-restarts", "0", programs.write(KILLED), "out.txt")
    gave_up = (
        gave_up
        if gave_up.returncode == 1
        else programs.onward("run", "--max-restarts", "0", "job.py", "out.txt")
    )
    [command] = re.findall(r"then continue with: (.*)", gave_up.stderr)
    continues(programs, command)
    (programs.folder / "go").unlink()
    held = STOPS.replace("HOW", "pathlib.Path('held').touch(); time.sleep(60)")
    keeper = programs.start("-m", "onward.cli", "run", programs.write(held), "out.txt")
    programs.wait_for("held")
    keeper.send_signal(signal.SIGTERM)
    _, err = keeper.communicate(timeout=100)
    [command] = re.findall(r"stopped; continue with: (.*)", err)
    continues(programs, command)


@pytest.mark.parametrize(
    "words", [["-"], ["-c", "import os, sys, pathlib, onward\n" + KILLED]], ids=["stdin", "lines"]
)
def test_a_program_that_no_command_starts_again_says_so(
    cli: Cli, programs: Programs, words: list[str]
) -> None:
    done = subprocess.run(
        [sys.executable, *words],
        input="import os, sys, pathlib, onward\n" + KILLED,
        cwd=programs.folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == -9, done.stderr
    assert "call it again from the program it belongs to" in cli("status").stdout
    [one] = json.loads(cli("runs", "--json").stdout)["runs"]
    assert one["command"] is None

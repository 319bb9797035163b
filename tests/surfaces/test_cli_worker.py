"""`onward worker` and what belongs to it, in real processes: started, drained, killed, several at once."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable

import pytest

from surfaces.conftest import Cli, Programs

pytestmark = pytest.mark.important

APP = """
@onward.step
def note(what):
    with open("notes.txt", "a") as file:
        file.write(f"{what}\\n")
    return what

@onward.step
def hold(what):
    pathlib.Path(f"held-{what}").touch()
    while not pathlib.Path("go").exists():
        time.sleep(0.01)
    with open("notes.txt", "a") as file:
        file.write(f"held {what}\\n")
    return what

@onward.workflow
def quick(what):
    return note(what)

@onward.workflow
def slow(what):
    note(f"before {what}")
    hold(what)
    return note(f"after {what}")

@onward.workflow
def deadly(what):
    note(f"deadly {what}")
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def app(programs: Programs) -> Programs:
    programs.write(APP, "app.py")
    return programs


def eventually(what: Callable[[], bool], within_s: float = 30.0) -> None:
    until = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.02)


def state(cli: Cli, run_id: str) -> str:
    shown: str = json.loads(cli("show", run_id, "--json").stdout)["run"]["state"]
    return shown


def started(app: Programs, flow: str, *args: str) -> str:
    done = app.onward("start", f"app.py:{flow}", *args, "--json")
    assert done.returncode == 0, done.stderr
    run_id: str = json.loads(done.stdout)["run"]["id"]
    return run_id


# -- working ------------------------------------------------------------------------------------------


def test_what_one_process_starts_another_one_executes(app: Programs) -> None:
    worker = app.start("-m", "onward.cli", "worker", "app.py")
    done = app.onward("start", "app.py:quick", "hello", "--wait")
    assert (done.returncode, json.loads(done.stdout)) == (0, "hello")
    worker.send_signal(signal.SIGTERM)
    out, err = worker.communicate(timeout=100)
    assert (worker.returncode, out) == (0, "")
    assert "it knows deadly, quick, slow" in err
    assert "done after" in err


def test_a_burst_ends_when_nothing_is_ready_and_once_after_one_run(app: Programs) -> None:
    for what in "abc":
        started(app, "quick", what)
    assert app.onward("worker", "app.py", "--once", "--quiet").returncode == 0
    assert app.lines("notes.txt") == ["a"]
    assert app.onward("worker", "app.py", "--burst", "--quiet").returncode == 0
    assert sorted(app.lines("notes.txt")) == ["a", "b", "c"]


def test_several_processes_share_the_work_and_end_together(app: Programs) -> None:
    program = app.write("import app\napp.quick.start_many(f'{n}' for n in range(300))", "many.py")
    assert app.run(program).returncode == 0
    crew = app.start("-m", "onward.cli", "worker", "app.py", "--processes", "2", "--quiet")
    eventually(lambda: (app.folder / "notes.txt").exists() and len(app.lines("notes.txt")) == 300)
    crew.send_signal(signal.SIGTERM)
    assert crew.wait(100) == 0
    assert len(set(app.lines("notes.txt"))) == 300


# -- ending -------------------------------------------------------------------------------------------


def test_sigterm_lets_a_step_end_and_gives_the_run_back_before_the_next(app: Programs, cli: Cli) -> None:
    run_id = started(app, "slow", "a")
    worker = app.start("-m", "onward.cli", "worker", "app.py", "--drain", "0")
    app.wait_for("held-a")
    worker.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    (app.folder / "go").touch()
    _, err = worker.communicate(timeout=100)
    assert worker.returncode == 0
    assert "ending: no new runs" in err
    assert state(cli, run_id) == "pending"
    assert app.lines("notes.txt") == ["before a", "held a"]
    app.onward("worker", "app.py", "--burst")
    assert app.lines("notes.txt") == ["before a", "held a", "after a"]
    assert state(cli, run_id) == "done"


def test_a_second_signal_ends_a_worker_at_once_and_another_one_continues(app: Programs, cli: Cli) -> None:
    run_id = started(app, "slow", "a")
    worker = app.start("-m", "onward.cli", "worker", "app.py")
    app.wait_for("held-a")
    worker.send_signal(signal.SIGTERM)
    eventually(lambda: json.loads(cli("workers", "--json").stdout)["workers"][0]["state"] == "draining")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(100) == 128 + signal.SIGTERM
    (app.folder / "go").touch()
    app.onward("worker", "app.py", "--burst")
    assert state(cli, run_id) == "done"
    assert app.lines("notes.txt") == ["before a", "held a", "after a"]


# -- taking over --------------------------------------------------------------------------------------


def test_what_a_killed_worker_left_is_continued_within_a_second(app: Programs, cli: Cli) -> None:
    run_id = started(app, "slow", "a")
    first = app.start("-m", "onward.cli", "worker", "app.py")
    app.wait_for("held-a")
    second = app.start("-m", "onward.cli", "worker", "app.py")
    eventually(lambda: len(json.loads(cli("workers", "--json").stdout)["workers"]) == 2)
    (app.folder / "held-a").unlink()
    first.send_signal(signal.SIGKILL)
    first.wait()
    killed_at = time.monotonic()
    app.wait_for("held-a")  # the step that was in flight has begun again
    took_s = time.monotonic() - killed_at
    (app.folder / "go").touch()
    eventually(lambda: state(cli, run_id) == "done")
    second.send_signal(signal.SIGTERM)
    _, _err = second.communicate(timeout=100)
    assert app.lines("notes.txt") == ["before a", "held a", "after a"]
    # The promise is a second; a machine that is busy with other tests may be slow to say so, but no lease has run out.
    assert took_s < 10, took_s


def test_starting_one_more_worker_disturbs_nobody(app: Programs, cli: Cli) -> None:
    run_id = started(app, "slow", "a")
    first = app.start("-m", "onward.cli", "worker", "app.py")
    app.wait_for("held-a")
    assert app.onward("worker", "app.py", "--burst").returncode == 0
    assert json.loads(cli("show", run_id, "--json").stdout)["run"]["state"] == "running"
    (app.folder / "go").touch()
    eventually(lambda: state(cli, run_id) == "done")
    assert app.lines("notes.txt") == ["before a", "held a", "after a"]
    first.send_signal(signal.SIGTERM)
    assert first.wait(100) == 0


@pytest.mark.faults
def test_a_run_that_kills_its_worker_is_given_up_and_others_go_on(app: Programs, cli: Cli) -> None:
    poison = started(app, "deadly", "a")
    others = [started(app, "quick", what) for what in "bc"]
    crew = app.start("-m", "onward.cli", "worker", "app.py", "--processes", "2", "--quiet")
    eventually(lambda: state(cli, poison) == "failed", within_s=60)
    eventually(lambda: all(state(cli, other) == "done" for other in others))
    crew.send_signal(signal.SIGTERM)
    crew.communicate(timeout=100)
    # Its step was recorded before each death, and executed once.
    assert app.lines("notes.txt").count("deadly a") == 1
    shown = cli("show", poison).stdout
    assert "died" in shown


# -- what people see ----------------------------------------------------------------------------------


def test_what_nobody_works_on_is_said(app: Programs, cli: Cli) -> None:
    started(app, "quick", "a")
    assert "1 run of `quick` waits in queue default, and no living worker knows" in cli("status").stdout
    program = app.write("@onward.workflow\ndef other():\n    pass\n", "other.py")
    worker = app.start("-m", "onward.cli", "worker", program)
    eventually(lambda: json.loads(cli("workers", "--json").stdout)["workers"] != [])
    found = json.loads(cli("workers", "--json").stdout)
    assert [(one["workflow"], one["runs"]) for one in found["left_alone"]] == [("quick", 1)]
    assert found["workers"][0]["workflows"] == ["other"]
    assert found["workers"][0]["pid"] == worker.pid
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert json.loads(cli("workers", "--json").stdout)["workers"][0]["state"] == "dead"


def test_so_is_what_was_delayed_and_is_due(app: Programs, cli: Cli) -> None:
    """It was said to wait until a time that had passed."""
    done = app.onward("start", "app.py:quick", "a", "--delay", "0.2")
    assert done.returncode == 0, done.stderr
    eventually(
        lambda: "1 run of `quick` waits in queue default, and no living worker knows" in cli("status").stdout
    )
    assert re.search(r"waiting +due for ", cli("status").stdout)


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (["worker", "nowhere.py"], 2, "there is no script nowhere.py; no worker was started"),
        (["worker", "nowhere.jobs"], 2, "there is no module `nowhere.jobs` here"),
        (["worker", "empty.py"], 2, "no workflow is defined here"),
        (["worker", "app.py", "--once", "--processes", "2"], 2, "exclude each other"),
        (["start", "app.py:nothing"], 2, "defines no workflow `nothing`"),
        (["start", "quick"], 2, "names no workflow"),
        (["start", "app.py:quick"], 2, "missing a required argument: 'what'"),
        (["start", "app.py:quick", "a", "--arg", "what"], 2, "--arg takes NAME=JSON"),
        (["start", "app.py:quick", "a", "--key", "a\nb"], 2, "key= takes a printable str"),
        (["start", "app.py:quick", "a", "--id", "a/b"], 2, "an id has 1 to"),
        (["start", "app.py:quick", "a", "--id", "x" * 1_000_000], 2, "an id has 1 to"),
        (["pause", "nothing"], 5, "there is no run"),
        (["resume", "nothing"], 5, "there is no run"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(
    app: Programs, args: list[str], code: int, sentence: str
) -> None:
    (app.folder / "empty.py").touch()
    started(app, "quick", "before")
    if any(len(arg) > 100_000 for arg in args):
        args = ["start", "app.py:quick", "a", "--id", "x" * 100_000]
    done = app.onward(*args)
    assert (done.returncode, done.stdout) == (code, "")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_two_workflows_of_one_name_are_refused(app: Programs) -> None:
    app.write('@onward.workflow(name="quick")\ndef another():\n    pass\n', "clash.py")
    done = app.onward("worker", "app.py", "clash.py")
    assert done.returncode == 2
    assert "two workflows are named `quick`" in done.stderr


def test_dev_starts_anew_when_a_file_changes(app: Programs) -> None:
    (app.folder / "pyproject.toml").touch()
    dev = app.start("-m", "onward.cli", "dev", "app.py")
    first = app.onward("start", "app.py:quick", "one", "--wait")
    assert json.loads(first.stdout) == "one"
    app.write(APP.replace("return note(what)", 'return note(what + "!")'), "app.py")
    os.utime(app.folder / "app.py", (time.time() + 5, time.time() + 5))
    eventually(lambda: json.loads(app.onward("start", "app.py:quick", "two", "--wait").stdout) == "two!")
    dev.send_signal(signal.SIGTERM)
    _, err = dev.communicate(timeout=100)
    assert dev.returncode == 0
    assert "app.py has changed; starting anew" in err


def children(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True)
    return [int(child) for child in found.stdout.split()]


def test_worker_processes_end_with_the_one_that_started_them(app: Programs) -> None:
    crew = app.start("-m", "onward.cli", "worker", "app.py", "--processes", "2")
    eventually(lambda: len(children(crew.pid)) == 2)
    left = children(crew.pid)
    crew.kill()
    crew.communicate(timeout=100)  # ends only when nobody holds its output any more
    eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in left))


def test_a_worker_process_that_dies_is_started_again(app: Programs) -> None:
    crew = app.start("-m", "onward.cli", "worker", "app.py", "--processes", "2")
    eventually(lambda: len(children(crew.pid)) == 2)
    victim = children(crew.pid)[0]
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: len(children(crew.pid)) == 2 and victim not in children(crew.pid))
    done = app.onward("start", "app.py:quick", "still", "--wait")
    assert json.loads(done.stdout) == "still"
    crew.send_signal(signal.SIGTERM)
    _, err = crew.communicate(timeout=100)
    assert "was killed by SIGKILL; starting it again" in err


# -- work that keeps cores busy -----------------------------------------------------------------------

CPU = """
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

def processes():
    return ProcessPoolExecutor(2, mp_context=get_context("forkserver"))

@onward.step(executor=processes)
def compute(number):
    with open("notes.txt", "a") as file:
        file.write(f"{number} {os.getpid()}\\n")
    if number < 0 and not pathlib.Path("go").exists():
        pathlib.Path("held").touch()
        time.sleep(100)
    return number * number

@onward.workflow
def square(number):
    return compute(int(number))
"""


def test_steps_of_a_worker_run_in_an_executor_that_they_name(app: Programs) -> None:
    app.write(CPU, "cpu.py")
    worker = app.start("-m", "onward.cli", "worker", "cpu.py", "--quiet")
    asked = [app.onward("start", "cpu.py:square", str(n), "--wait") for n in (3, 4)]
    assert [json.loads(done.stdout) for done in asked] == [9, 16]
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    pids = {int(line.split()[1]) for line in app.lines("notes.txt")}
    assert worker.pid not in pids


def test_a_worker_that_was_asked_to_end_does_not_wait_for_what_an_executor_is_at(app: Programs) -> None:
    """Python waits at exit for the calls of a process pool: a worker must be gone before its platform kills it."""
    app.write(CPU, "cpu.py")
    done = app.onward("start", "cpu.py:square", "--json", "--", "-5")
    run_id = json.loads(done.stdout)["run"]["id"]
    worker = app.start("-m", "onward.cli", "worker", "cpu.py", "--quiet", "--drain", "1")
    app.wait_for("held")
    worker.send_signal(signal.SIGTERM)
    _, err = worker.communicate(timeout=30)
    assert worker.returncode == 0
    assert "1 runs were given back unfinished" in err
    (app.folder / "go").touch()
    heir = app.start("-m", "onward.cli", "worker", "cpu.py", "--quiet")
    ended = app.onward("show", run_id, "--json")
    eventually(lambda: json.loads(app.onward("show", run_id, "--json").stdout)["run"]["state"] == "done")
    assert ended.returncode == 0
    heir.send_signal(signal.SIGTERM)
    assert heir.wait(30) == 0
    assert len(app.lines("notes.txt")) == 2

"""`onward move`: a whole journal goes on in another place, and in one place only."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from onward.storage.open import open_store
from surfaces.conftest import Cli, Programs
from surfaces.test_cli_worker import eventually

pytestmark = pytest.mark.important

APP = """
@onward.step
def note(what):
    with open("notes.txt", "a") as file:
        file.write(f"{what}\\n")
    return what

@onward.step(max_attempts=1_000, backoff=2, backoff_max=2, jitter=False)
def gate():
    if not pathlib.Path("open").exists():
        raise ValueError("not open yet")

@onward.workflow
def job(what):
    first = note(what)
    if what.startswith("gated"):
        gate()
    return first + note(what + "!")

@onward.workflow
def parent(count):
    return [run.result() for run in [job.start(f"gated {n}") for n in range(count)]]

@onward.workflow
def held():
    pathlib.Path("held").touch()
    while not pathlib.Path("go").exists():
        time.sleep(0.01)
"""
LOOP = """
for item in onward.each(list("abcdef"), name="letters"):
    if item == "d" and not pathlib.Path("died").exists():
        pathlib.Path("died").touch()
        os.kill(os.getpid(), 9)
    with open("done.txt", "a") as file:
        file.write(item + "\\n")
"""


@pytest.fixture
def app(programs: Programs) -> Programs:
    programs.write(APP, "app.py")
    return programs


@pytest.fixture
def other(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'other.db'}"


def there(app: Programs, other: str, *args: str) -> str:
    """The command line, on the other journal."""
    before = os.environ["ONWARD_URL"]
    os.environ["ONWARD_URL"] = other
    try:
        done = app.onward(*args)
    finally:
        os.environ["ONWARD_URL"] = before
    assert done.returncode == 0, done.stderr
    return done.stdout


def states(url: str) -> dict[str, str]:
    store = open_store(url)
    try:
        assert list(store.problems()) == []
        return {run.id: run.state for run in store.runs(limit=-1)}
    finally:
        store.close()


def test_everything_goes_on_there_and_nothing_here(app: Programs, other: str, journal: Path) -> None:
    app.run(app.write(LOOP, "letters.py"))  # dies at d
    program = app.write(
        "import app\n"
        "app.job.options(id='first').start('first')\n"
        "app.job.options(id='gated').start('gated')\n"
        "app.parent.options(id='parent').start(2)\n"
        "app.job.options(id='late', delay=3_600, key='k', priority=3, tags=['x']).start('late')\n",
        "begin.py",
    )
    app.run(program)
    app.onward("worker", "app.py", "--burst")
    done = app.onward("move", "--to", other, "--json")
    assert done.returncode == 0, done.stderr
    moved = json.loads(done.stdout)
    # The loop, what is held at the gate, the parent and its two children, and what is due in an hour.
    assert (moved["runs"], moved["unfinished"]) == (7, 6)

    # Nothing of it goes on here.
    app.onward("worker", "app.py", "--burst")
    refused = app.onward("start", "app.py:job", "more")
    assert "was moved to" in refused.stderr
    assert refused.returncode == 2
    again = app.run("letters.py")
    assert again.returncode != 0
    assert "was moved to" in again.stderr
    before = app.lines("notes.txt")

    store = open_store(other)
    late = store.run("late")
    assert late is not None
    assert (late.priority, late.single, late.tags) == (3, "end:job:k", '["x"]')
    store.close()
    there(app, other, "cancel", "late")
    there(app, other, "run", "letters.py")
    (app.folder / "open").touch()
    assert app.lines("done.txt") == list("abcdef")
    eventually(
        lambda: (
            there(app, other, "worker", "app.py", "--burst") == ""
            and set(states(other).values()) == {"done", "cancelled"}
        )
    )
    notes = app.lines("notes.txt")
    assert notes[: len(before)] == before
    assert sorted(notes) == sorted(set(notes))  # nothing was done twice
    assert json.loads(there(app, other, "start", "app.py:parent", "2", "--id", "parent", "--wait")) == [
        "gated 0gated 0!",
        "gated 1gated 1!",
    ]


def test_a_move_is_taken_back(app: Programs, other: str, journal: Path, cli: Cli) -> None:
    app.onward("start", "app.py:job", "a", "--id", "a")
    assert app.onward("move", "--to", other).returncode == 0
    there(app, other, "start", "app.py:job", "b", "--id", "b")
    back = app.onward("move", "--from", other)
    assert back.returncode == 0, back.stderr
    app.onward("worker", "app.py", "--burst")
    assert sorted(app.lines("notes.txt")) == ["a", "a!", "b", "b!"]
    assert states(f"sqlite:///{journal}") == {"a": "done", "b": "done"}
    assert "was moved to" in there_fails(app, other, "start", "app.py:job", "c")


def there_fails(app: Programs, other: str, *args: str) -> str:
    with pytest.raises(AssertionError) as failed:
        there(app, other, *args)
    return str(failed.value)


def test_what_is_being_executed_is_not_moved(app: Programs, other: str) -> None:
    app.onward("start", "app.py:held")
    worker = app.start("-m", "onward.cli", "worker", "app.py")
    app.wait_for("held")
    refused = app.onward("move", "--to", other)
    assert refused.returncode == 75
    assert "`held` is already running (" in refused.stderr
    assert "nothing was moved. Wait until it has ended, or stop that process" in refused.stderr
    assert "if_running" not in refused.stderr, "that is for programs"
    assert not any(states(other).values())
    (app.folder / "go").touch()
    worker.terminate()
    assert worker.wait(100) == 0
    assert app.onward("move", "--to", other).returncode == 0


def test_a_run_that_waits_for_more_items_is_executed_before_it_is_moved(app: Programs, other: str) -> None:
    """Its items are no part of it yet: moved without them, they would be lost."""
    app.write("@onward.workflow(batch=100, batch_s=3_600)\ndef load(rows):\n    pass\n", "loads.py")
    app.run(app.write("import loads\nloads.load.start(1)\nloads.load.start(2)\n", "begin.py"))
    refused = app.onward("move", "--to", other)
    assert refused.returncode == 2
    assert "waits for more items" in refused.stderr
    assert states(os.environ["ONWARD_URL"]).popitem()[1] in ("waiting", "pending")


@pytest.mark.faults
@pytest.mark.parametrize("arrives", [True, False], ids=["arrived", "only closed"])
def test_a_move_that_was_killed_is_done_again(
    app: Programs, other: str, journal: Path, *, arrives: bool
) -> None:
    program = app.write("import app\napp.job.start_many(f'{n}' for n in range(700))", "many.py")
    app.run(program)
    killer = app.write(
        "import sys\nfrom onward.api import arriving\nfrom onward.cli import main\n"
        "parts = []\nread = arriving.read\n"
        "def dies(*args, **kwargs):\n"
        "    parts.append(1)\n"
        f"    done = list(read(*args, **kwargs)) if len(parts) == 1 or {arrives} else []\n"
        "    if len(parts) == 2:\n"
        "        os.kill(os.getpid(), 9)\n"
        "    return done\n"
        "arriving.read = dies\n"
        f"main(['move', '--to', {other!r}])\n",
        "killer.py",
    )
    assert app.run(killer).returncode == -9
    done = app.onward("move", "--to", other, "--json")
    assert done.returncode == 0, done.stderr
    moved = json.loads(done.stdout)
    assert (moved["runs"], moved["unfinished"]) == (700, 700)
    assert moved["known"] >= 200
    there(app, other, "worker", "app.py", "--burst", "--quiet")
    assert set(states(other).values()) == {"done"}
    assert set(states(f"sqlite:///{journal}").values()) == {"cancelled"}
    assert len(app.lines("notes.txt")) == 1_400


def journal_at(tmp_path: Path, name: str) -> str:
    return f"sqlite:///{tmp_path / name}"


def test_a_run_that_was_exported_away_arrives_closed(app: Programs, other: str, tmp_path: Path) -> None:
    """It was executed where its file was imported, and once more where the journal was moved to."""
    third = journal_at(tmp_path, "third.db")
    app.onward("start", "app.py:job", "sent", "--id", "sent")
    app.onward("start", "app.py:job", "kept", "--id", "kept")
    assert app.onward("export", "sent", "--move", "-o", "sent.jsonl").returncode == 0
    there(app, third, "import", "sent.jsonl")
    there(app, third, "worker", "app.py", "--burst")
    done = app.onward("move", "--to", other)
    assert done.returncode == 0, done.stderr
    assert "sent went elsewhere before and is closed in both places" in done.stderr
    there(app, other, "worker", "app.py", "--burst")
    assert states(other) == {"sent": "cancelled", "kept": "done"}
    assert app.lines("notes.txt") == ["sent", "sent!", "kept", "kept!"]


def test_a_run_that_was_exported_to_the_target_is_known_there(app: Programs, other: str) -> None:
    app.onward("start", "app.py:job", "sent", "--id", "sent")
    assert app.onward("export", "sent", "--move", "-o", "sent.jsonl").returncode == 0
    there(app, other, "import", "sent.jsonl")
    there(app, other, "worker", "app.py", "--burst")
    done = app.onward("move", "--to", other, "--json")
    assert done.returncode == 0, done.stderr
    moved = json.loads(done.stdout)
    assert (moved["known"], moved["unfinished"], moved["elsewhere"]) == (1, 0, 0)
    assert states(other) == {"sent": "done"}


def test_a_journal_that_was_moved_away_goes_on_in_no_third_place(
    app: Programs, other: str, tmp_path: Path
) -> None:
    third = journal_at(tmp_path, "third.db")
    app.onward("start", "app.py:job", "a", "--id", "a")
    assert app.onward("move", "--to", other).returncode == 0
    there(app, other, "worker", "app.py", "--burst")
    assert app.onward("move", "--to", third).returncode == 0
    there(app, third, "worker", "app.py", "--burst")
    assert states(third) == {"a": "cancelled"}
    assert app.lines("notes.txt") == ["a", "a!"]


def test_the_old_place_says_where_everything_is(app: Programs, other: str, cli: Cli) -> None:
    """It looked as if all was well there, and a worker waited in it for ever."""
    app.onward("start", "app.py:job", "a", "--id", "a")
    for command in ("status", "runs", "workers"):
        assert json.loads(cli(command, "--json").stdout)["moved_to"] is None
    idle = app.start("-m", "onward.cli", "worker", "app.py")
    eventually(lambda: states(os.environ["ONWARD_URL"]) == {"a": "done"})
    moved = app.onward("move", "--to", other)
    assert moved.returncode == 0, moved.stderr
    assert "1 worker still looks for work in" in moved.stderr
    idle.terminate()
    assert idle.wait(100) == 0
    place = other.removeprefix("sqlite:///")
    for command in ("status", "runs", "workers", "doctor"):
        said = cli(command)
        assert said.exit_code == 0
        assert f"moved to {place}" in said.stdout + said.stderr, command
    for command in ("status", "runs", "workers"):
        assert json.loads(cli(command, "--json").stdout)["moved_to"] == place
    worker = app.onward("worker", "app.py")  # it ends
    assert (worker.returncode, "serves" in worker.stderr) == (2, False)
    assert f"was moved to {place}" in worker.stderr
    assert "moved to" not in there(app, other, "status")


def test_a_copy_of_before_the_move_tells_that_it_doubles_what_went_on(
    app: Programs, other: str, journal: Path, cli: Cli
) -> None:
    app.onward("start", "app.py:job", "a", "--id", "a")
    assert cli("backup", "copy.db").exit_code == 0
    assert json.loads(cli("restore", "copy.db", "--json").stdout)["moved_to"] is None
    assert app.onward("move", "--to", other).returncode == 0
    result = cli("restore", "copy.db")
    assert result.exit_code == 0, result.stderr
    place = other.removeprefix("sqlite:///")
    assert f"had been moved to {place}, where its runs go on" in result.stderr
    assert not [*journal.parent.glob("journal.replaced-*.db-*")]
    assert states(f"sqlite:///{journal}") == {"a": "pending"}


WAITS = """
@onward.workflow
def late():
    write("late")

@onward.workflow(max_attempts=3, backoff=3_000, backoff_max=3_000)
def again():
    write("again")
    raise ValueError("no")

@onward.workflow
def asleep():
    note("asleep")
    onward.sleep(3_000)

@onward.workflow
def impatient():
    note("impatient")
    late.options(id="late").start().result(timeout=5_000)

@onward.step
def note(what):
    write(what)

def write(what):
    with open("notes.txt", "a") as file:
        file.write(f"{what}\\n")
"""


@pytest.mark.parametrize("way", ["move", "export", "taken back", "paused"])
def test_what_waits_for_a_time_waits_for_it_there_too(
    programs: Programs, other: str, journal: Path, way: str
) -> None:
    """A delay and the pause before the next attempt were over at once where the run arrived."""
    app, here = programs, f"sqlite:///{journal}"
    app.write(WAITS, "waits.py")
    app.onward("start", "waits.py:late", "--id", "late", "--delay", "3600")
    for name in ("again", "asleep", "impatient"):
        app.onward("start", f"waits.py:{name}", "--id", name)
    app.onward("worker", "waits.py", "--burst")
    before, at = app.lines("notes.txt"), here
    store = open_store(here)
    times = {name: store.run(name).wake_at for name in ("late", "again", "asleep")}  # type: ignore[union-attr]
    store.close()
    assert sorted(before) == ["again", "asleep", "impatient"]
    assert None not in times.values()
    if way == "paused":
        for name in ("late", "again"):
            app.onward("pause", name)
    if way in ("move", "paused"):
        assert app.onward("move", "--to", other).returncode == 0
        at = other
    else:
        assert app.onward("export", "--all", "--move", "-o", "all.jsonl").returncode == 0
        at = other if way == "export" else here
        there(app, at, "import", "all.jsonl")
    if way == "paused":
        for name in ("late", "again"):
            there(app, at, "resume", name)
    there(app, at, "worker", "waits.py", "--burst")
    assert app.lines("notes.txt") == before
    store = open_store(at)
    found = {name: store.run(name) for name in times}
    store.close()
    assert {name: run and run.wake_at for name, run in found.items()} == times
    assert {name: run and run.state for name, run in found.items()} == dict.fromkeys(times, "waiting")
    # Whom a run awaits is not known there: it looks for itself, and is due when that one has ended.
    there(app, at, "cancel", "late")
    there(app, at, "worker", "waits.py", "--burst")
    assert states(at)["impatient"] == "failed"


def test_what_the_target_has_passed_on_is_not_brought_there_again(
    app: Programs, other: str, tmp_path: Path
) -> None:
    """A move that is repeated by habit opened what had gone on from its target, by a file or by a move."""
    third = journal_at(tmp_path, "third.db")
    for name in ("a", "b"):
        app.onward("start", "app.py:job", name, "--id", name)
    assert app.onward("move", "--to", other).returncode == 0
    there(app, other, "export", "a", "--move", "-o", "a.jsonl")
    again = app.onward("move", "--to", other)
    assert again.returncode == 0, again.stderr
    assert "a went elsewhere before" in again.stderr
    assert states(other) == {"a": "cancelled", "b": "pending"}
    there(app, other, "move", "--to", third)
    refused = app.onward("move", "--to", other)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "and from there to" in refused.stderr
    assert states(other) == {"a": "cancelled", "b": "cancelled"}
    there(app, third, "worker", "app.py", "--burst")
    assert app.lines("notes.txt") == ["b", "b!"]


def test_a_run_comes_back_from_where_it_was_moved(app: Programs, other: str, journal: Path) -> None:
    """Its mark here says that it went there: what comes from there may go on here."""
    app.onward("start", "app.py:job", "a", "--id", "a")
    for _ in range(2):
        assert app.onward("move", "--to", other).returncode == 0
        assert states(other) == {"a": "pending"}
        assert app.onward("move", "--from", other).returncode == 0
        assert states(f"sqlite:///{journal}") == {"a": "pending"}
    assert app.onward("export", "a", "--move", "-o", "a.jsonl").returncode == 0
    assert app.onward("import", "a.jsonl").returncode == 0
    app.onward("worker", "app.py", "--burst")
    assert states(f"sqlite:///{journal}") == {"a": "done"}
    assert app.lines("notes.txt") == ["a", "a!"]


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        ([], 2, "say either --to URL or --from URL"),
        (["--to", "a.db", "--from", "b.db"], 2, "say either"),
        (["--to", "nowhere"], 2, "names no journal"),
        (["--from", "sqlite:///nothing.db"], 5, "there is no journal"),
        (["--to", "SAME"], 2, "is where it is already"),
    ],
)
def test_what_cannot_be_moved_is_said(
    app: Programs, journal: Path, args: list[str], code: int, sentence: str
) -> None:
    app.onward("start", "app.py:job", "a")
    done = app.onward("move", *(f"sqlite:///{journal}" if arg == "SAME" else arg for arg in args))
    assert (done.returncode, done.stdout) == (code, "")
    assert sentence in done.stderr

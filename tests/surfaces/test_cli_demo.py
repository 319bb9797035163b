"""`onward demo`: a first minute that convinces."""

import re
import signal
import time

import pytest

from onward.storage.open import open_store
from surfaces.conftest import Cli, Programs


def killed_midway(programs: Programs, number: signal.Signals) -> str:
    """Start the demo and send it a signal when it has done some items; what it printed."""
    program = programs.start("-m", "onward.cli", "demo", "--seconds", "10")
    until = time.monotonic() + 30
    done = 0
    while not done >= 5:
        assert time.monotonic() < until
        assert program.poll() is None, program.communicate()
        time.sleep(0.05)
        done = counted(programs)
    program.send_signal(number)
    out, _ = program.communicate(timeout=100)
    return out


def counted(programs: Programs) -> int:
    path = programs.folder / "journal.db"
    if not path.exists():
        return 0
    store = open_store(f"sqlite:///{path}")
    run = store.open_run("loop:onward-demo")
    done = 0 if run is None else run.done + store.count_items(run.no, run.counted_seq)
    store.close()
    return done


@pytest.mark.parametrize(
    ("number", "story"),
    [(signal.SIGKILL, "killed 1 ×, stopped 0 ×"), (signal.SIGINT, "killed 0 ×, stopped 1 ×")],
)
def test_the_demo_continues_where_it_was_stopped(
    cli: Cli, programs: Programs, number: signal.Signals, story: str
) -> None:
    first = killed_midway(programs, number)
    assert re.search(r"kill -9 \d+", first)
    if number == signal.SIGINT:
        assert "Type `onward demo` again: they will not be done again." in first
    done = programs.onward("demo", "--seconds", "0")
    assert done.returncode == 0, done.stderr
    assert "continuing onward-demo" in done.stderr
    assert f"All 200 items are done, each once, in 2 passes ({story})" in done.stdout
    kept = re.search(r": (\d+) items, .* were kept and not done again", done.stdout)
    assert kept is not None
    assert 5 <= int(kept[1]) < 200


def test_a_demo_that_nobody_kills_asks_for_it(programs: Programs) -> None:
    done = programs.onward("demo", "--seconds", "0")
    assert done.returncode == 0, done.stderr
    assert "in one go. Type `onward demo` once more, and kill it this time." in done.stdout


@pytest.mark.parametrize("project", [True, False])
def test_what_the_demo_says_to_type_works_in_the_folder_where_it_was_typed(
    programs: Programs, monkeypatch: pytest.MonkeyPatch, *, project: bool
) -> None:
    """It had a journal of its own in a folder without a project, where `onward show` found nothing of it."""
    monkeypatch.delenv("ONWARD_URL")
    monkeypatch.setenv("XDG_STATE_HOME", str(programs.folder / "state"))
    if project:
        (programs.folder / "pyproject.toml").touch()
    done = programs.onward("demo", "--seconds", "0")
    assert done.returncode == 0, done.stderr
    said = re.search(r"Look at it with: onward (show .*)", done.stdout)
    assert said is not None
    shown = programs.onward(*said[1].split())
    assert shown.returncode == 0, shown.stderr
    assert "onward-demo" in shown.stdout
    assert (programs.folder / ".onward").exists() == project

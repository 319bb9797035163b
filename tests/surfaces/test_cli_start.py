"""`onward start`, and what is said of queued runs: how they stand, and what continues them."""

from __future__ import annotations

import json
import signal

import pytest

from onward.api.journal import Journal
from onward.api.staff import Staff
from surfaces.conftest import Cli, Programs
from surfaces.test_cli_worker import eventually

pytestmark = pytest.mark.important

APP = """
@onward.workflow
def quick(what):
    return what + "!"

@onward.workflow
def bad(what):
    raise ValueError("no such card \\x1b]0;owned\\x07")

@onward.step(at_most_once=True)
def charge():
    os.kill(os.getpid(), 9)

@onward.workflow
def pay():
    charge()

@onward.workflow
def slow():
    pathlib.Path("held").touch()
    while not pathlib.Path("go").exists():
        time.sleep(0.01)
"""


@pytest.fixture
def app(programs: Programs) -> Programs:
    programs.write(APP, "app.py")
    return programs


def executed(app: Programs) -> None:
    app.onward("worker", "app.py", "--burst", "--quiet")


def started(app: Programs, flow: str, *args: str) -> None:
    assert app.onward("start", f"app.py:{flow}", *args).returncode == 0


def state(cli: Cli, run_id: str) -> str:
    shown: str = json.loads(cli("show", run_id, "--json").stdout)["run"]["state"]
    return shown


# -- waiting for its end ------------------------------------------------------------------------------


def test_who_waits_for_a_run_that_fails_reads_why_and_what_to_type(app: Programs) -> None:
    """A traceback of onward and click came, of which nothing named the run."""
    started(app, "bad", "a", "--id", "b1")
    executed(app)
    ended = app.onward("start", "app.py:bad", "a", "--id", "b1", "--wait")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "onward: bad (b1) failed: ValueError: no such card" in ended.stderr
    assert "onward retry b1" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "\x1b" not in ended.stderr


def test_a_program_that_waits_for_a_run_that_fails_gets_the_run(app: Programs) -> None:
    started(app, "bad", "a", "--id", "b1")
    executed(app)
    ended = app.onward("start", "app.py:bad", "a", "--id", "b1", "--wait", "--json")
    document = json.loads(ended.stdout)
    assert (ended.returncode, document["run"]["state"], document["result"]) == (1, "failed", None)
    assert document["run"]["error"]["class"].endswith("ValueError")


def test_who_waits_for_a_run_that_was_cancelled_reads_so(app: Programs, cli: Cli) -> None:
    started(app, "quick", "a", "--id", "q1")
    cli("cancel", "q1")
    ended = app.onward("start", "app.py:quick", "a", "--id", "q1", "--wait")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "quick (q1) was cancelled; what it had recorded is kept" in ended.stderr


def test_who_waits_for_a_run_that_is_stuck_reads_how_to_free_it(app: Programs) -> None:
    started(app, "pay", "--id", "p1")
    executed(app)
    executed(app)
    ended = app.onward("start", "app.py:pay", "--id", "p1", "--wait")
    assert ended.returncode == 1
    assert "pay (p1) is stuck: InDoubt" in ended.stderr
    assert "if not: onward retry p1" in ended.stderr
    assert "then: (a worker continues it" in ended.stderr


# -- an id that is taken ------------------------------------------------------------------------------


def test_a_start_whose_run_is_there_already_says_how_that_stands(app: Programs, cli: Cli) -> None:
    """It said `is queued`, of runs that had ended long ago."""
    said = app.onward("start", "app.py:quick", "a", "--id", "q1").stderr
    assert "quick is queued as q1" in said
    for act, stands in ((None, "pending"), ("pause", "paused"), ("cancel", "cancelled")):
        if act is not None:
            cli(act, "q1")
        said = app.onward("start", "app.py:quick", "a", "--id", "q1").stderr
        assert f"quick (q1) is there already: {stands}; nothing more was queued" in said
        assert "is queued as" not in said
    started(app, "quick", "b", "--id", "q2")
    executed(app)
    assert "is there already: done" in app.onward("start", "app.py:quick", "b", "--id", "q2").stderr


# -- what continues it --------------------------------------------------------------------------------


def test_a_run_whose_worker_died_needs_a_worker_and_nothing_put_right(app: Programs, cli: Cli) -> None:
    """`put it right, then onward retry` was said, which changed nothing."""
    started(app, "slow", "--id", "s1")
    worker = app.start("-m", "onward.cli", "worker", "app.py")
    app.wait_for("held")
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    for text in (cli("status").stdout, cli("show", "s1").stdout):
        assert "its worker died, and no living worker knows that workflow and serves that queue" in text
        assert "Start a worker: onward worker TARGET" in text
        assert "put it right" not in text
        assert "onward retry" not in text


def test_a_run_whose_worker_died_is_left_to_one_that_lives(
    app: Programs, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onward.api.staff.Staff.serves", lambda staff, run: run.name == "slow")
    started(app, "slow", "--id", "s1")
    worker = app.start("-m", "onward.cli", "worker", "app.py")
    app.wait_for("held")
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert "another one that lives continues it by itself" in cli("status").stdout


def test_a_worker_serves_what_it_knows_until_it_ends(app: Programs, cli: Cli) -> None:
    started(app, "quick", "a", "--id", "q1")
    started(app, "quick", "a", "--id", "q2", "--queue", "other")
    cli("pause", "q1")
    cli("pause", "q2")
    worker = app.start("-m", "onward.cli", "worker", "app.py", "--queue", "default")
    with Journal.existing() as journal:
        one, two = (journal.get(run_id).run for run_id in ("q1", "q2"))
        eventually(lambda: Staff.of(journal).serves(one))
        assert not Staff.of(journal).serves(two)
        worker.send_signal(signal.SIGTERM)
        worker.wait(100)
        assert not Staff.of(journal).serves(one)


def test_what_lets_a_queued_run_go_on_depends_on_how_it_stands(app: Programs, cli: Cli) -> None:
    """Of a paused one `show` said that a worker continues it, and no worker does."""
    started(app, "quick", "a", "--id", "q1")
    assert "continue it: (a worker continues it: onward worker TARGET)" in cli("show", "q1").stdout
    cli("pause", "q1")
    assert "continue it: onward resume q1" in cli("show", "q1").stdout
    assert "start afresh with: onward start TARGET:WORKFLOW" in cli("reset", "q1", "--yes").stderr


# -- retry --------------------------------------------------------------------------------------------


def test_a_run_that_failed_as_a_whole_is_retried_with_a_sentence_that_says_so(
    app: Programs, cli: Cli
) -> None:
    """`nothing of it had failed for good` was said of it, and its timeline called the retry a reset."""
    started(app, "bad", "a", "--id", "b1")
    executed(app)
    said = cli("retry", "b1").stderr
    assert "bad (b1) is ready: it had failed with ValueError: no such card" in said
    assert "and will be executed again; what it has recorded is kept" in said
    shown = cli("show", "b1").stdout
    assert "made ready again by " in shown
    assert "reset by" not in shown

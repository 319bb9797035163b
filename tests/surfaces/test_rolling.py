"""A deploy in steps: workers of two versions of the code, and of onward itself, on one journal at the same time.

The newer version of onward is a copy of this one with another migration in it; what runs are real processes.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import onward.storage
from onward.storage import migrate
from onward.storage.postgres import layout
from postgres.server import fresh_schema
from surfaces.conftest import Cli, Programs

pytestmark = [pytest.mark.important, pytest.mark.slow, pytest.mark.faults]

OLD = """
@onward.step
def note(what):
    with open("notes.txt", "a") as file:
        file.write(f"{os.environ['WHO']} {what}\\n")
    return what

@onward.workflow
def quick(what):
    return note(what)

@onward.workflow
def slow(what):
    note(f"before {what}")
    pathlib.Path(f"held-{what}").touch()
    while not pathlib.Path("go").exists():
        time.sleep(0.01)
    return note(f"after {what}")
"""
NEW = f"""{OLD}
@onward.workflow
def novel(what):
    return note(what)
"""
# Adds to what there is, and programs of the version before need not know it.
ADDS = (
    "ALTER TABLE {run} ADD COLUMN colour TEXT;"
    "ALTER TABLE {entry} ADD COLUMN colour TEXT NOT NULL DEFAULT 'red';"
    "CREATE INDEX {index} ON {run} (colour);"
    "INSERT INTO {meta} (name, value) VALUES ('least', '{before}');"
)
# Changes what there is, and gives it another name.
CHANGES = "ALTER TABLE {run} RENAME COLUMN stalls TO halts;"


@pytest.fixture(params=["sqlite", "postgres"])
def app(request: pytest.FixtureRequest, programs: Programs, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """The old code, on either database."""
    if request.param == "postgres":
        server = request.getfixturevalue("postgres_server")
        monkeypatch.setenv("ONWARD_URL", server.url(schema=fresh_schema()))
    monkeypatch.setenv("WHO", "somebody")
    programs.write(OLD, "app.py")
    return programs


@pytest.fixture
def newer(tmp_path: Path) -> Callable[[str], Path]:
    """Makes the next version of onward, whose migration is `script`: where its source lies."""

    def make(script: str) -> Path:
        source = tmp_path / "newer"
        product = source / "onward"
        unfinished = shutil.ignore_patterns("*.pyc.*")
        shutil.copytree(Path(onward.storage.__file__).parents[1], product, ignore=unfinished)
        storage = product / "storage"
        _next(storage / "migrate.py", storage / "sqlite", migrate.VERSION, script, "")
        _next(storage / "postgres" / "layout.py", storage / "postgres", layout.VERSION, script, "onward.")
        if "halts" in script:
            for file in storage.glob("*/queries.sql"):
                file.write_text(re.sub(r"\bstalls\b", "halts", file.read_text()))
        return source

    return make


def _next(module: Path, folder: Path, version: int, script: str, schema: str) -> None:
    line = f"VERSION: Final = {version}"
    text = module.read_text()
    assert text.count(line) == 1
    module.write_text(text.replace(line, f"VERSION: Final = {version + 1}"))
    names = {name: schema + name for name in ("run", "entry", "meta")}
    sql = script.format(**names, index="run_colour", before=version)
    pragma = "" if schema else f"PRAGMA user_version = {version + 1};"
    (folder / "migrations" / f"{version + 1:04}.sql").write_text(pragma + sql)


def eventually(what: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not what():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.05)


def started(app: Programs, flow: str, what: str, source: Path | None = None) -> None:
    done = app.onward("start", flow, what, source=source)
    assert done.returncode == 0, done.stderr


def notes(app: Programs) -> list[str]:
    file = app.folder / "notes.txt"
    return file.read_text().splitlines() if file.exists() else []


def states(cli: Cli) -> set[str]:
    return {one["state"] for one in json.loads(cli("runs", "--json").stdout)["runs"]}


def test_a_worker_that_does_not_know_a_workflow_leaves_it_for_one_that_does_and_status_says_so(
    app: Programs, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.write(NEW, "app_new.py")
    monkeypatch.setenv("WHO", "old")
    app.start("-m", "onward.cli", "worker", "app.py")
    started(app, "app_new.py:novel", "one")
    started(app, "app.py:quick", "two")
    eventually(lambda: notes(app) == ["old two"])
    said = "1 run of `novel` waits in queue default, and no living worker knows that workflow"
    assert said in cli("status").stdout
    assert any(said in sentence for sentence in json.loads(cli("status", "--json").stdout)["left_alone"])
    monkeypatch.setenv("WHO", "new")
    app.start("-m", "onward.cli", "worker", "app_new.py")
    eventually(lambda: notes(app) == ["old two", "new one"])
    eventually(lambda: states(cli) == {"done"})
    assert "needs you" not in cli("status").stdout


def test_workers_of_two_versions_of_onward_share_a_journal_to_which_the_newer_one_has_added(
    app: Programs, cli: Cli, newer: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old one was at work when the layout changed; another old one is started afterwards, as after a crash."""
    source = newer(ADDS)
    monkeypatch.setenv("WHO", "old")
    old = app.start("-m", "onward.cli", "worker", "app.py", "--concurrency", "2")
    started(app, "app.py:slow", "one")
    app.wait_for("held-one")
    monkeypatch.setenv("WHO", "new")
    new = app.start("-m", "onward.cli", "worker", "app.py", "--concurrency", "2", source=source)
    started(app, "app.py:slow", "two", source)
    app.wait_for("held-two")
    for number in range(4):
        started(app, "app.py:quick", f"by-old-{number}")
        started(app, "app.py:quick", f"by-new-{number}", source)
    eventually(lambda: len(notes(app)) == 10)
    (app.folder / "go").touch()
    eventually(lambda: states(cli) == {"done"})
    assert {"old before one", "old after one"} <= set(notes(app))  # the steps after the change too
    assert len(notes(app)) == len({line.partition(" ")[2] for line in notes(app)}) == 12  # nothing twice
    for one in (old, new):
        one.send_signal(signal.SIGTERM)
        assert one.wait(60) == 0
    monkeypatch.setenv("WHO", "another old")
    started(app, "app.py:quick", "last")
    assert app.onward("worker", "app.py", "--burst").returncode == 0
    assert notes(app)[-1] == "another old last"
    assert states(cli) == {"done"}


def test_an_old_worker_ends_when_its_journal_has_become_one_that_it_does_not_understand(
    app: Programs, newer: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a sentence; another one does not begin, and the newer version continues what it had in hand.

    What it could still write is what had not changed: all that has got another name.
    """
    source = newer(CHANGES)
    monkeypatch.setenv("WHO", "old")
    old = app.start("-m", "onward.cli", "worker", "app.py")
    started(app, "app.py:slow", "one")
    app.wait_for("held-one")
    assert app.onward("status", source=source).returncode == 0
    (app.folder / "go").touch()
    _, said = old.communicate(timeout=60)
    assert old.returncode != 0
    assert "newer version of onward" in said
    assert "Traceback" not in said
    assert "update onward here" in app.onward("worker", "app.py").stderr.lower()
    monkeypatch.setenv("WHO", "new")
    app.start("-m", "onward.cli", "worker", "app.py", source=source)
    eventually(lambda: '"state": "done"' in app.onward("runs", "--json", source=source).stdout)
    assert notes(app).count("old before one") == 1
    assert "new before one" not in notes(app)  # it was recorded

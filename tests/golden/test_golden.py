"""Journals of every layout that was ever released, and of other versions of Python, are continued by this version.

Each lies here as SQL text, written by `tools/golden.py` when its layout was new, with what was executed then and what a
continuation came to. A later version must come to the same, and execute the same: nothing that was recorded, again.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from onward.storage.migrate import VERSION
from onward.storage.open import open_store

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import golden  # noqa: E402  (a tool, not a package)

pytestmark = pytest.mark.faults

LAYOUTS = sorted(golden.GOLDEN.glob("layout*.sql"))


@pytest.fixture(params=LAYOUTS, ids=lambda path: path.stem)
def dump(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def expected(dump: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(dump.with_suffix(".json").read_text())
    return found


@pytest.mark.important
def test_every_layout_up_to_the_present_one_is_kept() -> None:
    """A release that changes the layout keeps a journal of it: python tools/golden.py"""
    assert [path.stem for path in LAYOUTS] == [f"layout{number}" for number in range(1, VERSION + 1)]
    assert all(path.stat().st_size < 100_000 for path in LAYOUTS)


@pytest.mark.important
def test_what_an_old_version_broke_off_is_continued(dump: Path, tmp_path: Path) -> None:
    golden.restored(dump, tmp_path / "journal.db")
    assert golden.run_jobs(tmp_path, dies=False, path=str(ROOT / "src")) == expected(dump)["continued"]
    store = open_store(f"sqlite:///{tmp_path / 'journal.db'}")
    assert {run.state for run in store.runs()} == {"done"}
    assert list(store.problems()) == []
    store.close()


def test_what_an_old_version_recorded_can_be_looked_at_and_carried(dump: Path, tmp_path: Path) -> None:
    golden.restored(dump, tmp_path / "journal.db")

    def onward(*words: str, **variables: str) -> str:
        environment = os.environ | {
            "ONWARD_URL": "sqlite:///journal.db",
            "PYTHONPATH": str(ROOT / "src"),
            **variables,
        }
        done = subprocess.run(
            [sys.executable, "-m", "onward.cli", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    runs = json.loads(onward("runs", "--json"))["runs"]
    assert {one["name"]: one["state"] for one in runs} == {
        "letters": "pending",
        "odd items": "pending",
        "rows": "pending",
        "halves": "failed",
        "failing": "failed",
        "nested": "pending",
        "concurrent": "pending",
        "with_an_id": "done",
        "killed": "running",
    }
    for one in runs:
        onward("show", one["id"], "--all", "--errors")
    onward("doctor")
    onward("export", "--all", "-o", "runs.jsonl")
    onward("import", "--take-over", "runs.jsonl", ONWARD_URL="sqlite:///carried.db")
    (tmp_path / "journal.db").unlink()
    (tmp_path / "carried.db").rename(tmp_path / "journal.db")
    for side in tmp_path.glob("*.db-*"):
        side.unlink()
    assert golden.run_jobs(tmp_path, dies=False, path=str(ROOT / "src")) == expected(dump)["continued"]


def test_the_present_version_still_breaks_off_as_it_did(tmp_path: Path) -> None:
    """So the golden program keeps its meaning: what it leaves is what the kept journals hold."""
    left = golden.run_jobs(tmp_path, dies=True, path=str(ROOT / "src"))
    assert left == expected(LAYOUTS[-1])["broken off"]
    dump = tmp_path / "again.sql"
    dump.write_text(golden.dumped(tmp_path / "journal.db"))
    golden.restored(dump, tmp_path / "again.db")
    assert golden.dumped(tmp_path / "again.db") == dump.read_text(), "a dump holds all there is"


def test_a_kept_journal_tells_nothing_of_the_machine_it_was_written_on(dump: Path) -> None:
    paths = set(re.findall(r"(?<![\w<./])/(?:home|root|work|usr|opt|tmp|Users)/[\w./-]*", dump.read_text()))
    assert {path for path in paths if not path.startswith("/tmp/golden/")} == set()


# -- another Python ---------------------------------------------------------------------------------


def other_pythons() -> list[str]:
    """Interpreters on this machine that onward supports, one of each version but our own."""
    found: dict[str, str] = {}
    places = [*(Path.home() / ".pyenv" / "versions").glob("3.*/bin/python")]
    places += [Path(one) for one in (shutil.which(f"python3.{minor}") for minor in range(11, 16)) if one]
    for place in places:
        done = subprocess.run(
            [place, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True, text=True
        )
        version = done.stdout.strip()
        if done.returncode == 0 and tuple(map(int, version.split("."))) >= (3, 11):
            found.setdefault(version, str(place))
    found.pop(f"{sys.version_info[0]}.{sys.version_info[1]}", None)
    return [found[version] for version in sorted(found)]


# The newest on every change, the others in the full set: each is given an environment of its own.
OTHERS = other_pythons() or [None]


@pytest.fixture(
    scope="module",
    params=[pytest.param(one, marks=[pytest.mark.full] * (one != OTHERS[-1]), id=str(one)) for one in OTHERS],
)
def other(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Another Python with what onward needs at run time."""
    if request.param is None:
        pytest.skip("there is no other Python from 3.11 on here")
    folder = tmp_path_factory.mktemp("venv")
    made = subprocess.run([request.param, "-m", "venv", folder], capture_output=True, text=True)
    install = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pinned = ["--constraint", str(ROOT / "requirements" / "dev.txt"), "apsw", "click"]
    installed = made.returncode == 0 and subprocess.run([*install, *pinned], capture_output=True, text=True)
    if not installed or installed.returncode != 0:
        pytest.skip(
            f"{request.param} could not be given apsw: {installed.stderr[-200:] if installed else made.stderr}"
        )
    return str(folder / "bin" / "python")


@pytest.mark.slow
@pytest.mark.parametrize("begins", ["ours", "theirs"])
def test_what_one_python_broke_off_another_one_continues(other: str, begins: str, tmp_path: Path) -> None:
    first, second = (sys.executable, other) if begins == "ours" else (other, sys.executable)
    source = str(ROOT / "src")
    assert (
        golden.run_jobs(tmp_path, dies=True, python=first, path=source) == expected(LAYOUTS[-1])["broken off"]
    )
    continued = golden.run_jobs(tmp_path, dies=False, python=second, path=source)
    assert continued == expected(LAYOUTS[-1])["continued"]

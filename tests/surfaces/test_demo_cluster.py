"""The main job spread out: a worker and the database die, and the web server's log says that the promise was kept."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.faults

VENUES = Path(__file__).resolve().parents[2] / "examples" / "venues"


def cluster(folder: Path, *options: str, before: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The demo as a reader runs it; a module `sitecustomize` in the folder `before` changes its workers."""
    path = [str(before or ""), str(VENUES.parents[1] / "src"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path))}
    command = [sys.executable, str(VENUES / "cluster.py"), "--dir", str(folder), *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=115, check=False)


@pytest.mark.important
@pytest.mark.slow
def test_a_scrape_by_three_workers_of_which_one_is_killed_repeats_only_what_that_one_had_in_hand(
    tmp_path: Path,
) -> None:
    ended = cluster(tmp_path / "run", "--sqlite")

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert re.search(r"Kept: 117 of 117 rows equal the web server's data", ended.stdout)
    assert re.search(r"worker \d+ killed with \d+ pages on their way", ended.stdout)
    assert "one more worker asked for nothing" in ended.stdout


@pytest.mark.important
@pytest.mark.slow
def test_it_does_so_on_postgresql_when_the_server_dies_too(tmp_path: Path) -> None:
    ended = cluster(tmp_path / "run")

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert re.search(r"Kept: 117 of 117 rows equal the web server's data", ended.stdout)
    assert re.search(r"the database was gone for .* it refused [1-9]\d* connections", ended.stdout)


NOBODY_TAKES_OVER = """
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder


class Broken(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "onward.runtime.worker":
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path)
        load = spec.loader.exec_module

        def load_and_break(module):
            load(module)
            module.Worker._take_over = lambda self: None

        spec.loader.exec_module = load_and_break
        return spec


sys.meta_path.insert(0, Broken())
"""


@pytest.mark.full
@pytest.mark.slow
def test_workers_that_take_nothing_over_break_it(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NOBODY_TAKES_OVER)

    ended = cluster(tmp_path / "run", "--sqlite", "--patience", "5", before=tmp_path)

    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "Broken. Nobody asked for anything in 5 s." in ended.stdout


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--country", "XX"), "There is no country 'XX' in the data set"),
        (("--country", "CV"), "CV has 10 venues, too few to strike twice in the middle; it takes 50."),
    ],
)
def test_what_the_demo_cannot_do_it_refuses_in_a_sentence(
    tmp_path: Path, options: tuple[str, ...], sentence: str
) -> None:
    ended = cluster(tmp_path / "run", *options)

    assert ended.returncode == 2
    assert ended.stderr.startswith(sentence)
    assert ended.stdout == ""


# What the check catches.


@pytest.fixture
def evidence(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(VENUES)
    return import_module("evidence")


@pytest.fixture
def clustered(evidence: ModuleType) -> ModuleType:
    return import_module("evidence_cluster")


def loss_of(clustered: ModuleType, **more: object) -> object:
    """The worker `a`, killed at 100 s while only LIRA had its row."""
    known = {"client": "a", "killed_at": 100.0, "cut_off": 1}
    rows = {"stored_before": frozenset({"LIRA"}), "stored": frozenset({"LIRA"})}
    return clustered.Loss(**{**known, **rows, **more})


@pytest.mark.parametrize(
    ("client", "event", "ended_at", "moment"),
    [
        ("a", "aborted", 100.0, "fetching"),
        ("a", "503", 99.0, "before its retry"),
        ("a", "ok", 99.0, "before its row"),
        ("b", "aborted", 100.0, None),
    ],
)
def test_the_kill_excuses_only_what_the_dead_worker_had_in_hand(
    evidence: ModuleType, clustered: ModuleType, client: str, event: str, ended_at: float, moment: str | None
) -> None:
    asked = [evidence.Request("LIRF", event, client, 98.0, ended_at)]

    assert [hit.moment for hit in clustered.hits(loss_of(clustered), asked)] == ([moment] if moment else [])


def test_a_row_that_was_stored_long_before_the_kill_excuses_nothing(
    evidence: ModuleType, clustered: ModuleType
) -> None:
    early = evidence.Request("LIRA", "ok", "a", 90.0, 91.0)
    late = evidence.Request("LIRA", "ok", "a", 98.0, 99.0)

    assert clustered.hits(loss_of(clustered), [early]) == []
    assert [hit.moment for hit in clustered.hits(loss_of(clustered), [late])] == ["between items"]


def test_a_run_of_the_demo_that_proves_nothing_is_called_vacuous(
    evidence: ModuleType, clustered: ModuleType
) -> None:
    cut_off = evidence.Request("LIRF", "aborted", "a", 99.0, 100.0)
    again = evidence.Request("LIRF", "ok", "b", 101.0, 102.0)
    before = evidence.Request("LIRF", "ok", "b", 98.0, 99.0)
    whole = evidence.Request("LIRA", "ok", "b", 98.0, 99.0)
    gone = clustered.Outage(2.0, 10, 1, 1)

    def why(*asked: object, outage: object = gone, workers: int = 2) -> str | None:
        return clustered.vacuous(
            loss_of(clustered), outage, asked, workers=workers, with_outage=outage is not None
        )

    assert why(cut_off, again, whole) is None
    assert why(cut_off, again, whole, outage=None) is None
    assert why(cut_off, again, workers=3) == "not every worker has asked for a page"
    assert why(evidence.Request("LIRA", "ok", "a", 1.0, 2.0), whole) == "the kill hit no running work"
    assert why(cut_off, before) == "no page of the dead worker was asked for by another one"
    never = clustered.Outage(2.0, 0, 1, 1)
    assert why(cut_off, again, whole, outage=never) == "the database was never really gone"
    late = clustered.Outage(2.0, 10, 2, 2)
    assert why(cut_off, again, whole, outage=late) == "nothing was left to do when the database went away"
